cimport cython

from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone
from mbuf.vm.page cimport Memory


cdef class TrashZone(Zone):
    cdef dict _out

    cdef _check(self, Item item)


cdef Memory _bytes_of(Item item)
