"""Socket buffers: packets that were received and not yet read.

Owns them until they are due, in the order of their coming. Never asks for memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from mbuf.uma.cpu import Cpus
else:
    from mbuf.shadow import cython

from mbuf.packet.mbuf import Mbuf
from mbuf.packet.queue import MbufQ

NEVER = (1 << 63) - 1
"""Later than every due time."""


class SockBufs:
    """Packets that wait, soonest due first.

    When it is due stands in a packet's PH_loc, the CPU that received it in its flowid: on that, `release`
    frees it, for there its reader runs.
    """

    __slots__ = ("_cpus", "_queue", "extra", "first")

    def __init__(self, cpus: Cpus) -> None:
        self._cpus = cpus
        self._queue = MbufQ()
        #: When the first packet is due, NEVER if there is none.
        self.first = NEVER
        #: Mbufs of the packets, beyond one for each.
        self.extra = 0

    def size(self) -> int:
        """Packets that wait."""
        return self._queue.length()

    @property
    def mbufs(self) -> int:
        """Mbufs that wait."""
        return self._queue.length() + self.extra

    def wait(self, m: Mbuf, due: int, cpu: int, mbufs: int) -> None:
        """Let a packet of so many mbufs wait; it is the socket buffers' from then on."""
        m.hdr.PH_loc = due
        m.hdr.flowid = cpu
        if self._queue.length() == 0:
            self.first = due
        self._queue.enqueue(m)
        self.extra += mbufs - 1

    def release(self, now: int) -> None:
        """Free the packets that are due."""
        here = before = self._cpus.current() if self._cpus.count > 1 else 0
        while self.first <= now and self._queue.length():
            m = cython.cast(Mbuf, self._queue.dequeue())
            if m.hdr.flowid != here:
                here = m.hdr.flowid
                self._cpus.move(here)
            n = m._next
            while n is not None:
                self.extra -= 1
                n = n._next
            m.freem()
            ahead = cython.cast(Mbuf, self._queue.peek())
            self.first = NEVER if ahead is None else ahead.hdr.PH_loc
        if here != before:
            self._cpus.move(before)

    def flush(self) -> None:
        """Free all packets."""
        self.release(NEVER)
