"""The highest use of memory in a replay, and when it was reached.

`used` and `needed` are counted, and exact. The charges of zones (in use and cached) are read from snapshots of the
pool: each time when use has grown by `STEP` mbufs, and at the end. They are exact as long as charges only grow; if the
pool gives memory of its caches back in between, up to `STEP` items may be missing.
"""

from dataclasses import dataclass

from mbuf.cli.replay.clock import SECOND
from mbuf.pool.pool import Pool
from mbuf.pool.stat import PoolStat

STEP = 256
"""A snapshot costs as much as twenty packets, so it is taken only so often."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a packet came: its number, from 1, and the capture time in nanoseconds."""

    packet: int
    when: int

    def __str__(self) -> str:
        if self.packet == 0:
            return "before the first packet"
        return f"at packet {self.packet}, after {self.when / SECOND:.3f} s of capture time"


START = Moment(0, 0)
"""Before the first packet."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest count of mbufs, and when it was reached first."""

    count: int
    at: Moment


class HighWater:
    """The peaks until now. Call `update` before memory is freed, whenever its use may have reached a peak."""

    __slots__ = ("_next", "_pool", "charged", "needed", "used")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        #: Mbufs in use, and the mbufs that would be in use if no request had been denied.
        self.used = Peak(0, START)
        self.needed = Peak(0, START)
        #: Items in use or cached, by zone.
        self.charged: dict[str, int] = {}
        self._next = 0

    def update(self, used: int, needed: int, at: Moment) -> None:
        """So many mbufs are in use, and would be in use without denials, after a packet was received."""
        if used > self.used.count:
            self.used = Peak(used, at)
            if used >= self._next:
                self._next = used + STEP
                self.sample()
        if needed > self.needed.count:
            self.needed = Peak(needed, at)

    def sample(self) -> PoolStat:
        """Take a snapshot of the pool, update the charges, and return it."""
        stat = self._pool.stat()
        for zone in stat.zones:
            charge = zone.used + zone.cached
            self.charged[zone.name] = max(charge, self.charged.get(zone.name, 0))
        return stat
