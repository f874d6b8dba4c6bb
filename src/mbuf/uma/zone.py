"""Free items, cached, counted and limited.

The order of an allocation is the order of the steps here: this CPU's cache, the zone's list of full
buckets, a new bucketful from the backend, a single item. Never touches what an item holds; never calls
the backend with its lock held.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT, M_WAITOK, UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM
from mbuf.errors import Inval, MbufError, NoBufs
from mbuf.uma.bucket import Bucket, default_entries
from mbuf.uma.cache import Cache, cache
from mbuf.uma.depot import Depot
from mbuf.uma.item import Backend, Item
from mbuf.uma.limit import Limit, nothing
from mbuf.uma.tally import Tally
from mbuf.vm.probe import Probes

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.uma.cpu import Cpus
else:
    from mbuf.shadow import cython


@cython.no_gc
@cython.cclass
class Zone(Tally):
    """Items of one kind, drawn from a backend.

    `entries` is how many items a bucket holds at first, None for what suits `size`; `caching` false is
    the kernel's page-shortage mode, without any bucket. `feeds` are zones whose cached items hold
    items of this one. See zone(9).
    """

    __slots__ = (
        "_cache",
        "_limited",
        "_none",
        "_reclaiming",
        "caching",
        "closed",
        "cpus",
        "diverted",
        "feeds",
        "pressed",
    )

    def __init__(
        self,
        name: str,
        size: int,
        backend: Backend,
        cpus: Cpus,
        sysctl: str = "",
        entries: int | None = None,
        caching: bool = True,
        primary: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally(name, size, backend, primary, Limit(name, sysctl, clock), Depot(_entries(size, entries), clock))
        self.cpus = cpus
        self.caching = caching
        self.held = 0
        self.source: Any = None
        self.probes = Probes()
        #: Above 0 while somebody waits for what an item given back sets free: then caches are passed by.
        self.pressed = 0
        self.feeds: tuple[Zone, ...] = ()
        #: Where items go that are given back, if not here; then this is pressed.
        self.diverted: Zone | None = None
        self.limiter.press = self._press
        self.limiter.wring = self._wring
        self._reclaiming = False
        # The last request that got nothing was denied by the limit, whatever has come back since.
        self._limited = False
        self.closed = False
        self._none = Bucket(0)
        self._caches += [cache(self._none, self.depot.lock) for _ in range(cpus.count)]
        self._cache = self._caches[0] if cpus.count == 1 else None

    # The three calls of every allocation and free.

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """An item, or None when there is none to be had. See uma_zalloc_arg."""
        item = self._here().pop() if self._cache is None else self._cache.pop()
        return self._alloc_dry(how, deadline) if item is None else item

    def free(self, item: Item) -> None:
        """Take an item back; None is no item. See uma_zfree_arg."""
        if item is None:
            pass
        elif self.pressed:
            self._give(item)
        elif not (self._here().push(item) if self._cache is None else self._cache.push(item)):
            self._free_full(item)

    def receive(self, item: Item) -> None:
        """Take an item that another zone has handed out."""
        if item is not None:
            item.home = self
            self.free(item)

    def divert(self, to: Zone | None) -> None:
        """Have what is given back go to another zone, which receives it; or here again."""
        self.pressed += (to is not None) - (self.diverted is not None)
        self.diverted = to

    def _here(self) -> Cache:
        here: Cache = self._caches[self.cpus.current()]
        return here

    # Allocation when this CPU's cache is dry.

    def _alloc_dry(self, how: int, deadline: float | None) -> Item | None:
        while self.caching:
            bucket = self.depot.fetch()
            fresh = bucket is None
            if bucket is None:
                bucket = self._fill(how, deadline)
            if bucket is None:
                break
            self._load(bucket, fresh)
            item = self._here().pop()
            if item is not None:
                return item
        return self._alloc_item(how, deadline)

    def _fill(self, how: int, deadline: float | None) -> Bucket | None:
        """A bucket of items from the backend. See zone_alloc_bucket."""
        size = self.depot.bucket_size
        room = self.limiter.charge(size, M_NOWAIT, None) if size else 0
        if not room:
            return None
        bucket = self.depot.bucket()
        try:
            for item in self._import(min(room, bucket.entries), how, deadline):
                bucket.push(item)
        finally:
            if bucket.cnt < room:
                self.limiter.uncharge(room - bucket.cnt)
        if bucket.cnt:
            return bucket
        self._fails += 1
        return None

    def _import(self, count: int, how: int, deadline: float | None) -> list[Item]:
        if how == M_WAITOK:
            # It may wait for pages: what is freed meanwhile must get there.
            self._press(1)
        try:
            items: list[Item] = self.backend.take(count, how, deadline)
        finally:
            if how == M_WAITOK:
                self._press(-1)
        for item in items:
            item.home = self
        return items

    def _load(self, bucket: Bucket, fresh: bool) -> None:
        """Put a bucket where this CPU takes from; on the list, if another thread has filled the place."""
        with self.depot.lock:
            here = self._here()
            if here.alloc.cnt == 0:
                here.alloc = bucket
                if fresh:
                    self.depot.imported(bucket.cnt)
                return
            spill = self.depot.put(bucket)
        self._drain(spill)

    def _alloc_item(self, how: int, deadline: float | None) -> Item | None:
        """One item past all caches. See zone_alloc_item."""
        self._limited = not self.limiter.charge(1, how, deadline)
        if self._limited:
            self._fails += 1
            return None
        if self.closed:
            self.limiter.uncharge(1)
            raise Inval(f"{self.name}: this pool is closed")
        items: list[Item] = []
        try:
            items = self._import(1, how, deadline)
        finally:
            if not items:
                self.limiter.uncharge(1)
        if not items:
            self._fails += 1
            return None
        self._allocs += 1
        return items[0]

    # Free when this CPU's cache is full.

    def _free_full(self, item: Item) -> int:
        """List the full bucket, and begin another. See cache_free."""
        while self.caching and self.depot.bucket_size:
            if not self.depot.lock.enter():
                self.depot.lock.defer(self.free, item)
                return 0
            try:
                here = self._here()
                spill = self.depot.put(here.free)
                here.free = self.depot.bucket()
            finally:
                self.depot.lock.leave()
            self._drain(spill)
            if self._here().push(item):
                return 0
        return self._give(item)

    def _give(self, item: Item) -> int:
        """One item past all caches. See zone_free_item."""
        if self.diverted is not None:
            self.diverted.receive(item)
            return 0
        self.backend.give([item])
        self._frees += 1
        self.limiter.uncharge(1)
        return 0

    def _drain(self, buckets: list[Bucket]) -> None:
        """Give the items of buckets back to the backend. See bucket_drain."""
        for bucket in buckets:
            items = bucket.items()
            self.backend.give(items)
            self.limiter.uncharge(len(items))

    # Limits.

    @property
    def limit(self) -> int:
        """Most items handed out or cached, 0 for no limit."""
        return self.limiter.max

    def set_max(self, count: int) -> int:
        """Set the limit, and size the caches to it. See uma_zone_set_max."""
        self.limiter.set(count)
        self.depot.fit(count, self.cpus.count)
        return count

    @property
    def exhausted(self) -> bool:
        """True while somebody waits at the limit. See uma_zone_exhausted."""
        return bool(self.limiter.waiters)

    def _press(self, change: int) -> None:
        self.pressed += change
        for zone in self.feeds:
            zone.pressed += change

    def _wring(self) -> None:
        # Own caches too: what was freed since they were found empty would never come by.
        for zone in (*self.feeds, self):
            zone.reclaim(UMA_RECLAIM_DRAIN_CPU)

    def denied(self) -> MbufError:
        """The error that says why the last request failed, and what to raise."""
        limit = self.limiter
        if not limit.max or (limit.items < limit.max and not self._limited):
            return self.backend.denied()
        used, cached = self.used, self.cached
        return NoBufs(
            f"{self.name} at its limit of {limit.max}: {used} in use, {cached} cached; raise {limit.sysctl}",
            zone=self.name,
            limit=limit.max,
            used=used,
            cached=cached,
            sysctl=limit.sysctl,
        )

    def obstacle(self) -> tuple[Zone, Any]:
        """The zone that denied the last request, this one or one behind it, and the line to stand in there."""
        limit: Limit = self.limiter
        found: tuple[Zone, Any] = (self, limit) if limit.reached else self.backend.obstacle(self)
        return found

    # Letting go.

    def reclaim(self, request: int) -> None:
        """Give cached items back: what is spare (TRIM), the listed (DRAIN), or all (DRAIN_CPU).

        A second request while one runs does nothing. See uma_zone_reclaim.
        """
        if request not in (UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM):
            raise Inval(f"reclaim request {request}: give UMA_RECLAIM_DRAIN, _DRAIN_CPU or _TRIM")
        if self._reclaiming:
            return
        self._reclaiming = True
        try:
            self._drain(self.depot.take_out(request, self._caches, self._none))
            self.backend.drain()
        finally:
            self._reclaiming = False

    def close(self) -> None:
        """Hand out no more, cache no more; what is out comes back to the backend when it is freed."""
        self.closed = True
        self.caching = False
        self.reclaim(UMA_RECLAIM_DRAIN_CPU)
        self.pressed += 1
        self.feeds = ()
        self.source = None
        self.backend.close()
        self.limiter.dismiss()
        self.limiter.ring = self.limiter.wring = self.limiter.press = nothing


def _entries(size: int, entries: int | None) -> int:
    """How many items a bucket holds at first."""
    return default_entries(size) if entries is None else entries
