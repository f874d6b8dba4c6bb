cimport cython

from mbuf.net.aio.addresses cimport Addresses
from mbuf.packet.peer cimport Peer
from mbuf.packet.mbuf cimport Mbuf

cdef unsigned int M_PKTHDR


@cython.final
cdef class Delivery:
    cdef Addresses _addresses
    cdef object _report
    cdef list _waiting
    cdef Py_ssize_t _at
    cdef bint _running
    cdef object _receiver
    cdef public bint paused

    @cython.locals(waiting=list)
    cpdef deliver(self, list datagrams)
    cpdef Py_ssize_t waiting(self)

    @cython.locals(rest=list, waiting=list)
    cpdef Py_ssize_t discard(self) except -1
    cpdef disconnect(self)

    @cython.locals(m=Mbuf, peer=Peer)
    cdef int _deliver_one(self, thing) except -1
