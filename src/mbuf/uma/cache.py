"""This CPU's free items.

Two buckets: one to take from and give to, one spare, so that a run of either costs nothing but a swap.
Compiled, an operation is one step under the interpreter's lock and needs no other; uncompiled, it takes the
zone's. Never sees another CPU's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from mbuf.vm.lock import Lock
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
        # `none` stands for no bucket: it has no item and no room.
        self.alloc = none
        self.free = none
        self.allocs = 0
        self.frees = 0

    def pop(self) -> Item | None:
        """An item, or None when neither bucket has one."""
        if self.alloc.cnt == 0:
            if self.free.cnt == 0:
                return None
            self.alloc, self.free = self.free, self.alloc
        self.allocs += 1
        return self.alloc.pop()

    def push(self, item: Item) -> bool:
        """Keep an item; false when neither bucket has room."""
        if self.alloc.cnt == self.alloc.entries:
            if self.free.cnt == self.free.entries:
                return False
            self.alloc, self.free = self.free, self.alloc
        self.frees += 1
        self.alloc.tuck(item)
        return True

    def count(self) -> int:
        """Items in both buckets."""
        return self.alloc.cnt + self.free.cnt


@cython.no_gc
@cython.cclass
class LockedCache(Cache):
    """A cache for where the interpreter may switch threads in the middle of an operation."""

    __slots__ = ("lock",)

    def __init__(self, none: Bucket, lock: Lock) -> None:
        Cache.__init__(self, none)
        self.lock = lock

    def pop(self) -> Item | None:
        """As `Cache.pop`."""
        with self.lock:
            return Cache.pop(self)

    def push(self, item: Item) -> bool:
        """As `Cache.push`; also false to a finalizer that has interrupted this very cache."""
        if not self.lock.enter():
            return False
        try:
            return Cache.push(self, item)
        finally:
            self.lock.leave()


def cache(none: Bucket, lock: Lock) -> Cache:
    """A cache that is safe on this leg; `lock` is its zone's."""
    return Cache(none) if cython.compiled else LockedCache(none, lock)
