cimport cython

from mbuf.packet.gather cimport Gather
from mbuf.packet.recipe cimport Recipe, recipe
from mbuf.packet.shape cimport Shape, free_all, free_chain
from mbuf.packet.source cimport Source, left, until
from mbuf.vm.number cimport clip

cdef unsigned int M_PKTHDR
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

    @cython.locals(most=Py_ssize_t, enough=cython.bint, plan=Recipe, stash=list)
    cpdef Layout collapse(self, maxfrags, how=*, timeout=*)

    @cython.locals(plan=Recipe)
    cpdef Layout unshare(self, how=*, timeout=*)

    @cython.locals(stash=list)
    cdef list _clusters(self, list wants, how, deadline)
