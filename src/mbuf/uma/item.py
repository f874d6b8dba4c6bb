# cython: nonecheck=True
"""Things of one kind, and whoever keeps them.

An item is memory with a home: the zone that it goes back to. It is not what a user holds; that is a
handle, made by the layers above. The item keeps its last handle, to be used again if nobody else holds it.
Never knows what its bytes mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.page import Memory

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit, put_first


@cython.no_gc
@cython.cclass
class Item(Memory):
    """One thing of a zone.

    Made by a keg, which cuts it from a slab; given back by `send_home`. Its `state` is IN_SLAB while its bytes are
    free in the slab, IN_ZONE while a zone has it, OUT while a user has it.
    """

    #: `link` is for whoever holds the item meanwhile: the next item in a queue, or what has to be let go of with it.
    __slots__ = ("home", "link")

    def __init__(self, slab: Any, start: int, size: int) -> None:
        self.carve(slab, start, size)
        self.home: Home = cython.cast(Home, None)
        self.link: Any = None

    def paired(self) -> Memory | None:
        """The memory that goes along with this item, if any."""
        return None

    def invalidate(self) -> None:
        """Be no item any more: the bytes belong to the slab again."""

    def views_gone(self) -> None:
        """In a commit: the last view went after the item was let go: now it may go home."""
        self.home.held -= 1
        send_home(self)

    def let_go(self) -> int:
        """Go home, whatever that takes."""
        if self.gone:
            self.gone = False
            enter_commit()
            try:
                self.views_gone()
            finally:
                leave_commit()
        else:
            self.home.free(self)
        return 0


@cython.no_gc
@cython.cclass
class MbufItem(Item):
    """The item of an mbuf. `cluster` is what it is paired with in the packet zone.

    `handle` is what stood for the item last, for the layer above to use again. It never refers to a handle in use, so
    that a handle dropped by its user dies.
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


def hold_home(item: Item) -> None:
    """In a commit: give back an item that somebody may look at: then it goes when the last view does."""
    if item.has_views():
        item.hold()
        item.home.held += 1
    elif not item.home.keep(item):
        put_first(item)


if not cython.compiled:

    def send_home(item: Item) -> None:
        """In a commit: give an item back. If somebody looks at its bytes, it goes when the last view does."""
        if item.exports:
            hold_home(item)
        elif not item.home.keep(item):
            put_first(item)

    IN_SLAB, IN_ZONE, OUT = range(3)

    def is_out(item: Item) -> bool:
        """True while a user has the item."""
        return item.state == OUT

    def in_zone(item: Item) -> bool:
        """True while a zone has the item: cached, or on its way."""
        return item.state == IN_ZONE

    def leave_zone(item: Item) -> None:
        """In a commit: the item's bytes are free in their slab again."""
        item.state = IN_SLAB

    def hand_out(item: Item) -> None:
        """In a commit: a user has the item from now on, and what is paired with it, and may touch its bytes."""
        item.state = OUT

    def take_home(item: Item) -> None:
        """In a commit: no user has the item any more: nobody may touch its bytes."""
        item.state = IN_ZONE


@cython.no_gc
@cython.cclass
class Home:
    """Where items go back to: the part of a zone that an item knows."""

    #: `held` items were freed while somebody looked at them; `source` is for the layer above, which tells `probes`.
    __slots__ = ("held", "probes", "source")
    held: int
    probes: Any
    source: Any

    def keep(self, item: Item) -> bool:
        """Take the item back if that is a step of plain C (noexcept), for commits; false if it must go by `free`."""
        return False

    def free(self, item: Item) -> None:
        """Take the item back, whatever that takes: user code may run."""
        raise NotImplementedError

    def bypass_caches(self, change: int) -> None:
        """One more (1) or less (-1) waits for what an item given back sets free: caches are passed by meanwhile."""

    def drain_caches(self) -> None:
        """Somebody is about to wait: give back what caches hold."""
