"""Socket buffers: packets that were received and not yet read by the application.

One queue for all of them, in the order in which packets are read; they own the packets until then. They allocate
nothing.
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
"""Later than every time at which a packet is due."""


class SockBufs:
    """Packets in the order in which they are due.

    The header of a packet holds when it is due (PH_loc), and the CPU that received it (flowid). `free_due` frees it on
    that CPU, because there the application runs that reads it.
    """

    __slots__ = ("_cpus", "_queue", "extra", "next_due")

    def __init__(self, cpus: Cpus) -> None:
        self._cpus = cpus
        self._queue = MbufQ()
        #: When the first packet is due; NEVER if there is none.
        self.next_due = NEVER
        #: Mbufs of all packets, without the first mbuf of each.
        self.extra = 0

    def size(self) -> int:
        """Return the number of packets."""
        return self._queue.length()

    @property
    def mbufs(self) -> int:
        """The number of mbufs."""
        return self._queue.length() + self.extra

    def append(self, m: Mbuf, due: int, cpu: int, mbufs: int) -> None:
        """Append a packet of so many mbufs, and own it from then on."""
        m.hdr.PH_loc = due
        m.hdr.flowid = cpu
        if self._queue.length() == 0:
            self.next_due = due
        self._queue.enqueue(m)
        self.extra += mbufs - 1

    def free_due(self, now: int) -> None:
        """Free the packets that are due."""
        here = before = self._cpus.current() if self._cpus.count > 1 else 0
        while self.next_due <= now and self._queue.length():
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
            self.next_due = NEVER if ahead is None else ahead.hdr.PH_loc
        if here != before:
            self._cpus.move(before)

    def flush(self) -> None:
        """Free all packets."""
        self.free_due(NEVER)
