"""What must be true of a zone whenever nobody is in the middle of an allocation.

Reads all of it; changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from mbuf.uma.bucket import Bucket
    from mbuf.uma.tally import Tally
else:
    from mbuf.shadow import cython

from mbuf.uma.cache import Cache


def zone_contradiction(zone: Tally) -> str:
    """In a commit: what of the zone can't be right, "" if all may be."""
    cached = zone.depot._work.nitems
    balance = zone._allocs - zone._frees
    for n in range(zone._count):
        here = cython.cast(Cache, zone._lanes[n])
        if here.alloc is here.free and here.alloc is not zone._none:
            return f"CPU {n} has one bucket for two"
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
        bucket = bucket.behind
    if zone.closed and cached:
        return f"{cached} items are cached, and the zone is closed"
    found = zone.depot.contradiction()
    return found or zone.limiter.contradiction(balance + cached + zone.adopted)


def _wrong_in(bucket: Bucket, zone: Tally) -> str:
    for n in range(bucket.cnt):
        item = bucket.at(n)
        if item.out:
            return "an item is cached, and handed out"
        if item.home is not zone:
            return "an item is cached that is not at home here"
        if item.listed:
            return "an item is cached, and on its way here"
    return ""
