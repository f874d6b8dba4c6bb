cimport cython

from mbuf.packet.header cimport Headed
from mbuf.packet.pkthdr cimport PktHdr
from mbuf.vm.number cimport clip

cdef unsigned int M_EXTPG, M_FREED, M_PKTHDR
cdef Py_ssize_t INT_MAX


@cython.no_gc
cdef class Shape(Headed):
    @cython.locals(n=Py_ssize_t)
    cpdef Shape adj(self, len)

    @cython.locals(left=Py_ssize_t, m=Shape, empty=Shape)
    cdef int _adj_front(self, Py_ssize_t n) except -1

    @cython.locals(total=Py_ssize_t, left=Py_ssize_t, m=Shape)
    cdef _adj_end(self, Py_ssize_t n)

    @cython.locals(rest=Shape)
    cdef Shape cut(self)
    cpdef Shape cat(self, Shape n)

    @cython.locals(hdr=PktHdr)
    cpdef Shape catpkt(self, Shape n)

    @cython.locals(mine=Shape, theirs=Shape)
    cdef int meet(self, Shape n, str verb) except -1

    @cython.locals(last=Shape, m=Shape, rest=Shape)
    cdef join(self, Shape n)

    @cython.locals(total=Py_ssize_t, m=Shape, packet=Shape)
    cpdef bint sanity(self, sanitize=*) except -1
    cdef int _heal(self) except -1


@cython.locals(m=Shape)
cpdef free_all(list mbufs)


@cython.locals(rest=Shape)
cpdef free_chain(Shape m)
