"""A packet cut into many, all of one size.

Shares what is cut through, and leaves whole mbufs where they are; asks the source for the mbufs that are missing,
all of them before anything changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_NOWAIT, M_PKTHDR, M_RDONLY, MHLEN
from mbuf.errors import Freed, Inval
from mbuf.packet.copy import Copy
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.shape import free_all
from mbuf.packet.source import left, until
from mbuf.vm.number import INT_MAX, clip


@cython.no_gc
@cython.cclass
class Parts(Copy):
    """An mbuf whose packet can be cut into many."""

    __slots__ = ()

    def segment(self, size: int, how: int = M_NOWAIT, timeout: float | None = None) -> list[Mbuf]:
        """Cut the packet into packets of `size` bytes, the last of what is left; all of them, this one first.

        They are the caller's. External storage that is cut through is shared, bytes inside mbufs are copied.
        Each has the header's fields, but the tags stay with the first. Raises `NoBufs`, or `Inval` if the
        header's len isn't the mbufs', and then nothing has changed. As m_split would, again and again.
        """
        hdr = self.headed()
        most = clip(size)
        if not 0 < most <= INT_MAX:
            raise Inval(f"segment: packets of {size} bytes: give 1 to {INT_MAX}")
        self._whole(hdr.len)
        packets: list[Any] = [self]
        if hdr.len <= most:
            return packets
        spare: list[Any] = []
        need = self._missing(most)
        try:
            if need:
                self._gather(most, need, spare, how, None if timeout is None else until(how, timeout))
            if hdr.csum_flags & CSUM_SND_TAG:
                for _ in range((hdr.len - 1) // most):
                    hdr.place.ref()
        except BaseException:
            free_all(spare)
            raise
        # The one asked for first is wanted first.
        spare.reverse()
        self._divide(most, spare, packets)
        return packets

    def _whole(self, count: int) -> None:
        """Refuse a chain that isn't one packet of `count` bytes."""
        total = self.count
        m = cython.cast(Parts, self.follow())
        while m is not None:
            if m.bits & M_PKTHDR or m._nextpkt is not None:
                raise Inval("segment: an mbuf inside the chain has a packet header or a next packet: see demote")
            total += m.count
            m = cython.cast(Parts, m.follow())
        if total != count:
            raise Inval(f"segment: the packet header says {count} bytes, the mbufs have {total}: see fixhdr")

    def _missing(self, size: int) -> int:
        """How many mbufs packets of `size` bytes need beside those that there are."""
        need = 0
        room = size
        m: Parts | None = self
        while m is not None:
            at = 0
            while at < m.count:
                if room == 0:
                    room = size
                    need += m._lacking(at, min(size, m.count - at))
                piece = min(room, m.count - at)
                at += piece
                room -= piece
            m = cython.cast(Parts, m._next)
        return need

    def _lacking(self, at: int, piece: int) -> int:
        """How many mbufs a packet needs that begins with this one's byte `at`, and has a `piece` of it."""
        if self.bits & M_EXT and not self.bits & M_EXTPG:
            return 1 if at else 0
        if at == 0 or (piece <= MHLEN and not self.bits & M_EXTPG):
            return 1
        # What comes can't be where a header is, so an empty mbuf goes before it.
        return 2

    def _gather(self, size: int, need: int, spare: list[Any], how: int, deadline: float | None) -> None:
        """Ask for `need` mbufs: each with a header, which one that is a mere part will lose."""
        source = self.origin()
        while len(spare) < need:
            spare.append(source.gethdr(how, self.kind, left(deadline)))
        self.live()
        self._whole(self.hdr.len)
        if self._missing(size) != need:
            raise Freed("the chain was changed by somebody else while it was to be cut")

    def _divide(self, size: int, spare: list[Any], packets: list[Any]) -> None:
        """Cut, with all the mbufs that it takes."""
        hdr = self.hdr
        hdr.len = 0
        top: Parts = self
        last: Parts = self
        room = size
        m: Parts | None = self
        while m is not None:
            rest = cython.cast(Parts, m.cut())
            whole = m.count
            piece = min(room, whole)
            if whole and room == 0:
                room = size
                piece = min(room, whole)
                if m._lacking(0, piece):
                    top = cython.cast(Parts, spare.pop())
                    top.crown(self, hdr)
                    top._next = m
                else:
                    top = m
                    top.begin()
                    top.crown(self, hdr)
                packets.append(top)
            elif m is not self:
                last._next = m
            m.count = piece
            last = m
            top.hdr.len += piece
            room -= piece
            at = piece
            while at < whole:
                piece = min(size, whole - at)
                top = cython.cast(Parts, spare.pop())
                top.crown(self, hdr)
                last = top
                if m._lacking(at, piece) == 2:
                    last = cython.cast(Parts, spare.pop())
                    last.behead()
                    top._next = last
                # The mbuf has fewer bytes than it had, but they are still where they were.
                last.take(m, at, piece, last.start())
                top.hdr.len = piece
                packets.append(top)
                at += piece
                room = size - piece
            m = rest

    def crown(self, first: Parts, hdr: PktHdr) -> None:
        """Begin a packet, like the first one but empty, with the header that is there."""
        self.bits = (first.bits & M_COPYFLAGS & ~M_RDONLY) | (self.bits & (M_EXT | M_EXTPG | M_NOFREE | M_RDONLY))
        self.hdr.copy(hdr)
        self.hdr.len = 0
