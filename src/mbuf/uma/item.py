"""Things of one kind, and whoever keeps them.

An item is memory with a home: the zone that it goes back to. It is not what a user holds; that is a
handle, made by the layers above. The item keeps its last handle, to be used again if nobody else holds it.
Never knows what its bytes mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
else:
    from mbuf.shadow import cython

from mbuf.vm.page import Memory

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit, put_first


@cython.no_gc
@cython.cclass
class Item(Memory):
    """One thing of a zone.

    Made by a keg, which cuts it from a slab; given back by `send_home`. `handle` and `mate` are for the
    layer above: what stood for the item last, and what is paired with it. `handle` never refers to
    a handle in use, so that a handle dropped by its user dies.
    """

    __slots__ = ("handle", "home", "mate")

    def __init__(self, slab: Any, start: int, size: int) -> None:
        self.carve(slab, start, size)
        self.home: Home = cython.cast(Home, None)
        self.handle: Any = None
        self.mate: Any = None

    def spend(self) -> None:
        """Be no item any more: the bytes belong to the slab again."""
        self.handle = None
        self.mate = None

    def unwatched(self) -> None:
        """In a commit: the last view went after the item was let go: now it may go home."""
        self.home.held -= 1
        send_home(self)

    def let_go(self) -> None:
        """Go home, whatever that takes."""
        if self.gone:
            self.gone = False
            enter_commit()
            try:
                self.unwatched()
            finally:
                leave_commit()
        else:
            self.home.free(self)


def send_home(item: Item) -> None:
    """In a commit: give an item back. If somebody looks at its bytes, it goes when the last view does."""
    if item.exports and item.watched():
        item.hold()
        item.home.held += 1
    elif not item.home.keep(item):
        put_first(item)


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


class Backend:
    """The door to whatever makes items: what a zone asks when its cache is dry or too full.

    See uma_import and uma_release in zone(9).
    """

    def take(self, count: int, how: int, deadline: float | None) -> list[Any]:
        """As many items as can be had, at most `count`, in the order in which they were made."""
        raise NotImplementedError

    def give(self, items: list[Any]) -> None:
        """Take items back for good."""
        raise NotImplementedError

    def drain(self) -> int:
        """Give back what no item is cut from any more; how many pages that was."""
        raise NotImplementedError

    def close(self) -> None:
        """No more will be taken."""

    def denied(self) -> MbufError:
        """The error that says why the last `take` came back empty."""
        raise NotImplementedError

    def obstacle(self, zone: Any) -> tuple[Any, Any]:
        """Which zone's want it was that the last `take` came back empty, and whose line to stand in: see `Turn`.

        None if there is no line.
        """
        return zone, None

    @property
    def free(self) -> int:
        """Free items that have not been taken."""
        raise NotImplementedError

    @property
    def pages(self) -> int:
        """Pages held."""
        raise NotImplementedError
