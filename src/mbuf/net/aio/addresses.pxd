cimport cython

from mbuf.packet.peer cimport Peer

cdef Py_ssize_t ADDRESSES_MAX


@cython.final
cdef class Addresses:
    cdef object _remote
    cdef Peer _peer
    cdef object _address
    cdef dict _addresses
    cdef dict _peers

    cpdef address_of(self, Peer peer)
    cpdef Peer peer_of(self, address)
    cpdef keep(self, Peer peer, address)
