cimport cython
from cpython.ref cimport PyObject

from mbuf.net.linux cimport iovec, mmsghdr
from mbuf.vm.loan cimport Loan
from mbuf.vm.page cimport Memory, Window

cdef int MSG_DONTWAIT, SOL_UDP, UDP_SEGMENT


@cython.final
@cython.no_gc
cdef class Outbox:
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t pieces
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _used
    cdef Py_ssize_t _first
    cdef list _kept
    cdef list _loans
    cdef list _names
    cdef mmsghdr *_heads
    cdef iovec *_iov
    cdef PyObject **_looks
    cdef unsigned char *_controls
    cdef Py_ssize_t *_marks

    @cython.locals(memory=Memory)
    cdef int hold(self, Window window) except -1
    cdef bint _goes_on(self, Memory memory, unsigned char *data)
    cdef int lend(self, Loan lent) except -1
    cdef int seal(self, Py_ssize_t segment, bytes name, Py_ssize_t end, Py_ssize_t size) except -1
    cdef Py_ssize_t end(self, Py_ssize_t n)
    cdef Py_ssize_t size(self, Py_ssize_t n)

    @cython.locals(fd=cython.int, went=cython.int, error=cython.int)
    cdef Py_ssize_t send(self, sock) except? -1000

    cdef int _look_away(self) except -1

    @cython.locals(lent=Loan)
    cdef int clear(self) except -1
    cdef Py_ssize_t left(self)
