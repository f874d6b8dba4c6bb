# cython: cdivision=True
"""The working set of a zone: how many of its cached items are really needed.

It is an estimate from the lowest and highest number of listed items in each period. A trim may take the other items.
See zone_domain_update_wss in uma_core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

#: Length of a period in seconds.
PERIOD = 20.0

#: After so many idle periods the estimate is 0, so that `tick` need not catch up with more.
_MAX_PERIODS = 32

# The same as a C double.
_PERIOD = PERIOD


@cython.no_gc
@cython.cclass
class WorkingSet:
    """`nitems` in full buckets now; `imin` and `imax` are the bounds in this period, `wss` the estimate."""

    __slots__ = ("_next", "imax", "imin", "nitems", "wss")

    def __init__(self, now: float) -> None:
        self.nitems = 0
        self.imin = 0
        self.imax = 0
        self.wss = 0
        self._next = now + _PERIOD

    def add(self, count: int) -> None:
        """`count` items were listed."""
        self.nitems += count
        self.imax = max(self.imax, self.nitems)

    def remove(self, count: int) -> None:
        """`count` items were taken off the list."""
        self.nitems -= count
        self.imin = min(self.imin, self.nitems)

    def imported(self, count: int) -> None:
        """`count` items were imported because the list was empty: so many more were needed."""
        self.imax += count

    def tick(self, now: float) -> None:
        """Start a new period for each one that has passed."""
        for _ in range(_MAX_PERIODS):
            if now < self._next:
                return
            self.wss = (4 * (self.imax - self.imin) + self.wss) // 5
            self.imin = self.imax = self.nitems
            self._next += _PERIOD
        self._next = now + _PERIOD

    def spare(self) -> int:
        """The number of items that aren't needed."""
        return self.nitems - max(self.wss, self.nitems - self.imin)
