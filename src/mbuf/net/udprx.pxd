cimport cython

from mbuf.net.peer cimport Peer
from mbuf.net.recvmmsg cimport Inbox
from mbuf.packet.build cimport land, land_each
from mbuf.packet.mbuf cimport Mbuf
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.pool.bulk cimport Bulk
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, MT_DATA
cdef unsigned int M_TSTMP
cdef Py_ssize_t ARMED, LONGEST, MCLBYTES, MESSAGES, MJUM16BYTES, REPEATS


@cython.final
cdef class Receiver:
    cdef Bulk _pool
    cdef object _sock
    cdef Inbox _inbox
    cdef list _armed
    cdef list _rooms
    cdef bint _small
    cdef list _ready
    cdef Peer _peer
    cdef PktHdr _like
    cdef Py_ssize_t _alone
    cdef bint _named
    cdef Py_ssize_t _expect
    cdef Py_ssize_t _rumour
    cdef unsigned int _drops
    cdef readonly bint busy
    cdef readonly bint gro
    cdef readonly Py_ssize_t segment
    cdef readonly Py_ssize_t size
    cdef unsigned long long _packets
    cdef unsigned long long _bytes
    cdef unsigned long long _calls
    cdef unsigned long long _denied
    cdef unsigned long long _short
    cdef unsigned long long _dropped
    cdef unsigned long long _truncated
    cdef unsigned long long _faults

    @cython.locals(most=Py_ssize_t, packets=list, taken=list)
    cpdef list pull(self, n)

    @cython.locals(packets=list, armed=list)
    cpdef close(self)

    @cython.locals(
        rooms=list, room=Py_ssize_t, total=Py_ssize_t, clusters=Py_ssize_t, cluster=Py_ssize_t,
        messages=Py_ssize_t, inbox=Inbox, spare=list, armed=list,
    )
    cdef int _lay(self, Py_ssize_t segment) except -1

    @cython.locals(
        pieces=Py_ssize_t, small=Py_ssize_t, large=Py_ssize_t, missing=Py_ssize_t, i=Py_ssize_t,
        whole=Py_ssize_t, fresh=list, armed=list,
    )
    cdef Py_ssize_t _arm(self, Py_ssize_t want) except -1

    @cython.locals(fresh=list)
    cdef list _fetch(self, Py_ssize_t count)

    @cython.locals(large=list, armed=list, i=Py_ssize_t)
    cdef bint _enlarge(self, Py_ssize_t want, Py_ssize_t count) except -1

    @cython.locals(i=Py_ssize_t, armed=list)
    cdef Py_ssize_t _place(self, Py_ssize_t want, list fresh) except -1

    @cython.locals(piece=Py_ssize_t)
    cdef int _put(self, Py_ssize_t i, list armed, Mbuf m) except -1

    @cython.locals(armed=list)
    cdef bint _borrow(self, Py_ssize_t i, list fresh) except -1

    @cython.locals(
        want=Py_ssize_t, got=Py_ssize_t, whole=Py_ssize_t, segment=Py_ssize_t, surprise=Py_ssize_t,
        i=Py_ssize_t,
    )
    cdef _receive(self, Py_ssize_t n)
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
