cimport cython
from cpython.buffer cimport Py_buffer

cdef Py_ssize_t PAGE_SIZE
cdef unsigned int TRACEMALLOC_DOMAIN


@cython.final
cdef class Arena:
    cdef readonly Py_ssize_t pages
    cdef readonly object map
    cdef unsigned char *ptr
    cdef Py_buffer _export

    cpdef void track(self, Py_ssize_t page, Py_ssize_t count) noexcept
    cpdef void untrack(self, Py_ssize_t page, Py_ssize_t count) noexcept
    cpdef void discard(self, Py_ssize_t page, Py_ssize_t count) noexcept


@cython.no_gc
cdef class Run:
    cdef Arena arena
    cdef readonly Py_ssize_t page
    cdef unsigned int offset
    cdef readonly int count
