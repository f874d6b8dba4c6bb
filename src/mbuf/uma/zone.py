"""Free items, cached, counted and limited.

The order of an allocation is the order of the steps here: this CPU's cache, the zone's list of full
buckets, a new bucketful from the backend, a single item. Each step is a commit, or a step of plain C: it takes an item
or a bucket from one place and puts it into another, and changes the counts. Between steps a bucket is held by the
call alone, which gives back what is in it whatever is raised. Never touches what an item holds; never calls the
backend in a commit.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mbuf.const import UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM
from mbuf.errors import Corrupt, Inval, MbufError, NoBufs
from mbuf.uma.backend import Backend
from mbuf.uma.bucket import Bucket, default_entries
from mbuf.uma.cache import Cache
from mbuf.uma.counters import Counters
from mbuf.uma.cpu import Cpus
from mbuf.uma.depot import Depot
from mbuf.uma.item import Item
from mbuf.uma.limit import Limit, nothing
from mbuf.uma.refill import alloc_item, drain, fill, from_depot, load, take_out
from mbuf.vm.probe import Probes

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.uma.cache import pop_cached, push_cached
    from mbuf.uma.item import is_out, take_home
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import acquired, enter_commit, inside, leave_commit, put


@cython.no_gc
@cython.cclass
class Zone(Counters):
    """Items of one kind, drawn from a backend.

    `entries` is how many items a bucket holds at first, None for what suits `size`; `caching` false is
    the kernel's page-shortage mode, without any bucket. `feeds`, if set, is a zone whose cached items hold
    items of this one. See zone(9).
    """

    __slots__ = ("_cache", "_reclaimer", "diverted", "feeds")

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
        if not isinstance(backend, Backend) or not isinstance(cpus, Cpus):
            raise TypeError("a zone is made of a Backend and of Cpus")
        self.init_caches(cpus)
        self.init_counters(
            name, size, backend, primary, Limit(name, sysctl, clock), Depot(_entries(size, entries), clock)
        )
        self.caching = caching
        self.feeds: Zone | None = None
        self.held = 0
        self.source: Any = None
        self.probes = Probes()
        #: Where items go that are given back, if not here; then this is pressed.
        self.diverted: Zone | None = None
        self.limiter.owner = self
        # The thread that reclaims.
        self._reclaimer = 0
        # The only cache, used directly: there is no other CPU, and a subclass may do more than take an item.
        alone = cython.compiled and cpus.count == 1 and type(self) is Zone
        self._cache = cython.cast(Cache, self._caches[0]) if alone else None

    # The calls of every allocation and free.

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """An item, or None when there is none to be had. See uma_zalloc_arg."""
        item = self._pop_here() if self._cache is None else pop_cached(self._cache)
        if item is None:
            item = self._alloc_dry(how, deadline)
        acquired()
        return item

    def free(self, item: Item) -> None:
        """Take an item back; None is no item. See uma_zfree_arg."""
        if item is None:
            pass
        elif self._cache is None or self.bypassed or not is_out(item) or item.home is not self:
            self._free_slow(item)
        elif not push_cached(self._cache, item):
            self._free_full(item)

    def keep(self, item: Item) -> bool:
        """In a commit: cache an item if that is all there is to do; false if it must go by `free`."""
        if self._cache is None:
            return self._push(item)
        return cache_item(self, item)

    def _push(self, item: Item) -> bool:
        """In a commit: `keep`, whatever kind of zone this is."""
        if self.bypassed or not is_out(item) or item.home is not self or not self._count:
            return False
        here = cython.cast(Cache, self._caches[0 if self._count == 1 else self.cpus.here()])
        kept: bool = push_cached(here, item)
        return kept

    def _pop_here(self) -> Item | None:
        self._made()
        enter_commit()
        try:
            item: Item | None = pop_cached(cython.cast(Cache, self._caches[self.cpus.here()]))
            return item
        finally:
            leave_commit()

    def _push_here(self, item: Item) -> bool:
        enter_commit()
        try:
            return self._push(item)
        finally:
            leave_commit()

    def receive(self, item: Item) -> None:
        """Take an item that another zone has handed out."""
        if item is not None:
            self._made()
            item.home = self
            self.free(item)

    def adopt(self) -> None:
        """Charge for an item that will be given back here, and that this zone did not hand out."""
        self._made()
        enter_commit()
        try:
            self.adopted += 1
            self.limiter.moving -= 1
        finally:
            leave_commit()
        self.limiter.uncharge(-1)

    def divert(self, to: Zone | None) -> None:
        """Have what is given back go to another zone, which receives it; or here again."""
        enter_commit()
        try:
            self.bypassed += (to is not None) - (self.diverted is not None)
            self.diverted = to
        finally:
            leave_commit()

    def _made(self) -> None:
        if not self._count:
            raise Inval("this zone was never made")

    def _check_out(self, item: Item) -> None:
        """Raise unless the item is one that this zone's user has."""
        if item.home is not self:
            raise Inval(f"{self.name}: this item is not at home here")
        if not is_out(item):
            raise Corrupt(f"duplicate free of an item of {self.name}")

    # Allocation when this CPU's cache is dry.

    def _alloc_dry(self, how: int, deadline: float | None) -> Item | None:
        while self.caching:
            now = self.depot.clock()
            item = from_depot(self, now)
            if item is not None:
                return item
            bucket = fill(self, how, deadline)
            if bucket is None:
                break
            item = load(self, bucket)
            if item is not None:
                return item
        return alloc_item(self, how, deadline)

    # Free when that isn't all there is to do.

    def _free_slow(self, item: Item) -> None:
        if inside():
            # A finalizer or signal handler has interrupted a commit: afterwards.
            put(item)
        else:
            self._check_out(item)
            if self.bypassed:
                self._give(item)
            elif not self._push_here(item):
                self._free_full(item)

    def _free_full(self, item: Item) -> None:
        """List the full bucket, and begin another. See cache_free."""
        kept = False
        while not kept and self.caching and self.depot.bucket_size and not self.bypassed:
            fresh = self.depot.bucket()
            full = cython.cast(Bucket, None)
            enter_commit()
            try:
                here = cython.cast(Cache, self._caches[self.cpus.here()])
                kept = self._push(item)
                if not kept and self.caching and not self.bypassed:
                    if not self.depot.put(here.free):
                        full = here.free
                        self.limiter.moving += full.cnt
                    here.free = fresh
                    kept = push_cached(here, item)
            finally:
                leave_commit()
            if full is not None:
                drain(self, full)
        if not kept:
            self._give(item)

    def _give(self, item: Item) -> None:
        """One item past all caches. See zone_free_item."""
        to = self.diverted
        if to is not None:
            to.receive(item)
        else:
            self._take_back(item)
            try:
                self.backend.give(item)
            finally:
                self.limiter.uncharge(1)

    def _take_back(self, item: Item) -> None:
        """Count an item as given back, once."""
        enter_commit()
        try:
            out = is_out(item)
            if out:
                take_home(item)
                self._frees += 1
                self.limiter.moving += 1
        finally:
            leave_commit()
        if not out:
            self._check_out(item)

    # Limits.

    @property
    def limit(self) -> int:
        """Most items handed out or cached, 0 for no limit."""
        self._made()
        return self.limiter.max

    def set_max(self, count: int) -> int:
        """Set the limit, and size the caches to it. See uma_zone_set_max."""
        self._made()
        self.limiter.set(count)
        self.depot.fit(count, self.cpus.count)
        return count

    @property
    def exhausted(self) -> bool:
        """True while somebody waits at the limit. See uma_zone_exhausted."""
        self._made()
        return bool(self.limiter.waiters)

    def bypass_caches(self, change: int) -> None:
        """Have caches passed by, here and in the zone that this feeds."""
        self.bypassed += change
        if self.feeds is not None:
            self.feeds.bypassed += change

    def drain_caches(self) -> None:
        """Give back all that caches hold, here and in the zone that this feeds."""
        # Own caches too: what was freed since they were found empty would never come by.
        if self.feeds is not None:
            self.feeds._reclaim(UMA_RECLAIM_DRAIN_CPU)
        self._reclaim(UMA_RECLAIM_DRAIN_CPU)

    def denied(self) -> MbufError:
        """The error that says why the last request failed, and what to raise."""
        self._made()
        limit = self.limiter
        if not limit.max or (limit.items < limit.max and not self._limited):
            error: MbufError = self.backend.denied()
            return error
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
        self._made()
        found: tuple[Zone, Any] = (self, self.limiter) if self.limiter.reached else self.backend.obstacle(self)
        return found

    # Letting go.

    def reclaim(self, request: int) -> None:
        """Give cached items back: what is spare (TRIM), the listed (DRAIN), or all (DRAIN_CPU).

        One that comes from what a reclaim of the same thread calls does nothing. See uma_zone_reclaim.
        """
        if request not in (UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM):
            raise Inval(f"reclaim request {request}: give UMA_RECLAIM_DRAIN, _DRAIN_CPU or _TRIM")
        if self._reclaimer == current_thread():
            return
        self._reclaimer = current_thread()
        try:
            self._reclaim(request)
        finally:
            self._reclaimer = 0

    def _reclaim(self, request: int) -> None:
        self._made()
        now = self.depot.clock()
        enter_commit()
        try:
            bucket = take_out(self, request, now)
        finally:
            leave_commit()
        try:
            drain(self, bucket)
        finally:
            self.backend.drain()

    def close(self) -> None:
        """Hand out no more, cache no more; what is out comes back to the backend when it is freed."""
        self._made()
        if not self.closed:
            self.bypassed += 1
        self.closed = True
        self.caching = False
        self.feeds = None
        self.source = None
        limiter = self.limiter
        try:
            self._reclaim(UMA_RECLAIM_DRAIN_CPU)
        finally:
            try:
                self.backend.close()
            finally:
                limiter.on_limit = nothing
                limiter.dismiss()
                limiter.owner = None


if not cython.compiled:

    def cached_item(zone: Zone) -> Item | None:
        """An item out of the one cache, or None where there is more to do: see `alloc`."""
        return None

    def cache_item(zone: Zone, item: Item) -> bool:
        """In a commit: put an item into the one cache; false where there is more to do: see `keep`."""
        return False


def _entries(size: int, entries: int | None) -> int:
    """How many items a bucket holds at first."""
    return default_entries(size) if entries is None else entries
