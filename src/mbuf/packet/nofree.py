"""Mbufs that live in no zone: with M_NOFREE.

Their memory is their own, and goes when they do; there is nothing to give back to anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import MSIZE
from mbuf.uma.item import Home, Item, MbufItem
from mbuf.vm.loan import loan
from mbuf.vm.probe import Probes


@cython.no_gc
@cython.cclass
class NoFree(Home):
    """The home of items that have none."""

    __slots__ = ()

    def __init__(self) -> None:
        self.held = 0
        self.source = None
        self.probes = Probes()

    def item(self) -> MbufItem:
        """An item of its own, for one mbuf."""
        item: MbufItem = MbufItem.__new__(MbufItem)
        item.borrow(loan(bytearray(MSIZE)))
        item.home = self
        item.handle = item.cluster = item.link = None
        return item

    def free(self, item: Item) -> None:
        """The memory goes."""
        if item is not None and item.home is self:
            item.home = cython.cast(Home, None)
            item.give_back()
