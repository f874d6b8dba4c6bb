cimport cython

from mbuf.net.aio.inbox cimport Inbox
from mbuf.net.stream.send cimport send_now
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.segment cimport space
from mbuf.packet.sockbuf cimport SockBuf
from mbuf.vm.buffer_export cimport BufferExport, export_buffer
from mbuf.vm.page cimport Memory

cdef Py_ssize_t MLEN


cdef class Connection:
    cdef public object pool
    cdef public SockBuf write_buffer
    cdef public object transport
    cdef public bint starved
    cdef public Inbox _inbox
    cdef public int _fd
    cdef public Mbuf _mbuf
    cdef public object _view
    cdef public int _pause_reasons
    cdef public bint _writing_paused
    cdef public bint _eof_pending
    cdef public bint _close_pending
    cdef public list _collected
    cdef public bint _collects

    @cython.locals(size=Py_ssize_t, m=Mbuf, small=Mbuf, target=Memory, room=Memory, inbox=Inbox)
    cpdef buffer_updated(self, nbytes)

    @cython.locals(buffer=SockBuf)
    cdef bint _is_idle(self) except -1

    @cython.locals(buffer=SockBuf, inbox=Inbox)
    cpdef bint _is_drained(self) except -1
    cpdef _before_wait(self)

    @cython.locals(export=BufferExport, count=Py_ssize_t)
    cpdef _write_bytes(self, data)
