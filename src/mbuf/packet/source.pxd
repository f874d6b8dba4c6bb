cimport cython

from mbuf.uma.item cimport Item


cdef class Source:
    cpdef dropped(self, Item item)
