"""Packets in a line, linked by `nextpkt`.

Owns what is in it. Never allocates, never looks into a packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.packet.mbuf import Mbuf


class MbufQ:
    """First in, first out. See mbufq in mbuf.h."""

    __slots__ = ("_last", "count", "first")

    def __init__(self) -> None:
        #: The packet to go first, None if there is none, and how many there are.
        self.first: Mbuf | None = None
        self.count = 0
        self._last: Mbuf | None = None

    def enqueue(self, m: Mbuf) -> None:
        """Put a packet last; it is the queue's from then on. See mbufq_enqueue."""
        if m is None:
            raise Inval("enqueue: give a packet")
        m.live()
        if m._nextpkt is not None or m is self._last:
            raise Inval("enqueue: this packet is in a line already: dequeue it, or set its nextpkt to None")
        if self._last is None:
            self.first = m
        else:
            self._last._nextpkt = m
        self._last = m
        self.count += 1

    def dequeue(self) -> Mbuf | None:
        """Take the first packet, None if there is none; it is the caller's. See mbufq_dequeue."""
        m = self.first
        if m is None:
            return None
        if m is self._last:
            self.first = self._last = None
        else:
            self.first = cython.cast(Mbuf, m._nextpkt)
            m._nextpkt = None
        self.count -= 1
        return m
