"""Unmapped pages: mbufs that have them (M_EXTPG), turned into mapped ones and back.

Asks the source for mbufs and pages; the head that its user holds stays the head. What it makes of pages of a file is
made where nobody looks yet; then it looks again, by the chain's fingerprint, and links it in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.loan import Loan
else:
    from mbuf.shadow import cython

from mbuf.const import (
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_RDONLY,
    M_WAITOK,
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
        cut,
        fingerprint,
        free_chain,
        link,
        next_checked,
        release,
        span,
        swap,
    )
    from mbuf.packet.header import ROUNDS, changing
    from mbuf.packet.mapped import forget, join_root, mapped
    from mbuf.packet.segment import check_alive
    from mbuf.packet.source import origin
    from mbuf.packet.unmapped import few_enough, give_frames, take_frames
    from mbuf.vm.commit import enter_commit, leave_commit, settle
    from mbuf.vm.loan import loan


def pages_of(m: Chain, verb: str) -> Unmapped:
    """The unmapped pages of an mbuf; raises `Inval` where there are none, and `Freed`. See M_ASSERTEXTPG."""
    check_alive(m)
    if not m.bits & M_EXTPG:
        raise Inval(f"{verb}: this mbuf has no unmapped pages")
    pages: Unmapped = cython.cast(Unmapped, m.buf)
    return pages


def view_page(m: Chain, at: int) -> memoryview:
    """A view of a whole page, which keeps it."""
    pages: Unmapped = pages_of(m, "page")
    if not 0 <= at < pages.epg.npgs:
        raise Inval(f"page {at}: there are {pages.epg.npgs}")
    seen = pages.window(at)
    try:
        return pages.look(at, 0, seen.size, pages.file is not None or pages.counted() != 1)
    finally:
        pages.leave(seen)


def addpages(m: Chain, count: int, how: int, deadline: float | None) -> None:
    """Have more pages of memory."""
    pages: Unmapped = pages_of(m, "addpages")
    if how != M_NOWAIT and how != M_WAITOK:
        raise Inval(f"addpages: how {how}: give M_NOWAIT or M_WAITOK")
    if count < 0 or pages.file is not None:
        raise Inval(f"addpages: {count} pages: give 0 or more, to an mbuf without pages of a file")
    few_enough(pages.epg.npgs + min(count, INT_MAX), "addpages")
    frames = take_frames(pages.supply, count, how, deadline)
    try:
        check_alive(m)
        if m.buf is not pages or pages.counted() != 1 or pages.root is not None:
            raise Busy("addpages: other mbufs use the pages too")
        few_enough(len(pages.frames) + count, "addpages")
        pages.add_frames(tuple(frames))
    except BaseException:
        give_frames(frames)
        raise


# From unmapped to mapped.


def unmapped_to_ext(m: Chain) -> int:
    """Have no unmapped pages in the chain. See mb_unmapped_to_ext."""
    for _ in range(ROUNDS):
        made: list[Any] = []
        done = False
        try:
            mark = fingerprint(m)
            p: Any = m
            while p is not None:
                if p.bits & M_EXTPG:
                    made.append(_expand(m, p))
                p = next_checked(p)
            if fingerprint(m) == mark:
                done = True
                _exchange(m, made)
                settle()
                return 0
        finally:
            if not done:
                for first in made:
                    _forget_all(first)
                settle()
    raise changing("unmapped_to_ext")


def _forget_all(first: Any) -> None:
    """Let go of a chain of mapped mbufs that was not used, and of its windows."""
    n: Any = first
    while n is not None:
        if n.buf is not n.item:
            seen: Mapped = n.buf
            n.buf = n.item
            forget(seen)
        n = n._next
    free_chain(first)


def _expand(m: Chain, p: Chain) -> Any:
    """A chain of mbufs that shows what is in one of unmapped pages; `buf` holds windows that aren't attached yet.

    See _mb_unmapped_to_ext.
    """
    pages: Unmapped = cython.cast(Unmapped, p.buf)
    epg: Epg = pages.epg
    if pages.tls is not None:
        raise Inval("unmapped_to_ext: an mbuf with a TLS session can't be mapped")
    if p.count == 0:
        raise Inval("unmapped_to_ext: an mbuf of unmapped pages without a byte: free it instead")
    source = origin(m)
    first: Chain = cython.cast(Chain, None)
    last: Chain = cython.cast(Chain, None)
    try:
        for page, at, n in epg.spans(p.off, p.count):
            fresh: Chain = cython.cast(Chain, source.get(M_NOWAIT, MT_DATA, 0, None))
            if last is None:
                first = fresh
            else:
                link(last, fresh)
            last = fresh
            # To get one may have let others in.
            check_alive(p)
            if p.buf is not pages or at + n > (PAGE_SIZE if 0 <= page < epg.npgs else len(_beside(epg, page))):
                raise changing("unmapped_to_ext")
            if page < 0 or page >= epg.npgs:
                fresh.buf.write(fresh.off, _beside(epg, page), at, n)
            else:
                fresh.buf = mapped(pages, page)
                fresh.off = at
                if at + n > fresh.buf.size:
                    raise Inval("unmapped_to_ext: the file ends before the data does")
            fresh.count = n
    except BaseException:
        _forget_all(first)
        raise
    return first


def _beside(epg: Epg, page: int) -> bytes:
    """The bytes before the pages, or behind them."""
    return epg.hdr if page < 0 else epg.trail


def _exchange(m: Chain, made: list[Any]) -> None:
    """Put chains in the place of the mbufs of unmapped pages, one for each, and free those."""
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
                    # The head stays: what it was goes with the handle of what is new.
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
    """In a commit: attach the windows of a new chain, which uses the pages of the mbuf of `item`; the last mbuf."""
    n: Any = first
    while True:
        if n.buf is not n.item:
            seen: Mapped = cython.cast(Mapped, n.buf)
            join_root(seen, item)
            n.bits |= M_EXT | M_RDONLY
        if n._next is None:
            return n
        n = n._next


def unmapped_compress(m: Chain) -> None:
    """Have the bytes inside the mbuf, and free its pages. See mb_unmapped_compress."""
    for _ in range(ROUNDS):
        pages: Unmapped = pages_of(m, "unmapped_compress")
        if m.count > MLEN:
            raise Inval(f"unmapped_compress: {m.count} bytes: an mbuf holds {MLEN} in itself")
        pages.kept()
        if pages.counted() != 1 or pages.tls is not None:
            raise Busy("unmapped_compress: other mbufs use the pages too, or a TLS session")
        mark = fingerprint(m)
        data: Loan = loan(pages.read(m.off, m.count))
        if m.alive and fingerprint(m) == mark and pages.counted() == 1 and pages.tls is None:
            break
    else:
        raise changing("unmapped_compress")
    enter_commit()
    try:
        pages.leave_mbuf(m.item)
        m.bits &= ~(M_EXT | M_RDONLY | M_EXTPG)
        m.buf = m.item
        m.off = MHSIZE
        m.buf.store(MHSIZE, data, 0, m.count)
    finally:
        leave_commit()
    settle()


def free_notready(m: Chain, todo: int) -> Any:
    """Free what reads were to fill that will never end; what is left of the chain. See mb_free_notready."""
    check_alive(m)
    count = todo
    units = 0
    p: Any = m
    while p is not None and units < todo:
        ready = 1
        if p.bits & M_EXTPG:
            ready = pages_of(p, "free_notready").epg.nrdy
            if ready == 0:
                raise Inval("free_notready: nobody waits for a page of this mbuf")
        units += ready
        p = next_checked(p)
    if todo < 0 or units < todo:
        raise Inval(f"free_notready: {count} reads: there are {units}")
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
    settle()
    return p


# From mapped to unmapped.


def mapped_to_unmapped(m: Chain, size: int, most: int, how: int, deadline: float | None) -> Any:
    """A copy of some bytes of the chain, in mbufs of unmapped pages. See mb_mapped_to_unmapped."""
    if most < 1:
        raise Inval(f"mapped_to_unmapped: mlen {most}: give the bytes of an mbuf")
    for _ in range(ROUNDS):
        top: Chain = cython.cast(Chain, None)
        last: Chain = cython.cast(Chain, None)
        try:
            span(m, "mapped_to_unmapped", 0, size)
            mark = fingerprint(m)
            source = origin(m)
            p: Any = m
            at = 0
            todo = size
            while todo > 0:
                n: Chain = cython.cast(Chain, source.alloc_ext_plus_pages(min(most, todo), how, deadline))
                if last is None:
                    top = n
                else:
                    link(last, n)
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
                            raise changing("mapped_to_unmapped")
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
            settle()
            raise
        free_chain(top)
        settle()
    raise changing("mapped_to_unmapped")
