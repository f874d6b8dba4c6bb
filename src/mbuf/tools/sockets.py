"""Socket buffers: packets that were received and not yet read.

Owns them until they are due, in the order of their coming. Never asks for memory.
"""

from collections import deque

from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool

NEVER = 1 << 80
"""Later than every due time."""


class Sockets:
    """Packets that wait until `due`, the time of the first of them, or NEVER if there are none.

    A packet is freed on the CPU that received it, where its reader runs.
    """

    __slots__ = ("_cpus", "_dues", "_extras", "_homes", "_packets", "due", "extra")

    def __init__(self, pool: Pool) -> None:
        self._cpus = pool.cpus
        self._packets: deque[Mbuf] = deque()
        self._dues: deque[int] = deque()
        # On which CPU each was received; kept only where there are several.
        self._homes: deque[int] = deque()
        self._extras: deque[tuple[int, int]] = deque()
        #: Mbufs of waiting packets, beyond one for each.
        self.extra = 0
        self.due = NEVER

    def __len__(self) -> int:
        """Packets that wait."""
        return len(self._packets)

    @property
    def mbufs(self) -> int:
        """Mbufs that they are made of."""
        return len(self._packets) + self.extra

    def put(self, m: Mbuf, due: int) -> None:
        """Let a packet wait, which is the socket buffers' from now on; not less long than those before it."""
        self._packets.append(m)
        self._dues.append(due)
        if self._cpus.count > 1:
            self._homes.append(self._cpus.current())
        if due < self.due:
            self.due = due

    def widen(self, due: int, mbufs: int) -> None:
        """The packet put last has so many mbufs, not one."""
        self._extras.append((due, mbufs - 1))
        self.extra += mbufs - 1

    def release(self, now: int) -> None:
        """Free the packets that are due."""
        if self._extras:
            self._narrow(now)
        if self._homes:
            self._move(now)
        packets, dues = self._packets, self._dues
        while dues and dues[0] <= now:
            dues.popleft()
            packets.popleft().freem()
        self.due = dues[0] if dues else NEVER

    def _narrow(self, now: int) -> None:
        while self._extras and self._extras[0][0] <= now:
            self.extra -= self._extras.popleft()[1]

    def _move(self, now: int) -> None:
        """Free the packets that are due, each on its CPU."""
        before = self._cpus.current()
        packets, dues, homes = self._packets, self._dues, self._homes
        while dues and dues[0] <= now:
            dues.popleft()
            self._cpus.move(homes.popleft())
            packets.popleft().freem()
        self._cpus.move(before)
