"""An array of free items.

The slots are raw pointers; each owns a reference to its item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.uma.item import Item, ItemOwner

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Free, PyMem_Malloc
    from cython.cimports.cpython.ref import Py_INCREF, PyObject
    from cython.cimports.mbuf.uma.bucket import mbuf_slot

#: Entries of the bucket zones, and the largest item that each serves by default.
SIZES = ((2, 4096), (4, 3072), (8, 2048), (16, 1024), (30, 512), (62, 256), (126, 128), (254, 64))
BUCKET_MAX = 254


def default_entries(size: int) -> int:
    """The initial size of buckets for items of `size` bytes. See bucket_select in uma_core.c."""
    if size > SIZES[0][1]:
        return max(SIZES[0][0] * SIZES[0][1] // size, 1)
    return next(entries for entries, largest in reversed(SIZES) if size <= largest)


def entries_for(count: int) -> int:
    """The entries of the smallest kind of bucket that holds `count` items."""
    return next((entries for entries, _ in SIZES if entries >= count), BUCKET_MAX)


@cython.no_gc
@cython.cclass
class Bucket:
    """Room for `entries` items, of which `cnt` are there. `next` links a list of buckets.

    While a bucket is filled, `charged` items are charged for it, by the thread `thread`.
    """

    __slots__ = ("next", "charged", "cnt", "entries", "slots", "thread")
    next: Bucket | None
    slots: Any

    def __init__(self, entries: int) -> None:
        if not 0 <= entries <= 1 << 20:
            raise Inval(f"a bucket of {entries} entries: give 0 to 1048576")
        if cython.compiled:
            if self.slots != cython.NULL:
                raise Inval("this bucket is initialized already")
            self.slots = cython.cast(cython.pointer(cython.pointer(PyObject)), PyMem_Malloc(entries * 8 or 8))
            if self.slots == cython.NULL:
                raise MemoryError
        else:
            self.slots = []
        self.entries = entries
        self.cnt = 0
        self.next = None
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
        """Put an item on top. The caller has checked that there is room."""
        if cython.compiled:
            Py_INCREF(item)
            self.slots[self.cnt] = cython.cast(cython.pointer(PyObject), item)
        else:
            self.slots.append(item)
        self.cnt += 1

    def push_below_top(self, item: Item) -> None:
        """Compiled, put an item below the top one; uncompiled, on top.

        After `m = pool.getcl(); m.free()` the name `m` still refers to the freed handle, so that the item can't use it
        again. When the item comes to the top, `m` often refers to another handle.
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

    def set_zone(self, zone: ItemOwner) -> None:
        """Set the zone of all items here: they are given back there."""
        for n in range(self.cnt):
            cython.cast(Item, self.slots[n]).zone = zone

    def at(self, n: int) -> Item:
        """The item in slot `n`, which is below `cnt`; 0 is the bottom one."""
        item: Item = cython.cast(Item, self.slots[n])
        return item

    def remove(self, n: int) -> Item:
        """Take the item in slot `n`, which is below `cnt`; the items above it move down."""
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
