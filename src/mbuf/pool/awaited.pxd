from mbuf.pool.filled cimport Filled
from mbuf.vm.number cimport clip

cdef int M_NOWAIT, M_WAITOK, MT_DATA
cdef unsigned int M_EOR, M_PKTHDR
cdef Py_ssize_t MCLBYTES, MINCLSIZE, MJUMPAGESIZE


cdef class Awaited(Filled):
    pass
