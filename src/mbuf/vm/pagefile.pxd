cimport cython

from mbuf.vm.commit cimport enter_commit, leave_commit

cdef Py_ssize_t PAGE_SIZE


cdef class PageFile:
    cdef bint _open
    cdef readonly int fd
    cdef readonly str name
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t users
    cdef readonly object windows

    cpdef int take(self) except -1
    cpdef int share(self) except -1
    cpdef int drop(self) except -1

    @cython.locals(users=Py_ssize_t)
    cdef bint _unused(self) except -1
    cpdef int close(self) except -1
    cpdef int require_size(self, Py_ssize_t end) except -1
    cdef int _end(self) except -1
