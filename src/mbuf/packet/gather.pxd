cimport cython

from mbuf.packet.growth cimport Growth
from mbuf.packet.shape cimport Shape
from mbuf.packet.source cimport Source
from mbuf.vm.number cimport clip, count

cdef unsigned int M_EXT, M_EXTPG
cdef int EXT_CLUSTER, M_NOWAIT
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN, MSIZE


@cython.no_gc
cdef class Gather(Growth):
    @cython.locals(n=Py_ssize_t, source=Source)
    cpdef Gather pullup(self, len)

    @cython.locals(n=Py_ssize_t, room=Py_ssize_t)
    cpdef Gather copyup(self, len, dstoff=*)
    cdef int gatherable(self, Py_ssize_t n, str verb) except -1

    @cython.locals(m=Gather, source=Source)
    cdef int _new_front(self, Py_ssize_t n, Py_ssize_t room) except -1

    @cython.locals(space=Py_ssize_t, piece=Py_ssize_t, m=Gather, rest=Shape)
    cdef int _gather(self, Py_ssize_t need, Py_ssize_t most) except -1

    @cython.locals(skip=Py_ssize_t, n=Py_ssize_t, m=Gather)
    cpdef pulldown(self, off, len, at_start=*)

    @cython.locals(rest=Py_ssize_t, m=Gather, source=Source)
    cdef Gather _chop(self, Py_ssize_t keep)

    @cython.locals(
        here=Py_ssize_t, there=Py_ssize_t, after=Gather, writable=cython.bint, m=Gather, source=Source,
    )
    cdef _bring(self, Gather head, Py_ssize_t skip, Py_ssize_t n, bint anywhere)
    cdef Py_ssize_t front(self)

    @cython.locals(src=Gather, piece=Py_ssize_t)
    cdef int lift(self, Py_ssize_t skip, Py_ssize_t n, Gather m) except -1
