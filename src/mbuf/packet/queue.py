"""Packets in a line, linked by `nextpkt`.

Owns what is in it. Never allocates, never looks into a packet.
Whoever frees a packet in a line cuts the line there: what stood behind it is in line no more, but for the
last, and what comes after that. The queue goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_FREED
from mbuf.errors import Inval, NoBufs
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.number import clip


class MbufQ:
    """First in, first out. See mbufq in mbuf.h.

    Dropped, it drops its packets; `drain` frees them.
    """

    __slots__ = ("_last", "count", "first", "maxlen")

    def __init__(self, maxlen: int = 0) -> None:
        #: The packet to go first, None if there is none, and how many there are.
        self.first: Mbuf | None = None
        self.count = 0
        #: How many make it full; 0 or less: any number doesn't. See mbufq_init.
        self.maxlen = clip(maxlen)
        self._last: Mbuf | None = None

    @property
    def last(self) -> Mbuf | None:
        """The packet to go last, None if there is none. See mbufq_last."""
        return self._last

    @property
    def full(self) -> bool:
        """True when `enqueue` takes no more. See mbufq_full."""
        return 0 < self.maxlen <= self.count

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[Mbuf]:
        """The packets that are there now, in order; they stay the queue's."""
        return iter(self._packets())

    def enqueue(self, m: Mbuf) -> None:
        """Put a packet last; it is the queue's from then on. See mbufq_enqueue.

        Raises `NoBufs` when the queue is full: the packet stays the caller's.
        """
        self._unlisted(m)
        if 0 < self.maxlen <= self.count:
            raise NoBufs(f"the queue is full: it has {self.maxlen} packets", "", self.maxlen, self.count)
        last = self._last
        if last is not None and last.bits & M_FREED:
            last = self._end()
        if last is None:
            self.first = m
        else:
            last._nextpkt = m
        self._last = m
        self.count += 1

    def prepend(self, m: Mbuf) -> None:
        """Put a packet first, even if the queue is full; it is the queue's from then on. See mbufq_prepend."""
        self._unlisted(m)
        if self._last is None:
            self._last = m
        else:
            m._nextpkt = self.first
        self.first = m
        self.count += 1

    def dequeue(self) -> Mbuf | None:
        """Take the first packet, None if there is none; it is the caller's. See mbufq_dequeue."""
        m = self.first
        if m is None:
            return None
        if m is self._last:
            self.first = self._last = None
            self.count = 0
        elif m._nextpkt is None:
            # Somebody has freed it, or unlinked it by hand.
            self.first = self._last
            self.count = 1
        else:
            self.first = cython.cast(Mbuf, m._nextpkt)
            m._nextpkt = None
            self.count -= 1
        if m.bits & M_FREED:
            return self.dequeue()
        return m

    def drain(self) -> None:
        """Free all packets. See mbufq_drain."""
        m = self.dequeue()
        while m is not None:
            m.freem()
            m = self.dequeue()

    def flush(self) -> Mbuf | None:
        """Take all packets, linked by `nextpkt`: the first, or None; they are the caller's. See mbufq_flush."""
        m = self.dequeue()
        if m is not None and self.first is not None:
            m._nextpkt = self.first
        self.first = self._last = None
        self.count = 0
        return m

    def concat(self, other: MbufQ) -> None:
        """Take all packets of another queue behind one's own, even if that is too many. See mbufq_concat."""
        if other is None or other is self:
            raise Inval("concat: give another queue")
        if other._last is None:
            return
        last = self._last
        if last is not None and last.bits & M_FREED:
            last = self._end()
        if last is None:
            self.first = other.first
        else:
            last._nextpkt = other.first
        self._last = other._last
        self.count += other.count
        other.first = other._last = None
        other.count = 0

    def _unlisted(self, m: Mbuf) -> None:
        """Refuse what is no packet, or one that is in line already."""
        if m is None:
            raise Inval("give a packet")
        m.live()
        if m._nextpkt is not None or m is self._last:
            raise Inval("this packet is in a line already: dequeue it, or set its nextpkt to None")

    def _packets(self) -> list[Mbuf]:
        """Those that `dequeue` would give."""
        packets: list[Mbuf] = []
        m = self.first
        while m is not None and len(packets) < self.count:
            if not m.bits & M_FREED:
                packets.append(m)
            if m is self._last:
                break
            m = self._last if m._nextpkt is None else cython.cast(Mbuf, m._nextpkt)
        return packets

    def _end(self) -> Mbuf | None:
        """The last, after somebody has freed the one that was: the line ends before that."""
        packets = self._packets()
        self.first = packets[0] if packets else None
        self._last = packets[-1] if packets else None
        self.count = len(packets)
        if self._last is not None:
            self._last._nextpkt = None
        return self._last
