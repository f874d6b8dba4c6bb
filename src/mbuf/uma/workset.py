# cython: cdivision=True
"""How many of a zone's cached items its users really need.

An estimate from how low and how high the list of full buckets went, period by period; it says what a
trim may take away. See zone_domain_update_wss in uma_core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

#: Seconds of a period.
PERIOD = 20.0

#: Periods after which an idle zone's estimate has gone to nothing: no use to catch up with more.
_FORGOTTEN = 32

# The same, for the compiler.
_PERIOD = PERIOD


@cython.no_gc
@cython.cclass
class WorkingSet:
    """`nitems` in full buckets now, and between which bounds that went."""

    __slots__ = ("_next", "imax", "imin", "nitems", "wss")

    def __init__(self, now: float) -> None:
        self.nitems = 0
        self.imin = 0
        self.imax = 0
        self.wss = 0
        self._next = now + _PERIOD

    def put(self, count: int) -> None:
        """`count` items came."""
        self.nitems += count
        self.imax = max(self.imax, self.nitems)

    def take(self, count: int) -> None:
        """`count` items went."""
        self.nitems -= count
        self.imin = min(self.imin, self.nitems)

    def imported(self, count: int) -> None:
        """`count` items were made since the list had none: the list should have been that much longer."""
        self.imax += count

    def tick(self, now: float) -> None:
        """Begin a new period for each that has passed."""
        for _ in range(_FORGOTTEN):
            if now < self._next:
                return
            self.wss = (4 * (self.imax - self.imin) + self.wss) // 5
            self.imin = self.imax = self.nitems
            self._next += _PERIOD
        self._next = now + _PERIOD

    def spare(self) -> int:
        """Items that may go without anybody missing them."""
        return self.nitems - max(self.wss, self.nitems - self.imin)
