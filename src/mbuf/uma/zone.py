"""A zone: items of one kind, which are cached, counted and limited. See zone(9).

    CPU 0: alloc [| | |..]  free [.....]    a `Cache` for each CPU: two buckets of items (cache.py)
    CPU 1: alloc [| |....]  free [| | |]
    depot: bucket -> bucket -> ...          full buckets, the last one listed is the first one taken (depot.py)
    limiter: items charged                  the limit, and the requests that wait (limit.py)
    backend: slabs, or other zones          what makes items and takes them back (backend.py)

An item is always in one place: handed out, in a bucket of a cache or of the depot, in the backend, or in transit: in a
bucket or a variable that belongs to one call.

Allocation tries, in this order:
1. the cache of this CPU: a bucket that isn't empty (`pop_cached`);
2. the depot: its first bucket becomes the bucket `alloc` of this CPU (`from_depot`);
3. the backend: a new bucket is charged at the limit, filled as far as possible, and becomes that of this CPU (`fill`,
   `load`);
4. the backend: a single item (`alloc_item`). Only this step waits at the limit; both steps 3 and 4 may wait for pages.

Freeing tries, in this order:
1. the cache of this CPU: a bucket that isn't full (`push_cached`). Compiled, the item goes below the top one: a
   program often still refers to the handle that it freed last, and an item with such a handle needs a new one;
2. the depot: if both buckets are full, `free` is listed there, and an empty bucket replaces it (`_free_full`). If the
   depot has enough items (`most`), the items of the full bucket go to the backend instead;
3. the backend (`_give`). Then the item is uncharged.

Rules
1. Each step above is a commit, or, compiled, plain C that needs none: see vm/commit.py. It moves one item or one
   bucket, and changes the counts with it. A commit acquires no other lock, so zones have no lock order. Between two
   steps other threads, finalizers and signal handlers may call the zone.
2. The backend, events and loggers are called between commits. If a call raises, the items in its bucket go back to the
   backend, and what was charged for them is uncharged (`release_bucket`). Compiled, no exception loses an item;
   uncompiled, one of a signal handler may (docs/explanation/safety.md).
3. While `bypassed` is above 0, freed items skip steps 1 and 2 of freeing. It counts the requests that wait for an item
   or may wait for pages, and trims; a zone that diverts its items, or is closed, counts once more.
4. A cache counts the items that were allocated from it and freed to it; the zone counts those past the caches. The
   difference of the sums is the number of items in use.
5. `reclaim` takes buckets out in a commit, then gives their items to the backend. TRIM takes what the working set
   doesn't need (workset.py), DRAIN the depot, DRAIN_CPU also the caches of all CPUs.

Compiled, with one CPU, `_cache` is the one cache, and the layers above use it without a method call (`cached_item`).
Uncompiled, with several CPUs, and in a subclass it is None, and `_pop_here` and `_push` find the cache.

Between commits, `limiter.items` is the number of items in use (those of `adopt` too), cached, and in transit; audit.py
checks it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mbuf.const import UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM
from mbuf.errors import Corrupt, Inval, MbufError, at_limit
from mbuf.uma.backend import Backend
from mbuf.uma.bucket import Bucket, default_entries
from mbuf.uma.cache import Cache
from mbuf.uma.counters import Counters
from mbuf.uma.cpu import Cpus
from mbuf.uma.depot import Depot
from mbuf.uma.item import Item
from mbuf.uma.limit import Limit, nothing
from mbuf.uma.refill import alloc_item, detach_buckets, drain, fill, from_depot, load
from mbuf.vm.probe import Probes

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.uma.cache import pop_cached, push_cached
    from mbuf.uma.item import is_out, mark_free
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import acquired, enter_commit, in_commit, leave_commit, release_later


@cython.no_gc
@cython.cclass
class Zone(Counters):
    """Items of one kind, which come from a backend.

    `entries` is the initial size of buckets, None for one that suits `size`. `caching` false is the kernel's
    page-shortage mode, without buckets. `feeds`, if set, is a zone whose cached items hold items of this one.
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
            raise TypeError("Zone: give a Backend and Cpus")
        self.init_caches(cpus)
        self.init_counters(
            name, size, backend, primary, Limit(name, sysctl, clock), Depot(_entries(size, entries), clock)
        )
        self.caching = caching
        self.feeds: Zone | None = None
        self.held = 0
        self.source: Any = None
        self.probes = Probes()
        #: The zone that receives the items freed here, if it isn't this one.
        self.diverted: Zone | None = None
        self.limiter.zone = self
        # The thread that is in `reclaim`.
        self._reclaimer = 0
        # A subclass may do more than take an item from the cache.
        alone = cython.compiled and cpus.count == 1 and type(self) is Zone
        self._cache = cython.cast(Cache, self._caches[0]) if alone else None

    def __repr__(self) -> str:
        # One whose `__init__` never ran has no caches.
        count = self._count if cython.compiled else getattr(self, "_count", 0)
        if not count:
            return f"<{type(self).__name__}, never made>"
        limit = f"limit {self.limiter.max}" if self.limiter.max else "no limit"
        closed = ", closed" if self.closed else ""
        return f"<{type(self).__name__} {self.name}: {self.used} used, {self.cached} cached, {limit}{closed}>"

    # Allocation and freeing: the fast paths.

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """Allocate an item; None if there is none. See uma_zalloc_arg."""
        item = self._pop_here() if self._cache is None else pop_cached(self._cache)
        if item is None:
            item = self._alloc_dry(how, deadline)
        acquired()
        return item

    def free(self, item: Item) -> None:
        """Free an item; None is ignored. See uma_zfree_arg."""
        if item is None:
            pass
        elif self._cache is None or self.bypassed or not is_out(item) or item.zone is not self:
            self._free_slow(item)
        elif not push_cached(self._cache, item):
            self._free_full(item)

    def try_free(self, item: Item) -> bool:
        """In a commit: free an item to the cache; false if the caller must use `free`."""
        if self._cache is None:
            return self._push(item)
        return cache_item(self, item)

    def _push(self, item: Item) -> bool:
        """In a commit: `try_free` for every kind of zone."""
        if self.bypassed or not is_out(item) or item.zone is not self or not self._count:
            return False
        here = cython.cast(Cache, self._caches[0 if self._count == 1 else self.cpus.here()])
        kept: bool = push_cached(here, item)
        return kept

    def _pop_here(self) -> Item | None:
        self._check_made()
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
        """Free an item that another zone has handed out."""
        if item is not None:
            self._check_made()
            item.zone = self
            self.free(item)

    def adopt(self) -> None:
        """Charge for an item that another zone handed out, and that will be freed here."""
        self._check_made()
        enter_commit()
        try:
            self.adopted += 1
            self.limiter.in_transit -= 1
        finally:
            leave_commit()
        self.limiter.uncharge(-1)

    def divert(self, to: Zone | None) -> None:
        """Make freed items go to another zone, which receives them; None for this zone again."""
        enter_commit()
        try:
            self.bypassed += (to is not None) - (self.diverted is not None)
            self.diverted = to
        finally:
            leave_commit()

    def _check_made(self) -> None:
        if not self._count:
            raise Inval("this zone was never initialized: call its __init__")

    def _check_out(self, item: Item) -> None:
        """Raise unless the item was handed out by this zone."""
        if item.zone is not self:
            raise Inval(f"{self.name}: this item belongs to another zone: free it there")
        if not is_out(item):
            raise Corrupt(f"duplicate free of an item of {self.name}")

    # Allocation when the cache of this CPU is empty.

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

    # Freeing when the cache can't take the item.

    def _free_slow(self, item: Item) -> None:
        if in_commit():
            # A finalizer or signal handler has interrupted a commit: free the item after it.
            release_later(item)
        else:
            self._check_out(item)
            if self.bypassed:
                self._give(item)
            elif not self._push_here(item):
                self._free_full(item)

    def _free_full(self, item: Item) -> None:
        """Move the full bucket to the depot, and put an empty one in its place. See cache_free."""
        kept = False
        while not kept and self.caching and self.depot.bucket_size and not self.bypassed:
            fresh = self.depot.new_bucket()
            full = cython.cast(Bucket, None)
            enter_commit()
            try:
                here = cython.cast(Cache, self._caches[self.cpus.here()])
                kept = self._push(item)
                if not kept and self.caching and not self.bypassed:
                    if not self.depot.push(here.free):
                        full = here.free
                        self.limiter.in_transit += full.cnt
                    here.free = fresh
                    kept = push_cached(here, item)
            finally:
                leave_commit()
            if full is not None:
                drain(self, full)
        if not kept:
            self._give(item)

    def _give(self, item: Item) -> None:
        """Free one item past all caches. See zone_free_item."""
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
        """Count an item as freed, once."""
        enter_commit()
        try:
            out = is_out(item)
            if out:
                mark_free(item)
                self._frees += 1
                self.limiter.in_transit += 1
        finally:
            leave_commit()
        if not out:
            self._check_out(item)

    # Limits.

    @property
    def limit(self) -> int:
        """Most items handed out or cached; 0 for no limit."""
        self._check_made()
        return self.limiter.max

    def set_max(self, count: int) -> int:
        """Set the limit, and adapt the sizes of the caches. See uma_zone_set_max."""
        self._check_made()
        self.limiter.set(count)
        self.depot.set_maxcache(count, self.cpus.count)
        return count

    @property
    def exhausted(self) -> bool:
        """True while a request waits at the limit. See uma_zone_exhausted."""
        self._check_made()
        return bool(self.limiter.waiters)

    def bypass_caches(self, change: int) -> None:
        """Add to the count of those that need the caches bypassed, here and in the zone that this one feeds."""
        self.bypassed += change
        if self.feeds is not None:
            self.feeds.bypassed += change

    def drain_caches(self) -> None:
        """Give the items of all caches back, here and in the zone that this one feeds."""
        # This zone's caches too: items may have been freed since they were found empty.
        feeds = self.feeds
        if feeds is not None:
            feeds._reclaim(UMA_RECLAIM_DRAIN_CPU)
        self._reclaim(UMA_RECLAIM_DRAIN_CPU)

    def denied(self) -> MbufError:
        """The error for a request that failed: what was full, and which limit to raise."""
        self._check_made()
        limit = self.limiter
        if not limit.max or (limit.items < limit.max and not self._limited):
            error: MbufError = self.backend.denied()
            return error
        return at_limit(self.name, limit.max, self.used, self.cached, limit.sysctl)

    def wait_target(self) -> tuple[Zone, Any]:
        """Where to wait after a request failed: the zone that denied it (this one or one behind it), and its queue."""
        self._check_made()
        found: tuple[Zone, Any] = (self, self.limiter) if self.limiter.reached else self.backend.wait_target(self)
        return found

    # Reclaiming and closing.

    def reclaim(self, request: int) -> None:
        """Give cached items back: the spare ones (TRIM), those of the depot (DRAIN), or all (DRAIN_CPU).

        Does nothing when it is called from a reclaim of the same thread. See uma_zone_reclaim.
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
        self._check_made()
        now = self.depot.clock()
        enter_commit()
        try:
            bucket = detach_buckets(self, request, now)
        finally:
            leave_commit()
        try:
            drain(self, bucket)
        finally:
            self.backend.drain()

    def close(self) -> None:
        """Stop handing out and caching items. Items that are out go to the backend when they are freed."""
        self._check_made()
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
                limiter.close()
                limiter.zone = None


if not cython.compiled:

    def cached_item(zone: Zone) -> Item | None:
        """An item from the one cache; None if the caller must use `alloc`."""
        return None

    def cache_item(zone: Zone, item: Item) -> bool:
        """In a commit: free an item to the one cache; false if the caller must use `free`."""
        return False


def _entries(size: int, entries: int | None) -> int:
    """The initial size of buckets."""
    return default_entries(size) if entries is None else entries
