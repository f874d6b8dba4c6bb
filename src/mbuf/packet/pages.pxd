cimport cython

from mbuf.packet.chain cimport Chain, attach, free_chain, link_last, next_checked
from mbuf.packet.epg cimport Epg
from mbuf.packet.segment cimport check_alive
from mbuf.packet.source cimport Source
from mbuf.packet.unmapped cimport Unmapped, unmapped
from mbuf.uma.item cimport Item
from mbuf.uma.pages cimport Pages
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.buffer_export cimport BufferExport

cdef unsigned int M_EXTPG, M_NOTREADY, M_RDONLY
cdef Py_ssize_t MBUF_PEXT_MAX_PGS, PAGE_SIZE


@cython.locals(storage=Unmapped)
cpdef Chain make_unmapped(Chain m, Pages supply)


@cython.locals(
    top=Chain, last=Chain, m=Chain, at=Py_ssize_t, piece=Py_ssize_t, n=Py_ssize_t, size=Py_ssize_t,
    pages=Unmapped, page=Item,
)
cpdef Chain fill_pages(Source source, BufferExport data, Py_ssize_t maxseg, how, deadline)


@cython.locals(
    top=Chain, last=Chain, m=Chain, start=Py_ssize_t, piece=Py_ssize_t, count=Py_ssize_t,
    pages=Unmapped, epg=Epg,
)
cpdef Chain file_chain(
    Source source, file, Py_ssize_t off, Py_ssize_t size, Py_ssize_t maxseg, how, deadline
)


@cython.locals(
    start=Py_ssize_t, count=Py_ssize_t, place=Py_ssize_t, mine=Py_ssize_t, n=Chain, pages=Unmapped
)
cpdef file_run(Chain m, Py_ssize_t at)


@cython.locals(pages=Unmapped, off=Py_ssize_t)
cpdef list views_outside_file(Chain m, Py_ssize_t at)
