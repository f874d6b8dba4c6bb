# cython: cdivision=True
"""Backing store for items of one size: slabs of pages, cut up.

Asks the Vm for pages and cuts them; several zones may draw from one keg. Never caches an item: that is
what zones are for. A slab is in one of three lists, of those with all, some or none of its items free. Items are cut,
put back, and pages given back in commits; in between an item is in a bucket, or the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.errors import MbufError
else:
    from mbuf.shadow import cython

from mbuf.const import M_WAITOK, PAGE_SIZE
from mbuf.errors import Corrupt, Inval
from mbuf.uma.backend import Backend
from mbuf.uma.bucket import Bucket
from mbuf.uma.item import Item
from mbuf.uma.slab import Layout, Slab, Slabs, layout
from mbuf.uma.waitq import Waiter, WaitQ
from mbuf.vm.vm import Vm

if not cython.compiled:
    from mbuf.uma.item import in_zone, leave_zone, take_home
    from mbuf.uma.slab import begin_slab, give_place, lowest_free, take_place
    from mbuf.uma.waitq import microseconds
    from mbuf.vm.commit import enter_commit, leave_commit, work_off_all
    from mbuf.vm.poison import poison_run, unpoison_run

_Got = TypeVar("_Got")


@cython.cclass
class Keg(Backend):
    """Items of `size` bytes, of class `kind`, each at a multiple of `align` + 1. See keg_ctor."""

    __slots__ = (
        "_empty",
        "_free",
        "_full",
        "_items",
        "_pages",
        "_partial",
        "_rsize",
        "_waiters",
        "closed",
        "cut",
        "kind",
        "name",
        "size",
        "slabs",
        "vm",
    )

    def __cinit__(self, *_: object) -> None:
        # Slabs with some items free, with all free, and with none; the one added last is drawn from first.
        self._partial = Slabs(1)
        self._empty = Slabs(2)
        self._full = Slabs(3)
        self._waiters = WaitQ()

    def __init__(self, vm: Vm, name: str, size: int, align: int, kind: type[Item] = Item) -> None:
        if not cython.compiled:
            self.__cinit__()
        if not isinstance(vm, Vm):
            raise TypeError(f"a keg has its pages from a Vm, not a {type(vm).__name__}")
        if not (isinstance(kind, type) and issubclass(kind, Item)):
            raise TypeError("a keg cuts items of a class of Item")
        self.cut: Layout = layout(size, align)
        if not 1 <= self.cut.items <= 64:
            raise Inval(f"items of {size} bytes: slabs have 1 to 64 items, not {self.cut.items}")
        self.vm = vm
        self.name = name
        self.size = size
        self.kind = kind
        self._rsize, self._pages, self._items = self.cut.rsize, self.cut.pages, self.cut.items
        #: Slabs held.
        self.slabs = 0
        self._free = 0
        self.closed = False
        vm.freed.register(self.wake_all)

    @property
    def free(self) -> int:
        """Free items in all slabs."""
        return self._free

    @property
    def pages(self) -> int:
        """Pages of all slabs."""
        return self.slabs * self._pages

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Items of partly used slabs first, then of free ones, then of new ones.

        With M_WAITOK it waits for pages, but only as long as it has got nothing. See zone_import.
        """
        if self.vm is None or bucket is None or count < 0 or count > bucket.entries - bucket.cnt:
            raise Inval(f"{self.name}: there is no bucket with room for {count} items")
        had = bucket.cnt
        most = had + count
        while True:
            while bucket.cnt < most:
                self._cut(bucket, most)
                if bucket.cnt < most and not self._grow():
                    break
            if bucket.cnt == most:
                return
            self.vm.shortage.invoke()
            if bucket.cnt > had or how != M_WAITOK or not self._wait(deadline):
                return

    def _cut(self, bucket: Bucket, most: int) -> None:
        """Cut items from the slabs that there are, until the bucket has so many."""
        enter_commit()
        try:
            while bucket.cnt < most:
                slab: Any = self._partial.head()
                if slab is None:
                    slab = self._empty.head()
                if slab is None:
                    return
                if slab.bits == 0:
                    # Uncompiled, an exception had come between taking its last item and moving it.
                    slab.free = 0
                    self._settle(slab)
                    continue
                n = lowest_free(slab)
                # May fail; nothing has changed yet.
                item = self._make(slab, n * self._rsize)
                take_place(slab, n)
                self._free -= 1
                take_home(item)
                bucket.push(item)
                self._settle(slab)
        finally:
            leave_commit()

    def _make(self, slab: Slab, start: int) -> Item:
        """An item for a place of a slab."""
        if not cython.compiled:
            made: Item = self.kind(slab, start, self.size)
            return made
        item: Item = cython.cast(type, self.kind).__new__(self.kind)
        item.carve(slab, start, self.size)
        return item

    def _grow(self) -> bool:
        """Have one slab more; false when there is no page for it."""
        slab = Slab()
        begin_slab(slab, self._items)
        page = self.vm.map.take(self._pages)
        if page < 0:
            return False
        enter_commit()
        self.vm.map.lay(slab, page, self._pages)
        leave_commit()
        try:
            self.fresh(slab)
        except BaseException:
            enter_commit()
            self.vm.map.give(page, self._pages)
            self.vm.map.sweep()
            leave_commit()
            raise
        enter_commit()
        slab.keg = cython.cast(cython.p_void, self) if cython.compiled else self
        poison_run(slab, self._pages * PAGE_SIZE)
        self.slabs += 1
        self._free += self._items
        self._empty.add(slab)
        leave_commit()
        return True

    def fresh(self, slab: Slab) -> None:
        """A slab has its pages, and is in no list yet."""

    def _settle(self, slab: Slab) -> None:
        """In a commit: put a slab into the list that it belongs to by now."""
        into = self._partial
        if slab.free == 0:
            into = self._full
        elif slab.free == self._items:
            into = self._empty
        if into.holds(slab):
            return
        if self._partial.holds(slab):
            self._partial.remove(slab)
        elif self._empty.holds(slab):
            self._empty.remove(slab)
        elif self._full.holds(slab):
            self._full.remove(slab)
        into.add(slab)

    def give(self, item: Item) -> None:
        """Put an item back into its slab. The item object is spent. Those who wait are told."""
        if item is None or not isinstance(item.run, Slab):
            raise Inval(f"{self.name}: this is no item of a keg")
        slab: Slab = item.run
        place = item.place()
        enter_commit()
        try:
            right = self._put(item, slab, place)
        finally:
            leave_commit()
        if not right:
            raise Corrupt(f"an item was given back to the keg {self.name} that it isn't cut from, or not any more")
        item.invalidate()
        if self._waiters._line.count:
            self._wake()
        if self.closed:
            self.drain()

    def _put(self, item: Item, slab: Slab, place: int) -> bool:
        if slab.keg != (cython.cast(cython.p_void, self) if cython.compiled else self):
            return False
        if not in_zone(item) or not give_place(slab, place // self._rsize):
            return False
        leave_zone(item)
        self._free += 1
        self._settle(slab)
        return True

    def drain(self) -> int:
        """Give the pages of wholly free slabs back; their number. See keg_drain."""
        slabs = 0
        if self.vm is None:
            return 0
        enter_commit()
        try:
            while True:
                slab: Any = self._empty.head()
                if slab is None:
                    break
                self._empty.remove(slab)
                slab.keg = cython.NULL if cython.compiled else None
                unpoison_run(slab, self._pages * PAGE_SIZE)
                self.slabs -= 1
                self._free -= self._items
                slabs += 1
                self.vm.map.give(slab.page, self._pages)
            if slabs:
                self.vm.map.sweep()
        finally:
            leave_commit()
        if slabs:
            self.vm.freed.invoke()
        return slabs * self._pages

    def close(self) -> None:
        """No more will be taken: no use to hear of free pages, or to wait for them."""
        self.closed = True
        try:
            self.drain()
        finally:
            try:
                self.wake_all()
            finally:
                if self.vm is not None:
                    self.vm.freed.forget(self.wake_all)

    def denied(self) -> MbufError:
        """Out of pages, or of pages in a row."""
        if self.vm is None:
            return Inval("this keg was never made")
        return self.vm.denied(self._pages)

    def _wait(self, deadline: float | None) -> bool:
        """Wait until pages or items were freed; false when the deadline has passed."""
        work_off_all()
        waiter = Waiter()
        enter_commit()
        try:
            stay = not (self.closed or self._has_room())
            if stay:
                self._waiters.add(waiter)
        finally:
            leave_commit()
        if not stay:
            return not self.closed and microseconds(deadline) != 0
        granted = False
        try:
            granted = self._waiters.wait(waiter, deadline)
        finally:
            if not granted:
                self._leave(waiter)
        return granted

    def _has_room(self) -> bool:
        """In a commit: true when an item is to be had."""
        if self._free:
            return True
        return self.vm.map.pages - self.vm.map.used >= self._pages and self.vm.map.longest() >= self._pages

    def _leave(self, waiter: Waiter) -> None:
        """Leave the line. Woken, but not to be waited for any more: the next may look."""
        enter_commit()
        try:
            if not self._waiters.drop(waiter) and waiter.granted:
                waiter.granted = False
                self._waiters.pass_on()
        finally:
            leave_commit()
        self._waiters.wake()

    def forked(self) -> None:
        """In the child of a fork: threads that waited aren't here."""
        enter_commit()
        self._waiters.forked()
        leave_commit()

    # For who can't block. What was freed is anybody's: who is woken asks again.

    def obstacle(self, zone: Any) -> tuple[Any, Any]:
        """The line of those who wait for pages."""
        return zone, self

    def enlist(self, wake: Callable[[], bool]) -> Waiter:
        """Stand in line for pages, or for items given back: then `wake` is called. Ends with `leave`."""
        if self.vm is None:
            raise Inval("this keg was never made")
        work_off_all()
        call = Waiter(wake)
        enter_commit()
        try:
            self._waiters.add(call)
            if self.closed or self._has_room():
                self._waiters.pass_on()
        finally:
            leave_commit()
        try:
            self._waiters.wake()
        except BaseException:
            self._leave(call)
            raise
        return call

    def leave(self, call: Waiter) -> None:
        """Stand in line no more. If it was woken, but hasn't asked, the next may look."""
        if call is None:
            raise TypeError("leave: nobody stands in line")
        self._leave(call)

    def redeem(self, call: Waiter, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`: there may be an item."""
        if call is None:
            raise TypeError("redeem: nobody stands in line")
        call.granted = False
        return ask()

    def _wake(self) -> None:
        """Wake the first in line."""
        self._waiters.grant()
        self._waiters.wake()

    def wake_all(self) -> None:
        """Wake everyone: who finds nothing waits again."""
        for _ in range(self._waiters._line.count):
            self._waiters.grant()
        self._waiters.wake()
