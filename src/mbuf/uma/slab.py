"""A run of pages cut into items.

Knows which of its items are free; never what they hold.
"""

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
    """Items in a row, `items` of them. `bits` has a one for each free item, bit 0 for the first.

    `list` is the number of that list of its keg in which it is, between `before` and `behind`; 0 for none. It has
    functions instead of methods, for there are many, and methods take 8 bytes of each.
    """

    __slots__ = ("before", "behind", "bits", "free", "items", "keg", "list")
    if TYPE_CHECKING:
        before: Any
        behind: Any
        keg: Any

    def __init__(self) -> None:
        self.free = 0
        self.items = 0
        self.bits = 0
        if not cython.compiled:
            self.list = 0
            self.before = self.behind = self.keg = None


def begin_slab(slab: Slab, items: int) -> None:
    """Have so many items, all of them free; 1 to 64."""
    slab.items = slab.free = items
    # Not 1 << 64, which is no number of 64 bits.
    slab.bits = (((1 << (items - 1)) - 1) << 1) | 1


def lowest_free(slab: Slab) -> int:
    """The index of the free item with the lowest address. There is one."""
    if cython.compiled:
        lowest: int = __builtin_ctzll(slab.bits)
        return lowest
    return (slab.bits & -slab.bits).bit_length() - 1


def take_place(slab: Slab, index: int) -> None:
    """In a commit: a free item is free no more."""
    bit = 1
    bit <<= index
    slab.bits ^= bit
    slab.free -= 1


def give_place(slab: Slab, index: int) -> bool:
    """In a commit: the item is free again; false if it was free already, or there is none."""
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
    """A list of slabs, linked through them, the one added last first. It owns a reference to each.

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
        """In a commit: put a slab that is in no list in front."""
        if cython.compiled:
            Py_INCREF(slab)
            slab.before = cython.NULL
            slab.behind = self.first
            if self.first != cython.NULL:
                cython.cast(Slab, self.first).before = cython.cast(cython.p_void, slab)
            self.first = cython.cast(cython.p_void, slab)
        else:
            slab.before, slab.behind = None, self.first
            if self.first is not None:
                self.first.before = slab
            self.first = slab
        slab.list = self.id
        self.count += 1

    def remove(self, slab: Slab) -> None:
        """In a commit: take a slab out. The caller holds it."""
        if cython.compiled:
            if slab.before == cython.NULL:
                self.first = slab.behind
            else:
                cython.cast(Slab, slab.before).behind = slab.behind
            if slab.behind != cython.NULL:
                cython.cast(Slab, slab.behind).before = slab.before
            slab.before = slab.behind = cython.NULL
            slab.list = 0
            Py_DECREF(slab)
        else:
            if slab.before is None:
                self.first = slab.behind
            else:
                slab.before.behind = slab.behind
            if slab.behind is not None:
                slab.behind.before = slab.before
            slab.before = slab.behind = None
            slab.list = 0
        self.count -= 1

    def holds(self, slab: Slab) -> bool:
        """True when a slab of the keg is in this list."""
        return slab.list == self.id

    def head(self) -> Slab | None:
        """The slab added last."""
        return self.after(None)

    def after(self, slab: Slab | None) -> Slab | None:
        """The slab that was added before another of this list; the one added last, after None."""
        found: Slab | None = None
        if not cython.compiled:
            found = self.first if slab is None else slab.behind
        elif slab is None:
            if self.first != cython.NULL:
                found = cython.cast(Slab, self.first)
        elif slab.behind != cython.NULL:
            found = cython.cast(Slab, slab.behind)
        return found
