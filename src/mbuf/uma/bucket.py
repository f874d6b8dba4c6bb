"""An array of free items.

The slots are the only raw pointers here; each owns a reference to its item. Knows nothing of zones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.uma.item import Home, Item

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
    from cython.cimports.cpython.ref import Py_INCREF, PyObject
    from cython.cimports.mbuf.uma.bucket import mbuf_slot

#: Entries of the bucket zones, and the largest item that each serves by default.
SIZES = ((2, 4096), (4, 3072), (8, 2048), (16, 1024), (30, 512), (62, 256), (126, 128), (254, 64))
BUCKET_MAX = 254


def default_entries(size: int) -> int:
    """How many items of `size` bytes a bucket holds at first. See bucket_select in uma_core.c."""
    if size > SIZES[0][1]:
        return max(SIZES[0][0] * SIZES[0][1] // size, 1)
    return next(entries for entries, largest in reversed(SIZES) if size <= largest)


def entries_for(count: int) -> int:
    """The entries of the smallest kind of bucket that holds `count` items."""
    return next((entries for entries, _ in SIZES if entries >= count), BUCKET_MAX)


@cython.no_gc
@cython.cclass
class Bucket:
    """Room for `entries` items, `cnt` of them there; `behind` it, in a list of buckets, comes the next.

    While it is filled, so many are `charged` for it, by that `thread`.
    """

    __slots__ = ("behind", "charged", "cnt", "entries", "slots", "thread")
    behind: Bucket | None
    slots: Any

    def __init__(self, entries: int) -> None:
        if not 0 <= entries <= 1 << 20:
            raise Inval(f"a bucket of {entries} entries: give 0 to 1048576")
        if cython.compiled:
            if self.slots != cython.NULL:
                raise Inval("this bucket is made already")
            self.slots = cython.cast(cython.pointer(cython.pointer(PyObject)), PyMem_Malloc(entries * 8 or 8))
            if self.slots == cython.NULL:
                raise MemoryError
        else:
            self.slots = []
        self.entries = entries
        self.cnt = 0
        self.behind = None
        self.charged = 0
        self.thread = 0

    def __dealloc__(self) -> None:
        if cython.compiled and self.slots != cython.NULL:
            while self.cnt:
                self.pop()
            PyMem_Free(self.slots)

    def pop(self) -> Item:
        """Take the top item."""
        if not self.cnt:
            raise IndexError("the bucket is empty")
        self.cnt -= 1
        if cython.compiled:
            taken: Item = mbuf_slot(self.slots, self.cnt)
            return taken
        item: Item = self.slots.pop()
        return item

    def push(self, item: Item) -> None:
        """Put an item on top. There is room: the caller has looked at `cnt`."""
        if cython.compiled:
            Py_INCREF(item)
            self.slots[self.cnt] = cython.cast(cython.pointer(PyObject), item)
        else:
            self.slots.append(item)
        self.cnt += 1

    def push_below_top(self, item: Item) -> None:
        """Put an item under the top one.

        In `m = pool.getcl(); m.free()` the name m still holds the handle freed last, which can't be used
        again yet. One turn later it can.
        """
        if not cython.compiled or self.cnt == 0:
            self.push(item)
        else:
            Py_INCREF(item)
            self.slots[self.cnt] = self.slots[self.cnt - 1]
            self.slots[self.cnt - 1] = cython.cast(cython.pointer(PyObject), item)
            self.cnt += 1

    def reverse(self) -> None:
        """Reverse the order of the items: the bottom one is on top afterwards."""
        if not cython.compiled:
            self.slots.reverse()
            return
        last = self.cnt - 1
        for n in range(self.cnt // 2):
            self.slots[n], self.slots[last - n] = self.slots[last - n], self.slots[n]

    def house(self, home: Home) -> None:
        """Have all items here at home there."""
        for n in range(self.cnt):
            cython.cast(Item, self.slots[n]).home = home

    def at(self, n: int) -> Item:
        """The item in a slot that is filled; the bottom one is 0."""
        item: Item = cython.cast(Item, self.slots[n])
        return item

    def remove(self, n: int) -> Item:
        """Take the item in a slot that is filled; those above it move down."""
        if not cython.compiled:
            taken: Item = self.slots.pop(n)
            self.cnt -= 1
            return taken
        item: Item = mbuf_slot(self.slots, n)
        self.cnt -= 1
        while n < self.cnt:
            self.slots[n] = self.slots[n + 1]
            n += 1
        return item
