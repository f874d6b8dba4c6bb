# cython: boundscheck=False, wraparound=False
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

from mbuf.const import (
    CSUM_SND_TAG,
    M_COPYFLAGS,
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MHLEN,
    MPKTHSIZE,
)
from mbuf.errors import Freed, Inval
from mbuf.packet.copy import Copy
from mbuf.packet.ext import Storage
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.shape import free_chain
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
        need = self._missing(most)
        spare = self._gather(most, need, how, timeout) if need else None
        hdr = self.hdr
        if hdr.csum_flags & CSUM_SND_TAG and hdr.len > most:
            try:
                self._refer(hdr.place, most, need)
            except BaseException:
                free_chain(spare)
                raise
        return self._divide(most, spare)

    def _refer(self, tag: Any, size: int, need: int) -> None:
        """Take a reference to the send tag for each packet but the first, or none."""
        taken = 0
        try:
            for _ in range((self.hdr.len - 1) // size):
                tag.ref()
                taken += 1
            # A driver's own kind of tag may do anything.
            self._settled(size, need)
        except BaseException:
            for _ in range(taken):
                tag.rele()
            raise

    def _settled(self, size: int, need: int) -> None:
        """Refuse a packet that isn't what it was when its `need` was seen."""
        self.headed()
        if self._missing(size) != need:
            raise Freed("the chain was changed by somebody else while it was to be cut")

    def _missing(self, size: int) -> int:
        """How many mbufs packets of `size` bytes need beside those that there are; refuses what isn't one packet."""
        need = 0
        total = 0
        room = size
        m: Parts | None = self
        while m is not None:
            count = m.count
            total += count
            if m.bits & M_EXT and not m.bits & M_EXTPG:
                if count > room:
                    # One for each packet that begins in it, but not for one that begins where it does.
                    need += (count - room - 1) // size + (room > 0)
                    room += ((count - room - 1) // size + 1) * size
                room -= count
            else:
                at = 0
                while at < count:
                    if room == 0:
                        room = size
                        need += m._lacking(at, min(size, count - at))
                    piece = min(room, count - at)
                    at += piece
                    room -= piece
            m = cython.cast(Parts, m.follow())
            if m is not None and (m.bits & M_PKTHDR or m._nextpkt is not None):
                raise Inval("segment: an mbuf inside the chain has a packet header or a next packet: see demote")
        if total != self.hdr.len:
            raise Inval(f"segment: the packet header says {self.hdr.len} bytes, the mbufs have {total}: see fixhdr")
        return need

    def _lacking(self, at: int, piece: int) -> int:
        """How many mbufs a packet needs that begins with this one's byte `at`, and has a `piece` of it."""
        if self.bits & M_EXT and not self.bits & M_EXTPG:
            return 1 if at else 0
        if at == 0 or (piece <= MHLEN and not self.bits & M_EXTPG):
            return 1
        # What comes can't be where a header is, so an empty mbuf goes before it.
        return 2

    def _gather(self, size: int, need: int, how: int, timeout: float | None) -> Any:
        """Ask for a row of `need` mbufs."""
        source = self.origin()
        spare: Any = cython.cast(Parts, source.get_row(need, how, self.kind, timeout))
        try:
            self._settled(size, need)
        except BaseException:
            free_chain(spare)
            raise
        return spare

    def _divide(self, size: int, spare: Any) -> list[Any]:
        """The packets, cut with all the mbufs that it takes."""
        hdr = self.hdr
        bits = self.bits
        packets: list[Any] = [self] * max((hdr.len + size - 1) // size, 1)
        n = 0
        top: Parts = self
        last: Parts = self
        room = min(size, hdr.len)
        left = hdr.len - room
        hdr.len = room
        m: Parts | None = self
        while m is not None:
            rest = cython.cast(Parts, m._next)
            m._next = None
            whole = m.count
            if whole and room == 0:
                room = min(size, left)
                left -= room
                top = m
                if not m.bits & M_EXT or m.bits & M_EXTPG:
                    top = spare
                    spare = cython.cast(Parts, top._next)
                    top._next = m
                top.crown(hdr, room, bits)
                n += 1
                packets[n] = top
            elif m is not self:
                last._next = m
            at = min(room, whole)
            m.count = at
            last = m
            room -= at
            while at < whole:
                room = min(size, left)
                left -= room
                piece = min(room, whole - at)
                top = last = spare
                spare = cython.cast(Parts, top._next)
                top._next = None
                top.crown(hdr, room, bits)
                # The mbuf has fewer bytes than it had, but they are still where they were.
                if m.bits & M_EXT and not m.bits & M_EXTPG:
                    # `share`, without a look at what is known.
                    top.buf = cython.cast(Storage, m.buf).share(m.item)
                    top.bits |= m.bits & (M_EXT | M_RDONLY)
                    top.off = m.off + at
                    top.count = piece
                else:
                    if m._lacking(at, piece) == 2:
                        top._next = last = spare
                        spare = cython.cast(Parts, last._next)
                        last._next = None
                    last.take(m, at, piece, last.start())
                n += 1
                packets[n] = top
                at += piece
                room -= piece
            m = rest
        return packets

    def crown(self, like: PktHdr, size: int, bits: int) -> None:
        """Begin a packet of `size` bytes, with a header like another but for the tags, and its flags."""
        self.renew()
        hdr = self.hdr
        hdr.copy(like)
        if hdr.tags is not None:
            hdr.tags = None
        hdr.len = size
        if not self.bits & M_EXT:
            # It has no bytes in itself yet, and those that it gets come after the header.
            self.off = MPKTHSIZE
        self.bits = (self.bits & (M_EXT | M_EXTPG | M_NOFREE | M_RDONLY)) | (bits & M_COPYFLAGS & ~M_RDONLY) | M_PKTHDR
