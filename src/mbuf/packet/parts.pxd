cimport cython

from mbuf.packet.copy cimport Copy
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.shape cimport free_all
from mbuf.packet.source cimport Source, left, until
from mbuf.vm.number cimport clip

cdef unsigned int CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY
cdef int M_NOWAIT
cdef Py_ssize_t INT_MAX, MHLEN


@cython.no_gc
cdef class Parts(Copy):
    @cython.locals(hdr=PktHdr, most=Py_ssize_t, need=Py_ssize_t, packets=list, spare=list)
    cpdef list segment(self, size, how=*, timeout=*)

    @cython.locals(total=Py_ssize_t, m=Parts)
    cdef int _whole(self, Py_ssize_t count) except -1

    @cython.locals(need=Py_ssize_t, room=Py_ssize_t, at=Py_ssize_t, piece=Py_ssize_t, m=Parts)
    cdef Py_ssize_t _missing(self, Py_ssize_t size) except -1
    cdef Py_ssize_t _lacking(self, Py_ssize_t at, Py_ssize_t piece) except -1

    @cython.locals(source=Source)
    cdef int _gather(self, Py_ssize_t size, Py_ssize_t need, list spare, how, deadline) except -1

    @cython.locals(
        hdr=PktHdr, room=Py_ssize_t, whole=Py_ssize_t, piece=Py_ssize_t, at=Py_ssize_t,
        top=Parts, last=Parts, m=Parts, rest=Parts,
    )
    cdef int _divide(self, Py_ssize_t size, list spare, list packets) except -1
    cdef int crown(self, Parts first, PktHdr hdr) except -1
