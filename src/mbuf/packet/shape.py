"""Chains cut and joined: fewer bytes, or two chains made one.

Works with the mbufs that there are; never allocates, so never runs out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_FREED, M_PKTHDR
from mbuf.errors import Inval
from mbuf.packet.header import Headed
from mbuf.vm.number import INT_MAX, clip


@cython.no_gc
@cython.cclass
class Shape(Headed):
    """An mbuf whose chain can be cut and joined."""

    __slots__ = ()

    def adj(self, len: int) -> Self:
        """Drop `len` bytes from the front of the packet, or from its end if `len` is negative. See m_adj.

        More than there are drops all. From the front, mbufs are emptied and stay; from the end, those
        that are wholly cut off are freed.
        """
        if self.bits & M_FREED:
            self.live()
        n = clip(len)
        if 0 <= n < self.count:
            self.off += n
            self.count -= n
            if self.bits & M_PKTHDR:
                self.hdr.add(-n)
        elif not -INT_MAX <= n <= INT_MAX:
            raise Inval(f"adj: {len} bytes: give at most {INT_MAX}, either way")
        elif n >= 0:
            self._adj_front(n)
        else:
            self._adj_end(-n)
        return self

    def _adj_front(self, n: int) -> None:
        left = n
        m: Shape | None = self
        while m is not None and m.count <= left:
            left -= m.count
            m = cython.cast(Shape, m.follow())
        empty = self
        while empty is not m:
            empty.count = 0
            empty = cython.cast(Shape, empty._next)
        if m is not None:
            m.count -= left
            m.off += left
            left = 0
        if self.bits & M_PKTHDR:
            self.hdr.add(-(n - left))

    def _adj_end(self, n: int) -> None:
        total = self.count
        m: Shape = self
        while m._next is not None:
            m = cython.cast(Shape, m.follow())
            total += m.count
        if m.count >= n:
            m.count -= n
            if self.bits & M_PKTHDR:
                self.hdr.add(-n)
            return
        left = max(total - n, 0)
        if self.bits & M_PKTHDR:
            self.hdr.len = left
        m = self
        while m.count < left:
            left -= m.count
            m = cython.cast(Shape, m._next)
        m.count = left
        free_chain(m.cut())

    def cut(self) -> Shape | None:
        """Unlink what comes after this mbuf; returns it, and it is the caller's."""
        rest: Shape | None = cython.cast(Shape, self._next)
        self._next = None
        return rest

    def cat(self, n: Mbuf) -> Self:
        """Add another chain at the end, which is part of this one from then on. See m_cat.

        Bytes that fit into the last mbuf are copied, and the mbuf that they were in freed. No packet
        header changes: `catpkt` joins packets.
        """
        self.live()
        self.meet(n, "cat")
        self.join(n)
        return self

    def catpkt(self, n: Mbuf) -> Self:
        """Add another packet at the end; its header goes. See m_catpkt.

        A send tag of the other packet is let go of, where the kernel forgets it.
        """
        hdr = self.headed()
        self.meet(n, "catpkt")
        hdr.add(n.headed().len)
        n.demote(True, 0)
        self.join(n)
        return self

    def meet(self, n: Shape, verb: str) -> None:
        """Refuse what can't be added to this chain."""
        if n is None:
            raise Inval(f"{verb}: give the chain to add")
        n.live()
        mine: Shape | None = self
        theirs: Shape | None = n
        while mine is not None:
            if mine is n:
                raise Inval(f"{verb}: the other chain is a part of this one already")
            mine = cython.cast(Shape, mine.follow())
        while theirs is not None:
            if theirs is self or theirs._nextpkt is not None:
                raise Inval(f"{verb}: the other chain leads back here, or to a next packet: unlink that first")
            theirs = cython.cast(Shape, theirs.follow())

    def join(self, n: Shape) -> None:
        """`cat`, of chains known to be right."""
        last = cython.cast(Shape, self.tail())
        m: Shape | None = n
        while m is not None:
            if m.bits & M_EXTPG or not last.free_to_write() or last.space() < m.count:
                last._next = m
                return
            last.buf.copy(last.off + last.count, m.buf, m.off, m.count)
            last.count += m.count
            rest = m.cut()
            m.shed()
            m = rest

    def sanity(self, sanitize: bool = False) -> bool:
        """Find what is wrong with a chain: `Inval` says what, and True that nothing is. See m_sanity.

        With `sanitize`, what is wrong is put right instead: headers and next packets inside the chain go,
        and a packet's len that isn't its mbufs' becomes 0.
        """
        self.live()
        if sanitize:
            # Finds one that was freed before anything has changed.
            self.tail()
        total = self.count
        m = cython.cast(Shape, self.follow())
        while m is not None:
            if sanitize:
                m._heal()
            elif m._nextpkt is not None:
                raise Inval("sanity: an mbuf inside the chain has a next packet")
            elif m.bits & M_PKTHDR:
                raise Inval("sanity: an mbuf inside the chain has a packet header")
            total += m.count
            m = cython.cast(Shape, m.follow())
        if self.bits & M_PKTHDR and total and self.hdr.len != total:
            if not sanitize:
                raise Inval(f"sanity: the packet header says {self.hdr.len} bytes, the mbufs have {total}")
            self.hdr.len = 0
        return True

    def _heal(self) -> None:
        packet = cython.cast(Shape, self._nextpkt)
        self._nextpkt = None
        if packet is not None and not packet.bits & M_FREED:
            free_chain(packet)
        if self.bits & M_PKTHDR:
            self.behead()


def free_all(mbufs: list[Any]) -> None:
    """Free mbufs that are nobody's any more, each by itself."""
    for thing in mbufs:
        m: Shape = thing
        if not m.bits & M_FREED:
            m._next = None
            m.shed()


def free_chain(m: Shape | None) -> None:
    """Free a chain that is nobody's any more, or nothing."""
    while m is not None and not m.bits & M_FREED:
        rest = m.cut()
        m.shed()
        m = rest
