cimport cython

from mbuf.packet.growth cimport Growth
from mbuf.packet.shape cimport Shape, free_chain
from mbuf.packet.source cimport Source
from mbuf.vm.number cimport clip, count
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXT, M_EXTPG, M_PKTHDR
cdef int EXT_CLUSTER, M_NOWAIT
cdef Py_ssize_t MCLBYTES, MHLEN, MHSIZE, MLEN, MPKTHSIZE, MSIZE


@cython.no_gc
cdef class Gather(Growth):
    @cython.locals(n=Py_ssize_t, at=Py_ssize_t, rest=Gather)
    cpdef Gather pullup(self, len)

    @cython.locals(n=Py_ssize_t, room=Py_ssize_t)
    cpdef Gather copyup(self, len, dstoff=*)
    cdef int gatherable(self, Py_ssize_t n, str verb) except -1

    @cython.locals(m=Gather, source=Source, at=Py_ssize_t, taken=Py_ssize_t)
    cdef int _new_front(self, Py_ssize_t n, Py_ssize_t room) except -1

    @cython.locals(taken=Py_ssize_t, piece=Py_ssize_t, m=Gather)
    cdef Py_ssize_t _collect(self, Py_ssize_t need, Py_ssize_t most, Memory target, Py_ssize_t at) except -1

    @cython.locals(piece=Py_ssize_t, m=Gather, rest=Shape)
    cdef int _swallow(self, Py_ssize_t taken) except -1

    @cython.locals(skip=Py_ssize_t, n=Py_ssize_t, m=Gather)
    cpdef pulldown(self, off, len, at_start=*)

    @cython.locals(rest=Py_ssize_t, m=Gather, source=Source)
    cdef Gather _chop(self, Py_ssize_t keep)

    @cython.locals(
        here=Py_ssize_t, there=Py_ssize_t, after=Gather, writable=cython.bint, m=Gather, source=Source,
    )
    cdef _bring(self, Gather head, Py_ssize_t skip, Py_ssize_t n, bint anywhere)
    cdef Py_ssize_t front(self)

    @cython.locals(src=Gather, end=Py_ssize_t, piece=Py_ssize_t)
    cdef int lift(self, Py_ssize_t skip, Py_ssize_t n, Gather m) except -1
