cimport cython

from mbuf.packet.gather cimport Gather
from mbuf.packet.shape cimport Shape, free_chain
from mbuf.packet.source cimport Source, left, until
from mbuf.packet.undo cimport Undo
from mbuf.vm.number cimport clip

cdef unsigned int M_COPYFLAGS, M_EXT, M_PKTHDR
cdef int M_NOWAIT, MT_DATA
cdef Py_ssize_t MCLBYTES, MHLEN, MLEN


@cython.no_gc
cdef class Layout(Gather):
    @cython.locals(
        todo=Py_ssize_t, piece=Py_ssize_t, skip=Py_ssize_t, m=Layout, n=Layout, top=Layout, last=Layout,
        source=Source,
    )
    cpdef Layout defrag(self, how=*, timeout=*)

    @cython.locals(src=Layout)
    cdef _feed(self, Py_ssize_t skip, Py_ssize_t n, Layout m)

    @cython.locals(old=Shape, new=Shape)
    cdef int become(self, Layout top) except -1

    @cython.locals(
        size=Py_ssize_t, todo=Py_ssize_t, piece=Py_ssize_t, skip=Py_ssize_t, m=Layout, n=Layout, top=Layout,
        source=Source,
    )
    cpdef Layout fragment(self, length, how=*, timeout=*)

    @cython.locals(most=Py_ssize_t, undo=Undo)
    cpdef Layout collapse(self, maxfrags, how=*, timeout=*)

    @cython.locals(frags=Py_ssize_t, enough=cython.bint, m=Layout, n=Layout, before=Layout)
    cdef _collapse(self, Undo undo, Py_ssize_t most, how, deadline)

    @cython.locals(m=Layout, n=Layout)
    cdef Layout pair(self)

    @cython.locals(undo=Undo, top=Layout, last=Layout, m=Layout, n=Layout)
    cpdef Layout unshare(self, how=*, timeout=*)
    cdef bint _mergeable(self)

    @cython.locals(flags=cython.uint, top=Layout, last=Layout, at=Py_ssize_t, n=Layout)
    cdef Layout _copies(self, bint head, Undo undo, Source source, how, deadline)
