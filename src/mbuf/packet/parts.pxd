cimport cython

from mbuf.packet.copy cimport Copy
from mbuf.packet.ext cimport Storage
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.shape cimport free_chain
from mbuf.packet.source cimport Source
from mbuf.vm.number cimport clip

cdef unsigned int CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY
cdef int M_NOWAIT
cdef Py_ssize_t INT_MAX, MHLEN, MPKTHSIZE


@cython.no_gc
cdef class Parts(Copy):
    @cython.locals(hdr=PktHdr, most=Py_ssize_t, need=Py_ssize_t, spare=Parts)
    cpdef list segment(self, size, how=*, timeout=*)

    @cython.locals(
        need=Py_ssize_t, total=Py_ssize_t, room=Py_ssize_t, count=Py_ssize_t, at=Py_ssize_t, piece=Py_ssize_t,
        m=Parts,
    )
    cdef Py_ssize_t _missing(self, Py_ssize_t size) except -1
    cdef Py_ssize_t _lacking(self, Py_ssize_t at, Py_ssize_t piece) except -1

    @cython.locals(taken=Py_ssize_t)
    cdef int _refer(self, tag, Py_ssize_t size, Py_ssize_t need) except -1
    cdef int _settled(self, Py_ssize_t size, Py_ssize_t need) except -1

    @cython.locals(spare=Parts, source=Source)
    cdef Parts _gather(self, Py_ssize_t size, Py_ssize_t need, how, timeout)

    @cython.locals(
        hdr=PktHdr, bits=cython.uint, n=Py_ssize_t, left=Py_ssize_t, room=Py_ssize_t, whole=Py_ssize_t,
        piece=Py_ssize_t, at=Py_ssize_t, top=Parts, last=Parts, m=Parts, rest=Parts, packets=list,
    )
    cdef list _divide(self, Py_ssize_t size, Parts spare)

    @cython.locals(hdr=PktHdr)
    cdef int crown(self, PktHdr like, Py_ssize_t size, unsigned int bits) except -1
