"""Socket buffers: packets that were received and not yet read.

Owns them until they are due, in the order of their coming. Never asks for memory.
"""

from collections import deque

from mbuf.packet.mbuf import Mbuf
from mbuf.uma.cpu import Cpus

NEVER = 1 << 80
"""Later than every due time."""


class Sockets:
    """Packets that wait: (when each is due, the packet, the CPU that received it), soonest due first.

    Append to `packets` to let one wait, and call `widen` if it is of several mbufs; it is the socket buffers'
    from then on. `release` frees it on its CPU, where its reader runs.
    """

    __slots__ = ("_cpus", "_wide", "extra", "packets")

    def __init__(self, cpus: Cpus) -> None:
        self._cpus = cpus
        self.packets: deque[tuple[int, Mbuf, int]] = deque()
        #: Mbufs of the packets, beyond one for each.
        self.extra = 0
        self._wide: deque[tuple[int, int]] = deque()

    @property
    def mbufs(self) -> int:
        """Mbufs that wait."""
        return len(self.packets) + self.extra

    def widen(self, mbufs: int) -> None:
        """The packet appended last is of so many mbufs."""
        if mbufs > 1:
            self._wide.append((self.packets[-1][0], mbufs - 1))
            self.extra += mbufs - 1

    def release(self, now: int) -> None:
        """Free the packets that are due."""
        if self._cpus.count > 1:
            self._release_each_on_its_cpu(now)
        packets = self.packets
        while packets and packets[0][0] <= now:
            packets.popleft()[1].freem()
        while self._wide and self._wide[0][0] <= now:
            self.extra -= self._wide.popleft()[1]

    def _release_each_on_its_cpu(self, now: int) -> None:
        here = before = self._cpus.current()
        while self.packets and self.packets[0][0] <= now:
            _, m, cpu = self.packets.popleft()
            if cpu != here:
                self._cpus.move(cpu)
                here = cpu
            m.freem()
        self._cpus.move(before)
