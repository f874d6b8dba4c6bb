"""Slabs: runs of pages that are cut into items. A slab has a bitmap of its free items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.vm.arena import Run

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython


if cython.compiled:
    from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF
    from cython.cimports.mbuf.uma.slab import __builtin_ctzll


class Layout(NamedTuple):
    """How the slabs of a keg are divided into items. See keg_layout in uma_core.c."""

    #: Bytes from one item to the next.
    rsize: int
    #: Pages of a slab, and items in it.
    pages: int
    items: int
    #: True if the header of a slab is in its last bytes, false if it is elsewhere.
    inline: bool


#: Bytes of a slab header that is elsewhere, for up to 256 items; with INVARIANTS it has a second bitmap.
OFFPAGE_HEADER = 80
OFFPAGE_HEADER_DEBUG = 112


def layout(size: int, align: int) -> Layout:
    """The layout for items of `size` bytes at multiples of `align` + 1, in contiguous slabs."""
    rsize = (max(size, 8) + align) & ~align
    pages = -(-rsize // PAGE_SIZE)
    bytes_ = pages * PAGE_SIZE
    inline = _inline_items(bytes_, rsize)
    offpage = bytes_ // rsize
    # The header is in the slab if items still use 90 % of it (UMA_MIN_EFF), else where less memory is wasted.
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
    """A slab of `items` items. `bits` has a one for each free item, in bit 0 for the first.

    `list` is the number of the list of its keg that it is in, 0 for none; `prev` and `next` link it there. Functions
    change it instead of methods: a C class with methods has 8 bytes more in each object.
    """

    __slots__ = ("bits", "free", "items", "keg", "list", "next", "prev")
    if TYPE_CHECKING:
        prev: Any
        next: Any
        keg: Any

    def __init__(self) -> None:
        self.free = 0
        self.items = 0
        self.bits = 0
        if not cython.compiled:
            self.list = 0
            self.prev = self.next = self.keg = None


def init_slab(slab: Slab, items: int) -> None:
    """Set the number of items, 1 to 64; all are free."""
    slab.items = slab.free = items
    # 1 << 64 has more than 64 bits.
    slab.bits = (((1 << (items - 1)) - 1) << 1) | 1


def lowest_free(slab: Slab) -> int:
    """The index of the free item with the lowest address. The slab has a free item."""
    if cython.compiled:
        lowest: int = __builtin_ctzll(slab.bits)
        return lowest
    return (slab.bits & -slab.bits).bit_length() - 1


def set_used(slab: Slab, index: int) -> None:
    """In a commit: mark a free item as used."""
    bit = 1
    bit <<= index
    slab.bits ^= bit
    slab.free -= 1


def set_free(slab: Slab, index: int) -> bool:
    """In a commit: mark an item as free; false if it is free already, or doesn't exist."""
    if index < 0 or index >= slab.items:
        return False
    bit = 1
    bit <<= index
    if slab.bits & bit:
        return False
    slab.bits |= bit
    slab.free += 1
    return True


@cython.no_gc
@cython.cclass
class Slabs:
    """A list of slabs, linked through the slabs; the last one added is the first. It owns a reference to each.

    `id` is its number among the lists of its keg, from 1 on.
    """

    __slots__ = ("count", "first", "id")
    first: Any

    def __init__(self, id: int) -> None:
        self.count = 0
        self.id = id
        if not cython.compiled:
            self.first = None

    def __dealloc__(self) -> None:
        while cython.compiled and self.count:
            self.remove(cython.cast(Slab, self.first))

    def add(self, slab: Slab) -> None:
        """In a commit: add a slab, which is in no list, in front."""
        if cython.compiled:
            Py_INCREF(slab)
            slab.prev = cython.NULL
            slab.next = self.first
            if self.first != cython.NULL:
                cython.cast(Slab, self.first).prev = cython.cast(cython.p_void, slab)
            self.first = cython.cast(cython.p_void, slab)
        else:
            slab.prev, slab.next = None, self.first
            if self.first is not None:
                self.first.prev = slab
            self.first = slab
        slab.list = self.id
        self.count += 1

    def remove(self, slab: Slab) -> None:
        """In a commit: remove a slab. The caller holds a reference."""
        if cython.compiled:
            if slab.prev == cython.NULL:
                self.first = slab.next
            else:
                cython.cast(Slab, slab.prev).next = slab.next
            if slab.next != cython.NULL:
                cython.cast(Slab, slab.next).prev = slab.prev
            slab.prev = slab.next = cython.NULL
            slab.list = 0
            Py_DECREF(slab)
        else:
            if slab.prev is None:
                self.first = slab.next
            else:
                slab.prev.next = slab.next
            if slab.next is not None:
                slab.next.prev = slab.prev
            slab.prev = slab.next = None
            slab.list = 0
        self.count -= 1

    def holds(self, slab: Slab) -> bool:
        """True if a slab of the keg is in this list."""
        return slab.list == self.id

    def head(self) -> Slab | None:
        """The first slab; None if the list is empty."""
        return self.next(None)

    def next(self, slab: Slab | None) -> Slab | None:
        """The slab after a slab of this list; the first one after None."""
        found: Slab | None = None
        if not cython.compiled:
            found = self.first if slab is None else slab.next
        elif slab is None:
            if self.first != cython.NULL:
                found = cython.cast(Slab, self.first)
        elif slab.next != cython.NULL:
            found = cython.cast(Slab, slab.next)
        return found
