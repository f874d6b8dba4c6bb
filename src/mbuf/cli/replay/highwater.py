"""How high the use of memory went, and when.

`used` and `needed` are counted, and exact. What zones are charged for (in use and cached) is read from
snapshots: whenever use has grown by `STEP` mbufs, and at the end. That is exact too, as charges only grow,
unless memory was given back from caches in between; then up to `STEP` items may be missing.
"""

from dataclasses import dataclass

from mbuf.pool.pool import Pool
from mbuf.pool.stat import PoolStat

STEP = 256
"""A snapshot takes about as long as twenty packets, so there is one for every so many."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a packet came: the how many-th it was, from 1, and at which nanosecond of capture time."""

    packet: int
    when: int


START = Moment(0, 0)
"""Before the first packet."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest count of mbufs, and when it was first reached."""

    count: int
    at: Moment


class HighWater:
    """Peaks so far. `mark` after whatever may be one, and before any memory is given back."""

    __slots__ = ("_next", "_pool", "charged", "needed", "used")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        #: Mbufs handed out, and as many as there would have been without any denial.
        self.used = Peak(0, START)
        self.needed = Peak(0, START)
        #: Items in use or cached, by zone.
        self.charged: dict[str, int] = {}
        self._next = 0

    def mark(self, used: int, needed: int, at: Moment) -> None:
        """So many are in use, and would be, once this packet was received."""
        if used > self.used.count:
            self.used = Peak(used, at)
            if used >= self._next:
                self._next = used + STEP
                self.sample()
        if needed > self.needed.count:
            self.needed = Peak(needed, at)

    def sample(self) -> PoolStat:
        """Take a snapshot for the charges."""
        stat = self._pool.stat()
        for zone in stat.zones:
            charge = zone.used + zone.cached
            self.charged[zone.name] = max(charge, self.charged.get(zone.name, 0))
        return stat
