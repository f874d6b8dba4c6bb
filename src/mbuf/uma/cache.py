"""This CPU's free items.

Two buckets: one to take from and give to, one spare, so that a run of either costs nothing but a swap. An operation
is part of a commit, or, compiled, a step of plain C that needs none. Never sees another CPU's cache.
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
    """See struct uma_cache in uma_int.h."""

    __slots__ = ("alloc", "allocs", "free", "frees")

    def __init__(self, none: Bucket) -> None:
        if not isinstance(none, Bucket):
            raise TypeError("a cache begins with a bucket that has no entries")
        # `none` stands for no bucket: it has no item and no room.
        self.alloc = none
        self.free = none
        self.allocs = 0
        self.frees = 0

    def count(self) -> int:
        """Items in both buckets."""
        return self.alloc.cnt + self.free.cnt


if not cython.compiled:
    from mbuf.uma.item import hand_out, take_home

    def swap(cache: Cache) -> None:
        """Let the spare bucket be the one to take from and give to."""
        cache.alloc, cache.free = cache.free, cache.alloc

    def pop_cached(cache: Cache) -> Item | None:
        """An item, or None when neither bucket has one."""
        if cache.alloc.cnt == 0:
            if cache.free.cnt == 0:
                return None
            swap(cache)
        cache.allocs += 1
        item = cache.alloc.pop()
        hand_out(item)
        return item

    def push_cached(cache: Cache, item: Item) -> bool:
        """Keep an item; false when neither bucket has room."""
        if cache.alloc.cnt == cache.alloc.entries:
            if cache.free.cnt == cache.free.entries:
                return False
            swap(cache)
        take_home(item)
        cache.frees += 1
        cache.alloc.push_below_top(item)
        return True
