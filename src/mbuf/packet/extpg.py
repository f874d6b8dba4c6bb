"""Mbufs of unmapped pages (M_EXTPG) turned into mapped ones, and back.

The source gives mbufs and pages. New mbufs are made completely before the old chain changes; if the fingerprint says
that it is still the same, one commit replaces its mbufs. The caller's mbuf stays the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.buffer_export import BufferExport
    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import (
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_RDONLY,
    MHSIZE,
    MLEN,
    MT_DATA,
    PAGE_SIZE,
)
from mbuf.errors import Busy, Inval
from mbuf.packet.chain import Chain
from mbuf.packet.epg import Epg
from mbuf.packet.mapped import Mapped
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import Item
from mbuf.vm.ints import INT_MAX

if not cython.compiled:
    from mbuf.packet.chain import (
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
    from mbuf.packet.header import ROUNDS, chain_changed
    from mbuf.packet.mapped import discard, mapped, ref_root
    from mbuf.packet.segment import check_alive
    from mbuf.packet.source import source_of
    from mbuf.packet.unmapped import alloc_frames, check_page_count, free_frames
    from mbuf.vm.buffer_export import export_buffer
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def pages_of(m: Chain, verb: str) -> Unmapped:
    """Return the unmapped pages of an mbuf; `Inval` if it has none, `Freed` if it was freed. See M_ASSERTEXTPG."""
    check_alive(m)
    if not m.bits & M_EXTPG:
        raise Inval(f"{verb}: this mbuf has no unmapped pages: give one with M_EXTPG")
    pages: Unmapped = cython.cast(Unmapped, m.buf)
    return pages


def view_page(m: Chain, at: int) -> memoryview:
    """Return a view of a whole page, which keeps the page."""
    pages: Unmapped = pages_of(m, "page")
    if not 0 <= at < pages.epg.npgs:
        raise Inval(f"page {at}: give a number below {pages.epg.npgs}, the pages of this mbuf")
    seen = pages.window(at)
    try:
        return pages.page_view(at, 0, seen.size, pages.file is not None or pages.refcnt() != 1)
    finally:
        pages.release_window(seen)


def addpages(m: Chain, count: int, how: int, deadline: float | None) -> None:
    """Add `count` pages of memory."""
    pages: Unmapped = pages_of(m, "addpages")
    if count < 0 or pages.file is not None:
        raise Inval(f"addpages: {count} pages: give 0 or more, to an mbuf without pages of a file")
    check_page_count(pages.epg.npgs + min(count, INT_MAX), "addpages")
    frames = alloc_frames(pages.supply, count, how, deadline)
    try:
        check_alive(m)
        if m.buf is not pages or pages.refcnt() != 1 or pages.root is not None:
            raise Busy("addpages: other mbufs use the pages too")
        check_page_count(len(pages.frames) + count, "addpages")
        pages.add_frames(tuple(frames))
    except BaseException:
        free_frames(frames)
        raise


# From unmapped to mapped.


def unmapped_to_ext(m: Chain) -> int:
    """Replace mbufs of unmapped pages by mapped ones. See mb_unmapped_to_ext."""
    for _ in range(ROUNDS):
        made: list[Any] = []
        done = False
        try:
            mark = fingerprint(m)
            p: Any = m
            while p is not None:
                if p.bits & M_EXTPG:
                    made.append(_map_pages(m, p))
                p = next_checked(p)
            if fingerprint(m) == mark:
                done = True
                _replace_unmapped(m, made)
                run_releases()
                return 0
        finally:
            if not done:
                for first in made:
                    _discard_all(first)
                run_releases()
    raise chain_changed("unmapped_to_ext")


def _discard_all(first: Any) -> None:
    """Free a chain of mapped mbufs that was not used, and its windows."""
    n: Any = first
    while n is not None:
        if n.buf is not n.item:
            seen: Mapped = n.buf
            n.buf = n.item
            discard(seen)
        n = n._next
    free_chain(first)


def _map_pages(m: Chain, p: Chain) -> Any:
    """Return a chain of new mbufs with the bytes of `p`, an mbuf of unmapped pages. See _mb_unmapped_to_ext.

    For each page the `buf` of an mbuf is a window, which isn't attached yet (see `_attach_all`).
    """
    pages: Unmapped = cython.cast(Unmapped, p.buf)
    epg: Epg = pages.epg
    if pages.tls is not None:
        raise Inval("unmapped_to_ext: an mbuf with a TLS session can't be mapped")
    if p.count == 0:
        raise Inval("unmapped_to_ext: an mbuf of unmapped pages has no bytes: take it out of the chain first")
    source = source_of(m)
    first: Chain = cython.cast(Chain, None)
    last: Chain = cython.cast(Chain, None)
    try:
        for page, at, n in epg.spans(p.off, p.count):
            fresh: Chain = cython.cast(Chain, source.get(M_NOWAIT, MT_DATA, 0, None))
            first = link_last(first, last, fresh)
            last = fresh
            # During the allocation other code may have run.
            check_alive(p)
            if p.buf is not pages or at + n > (PAGE_SIZE if 0 <= page < epg.npgs else len(_hdr_or_trail(epg, page))):
                raise chain_changed("unmapped_to_ext")
            if page < 0 or page >= epg.npgs:
                target: Memory = fresh.buf
                target.write(fresh.off, _hdr_or_trail(epg, page), at, n)
            else:
                fresh.buf = mapped(pages, page)
                fresh.off = at
                if at + n > fresh.buf.size:
                    raise Inval("unmapped_to_ext: the file ends before the data does")
            fresh.count = n
    except BaseException:
        _discard_all(first)
        raise
    return first


def _hdr_or_trail(epg: Epg, page: int) -> bytes:
    """Return the header, for page -1, or the trailer."""
    return epg.hdr if page < 0 else epg.trail


def _replace_unmapped(m: Chain, made: list[Any]) -> None:
    """Replace each mbuf of unmapped pages by one of the new chains, in order, and free it."""
    enter_commit()
    try:
        k = 0
        before: Chain = cython.cast(Chain, None)
        p: Any = m
        while p is not None:
            rest: Any = cut(p)
            if p.bits & M_EXTPG:
                first: Chain = made[k]
                k += 1
                last: Chain = cython.cast(Chain, _attach_all(first, p.item))
                if before is None:
                    # The caller's mbuf stays the head: it exchanges its contents with the first new one.
                    swap(p, first)
                    after: Any = cut(first)
                    if after is not None:
                        link(p, after)
                    else:
                        last = p
                    release(first)
                else:
                    cut(before)
                    link(before, first)
                    release(p)
                p = last
            if rest is not None:
                link(p, rest)
            before = p
            p = rest
    finally:
        leave_commit()


def _attach_all(first: Chain, item: Item) -> Any:
    """In a commit: attach the windows of a new chain to the pages of the mbuf of `item`; return the last mbuf."""
    n: Any = first
    while True:
        if n.buf is not n.item:
            seen: Mapped = cython.cast(Mapped, n.buf)
            ref_root(seen, item)
            n.bits |= M_EXT | M_RDONLY
        if n._next is None:
            return n
        n = n._next


def unmapped_compress(m: Chain) -> None:
    """Copy the bytes into the mbuf itself, and free its pages. See mb_unmapped_compress."""
    for _ in range(ROUNDS):
        pages: Unmapped = pages_of(m, "unmapped_compress")
        if m.count > MLEN:
            raise Inval(f"unmapped_compress: {m.count} bytes: an mbuf holds {MLEN} in itself")
        pages.live_root()
        if pages.refcnt() != 1 or pages.tls is not None:
            raise Busy("unmapped_compress: another mbuf or a TLS session uses the pages too")
        mark = fingerprint(m)
        data: BufferExport = export_buffer(pages.read(m.off, m.count))
        if m.alive and fingerprint(m) == mark and pages.refcnt() == 1 and pages.tls is None:
            break
    else:
        raise chain_changed("unmapped_compress")
    enter_commit()
    try:
        pages.detach_mbuf(m.item)
        m.bits &= ~(M_EXT | M_RDONLY | M_EXTPG)
        m.buf = m.item
        m.off = MHSIZE
        m.buf.store(MHSIZE, data, 0, m.count)
    finally:
        leave_commit()
    run_releases()


def free_notready(m: Chain, todo: int) -> Any:
    """Free mbufs for `todo` reads that will not complete; return the rest of the chain. See mb_free_notready."""
    check_alive(m)
    count = todo
    units = 0
    p: Any = m
    while p is not None and units < todo:
        ready = 1
        if p.bits & M_EXTPG:
            ready = pages_of(p, "free_notready").epg.nrdy
            if ready == 0:
                raise Inval("free_notready: an mbuf in the chain has no page that waits for a read: its epg.nrdy is 0")
        units += ready
        p = next_checked(p)
    if todo < 0 or units < todo:
        raise Inval(f"free_notready: {count} reads: give 0 to {units}, which the chain waits for")
    enter_commit()
    p = m
    while todo > 0 and p is not None:
        if p.bits & M_EXTPG:
            epg: Epg = cython.cast(Unmapped, p.buf).epg
            ready = min(epg.nrdy, todo)
            epg.nrdy -= ready
            todo -= ready
            if epg.nrdy:
                break
        else:
            todo -= 1
        rest: Any = cut(p)
        release(p)
        p = rest
    leave_commit()
    run_releases()
    return p


# From mapped to unmapped.


def mapped_to_unmapped(m: Chain, size: int, most: int, how: int, deadline: float | None) -> Any:
    """Return a copy of the first `size` bytes in mbufs of unmapped pages. See mb_mapped_to_unmapped."""
    if most < 1:
        raise Inval(f"mapped_to_unmapped: mlen {most}: give 1 or more, the bytes of each mbuf")
    for _ in range(ROUNDS):
        top: Chain = cython.cast(Chain, None)
        last: Chain = cython.cast(Chain, None)
        try:
            check_range(m, "mapped_to_unmapped", 0, size)
            mark = fingerprint(m)
            source = source_of(m)
            p: Any = m
            at = 0
            todo = size
            while todo > 0:
                n: Chain = cython.cast(Chain, source.alloc_ext_plus_pages(min(most, todo), how, deadline))
                top = link_last(top, last, n)
                last = n
                pages: Unmapped = cython.cast(Unmapped, n.buf)
                for frame in pages.frames:
                    page: Item = frame
                    used = 0
                    while used < PAGE_SIZE and todo > 0:
                        while p is not None and at == p.count:
                            p = next_checked(p)
                            at = 0
                        if p is None:
                            raise chain_changed("mapped_to_unmapped")
                        check_alive(p)
                        if p.bits & M_EXTPG:
                            raise Inval("mapped_to_unmapped: the bytes are in unmapped pages already")
                        piece = min(p.count - at, PAGE_SIZE - used)
                        page.copy(used, p.buf, p.off + at, piece)
                        used += piece
                        at += piece
                        todo -= piece
                    pages.epg.last_len = used
                    n.count += used
            if fingerprint(m) == mark:
                return top
        except BaseException:
            free_chain(top)
            run_releases()
            raise
        free_chain(top)
        run_releases()
    raise chain_changed("mapped_to_unmapped")
