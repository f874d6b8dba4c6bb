cimport cython

from mbuf.uma.item cimport Item


@cython.final
cdef class Remains:
    cdef Item item

    @cython.locals(item=Item)
    cpdef free(self)
