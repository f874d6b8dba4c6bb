cimport cython

from mbuf.uma.item cimport Home, Item

cdef Py_ssize_t PAGE_SIZE


@cython.no_gc
cdef class Pages(Home):
    cdef readonly object keg

    @cython.locals(page=Item)
    cpdef Item alloc(self, int how, deadline)
    cpdef int free(self, Item page) except -1
