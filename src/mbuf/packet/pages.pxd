cimport cython

from mbuf.packet.epg cimport Epg
from mbuf.packet.extpg cimport Extpg
from mbuf.packet.shape cimport free_chain
from mbuf.packet.source cimport Source, left
from mbuf.packet.unmapped cimport Unmapped, unmapped
from mbuf.uma.item cimport Item
from mbuf.uma.pages cimport Pages

cdef unsigned int M_EXTPG, M_RDONLY
cdef Py_ssize_t MBUF_PEXT_MAX_PGS, PAGE_SIZE


cpdef Extpg loosen(Extpg m, Pages supply)


@cython.locals(
    top=Extpg, last=Extpg, m=Extpg, made=Extpg, at=Py_ssize_t, piece=Py_ssize_t, n=Py_ssize_t,
    pages=Unmapped, page=Item
)
cpdef Extpg pour_pages(Source source, data, Py_ssize_t size, Py_ssize_t maxseg, how, deadline)


@cython.locals(
    top=Extpg, last=Extpg, m=Extpg, made=Extpg, start=Py_ssize_t, piece=Py_ssize_t, count=Py_ssize_t,
    pages=Unmapped, epg=Epg
)
cpdef Extpg file_chain(
    Source source, file, Py_ssize_t off, Py_ssize_t size, Py_ssize_t maxseg, how, deadline
)


@cython.locals(
    start=Py_ssize_t, count=Py_ssize_t, place=Py_ssize_t, mine=Py_ssize_t, n=Extpg, pages=Unmapped
)
cpdef file_run(Extpg m, Py_ssize_t at)


@cython.locals(pages=Unmapped, off=Py_ssize_t)
cpdef list pages_of(Extpg m, Py_ssize_t at)
