"""Mbufs with M_NOFREE, which are not in a zone: each has memory of its own, which is freed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import MSIZE
from mbuf.uma.item import Item, ItemOwner, MbufItem
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.probe import Probes


@cython.no_gc
@cython.cclass
class NoFree(ItemOwner):
    """Takes the place of a zone for items that are in none."""

    __slots__ = ()

    def __init__(self) -> None:
        self.held = 0
        self.source = None
        self.probes = Probes()

    def item(self) -> MbufItem:
        """Return a new item, in memory of its own."""
        item: MbufItem = MbufItem.__new__(MbufItem)
        item.use_export(export_buffer(bytearray(MSIZE)))
        item.zone = self
        item.handle = item.cluster = item.link = None
        return item

    def free(self, item: Item) -> None:
        """Free the memory of an item."""
        if item is not None and item.zone is self:
            item.zone = cython.cast(ItemOwner, None)
            item.end_export()
