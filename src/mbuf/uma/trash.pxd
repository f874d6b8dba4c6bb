cimport cython

from mbuf.uma.item cimport Item
from mbuf.uma.zone cimport Zone


cdef class TrashZone(Zone):
    cdef dict _out

    cdef _check(self, Item item)
