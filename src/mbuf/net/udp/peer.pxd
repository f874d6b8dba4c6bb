cimport cython


@cython.final
cdef class Peer:
    cdef readonly bytes name


cpdef bytes packed(address)
cpdef tuple unpacked(bytes name)
