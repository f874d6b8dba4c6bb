"""Chains of unmapped pages made of bytes or of files, and their data as `sendfile` needs it.

The mbufs come from a source. After an error, all that was allocated is freed. No byte of a file is read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.packet.source import Source
    from mbuf.vm.buffer_export import BufferExport
    from mbuf.vm.pagefile import PageFile
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_NOTREADY, M_RDONLY, MBUF_PEXT_MAX_PGS, PAGE_SIZE
from mbuf.packet.chain import Chain
from mbuf.packet.epg import Epg
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import Item
from mbuf.uma.pages import Pages

if not cython.compiled:
    from mbuf.packet.chain import attach, free_chain, link_last, next_checked
    from mbuf.packet.segment import check_alive
    from mbuf.packet.unmapped import unmapped
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def make_unmapped(m: Any, supply: Pages) -> Any:
    """Make a new mbuf one of unmapped pages; it has no page yet."""
    storage = unmapped(supply)
    check_alive(m)
    enter_commit()
    attach(m, storage)
    m.bits |= M_RDONLY | M_EXTPG
    leave_commit()
    return m


def fill_pages(source: Source, data: BufferExport, maxseg: int, how: int, deadline: float | None) -> Any:
    """Return a chain of unmapped pages with a copy of data, `maxseg` bytes in each mbuf. See m_uiotombuf_nomap."""
    size = data.size
    top: Chain = cython.cast(Chain, None)
    last = top
    at = 0
    try:
        while last is None or at < size:
            piece = min(maxseg, size - at)
            m = cython.cast(Chain, source.alloc_ext_plus_pages(piece, how, deadline))
            top = link_last(top, last, m)
            last = m
            pages: Unmapped = cython.cast(Unmapped, m.buf)
            m.count = piece
            for frame in pages.frames:
                page: Item = frame
                n = min(piece, PAGE_SIZE)
                page.store(0, data, at, n)
                at += n
                piece -= n
                pages.epg.last_len = n
                pages.epg.ext_size += PAGE_SIZE
    except BaseException:
        free_chain(top)
        run_releases()
        raise
    return cython.cast(Chain, top)


def file_chain(
    source: Source, file: PageFile, off: int, size: int, maxseg: int, how: int, deadline: float | None
) -> Any:
    """Return a chain of pages of a file, with `size` bytes from `off` on, up to `maxseg` in each mbuf; none is read."""
    top: Chain = cython.cast(Chain, None)
    last = top
    try:
        while last is None or size > 0:
            m = cython.cast(Chain, source.alloc_ext_pgs(how, None, None, deadline))
            top = link_last(top, last, m)
            last = m
            start = off % PAGE_SIZE
            piece = min(size, maxseg, MBUF_PEXT_MAX_PGS * PAGE_SIZE - start)
            count = (start + piece + PAGE_SIZE - 1) // PAGE_SIZE
            pages: Unmapped = cython.cast(Unmapped, m.buf)
            pages.hold_file(file, off // PAGE_SIZE, count)
            epg: Epg = pages.epg
            epg.first_off = start
            epg.last_len = piece if count < 2 else start + piece - (count - 1) * PAGE_SIZE
            epg.ext_size = count * PAGE_SIZE
            m.count = piece
            off += piece
            size -= piece
    except BaseException:
        free_chain(top)
        run_releases()
        raise
    return cython.cast(Chain, top)


def file_run(m: Mbuf, at: int) -> tuple[PageFile, int, int, Mbuf | None, int] | None:
    """Find the bytes of a file that begin with byte `at` of an mbuf, and continue in the next mbufs.

    They end before an mbuf whose bytes aren't ready (M_NOTREADY).
    Returns (file, offset in the file, number of bytes, mbuf after them, offset in it), or None if the byte isn't in a
    file.
    """
    file: Any = None
    start = count = 0
    n: Any = m
    while n is not None and n.bits & (M_EXTPG | M_NOTREADY) == M_EXTPG:
        pages: Unmapped = cython.cast(Unmapped, n.buf)
        place = pages.file_offset(n.off + at)
        if place < 0 or (file is not None and (pages.file is not file or place != start + count)):
            break
        if file is None:
            file = pages.file
            start = place
        mine = pages.run_length(n.off + at, n.count - at)
        count += mine
        at += mine
        if at < n.count:
            break
        n = next_checked(n)
        at = 0
    return None if file is None else (file, start, count, n, at)


def views_outside_file(m: Mbuf, at: int) -> list[memoryview]:
    """Return views of the bytes from byte `at` of an mbuf of unmapped pages to the first that is in a file."""
    pages: Unmapped = cython.cast(Unmapped, m.buf)
    off = m.off + at
    return [] if pages.file_offset(off) >= 0 else pages.views(off, pages.run_length(off, m.count - at))
