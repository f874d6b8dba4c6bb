cimport cython

from mbuf.net.aio.connection cimport Connection
from mbuf.net.stream.send cimport send_now
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.read cimport views_of
from mbuf.vm.buffer_export cimport BufferExport, export_buffer


cdef class Broadcast:
    cdef bint _abort
    cdef dict _dropped
    cdef readonly Py_ssize_t dropped
    cdef readonly Py_ssize_t aborted

    @cython.locals(
        size=Py_ssize_t, got=Py_ssize_t, sent=Py_ssize_t, whole=cython.bint, export=BufferExport,
        connection=Connection, views=list,
    )
    cpdef Py_ssize_t send(self, m) except -1

    cdef bint _append(self, protocol, Mbuf m, Py_ssize_t size) except -1
    cdef _append_rest(self, protocol, Mbuf m, Py_ssize_t at)
