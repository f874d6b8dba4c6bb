cimport cython

from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.shape cimport Shape, free_chain
from mbuf.packet.source cimport Source, left, until
from mbuf.vm.number cimport clip

cdef unsigned int CSUM_SND_TAG, M_EXT, M_EXTPG, M_FREED, M_PKTHDR, M_RDONLY
cdef int M_NOWAIT
cdef object ALL, NOWAIT
cdef Py_ssize_t INT_MAX, M_COPYALL, MHLEN, MINCLSIZE


@cython.no_gc
cdef class Copy(Shape):
    cdef Source origin(self)

    @cython.locals(m=Copy)
    cdef Copy alike(self, Source source, bint head, how, deadline)
    cpdef Copy dupcl(self, Shape m)

    cdef int share(self, Shape m, Py_ssize_t off, Py_ssize_t count) except -1
    cdef int take(self, Shape m, Py_ssize_t skip, Py_ssize_t count, Py_ssize_t off) except -1

    @cython.locals(
        skip=Py_ssize_t, count=Py_ssize_t, piece=Py_ssize_t, head=cython.bint, source=Source,
        m=Copy, n=Copy, top=Copy, last=Copy,
    )
    cpdef Copy copym(self, off=*, len=*, how=*, timeout=*)

    @cython.locals(top=Copy, last=Copy, m=Copy, n=Copy, source=Source)
    cpdef Copy copypacket(self, how=*, timeout=*)

    @cython.locals(
        hdr=PktHdr, todo=Py_ssize_t, skip=Py_ssize_t, piece=Py_ssize_t, kind=cython.int, source=Source,
        m=Copy, n=Copy, top=Copy, last=Copy,
    )
    cpdef Copy dup(self, how=*, timeout=*)

    @cython.locals(
        keep=Py_ssize_t, rest=Py_ssize_t, m=Copy, n=Copy, tail=Copy, second=Copy, hdr=PktHdr, source=Source,
    )
    cpdef Copy split(self, len, how=*, timeout=*)

    @cython.locals(rest=Py_ssize_t)
    cdef int halve(self, Copy n, Py_ssize_t keep) except -1
