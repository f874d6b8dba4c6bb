"""The cache of a CPU: its free items, in two buckets.

Allocating and freeing use the bucket `alloc`. When it is empty, or full, it is swapped with `free`. So a change between
runs of allocations and runs of frees seldom needs the depot. An operation is part of a commit, or, compiled, plain C
that needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.uma.bucket import Bucket
from mbuf.uma.item import Item


@cython.no_gc
@cython.cclass
class Cache:
    """Two buckets, and the counts of allocations and frees. See struct uma_cache in uma_int.h."""

    __slots__ = ("alloc", "allocs", "free", "frees")

    def __init__(self, none: Bucket) -> None:
        if not isinstance(none, Bucket):
            raise TypeError("Cache: give a bucket without entries")
        # `none` stands for "no bucket": it has no items and no room.
        self.alloc = none
        self.free = none
        self.allocs = 0
        self.frees = 0

    def count(self) -> int:
        """Items in both buckets."""
        return self.alloc.cnt + self.free.cnt


if not cython.compiled:
    from mbuf.uma.item import mark_free, mark_out

    def swap(cache: Cache) -> None:
        """Exchange the two buckets."""
        cache.alloc, cache.free = cache.free, cache.alloc

    def pop_cached(cache: Cache) -> Item | None:
        """Take an item and hand it out; None if both buckets are empty."""
        if cache.alloc.cnt == 0:
            if cache.free.cnt == 0:
                return None
            swap(cache)
        cache.allocs += 1
        item = cache.alloc.pop()
        mark_out(item)
        return item

    def push_cached(cache: Cache, item: Item) -> bool:
        """Put a freed item into a bucket; false if both are full."""
        if cache.alloc.cnt == cache.alloc.entries:
            if cache.free.cnt == cache.free.entries:
                return False
            swap(cache)
        mark_free(item)
        cache.frees += 1
        cache.alloc.push_below_top(item)
        return True
