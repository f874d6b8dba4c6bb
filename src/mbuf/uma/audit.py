"""Checks of zones and kegs: what must be true between two calls of their methods.

They read everything and change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.bucket import Bucket
    from mbuf.uma.budget import Budget
    from mbuf.uma.counters import Counters
    from mbuf.uma.keg import Keg
else:
    from mbuf.shadow import cython

from mbuf.errors import Corrupt
from mbuf.uma.cache import Cache

if not cython.compiled:
    from mbuf.uma.item import is_out
    from mbuf.vm.commit import enter_commit, is_listed, leave_commit


def audit_zone(zone: Counters) -> None:
    """Raise `Corrupt` with the first contradiction in a zone's caches, depot, limit and queue."""
    if zone is None or zone.limiter is None:
        raise Corrupt("this zone was never initialized")
    enter_commit()
    try:
        wrong = _wrong_with(zone)
    finally:
        leave_commit()
    if wrong:
        raise Corrupt(f"zone {zone.name}: {wrong}")


def audit_budget(budget: Budget) -> None:
    """Raise `Corrupt` with the first contradiction in the queue and the promises of a budget."""
    if budget is None:
        raise Corrupt("there is no budget")
    enter_commit()
    try:
        wrong = budget.contradiction()
    finally:
        leave_commit()
    if wrong:
        raise Corrupt(f"budget: {wrong}")


def audit_keg(keg: Keg) -> list[tuple[int, int]]:
    """Raise `Corrupt` with the first contradiction in a keg. Returns the pages of its slabs, as runs (first, count).

    The runs of all kegs of a `Vm` together are the argument of `Vm.audit`.
    """
    runs: list[tuple[int, int]] = []
    if keg is None:
        raise Corrupt("there is no keg")
    enter_commit()
    try:
        wrong = _wrong_slabs(keg, runs) or keg._waiters.contradiction()
    finally:
        leave_commit()
    if wrong:
        raise Corrupt(f"keg {keg.name}: {wrong}")
    return runs


def after_taking_back(
    zones: tuple[Any, ...], kegs: tuple[Any, ...], used: tuple[Any, ...]
) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """What kegs would have if the caches of zones were empty: free items in used slabs, now and then, and pages.

    The pages are runs (first page, count) of slabs that are empty, or would be. In the kegs `used`, a slab that has a
    free item now would be used before.
    """
    counts: dict[Any, int] = {}
    for each in zones:
        zone: Any = each
        for n in range(zone._count):
            here = cython.cast(Cache, zone._caches[n])
            _count_slabs(here.alloc, counts)
            _count_slabs(here.free, counts)
        bucket = zone.depot._first
        while bucket is not None:
            _count_slabs(bucket, counts)
            bucket = bucket.next
    found = []
    for each in kegs:
        keg: Any = each
        now = free = keg._free - keg._empty.count * keg._items
        runs: list[tuple[int, int]] = []
        for key, count in counts.items():
            slab: Any = key
            if slab.keg == (cython.cast(cython.p_void, keg) if cython.compiled else keg):
                free += count
                if slab.free + count == slab.items and (slab.free == 0 or keg not in used):
                    runs.append((slab.page, slab.count))
                    free -= slab.items
        slab = keg._empty.head()
        while slab is not None:
            runs.append((slab.page, slab.count))
            slab = keg._empty.next(slab)
        found.append((now, free, runs))
    return found


def _count_slabs(bucket: Bucket, counts: dict[Any, int]) -> None:
    """Count the items of a bucket by their slabs, and those that they are paired with."""
    n = 0
    while n < bucket.cnt:
        item: Any = bucket.at(n)
        n += 1
        counts[item.run] = counts.get(item.run, 0) + 1
        item = item.paired()
        if item is not None:
            counts[item.run] = counts.get(item.run, 0) + 1


def _wrong_with(zone: Counters) -> str:
    """In a commit: the first contradiction in a zone, or ""."""
    cached = zone.depot._work.nitems
    balance = zone._allocs - zone._frees
    for n in range(zone._count):
        here = cython.cast(Cache, zone._caches[n])
        if here.alloc is here.free and here.alloc is not zone._none:
            return f"CPU {n} has the same bucket twice"
        found = _wrong_in(here.alloc, zone) or _wrong_in(here.free, zone)
        if found:
            return found
        cached += here.count()
        balance += here.allocs - here.frees
    bucket = zone.depot._first
    while bucket is not None:
        found = _wrong_in(bucket, zone)
        if found:
            return found
        bucket = bucket.next
    if zone.closed and cached:
        return f"{cached} items are cached, and the zone is closed"
    found = zone.depot.contradiction()
    return found or zone.limiter.contradiction(balance + cached + zone.adopted)


def _wrong_in(bucket: Bucket, zone: Counters) -> str:
    for n in range(bucket.cnt):
        item = bucket.at(n)
        if is_out(item):
            return "an item is cached, and handed out"
        if item.zone is not zone:
            return "an item of another zone is cached"
        if is_listed(item):
            return "an item is cached, and on a release list"
    return ""


def _wrong_slabs(keg: Keg, runs: list[tuple[int, int]]) -> str:
    """In a commit: the first contradiction in the slabs, or "". Adds their pages to `runs`."""
    free = count = 0
    for slabs in (keg._partial, keg._empty, keg._full):
        slab: Any = slabs.head()
        while slab is not None:
            if not slabs.holds(slab) or bin(slab.bits).count("1") != slab.free:
                return f"the slab at page {slab.page} has {slab.bits:#b} free, {slab.free} by its count"
            if (slab.free == keg._items, slab.free == 0) != (slabs is keg._empty, slabs is keg._full):
                return f"the slab at page {slab.page} is in the wrong list: {slab.free} of its items are free"
            free += slab.free
            count += 1
            runs.append((slab.page, slab.count))
            slab = slabs.next(slab)
    if (count, free) != (keg.slabs, keg._free):
        return f"the keg counts {keg.slabs} slabs with {keg._free} free items, and has {count} with {free}"
    return ""
