cimport cython
from cpython.buffer cimport Py_buffer

from mbuf.vm.loan cimport Loan


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


@cython.no_gc
cdef class Memory:
    cdef unsigned char *ptr
    cdef readonly object run
    cdef readonly Py_ssize_t size
    cdef int exports
    cdef bint held
    cdef bint fixed

    cdef int borrow(self, Loan loan) except -1
    cdef int give_back(self) except -1
    cdef int _be(self, object run, Py_ssize_t start, Py_ssize_t size, bint fixed) except -1
    cdef int _check_free(self, Py_ssize_t offset, Py_ssize_t count) except -1
    cpdef carve(self, run, Py_ssize_t start, Py_ssize_t size)
    cpdef Py_ssize_t place(self)
    cdef bint watched(self)
    cdef hold(self)
    cdef int _check(self, Py_ssize_t offset, Py_ssize_t count) except -1
    cdef int unwatched(self) except -1
    cpdef bytes read(self, Py_ssize_t offset, Py_ssize_t count)
    cpdef write(self, Py_ssize_t offset, data, Py_ssize_t skip, Py_ssize_t count)
    cpdef Py_ssize_t fit(self, Py_ssize_t offset, Py_ssize_t room, data) except -1
    cpdef copy(self, Py_ssize_t offset, Memory other, Py_ssize_t start, Py_ssize_t count)
    cpdef fill(self, unsigned int word)
    cpdef Py_ssize_t differs(self, unsigned int word)


@cython.no_gc
cdef class Window:
    cdef Memory buf
    cdef Py_ssize_t off
    cdef Py_ssize_t count

    cpdef bint lend(self) except -1
    cpdef view(self)


@cython.no_gc
cdef class Pane(Window):
    cdef bint fixed


cpdef pane(Memory buf, Py_ssize_t off, Py_ssize_t count, bint fixed)
