cimport cython

from mbuf.vm.page cimport Memory

cdef Py_ssize_t PAGE_SIZE


@cython.no_gc
@cython.final
cdef class SfBuf(Memory):
    cdef readonly object file
    cdef readonly Py_ssize_t index
    cdef Py_ssize_t users

    cdef int map(self, object file, Py_ssize_t index) except -1


cdef bint _watched(SfBuf window)
