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
class Cache:
    """See struct uma_cache in uma_int.h."""

    __slots__ = ("alloc", "allocs", "free", "frees", "lock")

    def __init__(self, none: Bucket, lock: Lock) -> None:
        # `none` stands for no bucket: it has no item and no room.
        self.alloc = none
        self.free = none
        self.lock = lock
        self.allocs = 0
        self.frees = 0

    def pop(self) -> Item | None:
        """An item, or None when neither bucket has one."""
        if cython.compiled:
            return self._pop()
        with self.lock:
            return self._pop()

    def push(self, item: Item) -> bool:
        """Keep an item; false when neither bucket has room."""
        if cython.compiled:
            return self._push(item)
        if not self.lock.enter():
            return False
        try:
            return self._push(item)
        finally:
            self.lock.leave()

    def _pop(self) -> Item | None:
        if self.alloc.cnt == 0:
            if self.free.cnt == 0:
                return None
            self.alloc, self.free = self.free, self.alloc
        self.allocs += 1
        return self.alloc.pop()

    def _push(self, item: Item) -> bool:
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
