cimport cython

from mbuf.net.udp.posted cimport PostedBuffers
from mbuf.net.udp.peer cimport Peer
from mbuf.net.udp.recvmmsg cimport Inbox
from mbuf.packet.build cimport from_rx, from_rx_each
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.pkthdr cimport PktHdr, reset_header
from mbuf.vm.ints cimport clip

cdef unsigned int M_TSTMP, M_VLANTAG
cdef Py_ssize_t LONGEST, REPEATS


@cython.final
cdef class UdpReceiver(PostedBuffers):
    cdef object _sock
    cdef list _ready
    cdef Peer _peer
    cdef PktHdr _like
    cdef object _interface
    cdef Py_ssize_t _expect
    cdef Py_ssize_t _rumour
    cdef unsigned int _drops
    cdef readonly bint busy
    cdef readonly bint closed
    cdef readonly bint gro
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _denied
    cdef unsigned long long _dropped
    cdef unsigned long long _truncated
    cdef unsigned long long _faults

    @cython.locals(most=Py_ssize_t, packets=list, taken=list)
    cpdef list pull(self, n)

    @cython.locals(packets=list)
    cpdef close(self)

    @cython.locals(want=Py_ssize_t, got=Py_ssize_t, whole=Py_ssize_t, inbox=Inbox)
    cdef _receive(self, Py_ssize_t n)

    @cython.locals(joined=Py_ssize_t, i=Py_ssize_t)
    cdef int _take_all(self, Py_ssize_t got) except -1
    cdef bint _fault(self, int error) except -1

    @cython.locals(
        inbox=Inbox, size=Py_ssize_t, segment=Py_ssize_t, drops=cython.uint, like=PktHdr,
        bits=cython.uint, armed=list, packets=list,
    )
    cdef Py_ssize_t _take(self, Py_ssize_t i) except -1
    cdef void _count(self, Py_ssize_t packets) noexcept
    cdef Peer _whom(self, bytes name)

    @cython.locals(packets=list)
    cdef int _cut(self, Mbuf m, Py_ssize_t segment) except -1

    @cython.locals(packets=list, rest=Mbuf, lost=Py_ssize_t)
    cdef list _cut_some(self, Mbuf m, Py_ssize_t segment)
