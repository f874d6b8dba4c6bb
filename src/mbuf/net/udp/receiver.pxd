cimport cython

from mbuf.net.port.rules cimport CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.posted cimport PostedBuffers
from mbuf.net.udp.recvmmsg cimport RecvVector
from mbuf.packet.build cimport from_rx, from_rx_each
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.peer cimport Peer, peer_of
from mbuf.packet.pkthdr cimport PktHdr, reset_header
from mbuf.vm.pagemap cimport PageMap

cdef unsigned int M_TSTMP, M_VLANTAG
cdef Py_ssize_t CALLS_MAX, DATAGRAM_MAX, MHLEN, MLEN, SMALL


@cython.final
cdef class UdpReceiver(PostedBuffers):
    cdef object _sock
    cdef PageMap _map
    cdef list _ready
    cdef Peer _peer
    cdef PktHdr _header
    cdef Py_ssize_t _expected
    cdef Py_ssize_t _seen_segment
    cdef unsigned int _drops
    cdef CallLock _lock
    cdef readonly bint gro
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _denied
    cdef unsigned long long _dropped
    cdef unsigned long long _truncated
    cdef unsigned long long _faults

    @cython.locals(count=Py_ssize_t, packets=list, pulled=list)
    cpdef list pull(self, n)

    @cython.locals(packets=list, m=Mbuf, n=Py_ssize_t)
    cdef _compact(self)

    @cython.locals(packets=list)
    cpdef close(self, CallLock push=*)

    @cython.locals(messages=Py_ssize_t, got=Py_ssize_t, complete=Py_ssize_t, vector=RecvVector)
    cdef _receive(self, Py_ssize_t n)

    @cython.locals(coalesced=Py_ssize_t, i=Py_ssize_t)
    cdef int _take_messages(self, Py_ssize_t got) except -1
    cdef bint _retry(self, int error) except -1

    @cython.locals(
        vector=RecvVector, size=Py_ssize_t, segment=Py_ssize_t, drops=cython.uint, header=PktHdr,
        bits=cython.uint, row=list, packets=list, ready=list,
    )
    cdef Py_ssize_t _take_message(self, Py_ssize_t i) except -1
    cdef void _count(self, Py_ssize_t packets) noexcept
    cdef Peer _peer_of(self, bytes name)

    @cython.locals(packets=list, ready=list)
    cdef int _segment(self, Mbuf m, Py_ssize_t size) except -1

    @cython.locals(packets=list, rest=Mbuf, lost=Py_ssize_t)
    cdef list _segment_part(self, Mbuf m, Py_ssize_t size)
