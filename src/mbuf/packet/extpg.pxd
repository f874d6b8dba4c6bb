cimport cython

from mbuf.packet.chain cimport Chain
from mbuf.packet.epg cimport Epg
from mbuf.packet.layout cimport Layout
from mbuf.packet.mapped cimport mapped
from mbuf.packet.shape cimport free_all, free_chain
from mbuf.packet.source cimport Source, left, until
from mbuf.packet.unmapped cimport Unmapped, few_enough
from mbuf.uma.item cimport Item
from mbuf.vm.number cimport clip
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXT, M_EXTPG, M_RDONLY
cdef int MT_DATA
cdef Py_ssize_t INT_MAX, MBUF_PEXT_MAX_PGS, MHSIZE, MLEN, PAGE_SIZE


@cython.no_gc
cdef class Extpg(Layout):
    @cython.locals(pages=Unmapped)
    cdef Unmapped loose(self, str verb)

    @cython.locals(pages=Unmapped)
    cdef list pieces(self)

    @cython.locals(pages=Unmapped, at=Py_ssize_t, seen=Memory)
    cpdef page(self, page)

    @cython.locals(pages=Unmapped, count=Py_ssize_t)
    cpdef Extpg addpages(self, n, how=*, timeout=*)

    @cython.locals(pages=Unmapped, frames=list, page=Item)
    cdef _take_pages(self, Py_ssize_t count, int how, deadline)

    @cython.locals(made=list, m=Extpg)
    cpdef Extpg unmapped_to_ext(self)

    @cython.locals(
        pages=Unmapped, epg=Epg, source=Source, first=Extpg, last=Extpg, m=Extpg,
        page=Py_ssize_t, start=Py_ssize_t, n=Py_ssize_t
    )
    cdef Extpg expand(self)

    @cython.locals(old=list, before=Extpg, m=Extpg, rest=Extpg, first=Extpg, last=Extpg)
    cdef list _exchange(self, list made)

    @cython.locals(pages=Unmapped, root=Unmapped, item=Item, owner=Item, data=bytes)
    cpdef Extpg unmapped_compress(self)

    @cython.locals(todo=Py_ssize_t, units=Py_ssize_t, ready=Py_ssize_t, m=Extpg, rest=Extpg, epg=Epg)
    cpdef Extpg free_notready(self, count)

    @cython.locals(
        todo=Py_ssize_t, most=Py_ssize_t, source=Source, top=Extpg, last=Extpg, m=Extpg, n=Extpg,
        at=Py_ssize_t, used=Py_ssize_t, piece=Py_ssize_t, pages=Unmapped, page=Item, made=Extpg
    )
    cpdef Extpg mapped_to_unmapped(self, len, mlen=*, how=*, timeout=*)
