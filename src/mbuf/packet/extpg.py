"""Loose pages: mbufs that have them, turned into mapped ones and back.

The top of the tower. Asks the source for mbufs and pages; the head that its user holds stays the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import (
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_RDONLY,
    M_WAITOK,
    MBUF_PEXT_MAX_PGS,
    MHSIZE,
    MLEN,
    MT_DATA,
    PAGE_SIZE,
)
from mbuf.errors import Busy, Inval
from mbuf.packet.epg import Epg
from mbuf.packet.layout import Layout
from mbuf.packet.mapped import mapped
from mbuf.packet.shape import free_all, free_chain
from mbuf.packet.source import left, until
from mbuf.packet.unmapped import Unmapped, few_enough
from mbuf.uma.item import Item
from mbuf.vm.number import INT_MAX, clip


@cython.no_gc
@cython.cclass
class Extpg(Layout):
    """An mbuf that may have loose pages, or be turned into one that has."""

    __slots__ = ()

    def loose(self, verb: str) -> Unmapped:
        """The loose pages; raises `Inval` where there are none, and `Freed`. See M_ASSERTEXTPG."""
        self.live()
        if not self.bits & M_EXTPG:
            raise Inval(f"{verb}: this mbuf has no loose pages")
        pages: Unmapped = cython.cast(Unmapped, self.buf)
        return pages

    @property
    def epg(self) -> Epg:
        """What an mbuf of loose pages knows of itself: the m_epg_ fields."""
        return self.loose("epg").epg

    @property
    def tls(self) -> Any:
        """The TLS session whose record the loose pages are, or None. See mbuf_has_tls_session."""
        self.live()
        if not self.bits & M_EXTPG:
            return None
        return self.loose("tls").tls

    def pieces(self) -> list[memoryview]:
        pages: Unmapped = cython.cast(Unmapped, self.buf)
        return pages.views(self.off, self.count)

    def page(self, page: int) -> memoryview:
        """A view of a whole page, counted from 0, which keeps it; for reading only if others may see it too.

        That of a file is as long as what the file has of it, and is mapped: `NoBufs` when no window is left.
        """
        pages = self.loose("page")
        at = clip(page)
        if not 0 <= at < pages.epg.npgs:
            raise Inval(f"page {page}: there are {pages.epg.npgs}")
        seen = pages.window(at)
        try:
            return pages.look(at, 0, seen.size, pages.file is not None or pages.counted() != 1)
        finally:
            pages.leave(seen)

    def addpages(self, n: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have `n` pages of memory more, at most 5 in all, with anything in them; `len` stays.

        Raises `NoMemory`, or `Busy` where the pages are shared, and then nothing has changed.
        """
        pages = self.loose("addpages")
        count = clip(n)
        if how != M_NOWAIT and how != M_WAITOK:
            raise Inval(f"addpages: how {how}: give M_NOWAIT or M_WAITOK")
        if count < 0 or pages.file is not None:
            raise Inval(f"addpages: {n} pages: give 0 or more, to an mbuf without pages of a file")
        few_enough(pages.epg.npgs + min(count, INT_MAX), "addpages")
        self._take_pages(count, how, None if timeout is None else until(how, timeout))
        return self

    def _take_pages(self, count: int, how: int, deadline: float | None) -> None:
        pages: Unmapped = cython.cast(Unmapped, self.buf)
        frames: list[Item] = []
        try:
            for _ in range(count):
                frames.append(pages.supply.alloc(how, deadline))
            self.live()
            if pages.counted() != 1 or pages.root is not None:
                raise Busy("addpages: other mbufs use the pages too")
            few_enough(len(pages.frames) + count, "addpages")
            pages.add_frames(tuple(frames))
        except BaseException:
            for frame in frames:
                page: Item = frame
                page.release()
            raise

    # From loose to mapped.

    def unmapped_to_ext(self) -> Self:
        """Have no loose pages in the chain: an mbuf for each page, for reading only. See mb_unmapped_to_ext.

        Nothing is copied but the bytes before and behind the pages; pages of a file are mapped. The flags of
        what was there are not kept, in the kernel neither. Raises `NoBufs` when there are no mbufs or windows
        left, `Inval` where an mbuf of loose pages is empty or has a TLS session, and then nothing has changed.
        """
        self.live()
        made: list[Any] = []
        m: Any = self
        try:
            while m is not None:
                if m.bits & M_EXTPG:
                    made.append(m.expand())
                m = cython.cast(Extpg, m.follow())
        except BaseException:
            for first in made:
                free_chain(first)
            raise
        free_all(self._exchange(made))
        return self

    def expand(self) -> Extpg:
        """A chain of mapped mbufs that shows what is in this one. See _mb_unmapped_to_ext."""
        pages: Unmapped = cython.cast(Unmapped, self.buf)
        epg: Epg = pages.epg
        if pages.tls is not None:
            raise Inval("unmapped_to_ext: an mbuf with a TLS session can't be mapped")
        if self.count == 0:
            raise Inval("unmapped_to_ext: an mbuf of loose pages without a byte: free it instead")
        source = self.origin()
        first: Extpg = cython.cast(Extpg, None)
        last = first
        try:
            for page, start, n in epg.spans(self.off, self.count):
                m: Extpg = cython.cast(Extpg, source.get(M_NOWAIT, MT_DATA))
                if last is None:
                    first = m
                else:
                    last._next = m
                last = m
                if page < 0:
                    m.buf.write(m.off, epg.hdr, start, n)
                elif page == epg.npgs:
                    m.buf.write(m.off, epg.trail, start, n)
                else:
                    m.attach(mapped(pages, page, self.item))
                    m.bits |= M_RDONLY
                    m.off = start
                    if start + n > m.buf.size:
                        raise Inval("unmapped_to_ext: the file ends before the data does")
                m.count = n
        except BaseException:
            free_chain(first)
            raise
        return first

    def _exchange(self, made: list[Any]) -> list[Any]:
        """Put chains in the place of the mbufs of loose pages, one for each; returns those, which are in none."""
        old: list[Any] = []
        before: Extpg = cython.cast(Extpg, None)
        m: Any = self
        while m is not None:
            rest = m._next
            if not m.bits & M_EXTPG:
                before = m
            else:
                first: Extpg = made[len(old)]
                last: Any = first.tail()
                last._next = rest
                if before is not None:
                    before._next = first
                    before = last
                    old.append(m)
                else:
                    # The head stays: what it was goes with the handle of what is new.
                    self.swap(first)
                    self._next = first._next
                    before = self if last is first else last
                    old.append(first)
            m = rest
        return old

    def unmapped_compress(self) -> Self:
        """Have the bytes, at most 224, inside the mbuf, and free its pages. See mb_unmapped_compress.

        They are copied. Raises `Busy` where the pages are shared, and then nothing has changed.
        """
        pages = self.loose("unmapped_compress")
        if self.count > MLEN:
            raise Inval(f"unmapped_compress: {self.count} bytes: an mbuf holds {MLEN} in itself")
        root = pages.kept()
        if pages.counted() != 1 or pages.tls is not None:
            raise Busy("unmapped_compress: other mbufs use the pages too, or a TLS session")
        data = pages.read(self.off, self.count)
        item = self.item
        owner = item if root.owner is None else root.owner
        self.bits &= ~(M_EXT | M_RDONLY | M_EXTPG)
        self.buf = item
        self.off = MHSIZE
        item.write(MHSIZE, data, 0, self.count)
        root.owner = cython.cast(Item, None)
        root.empty(owner)
        if owner is not item:
            owner.release()
        return self

    def free_notready(self, count: int) -> Mbuf | None:
        """Free what `count` reads were to fill that will never end: a page is one, a mapped mbuf too.

        An mbuf of loose pages goes when none of its `epg.nrdy` is waited for any more. Returns what is left of
        the chain, which is the caller's. `Inval` if there are fewer, and then nothing has changed. See
        mb_free_notready.
        """
        self.live()
        todo = clip(count)
        units = 0
        m: Any = self
        while m is not None and units < todo:
            ready = 1
            if m.bits & M_EXTPG:
                ready = m.loose("free_notready").epg.nrdy
                if ready == 0:
                    raise Inval("free_notready: nobody waits for a page of this mbuf")
            units += ready
            m = m.follow()
        if todo < 0 or units < todo:
            raise Inval(f"free_notready: {count} reads: there are {units}")
        m = self
        while todo:
            m.live()
            if m.bits & M_EXTPG:
                epg: Epg = m.loose("free_notready").epg
                ready = min(epg.nrdy, todo)
                epg.nrdy -= ready
                todo -= ready
                if epg.nrdy:
                    break
            else:
                todo -= 1
            rest = m.cut()
            m.shed()
            m = rest
        chain: Mbuf | None = m
        return chain

    # From mapped to loose.

    def mapped_to_unmapped(
        self, len: int, mlen: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE, how: int = M_NOWAIT, timeout: float | None = None
    ) -> Mbuf | None:
        """A copy of `len` bytes of the chain, in mbufs of loose pages of up to `mlen` bytes each; None for none.

        As in the kernel, `mlen` is as many pages as hold it, and the copy ends where an mbuf or a page does: it
        may have more bytes than `len`. The chain stays as it is. Raises `NoBufs`, `NoMemory`, or `Inval` if there are
        fewer bytes, and then nothing has changed. See mb_mapped_to_unmapped.
        """
        todo = clip(len)
        most = clip(mlen)
        self.span("mapped_to_unmapped", 0, todo)
        if most < 1:
            raise Inval(f"mapped_to_unmapped: mlen {mlen}: give the bytes of an mbuf")
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        top: Extpg = cython.cast(Extpg, None)
        last = top
        m: Any = self
        at = 0
        try:
            while todo > 0:
                n = cython.cast(Extpg, source.alloc_ext_plus_pages(min(most, todo), how, left(deadline)))
                if last is None:
                    top = n
                else:
                    last._next = n
                last = n
                pages: Unmapped = cython.cast(Unmapped, n.buf)
                for frame in pages.frames:
                    page: Item = frame
                    used = 0
                    while used < PAGE_SIZE and todo > 0:
                        while at == m.count:
                            m = cython.cast(Extpg, m.after())
                            at = 0
                        m.live()
                        if m.bits & M_EXTPG:
                            raise Inval("mapped_to_unmapped: the bytes are in loose pages already")
                        piece = min(m.count - at, PAGE_SIZE - used)
                        page.copy(used, m.buf, m.off + at, piece)
                        used += piece
                        at += piece
                        todo -= piece
                    pages.epg.last_len = used
                    n.count += used
        except BaseException:
            free_chain(top)
            raise
        made: Mbuf = cython.cast(Extpg, top)
        return made
