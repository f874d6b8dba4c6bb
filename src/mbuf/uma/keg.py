"""Backing store for items of one size: slabs of pages, cut up.

Asks the Vm for pages and cuts them; several zones may draw from one keg. Never caches an item: that is
what zones are for. Waits for pages outside its lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.const import M_WAITOK
from mbuf.uma.item import Backend, Item
from mbuf.uma.slab import Layout, Slab, layout
from mbuf.uma.waitq import Call, WaitQ
from mbuf.vm.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.errors import MbufError
    from mbuf.vm.vm import Vm

_Got = TypeVar("_Got")


class Keg(Backend):
    """Items of `size` bytes, of class `kind`, each at a multiple of `align` + 1. See keg_ctor."""

    __slots__ = (
        "_empty",
        "_free",
        "_lock",
        "_partial",
        "_waiters",
        "closed",
        "cut",
        "kind",
        "name",
        "size",
        "slabs",
        "vm",
    )

    def __init__(self, vm: Vm, name: str, size: int, align: int, kind: type[Item] = Item) -> None:
        self.vm = vm
        self.name = name
        self.size = size
        self.kind = kind
        self.cut: Layout = layout(size, align)
        #: Slabs held.
        self.slabs = 0
        self._free = 0
        # Slabs with some items free, and with all free; the one added last is drawn from first.
        self._partial: dict[Slab, None] = {}
        self._empty: dict[Slab, None] = {}
        self._lock = Lock()
        self._waiters = WaitQ()
        self.closed = False
        vm.freed.register(self._pages_freed)

    @property
    def free(self) -> int:
        """Free items in all slabs."""
        return self._free

    @property
    def pages(self) -> int:
        """Pages of all slabs."""
        return self.slabs * self.cut.pages

    def take(self, count: int, how: int, deadline: float | None) -> list[Item]:
        """Items of partly used slabs first, then of free ones, then of new ones.

        With M_WAITOK it waits for pages, but only as long as it has got nothing. See zone_import.
        """
        items: list[Item] = []
        while True:
            with self._lock:
                while len(items) < count:
                    slab = self._slab()
                    if slab is None:
                        break
                    self._cut(slab, count - len(items), items)
            if len(items) == count:
                return items
            self.vm.shortage.invoke()
            if items or how != M_WAITOK or not self._wait(deadline):
                return items

    def _slab(self) -> Slab | None:
        """A slab with a free item; None when there is no page for a new one."""
        if self._partial:
            return next(reversed(self._partial))
        if self._empty:
            return next(reversed(self._empty))
        page = self.vm.take(self.cut.pages)
        if page < 0:
            return None
        slab = Slab(self.vm, page, self.cut)
        self.slabs += 1
        self._free += self.cut.items
        self._empty[slab] = None
        return slab

    def _cut(self, slab: Slab, count: int, items: list[Item]) -> None:
        """Move up to `count` items out of a slab."""
        if slab.free == self.cut.items:
            del self._empty[slab]
            self._partial[slab] = None
        rsize = self.cut.rsize
        while count and slab.free:
            items.append(self.kind(slab, slab.take() * rsize, self.size))
            self._free -= 1
            count -= 1
        if not slab.free:
            del self._partial[slab]

    def give(self, items: list[Item]) -> None:
        """Put items back into their slabs. The item objects are spent."""
        if not self._lock.enter():
            self._lock.defer(self.give, items)
            return
        try:
            for item in items:
                self._give(item)
        finally:
            self._lock.leave()
        for _ in range(min(len(items), len(self._waiters))):
            self._waiters.grant()
        if self.closed:
            self.drain()

    def _give(self, item: Item) -> None:
        slab = item.run
        item.spend()
        fresh = slab.give(item.place() // self.cut.rsize)
        assert fresh, f"duplicate free of an item of {self.name}"
        self._free += 1
        if slab.free == 1:
            self._partial[slab] = None
        if slab.free == self.cut.items:
            del self._partial[slab]
            self._empty[slab] = None

    def drain(self) -> int:
        """Give the pages of wholly free slabs back; their number. See keg_drain."""
        if not self._lock.enter():
            return 0
        try:
            slabs = list(self._empty)
            self._empty.clear()
            self.slabs -= len(slabs)
            self._free -= len(slabs) * self.cut.items
        finally:
            self._lock.leave()
        if slabs:
            self.vm.give([(slab.page, slab.count) for slab in slabs])
        return len(slabs) * self.cut.pages

    def close(self) -> None:
        """No more will be taken: no use to hear of free pages, or to wait for them."""
        self.closed = True
        self.vm.freed.forget(self._pages_freed)
        self._pages_freed()

    def denied(self) -> MbufError:
        """Out of pages, or of pages in a row."""
        return self.vm.denied(self.cut.pages)

    def _wait(self, deadline: float | None) -> bool:
        """Wait until pages or items were freed; false when the deadline has passed."""
        if self.closed:
            return False
        waiter = self._waiters.join()
        granted = None
        try:
            if self.vm.free >= self.cut.pages and self.vm.largest_run() >= self.cut.pages:
                return True
            granted = self._waiters.wait(waiter, deadline)
        finally:
            if granted is None and not self._waiters.quit(waiter):
                # Woken, but not to be waited for any more: the next in line may look.
                self._waiters.grant()
        return granted

    # For who can't block. What was freed is anybody's: who is woken asks again.

    def obstacle(self, zone: Any) -> tuple[Any, Keg]:
        """The line of those who wait for pages."""
        return zone, self

    def enlist(self, wake: Callable[[], bool]) -> Call:
        """Stand in line for pages, or for items given back: then `wake` is called. See `Call`. Ends with `leave`."""
        call = self._waiters.enlist(wake)
        if self.closed or self._free or (self.vm.free >= self.cut.pages and self.vm.largest_run() >= self.cut.pages):
            self._waiters.grant()
        return call

    def leave(self, call: Call, used: bool) -> None:
        """Stand in line no more. If it was woken, but hasn't asked, the next may look."""
        if not self._waiters.quit(call) and call.granted and not used:
            self._waiters.grant()

    def redeem(self, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`."""
        return ask()

    def _pages_freed(self) -> None:
        """Wake everyone: who finds nothing waits again."""
        for _ in range(len(self._waiters)):
            self._waiters.grant()
