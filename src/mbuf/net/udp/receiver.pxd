cimport cython

from mbuf.net.port.rules cimport CallLock, check_count, check_usable, close_calls
from mbuf.net.udp.posted cimport PostedBuffers
from mbuf.net.udp.recvmmsg cimport RecvVector, is_incomplete
from mbuf.packet.build cimport from_rx, from_rx_each
from mbuf.packet.control cimport Control, received_control
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.peer cimport Peer, packed, peer_of
from mbuf.packet.pkthdr cimport PktHdr, reset_header
from mbuf.packet.segment cimport check_alive
from mbuf.vm.pagemap cimport PageMap
from mbuf.vm.scan cimport new_bytes, set_bytes

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_TSTMP, M_TSTMP_HPREC, M_VLANTAG
cdef Py_ssize_t CALLS_MAX, CONTROL_SIZE_IP, DATAGRAM_MAX, MHLEN, MLEN, SMALL


@cython.final
cdef class UdpReceiver(PostedBuffers):
    cdef object _sock
    cdef object _failures
    cdef PageMap _map
    cdef list _ready
    cdef Peer _peer
    cdef Control _control
    cdef bytes _control_key
    cdef object _copied
    cdef Py_ssize_t _copied_segment
    cdef PktHdr _header
    cdef unsigned int _header_bits
    cdef Py_ssize_t _expected
    cdef Py_ssize_t _longest
    cdef Py_ssize_t _seen_segment
    cdef unsigned int _drops
    cdef CallLock _lock
    cdef bint _copying
    cdef list _untaken
    cdef readonly bint gro
    cdef bint _writable
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _denied
    cdef unsigned long long _dropped
    cdef unsigned long long _dropped_messages
    cdef unsigned long long _truncated
    cdef unsigned long long _faults

    @cython.locals(count=Py_ssize_t)
    cpdef list pull(self, n)

    @cython.locals(count=Py_ssize_t, datagrams=list, i=Py_ssize_t, m=Mbuf)
    cpdef list pull_bytes(self, n)

    @cython.locals(packets=list, pulled=list)
    cdef list _take(self, Py_ssize_t count)

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
    @cython.locals(
        ready=list, before=Py_ssize_t, each=Py_ssize_t, piece=Py_ssize_t, off=Py_ssize_t, left=Py_ssize_t, m=Mbuf,
        count=Py_ssize_t, done=Py_ssize_t, part=Py_ssize_t,
    )
    cdef int _copy_message(self, list row, Py_ssize_t size, Py_ssize_t segment, Peer peer) except -1

    @cython.locals(header=PktHdr, bits=cython.uint)
    cdef unsigned int _set_header(
        self, unsigned long long timestamp, bint precise, unsigned int vlan_tag
    ) noexcept

    @cython.locals(messages=cython.uint)
    cdef void _count_drops(self, unsigned int drops, Py_ssize_t datagrams) noexcept

    @cython.locals(lost=Py_ssize_t, last=Py_ssize_t, m=Mbuf)
    cdef int _take_last(self, list row, Py_ssize_t size, Py_ssize_t segment, unsigned int bits) except -1
    cdef void _count(self, Py_ssize_t packets) noexcept
    cdef Peer _peer_of(self, bytes name)
    cdef Control _control_of(self, bytes key)

    @cython.locals(packets=list, ready=list, parts=Py_ssize_t)
    cdef int _segment(self, Mbuf m, Py_ssize_t size) except -1

    @cython.locals(packets=list, rest=Mbuf, lost=Py_ssize_t)
    cdef list _segment_part(self, Mbuf m, Py_ssize_t size)

    @cython.locals(size=Py_ssize_t, segment=Py_ssize_t, drops=cython.uint, header=PktHdr)
    cdef bint _receive_copied(self) except -1

    @cython.locals(size=Py_ssize_t, made=Py_ssize_t, m=Mbuf, header=PktHdr)
    cdef int _make_copies(self) except -1
