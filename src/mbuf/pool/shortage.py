"""What a pool with a budget tells about its memory: who holds it, and how much of a kind can still be had.

Reads counts and changes nothing. Clusters and mbufs that caches hold count as free: they are taken back before a
request is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import MCLBYTES, MSIZE, PAGE_SIZE
from mbuf.errors import PoolFull
from mbuf.kinds import JUMBOS

if TYPE_CHECKING:
    from mbuf.pool.zones import Zones
    from mbuf.uma.budget import Budget
    from mbuf.uma.pages import Pages

#: What an item of each kind is called.
_PACKETS, _MBUFS, _CLUSTERS, _PAGES = "packets with 2 KiB", "mbufs", "clusters of 2 KiB", "single pages"
_JUMBO = tuple([f"clusters of {kind.size // 1024} KiB" for kind in JUMBOS])


class Shortage:
    """Makes the error for a request that found no memory. See `Budget.error`."""

    __slots__ = ("budget", "pages", "zones")

    def __init__(self, zones: Zones, pages: Pages) -> None:
        self.zones = zones
        self.pages = pages
        self.budget: Budget | None = None

    def __call__(self, run: int, needed: int = 0) -> PoolFull:
        """The error for a request of runs of pages; `needed` are its pages, if they are more than there are."""
        budget: Any = self.budget
        vm = budget.vm
        holders = held(self.zones, self.pages)
        return PoolFull(vm.realmem, vm.free * PAGE_SIZE, run, budget.waiting, needed * PAGE_SIZE, holders)


def held(zones: Zones, pages: Pages) -> tuple[tuple[str, int, int], ...]:
    """Who holds the memory: what, how many, and the bytes of one; the largest part first."""
    packets = zones.pack.used
    found = [
        (_PACKETS, packets, MSIZE + MCLBYTES),
        (_MBUFS, zones.mbuf.used, MSIZE),
        (_CLUSTERS, zones.clust.used - packets - zones.pack.cached, MCLBYTES),
        (_PAGES, pages.used, PAGE_SIZE),
    ]
    for name, zone in zip(_JUMBO, zones.clusters[1:], strict=True):
        found.append((name, zone.used, zone.size))
    return tuple(sorted([each for each in found if each[1] > 0], key=lambda each: -each[1] * each[2]))
