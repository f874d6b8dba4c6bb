cimport cython

from mbuf.vm.arena cimport Run


@cython.no_gc
cdef class Slab(Run):
    cdef readonly int free
    cdef readonly unsigned int bits

    @cython.locals(low=cython.uint, index=cython.int)
    cpdef int take(self)

    @cython.locals(bit=cython.uint)
    cpdef bint give(self, int index)
