cimport cython

from mbuf.packet.chain cimport (
    Chain,
    check_range,
    cut,
    fingerprint,
    free_chain,
    link,
    link_last,
    next_checked,
    release,
    swap,
)
from mbuf.packet.epg cimport Epg
from mbuf.packet.header cimport ROUNDS, chain_changed
from mbuf.packet.mapped cimport Mapped, discard, mapped, ref_root
from mbuf.packet.segment cimport check_alive
from mbuf.packet.source cimport Source, source_of
from mbuf.packet.unmapped cimport Unmapped, alloc_frames, check_page_count, free_frames
from mbuf.uma.item cimport Item, free_item
from mbuf.vm.commit cimport enter_commit, leave_commit, run_releases
from mbuf.vm.buffer_export cimport BufferExport, export_buffer
from mbuf.vm.page cimport Memory

cdef unsigned int M_EXT, M_EXTPG, M_RDONLY
cdef int M_NOWAIT, M_WAITOK, MT_DATA
cdef Py_ssize_t INT_MAX, MHSIZE, MLEN, PAGE_SIZE


cdef Unmapped pages_of(Chain m, str verb)


@cython.locals(pages=Unmapped, seen=Memory)
cdef view_page(Chain m, Py_ssize_t at)


@cython.locals(pages=Unmapped, frames=list)
cdef int addpages(Chain m, Py_ssize_t count, int how, deadline) except -1


@cython.locals(made=list, p=Chain, mark=cython.ulonglong, done=cython.bint)
cdef int unmapped_to_ext(Chain m) except -1


@cython.locals(n=Chain, seen=Mapped)
cdef int _discard_all(Chain first) except -1


@cython.locals(
    pages=Unmapped, epg=Epg, source=Source, first=Chain, last=Chain, fresh=Chain, target=Memory,
    page=Py_ssize_t, at=Py_ssize_t, n=Py_ssize_t,
)
cdef Chain _map_pages(Chain m, Chain p)
cdef bytes _hdr_or_trail(Epg epg, Py_ssize_t page)


@cython.locals(before=Chain, p=Chain, rest=Chain, first=Chain, last=Chain, after=Chain, k=Py_ssize_t)
cdef int _replace_unmapped(Chain m, list made) except -1


@cython.locals(n=Chain, seen=Mapped)
cdef Chain _attach_all(Chain first, Item item)


@cython.locals(pages=Unmapped, mark=cython.ulonglong, data=BufferExport)
cdef int unmapped_compress(Chain m) except -1


@cython.locals(p=Chain, rest=Chain, count=Py_ssize_t, units=Py_ssize_t, ready=Py_ssize_t, epg=Epg)
cdef Chain free_notready(Chain m, Py_ssize_t todo)


@cython.locals(
    source=Source, top=Chain, last=Chain, p=Chain, n=Chain, mark=cython.ulonglong, at=Py_ssize_t,
    todo=Py_ssize_t, used=Py_ssize_t, piece=Py_ssize_t, pages=Unmapped, page=Item,
)
cdef Chain mapped_to_unmapped(Chain m, Py_ssize_t size, Py_ssize_t most, int how, deadline)
