"""One loose page as the storage of an mbuf whose bytes have an address.

Shows the page through a window, and has the mbuf of loose pages that it belongs to kept for as long.
Never knows the mbufs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import EXT_SFBUF
from mbuf.packet.ext import Ext, Storage
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import Home, Item
from mbuf.vm.page import Memory


@cython.no_gc
@cython.cclass
class Mapped(Storage):
    """A window, for reading. Made by `mapped`."""

    __slots__ = ("number", "of", "seen")
    number: int
    of: Unmapped
    seen: Memory

    def __init__(self) -> None:
        raise TypeError("a mapped page is made by mapped(unmapped, page)")

    def begin(self, of: Unmapped, page: int, seen: Memory) -> None:
        """Be the storage of one mbuf; the window is taken over."""
        if not cython.compiled:
            self.handle = self.mate = self.owner = self.tags = None
            self.home = cython.cast(Home, None)
        self.mirror(seen)
        self.of = of
        self.seen = seen
        self.number = of.epg.number(page)
        self.type = EXT_SFBUF
        self.users = 1

    def tell(self, item: Item) -> Ext:
        embedded = self.owner is None or self.owner is item
        file: Any = None if self.of is None else self.of.file
        return Ext(self.type, self.size, self.users, embedded, id(self.seen), file, self.number)

    def end(self, item: Item) -> None:
        if self.exports and self.watched():
            self.later(item)
        else:
            self._end(item)

    def _end(self, item: Item) -> None:
        """Nobody uses or sees the page any more. See mb_unmapped_free_mext."""
        self.untag()
        of, self.of = self.of, cython.cast(Unmapped, None)
        seen, self.seen = self.seen, cython.cast(Memory, None)
        # A freed mbuf still refers to this, and must not keep the window mapped.
        self.vanish()
        self.run = None
        of.leave(seen)
        of.untake(cython.cast(Item, of.owner))
        self._parted(item)

    def unwatched(self) -> None:
        owner = cython.cast(Item, self.owner)
        owner.home.held -= 1
        self._end(owner)


def mapped(of: Unmapped, page: int, item: Item) -> Mapped:
    """A page of what the mbuf of `item` holds, whose root it then uses too. `NoBufs` when no window is left."""
    made: Mapped = Mapped.__new__(Mapped)
    root: Unmapped = of.kept()
    seen: Memory = of.window(page)
    made.begin(root, page, seen)
    root.take(item)
    return made
