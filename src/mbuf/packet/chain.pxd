cimport cython

from mbuf.packet.ext cimport Storage
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.packet.segment cimport Segment
from mbuf.uma.item cimport Item
from mbuf.vm.number cimport clip
from mbuf.vm.page cimport Memory
from mbuf.vm.probe cimport Probes

cdef unsigned int CSUM_SND_TAG, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR
cdef unsigned int M_FREED


@cython.no_gc
cdef class Chain(Segment):
    cdef Chain _next
    cdef Chain _nextpkt
    cdef PktHdr hdr

    cdef int begin(self) except -1
    cdef int renew(self) except -1

    @cython.locals(total=Py_ssize_t, m=Chain)
    cpdef Py_ssize_t length(self) except -1
    cpdef Chain last(self)

    @cython.locals(m=Chain, found=Chain)
    cdef Chain tail(self)

    @cython.locals(n=Chain)
    cdef Chain follow(self)

    @cython.locals(n=Chain)
    cdef Chain after(self)

    @cython.locals(most=Py_ssize_t, more=Py_ssize_t)
    cpdef grow(self, count)

    cdef int grow_whole(self) except -1

    @cython.locals(most=Py_ssize_t, more=Py_ssize_t)
    cpdef fill(self, data, start, count)

    @cython.locals(probes=Probes)
    cdef int shed(self) except -1

    @cython.locals(item=Item, bits=cython.uint, storage=Storage)
    cdef int undress(self) except -1

    @cython.locals(hdr=PktHdr, storage=Storage)
    cdef int _shed_header(self, Item item, unsigned int bits) except -1

    @cython.locals(item=Item, buf=Memory, off=Py_ssize_t, count=Py_ssize_t, bits=cython.uint, hdr=PktHdr)
    cdef int swap(self, Chain other) except -1

    @cython.locals(n=Chain, p=Chain)
    cdef list links(self)


cdef bint _sole(Chain m)


@cython.locals(todo=list)
cdef _no_circle(Chain m, Chain n)
