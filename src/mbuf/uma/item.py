# cython: nonecheck=True
"""An item, and the interface of what it is given back to.

An item is memory that is handed out and given back as a whole. `zone` is the `ItemOwner` to which it is given back.
Users don't hold items: they hold handles, which the layers above make. An item keeps a reference to its last handle;
the next user gets the same handle if nothing else refers to it. Nothing here interprets the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.page import Memory

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit, release_first


@cython.no_gc
@cython.cclass
class Item(Memory):
    """One item of a zone.

    A keg cuts it from a slab; `free_item` gives it back. Its `state` is IN_SLAB while its bytes are free in the slab,
    IN_ZONE while a zone has it, OUT while a user has it.
    """

    #: `link` is for the code that holds the item: the next item in a queue, or an object to release with the item.
    __slots__ = ("link", "zone")

    def __init__(self, slab: Any, start: int, size: int) -> None:
        self.carve(slab, start, size)
        self.zone: ItemOwner = cython.cast(ItemOwner, None)
        self.link: Any = None

    def paired(self) -> Memory | None:
        """The memory that is handed out and freed together with this item; None if there is none."""
        return None

    def invalidate(self) -> None:
        """Drop what the item refers to: its bytes belong to the slab again."""

    def views_gone(self) -> None:
        """In a commit: free the item, whose last view was released after it was freed."""
        self.zone.held -= 1
        free_item(self)

    def on_release(self) -> int:
        """Give the item back. User code may run."""
        if self.gone:
            self.gone = False
            enter_commit()
            try:
                self.views_gone()
            finally:
                leave_commit()
        else:
            zone = self.zone
            zone.free(self)
        return 0


@cython.no_gc
@cython.cclass
class MbufItem(Item):
    """The item of an mbuf. `cluster` is the cluster that it is paired with in the packet zone.

    `handle` is the last handle of the item, which the layer above uses again. While a handle is in use, `handle`
    doesn't refer to it, so that a handle that its user drops is finalized.
    """

    __slots__ = ("cluster", "handle")

    def __init__(self, slab: Any, start: int, size: int) -> None:
        Item.__init__(self, slab, start, size)
        self.handle: Any = None
        self.cluster: Any = None

    def paired(self) -> Memory | None:
        cluster: Memory | None = self.cluster
        return cluster

    def invalidate(self) -> None:
        self.handle = None
        self.cluster = None


def free_viewed(item: Item) -> None:
    """In a commit: free an item that may have views. If it has, it is freed when the last one is released."""
    if item.has_views():
        item.hold()
        item.zone.held += 1
    elif not item.zone.try_free(item):
        release_first(item)


if not cython.compiled:

    def free_item(item: Item) -> None:
        """In a commit: free an item. If its bytes have views, it is freed when the last one is released."""
        if item.exports:
            free_viewed(item)
        elif not item.zone.try_free(item):
            release_first(item)

    IN_SLAB, IN_ZONE, OUT = range(3)

    def is_out(item: Item) -> bool:
        """True while a user has the item."""
        return item.state == OUT

    def in_zone(item: Item) -> bool:
        """True while a zone has the item: cached, or in transit."""
        return item.state == IN_ZONE

    def leave_zone(item: Item) -> None:
        """In a commit: mark the bytes of an item as free in their slab."""
        item.state = IN_SLAB

    def mark_out(item: Item) -> None:
        """In a commit: mark an item as handed out, and its paired memory: their bytes may be touched."""
        item.state = OUT

    def mark_free(item: Item) -> None:
        """In a commit: mark an item as free: its bytes may not be touched."""
        item.state = IN_ZONE


@cython.no_gc
@cython.cclass
class ItemOwner:
    """What items are given back to: the part of a zone that items, and the layers above, use."""

    #: `held` freed items still have views. `source` and `probes` are for the layer above.
    __slots__ = ("held", "probes", "source")
    held: int
    probes: Any
    source: Any

    def try_free(self, item: Item) -> bool:
        """In a commit: take an item back if plain C suffices; false if the caller must use `free`."""
        return False

    def free(self, item: Item) -> None:
        """Take an item back. User code may run."""
        raise NotImplementedError

    def bypass_caches(self, change: int) -> None:
        """Add `change` to the number of waiters. While there are any, items given back bypass the caches."""

    def drain_caches(self) -> None:
        """Give back the items in the caches: a caller is about to wait for one."""
