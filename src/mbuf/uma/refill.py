# cython: nonecheck=True
"""Buckets of items between a zone, its depot and its backend: the slow steps of zone.py.

A bucket in transit belongs to one call. Whatever is raised, its items go back to the backend, and what was charged for
them is uncharged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.counters import Counters
    from mbuf.uma.item import Item
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_WAITOK, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM
from mbuf.errors import Inval
from mbuf.uma.bucket import Bucket
from mbuf.uma.cache import Cache

if not cython.compiled:
    from mbuf.uma.cache import pop_cached
    from mbuf.uma.item import mark_out
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import enter_commit, leave_commit


def from_depot(zone: Counters, now: float) -> Item | None:
    """Make the first bucket of the depot the bucket `alloc` of this CPU, and take an item from it."""
    enter_commit()
    try:
        here = cython.cast(Cache, zone._caches[zone.cpus.here()])
        if here.count() == 0 and zone.caching:
            bucket = zone.depot.pop(now)
            if bucket is not None:
                here.alloc = bucket
        return pop_cached(here)
    finally:
        leave_commit()


def load(zone: Counters, bucket: Bucket) -> Item | None:
    """Make a filled bucket the bucket `alloc` of this CPU, and take an item; if it has one already, list the bucket."""
    enter_commit()
    try:
        here = cython.cast(Cache, zone._caches[zone.cpus.here()])
        rejected = not zone.caching
        if not rejected:
            count = bucket.cnt
            if here.alloc.cnt == 0:
                here.alloc = bucket
                zone.depot.imported(count)
            else:
                rejected = not zone.depot.push(bucket)
            if not rejected:
                zone.limiter.in_transit -= count
        item = pop_cached(here)
    finally:
        leave_commit()
    if rejected:
        try:
            drain(zone, bucket)
        except BaseException:
            if item is not None:
                zone.free(item)
            raise
    return item


def alloc_item(zone: Counters, how: int, deadline: float | None) -> Item | None:
    """Allocate one item past all caches. See zone_alloc_item."""
    bucket = Bucket(1)
    bucket.charged = 1
    zone._limited = not zone.limiter.charge(1, how, deadline)
    if zone._limited:
        zone._fails += 1
        return None
    try:
        if not zone.closed:
            import_items(zone, bucket, 1, how, deadline)
    except BaseException:
        release_bucket(zone, bucket, 1)
        raise
    if zone.closed or not bucket.cnt:
        release_bucket(zone, bucket, 1)
        if zone.closed:
            raise Inval(f"{zone.name}: this pool is closed")
        zone._fails += 1
        return None
    enter_commit()
    try:
        item = bucket.pop()
        mark_out(item)
        zone._allocs += 1
        zone.limiter.in_transit -= 1
        return item
    finally:
        leave_commit()


def fill(zone: Counters, how: int, deadline: float | None) -> Bucket | None:
    """A new bucket of items from the backend; None if there are none. See zone_alloc_bucket."""
    size = zone.backend.batch(zone.depot.bucket_size)
    room = zone.limiter.charge(size, M_NOWAIT, None) if size else 0
    if not room:
        return None
    bucket = cython.cast(Bucket, None)
    try:
        bucket = zone.depot.new_bucket()
        bucket.charged = room
        import_items(zone, bucket, min(room, bucket.entries), how, deadline)
        surplus = room - bucket.cnt
        room = bucket.cnt
        if surplus:
            zone.limiter.uncharge(surplus)
    except BaseException:
        release_bucket(zone, bucket, room)
        raise
    if bucket.cnt:
        return bucket
    zone._fails += 1
    return None


def import_items(zone: Counters, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
    """Let the backend add up to `count` items to a bucket. If this raises, the caller calls `release_bucket`."""
    if how == M_WAITOK:
        _begin_wait(zone, bucket)
    try:
        zone.backend.take(bucket, count, how, deadline)
    finally:
        if how == M_WAITOK:
            _end_wait(zone, bucket)
    bucket.set_zone(zone)


def _begin_wait(zone: Counters, bucket: Bucket) -> None:
    """Before an import that may wait for pages: items that are freed meanwhile must go to the backend."""
    enter_commit()
    bucket.thread = current_thread()
    bucket.next = zone._waiting
    zone._waiting = bucket
    leave_commit()
    zone.bypass_caches(1)


def _end_wait(zone: Counters, bucket: Bucket) -> None:
    """After an import that might have waited."""
    enter_commit()
    at: Any = zone._waiting
    if at is bucket:
        zone._waiting = bucket.next
    else:
        while at is not None and at.next is not bucket:
            at = at.next
        if at is not None:
            at.next = bucket.next
    bucket.next = None
    leave_commit()
    zone.bypass_caches(-1)


def forked(zone: Counters) -> None:
    """In the child of a fork: give back the buckets of threads that waited, which don't exist here."""
    zone.limiter.forked()
    bucket: Any = zone._waiting
    while bucket is not None:
        following: Any = bucket.next
        if bucket.thread != current_thread():
            _end_wait(zone, bucket)
            release_bucket(zone, bucket, bucket.charged)
        bucket = following


def release_bucket(zone: Counters, bucket: Bucket, charged: int) -> None:
    """Give the items of a bucket back, and uncharge what was charged for it."""
    try:
        while bucket is not None and bucket.cnt:
            zone.backend.give(bucket.pop())
    finally:
        zone.limiter.uncharge(charged)


def drain(zone: Counters, bucket: Bucket | None) -> None:
    """Give the items of a list of buckets back to the backend, each from the bottom up. See bucket_drain."""
    failure: BaseException | None = None
    while bucket is not None:
        following = bucket.next
        bucket.next = None
        bucket.reverse()
        while bucket.cnt:
            try:
                _give_back(zone, bucket)
            except BaseException as error:  # kept, and raised below, when all is given back
                failure = failure or error
        bucket = following
    if failure is not None:
        raise failure


def _give_back(zone: Counters, bucket: Bucket) -> None:
    """Give the top item of a bucket back, and uncharge it."""
    try:
        zone.backend.give(bucket.pop())
    finally:
        zone.limiter.uncharge(1)


def detach_buckets(zone: Counters, request: int, now: float) -> Bucket | None:
    """In a commit: take the buckets of a reclaim out of the depot and the caches; a list of them."""
    left = zone.depot.tick(request, now)
    first: Any = None
    last: Any = None
    if request == UMA_RECLAIM_DRAIN_CPU:
        zone.depot.halve()
        for n in range(zone._count):
            here = cython.cast(Cache, zone._caches[n])
            if here.alloc.cnt:
                here.alloc.next = first
                first = here.alloc
            if here.free.cnt:
                here.free.next = first
                first = here.free
            zone.limiter.in_transit += here.count()
            here.alloc = here.free = zone._none
    while zone.depot._work.nitems > left:
        bucket: Any = zone.depot._pop()
        if bucket is None:
            # Uncompiled, an exception came between taking a bucket out and counting it.
            break
        zone.limiter.in_transit += bucket.cnt
        bucket.next = first
        first = bucket
    zone.depot.shrink()
    # Reverse the list: the order in which they were taken out.
    while first is not None:
        bucket = first
        first = bucket.next
        bucket.next = last
        last = bucket
    found: Bucket | None = last
    return found


def trim(zones: tuple[Any, ...], through: Counters) -> None:
    """Trim zones. Items that are freed to the zone `through` meanwhile bypass its caches."""
    through.bypass_caches(1)
    try:
        for zone in zones:
            zone.reclaim(UMA_RECLAIM_TRIM)
    finally:
        through.bypass_caches(-1)
