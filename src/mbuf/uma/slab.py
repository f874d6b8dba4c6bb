"""A run of pages cut into items.

Knows which of its items are free; never what they hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.vm.arena import Run

if TYPE_CHECKING:
    import cython

    from mbuf.vm.vm import Vm
else:
    from mbuf.shadow import cython


class Layout(NamedTuple):
    """How slabs of a keg are cut. See keg_layout in uma_core.c."""

    #: Bytes from one item to the next.
    rsize: int
    #: Pages of a slab, and items in it.
    pages: int
    items: int
    #: True when the slab's header lies in its last bytes instead of elsewhere.
    inline: bool


#: Bytes of a slab header kept elsewhere, for up to 256 items; with INVARIANTS it has a second bitmap.
OFFPAGE_HEADER = 80
OFFPAGE_HEADER_DEBUG = 112


def layout(size: int, align: int) -> Layout:
    """The layout for items of `size` bytes at multiples of `align` + 1, in contiguous slabs."""
    rsize = (max(size, 8) + align) & ~align
    pages = -(-rsize // PAGE_SIZE)
    bytes_ = pages * PAGE_SIZE
    inline = _inline_items(bytes_, rsize)
    offpage = bytes_ // rsize
    # A header in the slab if nine tenths are items then (UMA_MIN_EFF), else whatever wastes less.
    enough = inline * rsize * 10 >= bytes_ * 9
    if enough or (inline and inline / bytes_ >= offpage / (bytes_ + OFFPAGE_HEADER)):
        return Layout(rsize, pages, inline, True)
    return Layout(rsize, pages, offpage, False)


def _inline_items(bytes_: int, rsize: int) -> int:
    """Items that fit beside a header of 24 bytes and a bitmap of 8 bytes for each 64 items."""
    items = bytes_ // rsize
    while items and items * rsize > bytes_ - 24 - 8 * -(-items // 64):
        items -= 1
    return items


@cython.no_gc
@cython.cclass
class Slab(Run):
    """Items in a row. `bits` has a one for each free item, bit 0 for the first."""

    __slots__ = ("bits", "free")

    def __init__(self, vm: Vm, page: int, cut: Layout) -> None:
        arena, offset = vm.place(page)
        super().__init__(arena, offset, page, cut.pages)
        self.free = cut.items
        self.bits = (1 << cut.items) - 1

    def take(self) -> int:
        """The index of the free item with the lowest address, free no more."""
        low = self.bits & -self.bits
        self.bits ^= low
        self.free -= 1
        return low.bit_length() - 1

    def give(self, index: int) -> bool:
        """The item is free again; false if it was free already."""
        bit = 1 << index
        if self.bits & bit:
            return False
        self.bits |= bit
        self.free += 1
        return True
