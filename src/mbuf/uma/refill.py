# cython: nonecheck=True
"""Bucketfuls of items between a zone and its backend.

A bucket on its way is held by the call alone: whatever is raised, its items go back to the backend, and what was
charged for them is taken off.
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
    from mbuf.uma.item import hand_out
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import enter_commit, leave_commit


def from_depot(zone: Counters, now: float) -> Item | None:
    """An item of the bucket listed last, which this CPU has from now on."""
    enter_commit()
    try:
        here = cython.cast(Cache, zone._caches[zone.cpus.here()])
        if here.count() == 0 and zone.caching:
            bucket = zone.depot.fetch(now)
            if bucket is not None:
                here.alloc = bucket
        return pop_cached(here)
    finally:
        leave_commit()


def load(zone: Counters, bucket: Bucket) -> Item | None:
    """Put a new bucket where this CPU takes from; on the list, if another thread has filled the place."""
    enter_commit()
    try:
        here = cython.cast(Cache, zone._caches[zone.cpus.here()])
        spilt = not zone.caching
        if not spilt:
            count = bucket.cnt
            if here.alloc.cnt == 0:
                here.alloc = bucket
                zone.depot.imported(count)
            else:
                spilt = not zone.depot.put(bucket)
            if not spilt:
                zone.limiter.moving -= count
        item = pop_cached(here)
    finally:
        leave_commit()
    if spilt:
        try:
            drain(zone, bucket)
        except BaseException:
            if item is not None:
                zone.free(item)
            raise
    return item


def alloc_item(zone: Counters, how: int, deadline: float | None) -> Item | None:
    """One item past all caches. See zone_alloc_item."""
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
        give_up(zone, bucket, 1)
        raise
    if zone.closed or not bucket.cnt:
        give_up(zone, bucket, 1)
        if zone.closed:
            raise Inval(f"{zone.name}: this pool is closed")
        zone._fails += 1
        return None
    enter_commit()
    try:
        item = bucket.pop()
        hand_out(item)
        zone._allocs += 1
        zone.limiter.moving -= 1
        return item
    finally:
        leave_commit()


def fill(zone: Counters, how: int, deadline: float | None) -> Bucket | None:
    """A bucket of items from the backend. See zone_alloc_bucket."""
    size = zone.depot.bucket_size
    room = zone.limiter.charge(size, M_NOWAIT, None) if size else 0
    if not room:
        return None
    bucket = cython.cast(Bucket, None)
    try:
        bucket = zone.depot.bucket()
        bucket.charged = room
        import_items(zone, bucket, min(room, bucket.entries), how, deadline)
        surplus = room - bucket.cnt
        room = bucket.cnt
        if surplus:
            zone.limiter.uncharge(surplus)
    except BaseException:
        give_up(zone, bucket, room)
        raise
    if bucket.cnt:
        return bucket
    zone._fails += 1
    return None


def import_items(zone: Counters, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
    """Have the backend put up to `count` items into a bucket; what is in it if this raises is to be given up."""
    if how == M_WAITOK:
        _begin_wait(zone, bucket)
    try:
        zone.backend.take(bucket, count, how, deadline)
    finally:
        if how == M_WAITOK:
            _end_wait(zone, bucket)
    bucket.house(zone)


def _begin_wait(zone: Counters, bucket: Bucket) -> None:
    """It may wait for pages: what is freed meanwhile must get there."""
    enter_commit()
    bucket.thread = current_thread()
    bucket.behind = zone._waiting
    zone._waiting = bucket
    leave_commit()
    zone.bypass_caches(1)


def _end_wait(zone: Counters, bucket: Bucket) -> None:
    """The wait is over, if there was one."""
    enter_commit()
    at: Any = zone._waiting
    if at is bucket:
        zone._waiting = bucket.behind
    else:
        while at is not None and at.behind is not bucket:
            at = at.behind
        if at is not None:
            at.behind = bucket.behind
    bucket.behind = None
    leave_commit()
    zone.bypass_caches(-1)


def forked(zone: Counters) -> None:
    """In the child of a fork: threads that waited aren't here. What was meant for them goes back."""
    zone.limiter.forked()
    bucket: Any = zone._waiting
    while bucket is not None:
        behind: Any = bucket.behind
        if bucket.thread != current_thread():
            _end_wait(zone, bucket)
            give_up(zone, bucket, bucket.charged)
        bucket = behind


def give_up(zone: Counters, bucket: Bucket, charged: int) -> None:
    """Give the items of a bucket that was to be filled back, and what was charged for it."""
    try:
        while bucket is not None and bucket.cnt:
            zone.backend.give(bucket.pop())
    finally:
        zone.limiter.uncharge(charged)


def drain(zone: Counters, bucket: Bucket | None) -> None:
    """Give the items of a list of buckets back to the backend, the bottom one first. See bucket_drain."""
    failure: BaseException | None = None
    while bucket is not None:
        behind = bucket.behind
        bucket.behind = None
        bucket.reverse()
        while bucket.cnt:
            try:
                _give_back(zone, bucket)
            except BaseException as error:  # kept, and raised below, when all is given back
                failure = failure or error
        bucket = behind
    if failure is not None:
        raise failure


def _give_back(zone: Counters, bucket: Bucket) -> None:
    """Give the top item back."""
    try:
        zone.backend.give(bucket.pop())
    finally:
        zone.limiter.uncharge(1)


def take_out(zone: Counters, request: int, now: float) -> Bucket | None:
    """In a commit: the buckets that a reclaim takes out of the list, and out of the CPUs' caches."""
    left = zone.depot.tick(request, now)
    first: Any = None
    last: Any = None
    if request == UMA_RECLAIM_DRAIN_CPU:
        zone.depot.halve()
        for n in range(zone._count):
            here = cython.cast(Cache, zone._caches[n])
            if here.alloc.cnt:
                here.alloc.behind = first
                first = here.alloc
            if here.free.cnt:
                here.free.behind = first
                first = here.free
            zone.limiter.moving += here.count()
            here.alloc = here.free = zone._none
    while zone.depot._work.nitems > left:
        bucket: Any = zone.depot._pop()
        if bucket is None:
            # Uncompiled, an exception had come between taking a bucket out and counting it.
            break
        zone.limiter.moving += bucket.cnt
        bucket.behind = first
        first = bucket
    zone.depot.shrink()
    # In the order in which they were taken out.
    while first is not None:
        bucket = first
        first = bucket.behind
        bucket.behind = last
        last = bucket
    found: Bucket | None = last
    return found


def trim(zones: tuple[Any, ...], through: Counters) -> None:
    """Take what is spare out of the caches of zones. What `through` gets back meanwhile passes its caches by."""
    through.bypass_caches(1)
    try:
        for zone in zones:
            zone.reclaim(UMA_RECLAIM_TRIM)
    finally:
        through.bypass_caches(-1)
