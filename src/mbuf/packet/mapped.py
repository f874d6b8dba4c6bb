"""One unmapped page as the storage of an mbuf whose bytes have an address.

The page is seen through a window, and the storage is a user of the unmapped pages that it belongs to: see
packet/unmapped.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.m_ext import Ext
else:
    from mbuf.shadow import cython

from mbuf.const import EXT_SFBUF
from mbuf.packet.ext import Storage, ext_class
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import Item, ItemOwner
from mbuf.vm.page import Memory

if not cython.compiled:
    from mbuf.packet.ext import free_tags
    from mbuf.vm.commit import enter_commit, leave_commit, release_later


@cython.no_gc
@cython.cclass
class Mapped(Storage):
    """A read-only window of one page. Made by `mapped`."""

    __slots__ = ("number", "of", "seen")
    number: int
    of: Unmapped
    seen: Memory

    def __init__(self) -> None:
        raise TypeError("a mapped page is made by mapped(unmapped, page)")

    def init(self, of: Unmapped, page: int, seen: Memory) -> None:
        """Set the fields for a storage with one user, which owns the window `seen`."""
        if not cython.compiled:
            self.owner = self.link = None
            self.zone = cython.cast(ItemOwner, None)
        self.alias(seen)
        self.of = of
        self.seen = seen
        self.number = of.epg.number(page)
        self.type = EXT_SFBUF
        self.users = 1

    def describe(self, item: Item) -> Ext:
        embedded = self.owner is None or self.owner is item
        file: Any = None if self.of is None else self.of.file
        return ext_class()(self.type, self.size, self.users, embedded, id(self.seen), file, self.number)

    def bytes_per_user(self) -> int:
        of = self.of
        return of.bytes_per_user() // max(self.users, 1) if of is not None else 0

    def finish(self, item: Item) -> None:
        if self.exports and self.has_views():
            self.wait_for_views(item)
        else:
            self.link = item
            release_later(self)

    def end(self, item: Item) -> None:
        """Release the window and the unmapped pages after the last use. See mb_unmapped_free_mext."""
        of, self.of = self.of, cython.cast(Unmapped, None)
        seen, self.seen = self.seen, cython.cast(Memory, None)
        owner = item if self.owner is None else self.owner
        try:
            free_tags(owner)
        finally:
            # A freed handle may still refer to this object, which must not keep the window.
            self.clear()
            self.run = None
            enter_commit()
            of.remove_user(cython.cast(Item, of.owner))
            self.free_items(item)
            leave_commit()
            of.release_window(seen)


def mapped(of: Unmapped, page: int) -> Mapped:
    """Return one of the unmapped pages, for `ref_root` or `discard`. `NoBufs` if no window is free."""
    made: Mapped = Mapped.__new__(Mapped)
    root: Unmapped = of.live_root()
    made.init(root, page, of.window(page))
    return made


def ref_root(made: Mapped, item: Item) -> None:
    """In a commit: count a mapped page as a user of its unmapped pages; `item` is of the mbuf that has them."""
    made.of.add_user(item)


def discard(made: Mapped) -> None:
    """Release a mapped page that was not attached."""
    of, made.of = made.of, cython.cast(Unmapped, None)
    seen, made.seen = made.seen, cython.cast(Memory, None)
    made.clear()
    made.run = None
    of.release_window(seen)
