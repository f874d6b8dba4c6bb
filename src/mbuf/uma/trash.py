"""Zones that check their users: what INVARIANTS adds to the kernel.

Free items are filled with a pattern that is checked when they are handed out again, and whoever holds an
item is remembered. Chosen when a pool is made; the ordinary zone knows nothing of it.
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
    from mbuf.vm.commit import inside, put


#: What freed memory is filled with. See uma_dbg.c.
TRASH = 0xDEADC0DE


@cython.cclass
class TrashKeg(Keg):
    """A keg whose slabs are full of trash before the first item is cut."""

    __slots__ = ()

    def fresh(self, slab: Slab) -> None:
        """As `Keg.fresh`: the slab is filled."""
        memory = Memory()
        memory.carve(slab, 0, self.cut.pages * PAGE_SIZE)
        memory.fill(TRASH)


@cython.cclass
class TrashZone(Zone):
    """A zone that fills what is freed, checks what it hands out, and knows where that was asked for."""

    __slots__ = ("_out",)

    def __init__(self, *arguments: Any) -> None:
        Zone.__init__(self, *arguments)
        self._out: dict[Item, str] = {}

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """As `Zone.alloc`; raises `Corrupt` when the item was written to while it was free."""
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
        """As `Zone.free`; raises `Corrupt` when the item isn't out."""
        if item is None:
            pass
        elif inside():
            put(item)
        else:
            if self._out.pop(item, None) is None:
                raise Corrupt(f"duplicate free of an item of {self.name}")
            self._bytes_of(item).fill(TRASH)
            Zone.free(self, item)

    def keep(self, item: Item) -> bool:
        """None is kept without a look."""
        return False

    def receive(self, item: Item) -> None:
        """As `Zone.receive`: the item counts as one of those that are out."""
        self._out[item] = "another zone"
        Zone.receive(self, item)

    def _check(self, item: Item) -> None:
        at = self._bytes_of(item).differs(TRASH)
        if at >= 0:
            found = self._bytes_of(item).read(at, 4).hex()
            # Told once; the item is as good as any then.
            self._bytes_of(item).fill(TRASH)
            Zone.free(self, item)
            raise Corrupt(f"memory modified after free: {self.name}({self.size}) has {found} at offset {at}")

    def _bytes_of(self, item: Item) -> Memory:
        """What a user of the item writes to: of a packet, its cluster."""
        cluster = None if self.primary else item.paired()
        return item if cluster is None else cluster

    def sites(self) -> Counter[str]:
        """How many items were asked for where and are still out."""
        return Counter(self._out.values())

    def site(self, item: Item) -> str:
        """Where an item that is out was asked for."""
        return self._out[item]


def _caller() -> str:
    """File and line of whoever called this package."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mbuf."):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
