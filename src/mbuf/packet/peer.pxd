cimport cython


@cython.final
cdef class Peer:
    cdef readonly bytes name


@cython.locals(peer=Peer)
cpdef Peer peer_of(bytes name)
cpdef bytes packed(address)
cpdef unpacked(bytes name)
