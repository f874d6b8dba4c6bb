"""One unmapped page as the storage of an mbuf whose bytes have an address.

Shows the page through a window, and has the mbuf of unmapped pages that it belongs to kept for as long.
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

if not cython.compiled:
    from mbuf.packet.ext import untag
    from mbuf.vm.commit import enter_commit, leave_commit, put


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
            self.owner = self.link = None
            self.home = cython.cast(Home, None)
        self.mirror(seen)
        self.of = of
        self.seen = seen
        self.number = of.epg.number(page)
        self.type = EXT_SFBUF
        self.users = 1

    def describe(self, item: Item) -> Ext:
        embedded = self.owner is None or self.owner is item
        file: Any = None if self.of is None else self.of.file
        return Ext(self.type, self.size, self.users, embedded, id(self.seen), file, self.number)

    def finish(self, item: Item) -> None:
        if self.exports and self.has_views():
            self.later(item)
        else:
            self.link = item
            put(self)

    def end(self, item: Item) -> None:
        """Nobody uses or sees the page any more. See mb_unmapped_free_mext."""
        of, self.of = self.of, cython.cast(Unmapped, None)
        seen, self.seen = self.seen, cython.cast(Memory, None)
        owner = item if self.owner is None else self.owner
        try:
            untag(owner)
        finally:
            # A freed mbuf still refers to this, and must not keep the window mapped.
            self.clear()
            self.run = None
            enter_commit()
            of.release_pages(cython.cast(Item, of.owner))
            self.part(item)
            leave_commit()
            of.leave(seen)


def mapped(of: Unmapped, page: int) -> Mapped:
    """One of the unmapped pages, for `join_root`. `NoBufs` when no window is left."""
    made: Mapped = Mapped.__new__(Mapped)
    root: Unmapped = of.kept()
    made.begin(root, page, of.window(page))
    return made


def join_root(made: Mapped, item: Item) -> None:
    """In a commit: a mapped page uses the pages that it is one of; `item` is of the mbuf whose pages they are."""
    made.of.take(item)


def forget(made: Mapped) -> None:
    """Let go of a mapped page that was not attached."""
    of, made.of = made.of, cython.cast(Unmapped, None)
    seen, made.seen = made.seen, cython.cast(Memory, None)
    made.clear()
    made.run = None
    of.leave(seen)
