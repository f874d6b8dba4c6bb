cimport cython
from cpython.buffer cimport Py_buffer


@cython.final
cdef class Arena:
    cdef readonly Py_ssize_t pages
    cdef readonly object map
    cdef unsigned char *ptr
    cdef Py_buffer _export


@cython.no_gc
cdef class Run:
    cdef Arena arena
    cdef Py_ssize_t offset
    cdef readonly Py_ssize_t page
    cdef readonly int count
