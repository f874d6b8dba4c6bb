cimport cython

from mbuf.net.port.rules cimport CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.copies cimport LateCopies, compact_small, copy_datagrams
from mbuf.net.udp.posted cimport PostedBuffers
from mbuf.net.udp.receivecounts cimport ReceiveCounts
from mbuf.net.udp.recvmmsg cimport RecvVector
from mbuf.packet.build cimport from_rx, from_rx_each
from mbuf.packet.control cimport Control, received_control
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.peer cimport Peer, peer_of
from mbuf.packet.pkthdr cimport PktHdr, reset_header
from mbuf.vm.pagemap cimport PageMap

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_TSTMP, M_TSTMP_HPREC, M_VLANTAG
cdef Py_ssize_t CALLS_MAX, DATAGRAM_MAX


@cython.final
cdef class UdpReceiver(PostedBuffers):
    cdef object _sock
    cdef object _failures
    cdef PageMap _map
    cdef list _ready
    cdef Peer _peer
    cdef Control _control
    cdef bytes _control_key
    cdef LateCopies _late
    cdef PktHdr _header
    cdef unsigned int _header_bits
    cdef Py_ssize_t _longest
    cdef Py_ssize_t _seen_segment
    cdef CallLock _lock
    cdef bint _copying
    cdef list _untaken
    cdef readonly bint gro
    cdef bint _writable

    @cython.locals(count=Py_ssize_t)
    cpdef list pull(self, n)

    @cython.locals(count=Py_ssize_t, datagrams=list, i=Py_ssize_t, m=Mbuf)
    cpdef list pull_bytes(self, n)

    @cython.locals(packets=list, pulled=list)
    cdef list _take(self, Py_ssize_t count)

    @cython.locals(packets=list, size=Py_ssize_t, i=Py_ssize_t, late=LateCopies)
    cpdef close(self, CallLock push=*)

    cdef int _fill(self, Py_ssize_t n) except -1

    @cython.locals(messages=Py_ssize_t, got=Py_ssize_t, complete=Py_ssize_t, vector=RecvVector)
    cdef _receive(self, Py_ssize_t n)

    @cython.locals(coalesced=Py_ssize_t, i=Py_ssize_t)
    cdef int _take_messages(self, Py_ssize_t got) except -1
    cdef bint _retry(self, int error) except -1

    @cython.locals(
        vector=RecvVector, size=Py_ssize_t, segment=Py_ssize_t, header=PktHdr, bits=cython.uint, row=list,
        counts=ReceiveCounts, ready=list, before=Py_ssize_t, packets=list,
    )
    cdef Py_ssize_t _take_message(self, Py_ssize_t i) except -1

    @cython.locals(
        size=Py_ssize_t, segment=Py_ssize_t, drops=cython.uint, counts=ReceiveCounts, header=PktHdr,
        bits=cython.uint,
    )
    cdef Py_ssize_t _begin_message(self, RecvVector vector, Py_ssize_t i) except -2

    @cython.locals(lost=Py_ssize_t, last=Py_ssize_t, m=Mbuf)
    cdef int _take_last(self, list row, Py_ssize_t size, Py_ssize_t segment) except -1
    cdef Peer _peer_of(self, bytes name)
    cdef Control _control_of(self, bytes key)

    @cython.locals(packets=list, ready=list, parts=Py_ssize_t)
    cdef int _segment(self, Mbuf m, Py_ssize_t size) except -1

    @cython.locals(packets=list, rest=Mbuf, lost=Py_ssize_t)
    cdef list _segment_part(self, Mbuf m, Py_ssize_t size)

    @cython.locals(late=LateCopies, vector=RecvVector, got=Py_ssize_t, segment=Py_ssize_t)
    cdef bint _receive_late(self) except -1
    cdef int _copy_late(self, LateCopies late) except -1
