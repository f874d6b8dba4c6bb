cimport cython
from cpython.ref cimport PyObject

from mbuf.net.linux cimport iovec, mmsghdr
from mbuf.vm.buffer_export cimport BufferExport
from mbuf.vm.page cimport Exporter, Memory

cdef int MSG_DONTWAIT, SOL_UDP, UDP_SEGMENT
cdef Py_ssize_t CONTROL_MAX


@cython.final
@cython.no_gc
cdef class SendVector:
    cdef readonly Py_ssize_t messages
    cdef readonly Py_ssize_t pieces
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t _used
    cdef Py_ssize_t _first
    cdef list _views
    cdef list _exports
    cdef list _names
    cdef mmsghdr *_heads
    cdef iovec *_iov
    cdef PyObject **_memories
    cdef unsigned char *_controls
    cdef Py_ssize_t *_ends_and_sizes

    @cython.locals(memory=Memory)
    cdef int add(self, Exporter window) except -1
    cdef bint _continues(self, Memory memory, unsigned char *data)
    cdef int add_export(self, BufferExport export) except -1
    cdef int end_message(
        self, Py_ssize_t gso_size, bytes name, Py_ssize_t end, Py_ssize_t size, bytes control=*
    ) except -1
    cdef Py_ssize_t end(self, Py_ssize_t n)
    cdef Py_ssize_t size(self, Py_ssize_t n)

    @cython.locals(fd=cython.int, sent=cython.int, error=cython.int)
    cdef Py_ssize_t send(self, sock) except? -1000

    cdef int _release_memories(self) except -1

    @cython.locals(export=BufferExport)
    cdef int clear(self) except -1
    cdef Py_ssize_t room(self)
