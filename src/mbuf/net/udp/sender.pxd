cimport cython

from mbuf.net.udp.peer cimport Peer
from mbuf.net.udp.sendmmsg cimport Outbox
from mbuf.packet.chain cimport Chain, length, next_checked
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.read cimport pieces
from mbuf.packet.segment cimport check_alive
from mbuf.pool.pool cimport Pool
from mbuf.vm.buffer_export cimport export_buffer

cdef unsigned int M_EXTPG, M_NOTREADY, M_PKTHDR
cdef Py_ssize_t LONGEST, MESSAGES, PIECES, SEGMENTS, SHORT
cdef int NO_CUTTING


@cython.final
cdef class UdpSender:
    cdef Pool _pool
    cdef object _sock
    cdef bytes _to
    cdef bint _connected
    cdef Outbox _outbox
    cdef readonly bint busy
    cdef public bint closed
    cdef readonly Py_ssize_t gso
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _errors

    @cython.locals(done=Py_ssize_t, went=Py_ssize_t)
    cpdef Py_ssize_t push(self, packets) except -1

    @cython.locals(gone=list)
    cdef int _release(self, list packets, Py_ssize_t done) except -1

    @cython.locals(outbox=Outbox, went=Py_ssize_t, gone=Py_ssize_t, n=Py_ssize_t)
    cdef Py_ssize_t _some(self, list packets, Py_ssize_t at) except -1

    @cython.locals(gone=Py_ssize_t, m=Mbuf)
    cdef Py_ssize_t _refused(self, int error, list packets, Py_ssize_t at) except -1

    @cython.locals(
        outbox=Outbox, total=Py_ssize_t, size=Py_ssize_t, whole=Py_ssize_t, cut=Py_ssize_t, count=Py_ssize_t,
        first=Py_ssize_t, end=Py_ssize_t, m=Mbuf, name=bytes,
    )
    cdef int _build(self, list packets, Py_ssize_t at) except -1

    @cython.locals(count=Py_ssize_t, other=bytes)
    cdef Py_ssize_t _join(self, Mbuf m, Py_ssize_t size, Py_ssize_t room, bytes name) except -1
    cdef bint _fits(self, Mbuf m) except -1

    @cython.locals(outbox=Outbox, total=Py_ssize_t, n=Chain)
    cdef Py_ssize_t _add(self, Mbuf m) except -1
    cdef bytes _whom(self, Mbuf m)


@cython.locals(packet=Mbuf)
cdef Mbuf _packet(m)


@cython.locals(count=Py_ssize_t, n=Chain)
cdef Py_ssize_t _pieces(Chain m) except -1
