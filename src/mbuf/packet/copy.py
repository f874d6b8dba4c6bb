"""New chains of the same bytes.

Shares external storage where that will do, else copies; asks the source for the mbufs. Leaves the chain
that it copies as it is, but for `split`, which divides it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.packet.source import Source
else:
    from mbuf.shadow import cython

from mbuf.const import (
    CSUM_SND_TAG,
    M_COPYALL,
    M_EXT,
    M_EXTPG,
    M_FREED,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MHLEN,
    MINCLSIZE,
)
from mbuf.errors import Inval
from mbuf.packet.shape import Shape, free_chain
from mbuf.packet.source import left, until
from mbuf.vm.number import INT_MAX, clip

#: Defaults as objects: a C constant would be made one in every call.
ALL: int = M_COPYALL
NOWAIT: int = M_NOWAIT


@cython.no_gc
@cython.cclass
class Copy(Shape):
    """An mbuf that can be copied."""

    __slots__ = ()

    def origin(self) -> Source:
        """Whom to ask for more mbufs."""
        source: Source | None = self.item.home.source
        if source is None:
            raise Inval("the pool that this mbuf came from is closed")
        return source

    def alike(self, source: Source, head: bool, how: int, deadline: float | None) -> Any:
        """A new mbuf of this one's type, with a packet header or without."""
        if head:
            m: Any = cython.cast(Copy, source.gethdr(how, self.kind, left(deadline)))
        else:
            m = cython.cast(Copy, source.get(how, self.kind, left(deadline)))
        return m

    def dupcl(self, m: Mbuf) -> Self:
        """Share the external storage of another mbuf, and show the same bytes of it. See mb_dupcl.

        What this mbuf held in itself is gone. While the storage is shared, nobody may write to it.
        """
        self.live()
        if m is None:
            raise Inval("dupcl: give an mbuf whose storage is to be shared")
        m.live()
        if self.bits & M_EXT:
            raise Inval("dupcl: this mbuf has external storage already")
        if not m.bits & M_EXT:
            raise Inval("dupcl: the other mbuf has no external storage to share")
        self.share(m, m.off, m.count)
        return self

    def share(self, m: Shape, off: int, count: int) -> None:
        """`dupcl`, of two mbufs known to be right: `count` bytes at `off` of the storage."""
        if m.bits & M_EXTPG and self.bits & M_PKTHDR:
            raise Inval("an mbuf with a packet header can't have loose pages: put it in front of one that has them")
        self.buf = m.store().share(m.item)
        self.bits |= m.bits & (M_RDONLY | M_EXT | M_EXTPG)
        self.off = off
        self.count = count

    def take(self, m: Shape, skip: int, count: int, off: int) -> None:
        """Hold `count` bytes of another mbuf's data from `skip` on: shared if external, else copied to `off`."""
        if m.bits & M_FREED:
            # By somebody else, while this verb asked for memory.
            m.live()
        if m.bits & M_EXT:
            self.share(m, m.off + skip, count)
        else:
            self.buf.copy(off, m.buf, m.off + skip, count)
            self.off = off
            self.count = count

    def copym(self, off: int = 0, len: int = ALL, how: int = NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """A new chain of `len` bytes from byte `off` on, by default of all. See m_copym.

        External storage is shared, and read-only for all who share it; bytes inside mbufs are copied. The
        packet header is copied if `off` is 0. None if no byte is asked for. Raises `NoBufs`, and then
        nothing has changed.
        """
        if self.bits & M_FREED:
            self.live()
        skip = clip(off)
        count = M_COPYALL if len is ALL else clip(len)
        m: Copy | None = self
        head = skip == 0 and self.bits & M_PKTHDR != 0
        if skip or count != M_COPYALL:
            self.span("copym", skip, 0 if count == M_COPYALL else count)
            while m is not None and skip >= m.count and skip > 0:
                skip -= m.count
                m = cython.cast(Copy, m.follow())
        if m is None or count == 0:
            return None
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        top: Mbuf = cython.cast(Copy, None)
        last = top
        try:
            while count > 0 and m is not None:
                n = m.alike(source, head, how, deadline)
                if last is None:
                    top = n
                else:
                    last._next = n
                last = n
                if head:
                    n.inherit(m, how)
                    if count != M_COPYALL:
                        n.hdr.len = count
                    head = False
                piece = min(count, m.count - skip)
                n.take(m, skip, piece, n.off)
                if count != M_COPYALL:
                    count -= piece
                skip = 0
                m = cython.cast(Copy, m.follow())
        except BaseException:
            free_chain(top)
            raise
        return top

    def copypacket(self, how: int = NOWAIT, timeout: float | None = None) -> Mbuf:
        """A new packet of the same bytes: `copym` of all that keeps the room before them. See m_copypacket."""
        self.headed()
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        top: Mbuf = self.alike(source, True, how, deadline)
        try:
            top.inherit(self, how)
            top.take(self, 0, self.count, self.off)
            last = top
            m = cython.cast(Copy, self.follow())
            while m is not None:
                n = m.alike(source, False, how, deadline)
                last._next = n
                last = n
                n.take(m, 0, m.count, n.off)
                m = cython.cast(Copy, m.follow())
        except BaseException:
            free_chain(top)
            raise
        return top

    def dup(self, how: int = NOWAIT, timeout: float | None = None) -> Mbuf:
        """A new packet of the same bytes, copied, so that they can be written. See m_dup.

        Raises `NoBufs`, and then nothing has changed; `Inval` if the header's len isn't the mbufs'.
        """
        hdr = self.headed()
        if hdr.len != self.length():
            raise Inval(f"dup: the packet header says {hdr.len} bytes, the mbufs have {self.length()}: see fixhdr")
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        todo = hdr.len
        skip = 0
        m: Copy | None = self
        kind = self.kind
        top: Mbuf = cython.cast(Copy, None)
        last = top
        try:
            while todo > 0 or top is None:
                if m is not None:
                    kind = m.kind
                if todo >= MINCLSIZE:
                    n = cython.cast(Copy, source.getcl(how, kind, 0, left(deadline)))
                else:
                    n = cython.cast(Copy, source.get(how, kind, left(deadline)))
                if last is None:
                    top = n
                    n.inherit(self, how)
                    n.bits &= ~M_RDONLY
                else:
                    last._next = n
                last = n
                while m is not None and n.count < n.capacity():
                    piece = min(n.capacity() - n.count, m.count - skip)
                    n.buf.copy(n.off + n.count, m.buf, m.off + skip, piece)
                    n.count += piece
                    skip += piece
                    todo -= piece
                    if skip == m.count:
                        m = cython.cast(Copy, m.after() if todo else None)
                        skip = 0
        except BaseException:
            free_chain(top)
            raise
        return top

    def split(self, len: int, how: int = NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """Keep `len` bytes; returns a new chain of the rest, which is the caller's. See m_split.

        External storage that is cut through is shared by both. A packet's rest has a header with length
        and interface (or send tag), nothing else of it. None if there is no rest of a chain without a
        header. Raises `NoBufs`, or `Inval` if the chain is shorter, and then nothing has changed.
        """
        self.live()
        keep = clip(len)
        m: Copy | None = self
        if keep < 0 or keep > INT_MAX:
            raise Inval(f"split at {len}: give a number of bytes from 0 on")
        while m is not None and keep > m.count:
            keep -= m.count
            m = cython.cast(Copy, m.follow())
        if m is None:
            raise Inval(f"split at {len}: the chain has only {self.length()} bytes")
        m.follow()
        rest = m.count - keep
        if not self.bits & M_PKTHDR and rest == 0:
            tail: Mbuf = cython.cast(Copy, m.cut())
            return tail
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        if not self.bits & M_PKTHDR:
            n: Mbuf = m.alike(source, False, how, deadline)
            m.live()
            m.halve(n, keep)
            return n
        n = self.alike(source, True, how, deadline)
        second = cython.cast(Copy, None)
        try:
            if (rest > MHLEN and not m.bits & M_EXT) or (rest and m.bits & M_EXTPG):
                # The rest can't be where a header is, so an empty mbuf goes before it.
                second = m.alike(source, False, how, deadline)
                n.off += MHLEN
                n._next = second
            m.live()
            hdr = self.headed()
            if hdr.csum_flags & CSUM_SND_TAG:
                hdr.place.ref()
        except BaseException:
            free_chain(n)
            raise
        if second is not None:
            m.halve(second, keep)
        elif rest:
            m.halve(n, keep)
        else:
            n._next = m.cut()
        n.hdr.hold(hdr.place, hdr.csum_flags & CSUM_SND_TAG)
        n.hdr.add(hdr.len - clip(len))
        hdr.len = clip(len)
        return n

    def halve(self, n: Copy, keep: int) -> None:
        """Keep the first bytes of this mbuf; its others, and what comes after it, become those of `n`."""
        rest = self.count - keep
        n.take(self, keep, rest, n.off + ((n.capacity() - rest) & ~7))
        self.count = keep
        n._next = self.cut()
