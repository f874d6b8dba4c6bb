"""Zones that check their users, as INVARIANTS does in the kernel.

Free items are filled with a pattern, which is checked when they are handed out again. For each item that is out, the
zone has the file and line of the allocation. A pool uses these zones if it is made with debug=True.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.slab import Slab
else:
    from mbuf.shadow import cython

from mbuf.const import PAGE_SIZE
from mbuf.errors import Corrupt
from mbuf.uma.item import Item
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone
from mbuf.vm.page import Memory

if not cython.compiled:
    from mbuf.vm.commit import in_commit, release_later


#: The pattern of free memory. See uma_dbg.c.
TRASH = 0xDEADC0DE


@cython.cclass
class TrashKeg(Keg):
    """A keg that fills new slabs with the pattern."""

    __slots__ = ()

    def fresh(self, slab: Slab) -> None:
        """Fill a new slab. See `Keg.fresh`."""
        memory = Memory()
        memory.carve(slab, 0, self.layout.pages * PAGE_SIZE)
        memory.fill(TRASH)


@cython.cclass
class TrashZone(Zone):
    """A zone that fills items when they are freed, checks them when they are allocated, and notes where that was."""

    __slots__ = ("_out",)

    def __init__(self, *arguments: Any) -> None:
        Zone.__init__(self, *arguments)
        self._out: dict[Item, str] = {}

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """`Zone.alloc`; `Corrupt` if the item was written to while it was free."""
        item: Item | None = Zone.alloc(self, how, deadline)
        if item is not None:
            self._check(item)
            try:
                self._out[item] = _caller()
            except BaseException:
                self._out.pop(item, None)
                Zone.free(self, item)
                raise
        return item

    def free(self, item: Item) -> None:
        """`Zone.free`; `Corrupt` if the item isn't out."""
        if item is None:
            pass
        elif in_commit():
            release_later(item)
        else:
            if self._out.pop(item, None) is None:
                raise Corrupt(f"duplicate free of an item of {self.name}")
            self._bytes_of(item).fill(TRASH)
            Zone.free(self, item)

    def try_free(self, item: Item) -> bool:
        """Always false: each freed item must be filled."""
        return False

    def receive(self, item: Item) -> None:
        """`Zone.receive`; the item becomes one of those that are out first."""
        self._out[item] = "another zone"
        Zone.receive(self, item)

    def _check(self, item: Item) -> None:
        at = self._bytes_of(item).differs(TRASH)
        if at >= 0:
            found = self._bytes_of(item).read(at, 4).hex()
            # Reported once: then the item can be used again.
            self._bytes_of(item).fill(TRASH)
            Zone.free(self, item)
            raise Corrupt(f"memory modified after free: {self.name}({self.size}) has {found} at offset {at}")

    def _bytes_of(self, item: Item) -> Memory:
        """The bytes that a user writes to: the cluster, for an item of the packet zone."""
        cluster = None if self.primary else item.paired()
        return item if cluster is None else cluster

    def sites(self) -> Counter[str]:
        """The number of items that are out, for each place where they were allocated."""
        return Counter(self._out.values())

    def site(self, item: Item) -> str:
        """Where an item that is out was allocated."""
        return self._out[item]


def _caller() -> str:
    """The file and line that called this package."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mbuf."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
