"""What a zone counts, and tells of itself.

Reads what the caches, the depot and the limit say. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.depot import Depot
    from mbuf.uma.item import Backend
    from mbuf.uma.limit import Limit
else:
    from mbuf.shadow import cython

from mbuf.uma.item import Home
from mbuf.uma.stat import ZoneStat


@cython.no_gc
@cython.cclass
class Tally(Home):
    """The numbers of a zone: items handed out and given back, past its caches and through them."""

    __slots__ = ("_allocs", "_caches", "_fails", "_frees", "backend", "depot", "limiter", "name", "primary", "size")

    def tally(self, name: str, size: int, backend: Backend, primary: bool, limiter: Limit, depot: Depot) -> None:
        """Begin to count. `primary` zones count the free items of their backend."""
        self.name = name
        self.size = size
        self.backend = backend
        self.primary = primary
        self.limiter = limiter
        self.depot = depot
        self._caches: list[Any] = []
        self._allocs = 0
        self._frees = 0
        self._fails = 0

    @property
    def used(self) -> int:
        """Items handed out. See uma_zone_get_cur."""
        allocs, frees, _ = self._counts()
        return max(allocs - frees, 0)

    @property
    def balance(self) -> int:
        """Items handed out less those given back: below 0 where it received what others had handed out."""
        allocs, frees, _ = self._counts()
        return allocs - frees

    @property
    def cached(self) -> int:
        """Free items in buckets, of CPUs and of the zone."""
        return self._counts()[2]

    def _counts(self) -> tuple[int, int, int]:
        allocs, frees, cached = self._allocs, self._frees, self.depot.nitems
        for here in self._caches:
            allocs += here.allocs
            frees += here.frees
            cached += here.count()
        return allocs, frees, cached

    def books(self) -> list[tuple[int, int, int]]:
        """Allocs, frees and free items: past all caches and listed, then of each CPU's cache."""
        books = [(self._allocs, self._frees, self.depot.nitems)]
        for here in self._caches:
            books.append((here.allocs, here.frees, here.count()))
        return books

    def stat(self) -> ZoneStat:
        """All numbers of the zone at once."""
        allocs, frees, cached = self._counts()
        return ZoneStat(
            name=self.name,
            size=self.size,
            limit=self.limiter.max,
            sysctl=self.limiter.sysctl,
            used=max(allocs - frees, 0),
            free=cached + (self.backend.free if self.primary else 0),
            cached=cached,
            allocs=max(allocs, frees),
            frees=frees,
            fails=self._fails,
            sleeps=self.limiter.sleeps,
            xdomain=0,
            sleepers=len(self.limiter.waiters),
            held=self.held,
            bucket_size=self.depot.bucket_size,
            pages=self.backend.pages,
            warnings_suppressed=self.limiter.suppressed,
        )
