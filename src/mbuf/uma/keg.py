# cython: cdivision=True
"""A keg: items of one size, cut from slabs of pages. See keg_ctor and keg_layout in uma_core.c.

It takes pages from the Vm, and several zones may use one keg. It caches nothing: zones do that. Each slab is in one of
three lists: partial (some items free), empty (all free), full (none free). Cutting items, returning them, and giving
pages back are commits; between them an item is in a bucket, or belongs to a call.

A request that may wait enters the queue of the keg when there is no free item and no page. Each item that is returned
grants the first waiter, and free pages grant all. A grant only means that the waiter tries again: another request may
be faster.

A keg of a `Budget` (budget.py) never waits. Where it finds nothing, the caches of all zones of the budget are taken
back, and it tries once more.
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
from mbuf.uma.bucket import Bucket
from mbuf.uma.budget import Budget
from mbuf.uma.claim import Supply
from mbuf.uma.item import Item
from mbuf.uma.slab import Layout, Slab, Slabs, layout
from mbuf.uma.waitq import Waiter, WaitQ
from mbuf.vm.vm import Vm

if not cython.compiled:
    from mbuf.uma.budget import ALL, NOTHING
    from mbuf.uma.item import in_zone, leave_zone, mark_free
    from mbuf.uma.slab import init_slab, lowest_free, set_free, set_used
    from mbuf.uma.waitq import microseconds
    from mbuf.vm.commit import enter_commit, leave_commit, run_all_releases
    from mbuf.vm.poison import poison_run, unpoison_run

_Got = TypeVar("_Got")


@cython.cclass
class Keg(Supply):
    """Items of `size` bytes, of class `kind`, each at a multiple of `align` + 1. See keg_ctor."""

    __slots__ = (
        "_empty",
        "_full",
        "_partial",
        "_rsize",
        "_waiters",
        "budget",
        "closed",
        "layout",
        "kind",
        "name",
        "size",
        "slabs",
        "vm",
    )

    def __cinit__(self, *_: object) -> None:
        if not cython.compiled:
            Supply.__cinit__(self)
        # The slab that was added last to a list is used first.
        self._partial = Slabs(1)
        self._empty = Slabs(2)
        self._full = Slabs(3)
        self._waiters = WaitQ()

    def __init__(self, vm: Vm, name: str, size: int, align: int, kind: type[Item] = Item) -> None:
        if not cython.compiled:
            self.__cinit__()
        if not isinstance(vm, Vm):
            raise TypeError(f"Keg: give a Vm, not a {type(vm).__name__}")
        if not (isinstance(kind, type) and issubclass(kind, Item)):
            raise TypeError("Keg: give Item, or a subclass of it")
        self.layout: Layout = layout(size, align)
        if not 1 <= self.layout.items <= 64:
            raise Inval(f"items of {size} bytes: a slab would have {self.layout.items} items: give a size for 1 to 64")
        self.vm = vm
        self.name = name
        self.size = size
        self.kind = kind
        self._rsize, self._pages, self._items = self.layout.rsize, self.layout.pages, self.layout.items
        #: The memory that it shares with other kegs; None if it takes from the Vm alone.
        self.budget: Any = None
        #: The number of slabs.
        self.slabs = 0
        self._free = 0
        self.closed = False
        vm.freed.register(self.wake_all)

    def join(self, budget: Budget) -> None:
        """Share the memory of a budget from now on."""
        budget.add(self)
        self.budget = budget

    @property
    def free(self) -> int:
        """Free items in all slabs."""
        return self._free

    @property
    def pages(self) -> int:
        """Pages of all slabs."""
        return self.slabs * self._pages

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Cut items from partial slabs first, then from empty ones, then from new ones.

        With M_WAITOK it waits for pages, but only while it has no item. See zone_import.
        """
        if self.vm is None or bucket is None or count < 0 or count > bucket.entries - bucket.cnt:
            raise Inval(f"{self.name}: give a bucket with room for {count} items")
        had = bucket.cnt
        most = had + count
        if self.budget is not None:
            self._take_shared(bucket, most)
            return
        while True:
            while bucket.cnt < most:
                self._cut(bucket, most)
                if bucket.cnt < most and not self.grow():
                    break
            if bucket.cnt == most:
                return
            self.vm.shortage.invoke()
            if bucket.cnt > had or how != M_WAITOK or not self._wait(deadline):
                return

    def _take_shared(self, bucket: Bucket, most: int) -> None:
        """`take` for a keg of a budget; it doesn't wait."""
        had = bucket.cnt
        budget: Any = self.budget
        for last in range(2):
            access = budget.access(self)
            if access == NOTHING:
                return
            self._take_allowed(bucket, most, access)
            if bucket.cnt > had:
                return
            if last or not budget.take_back():
                break
        self.vm.shortage.invoke()
        budget.on_shortage()

    def _take_allowed(self, bucket: Bucket, most: int, access: int) -> None:
        """Cut items until the bucket has `most`, or what this call may take is used up."""
        while True:
            allowed = most if access == ALL else min(most, bucket.cnt + max(self._free - self.promised, 0))
            if bucket.cnt < allowed:
                self._cut(bucket, allowed)
            if bucket.cnt >= most or not self.budget.may_grow(self, access) or not self.grow():
                return

    def batch(self, count: int) -> int:
        """See `Backend`."""
        return count if self.budget is None else self.budget.batch(count)

    def claim(self, claim: Any, count: int) -> None:
        """See `Backend`."""
        claim.add(self, count)

    def _cut(self, bucket: Bucket, most: int) -> None:
        """Cut items from existing slabs until the bucket has `most`, or no slab has a free item."""
        enter_commit()
        try:
            while bucket.cnt < most:
                slab: Any = self._partial.head()
                if slab is None:
                    slab = self._empty.head()
                if slab is None:
                    return
                if slab.bits == 0:
                    # Uncompiled, an exception came between taking its last item and moving it to another list.
                    slab.free = 0
                    self._relist(slab)
                    continue
                n = lowest_free(slab)
                # May raise: nothing has changed yet.
                item = self._make(slab, n * self._rsize)
                set_used(slab, n)
                self._free -= 1
                mark_free(item)
                bucket.push(item)
                self._relist(slab)
        finally:
            leave_commit()

    def _make(self, slab: Slab, start: int) -> Item:
        """An item for the bytes at `start` of a slab."""
        if not cython.compiled:
            made: Item = self.kind(slab, start, self.size)
            return made
        item: Item = cython.cast(type, self.kind).__new__(self.kind)
        item.carve(slab, start, self.size)
        return item

    def grow(self) -> bool:
        """Add a slab; false if there are no pages for it."""
        slab = Slab()
        init_slab(slab, self._items)
        page = self.vm.map.take(self._pages)
        if page < 0:
            return False
        enter_commit()
        self.vm.map.set_run(slab, page, self._pages)
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
        """Called with a new slab, which has its pages and is in no list yet."""

    def _relist(self, slab: Slab) -> None:
        """In a commit: move a slab to the list for its number of free items."""
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
        """Return an item to its slab, and grant the first waiter. The item object isn't used again."""
        if item is None or not isinstance(item.run, Slab):
            raise Inval(f"{self.name}: this is no item of a keg")
        slab: Slab = item.run
        place = item.offset_in_run()
        enter_commit()
        try:
            right = self._return_item(item, slab, place)
        finally:
            leave_commit()
        if not right:
            raise Corrupt(f"keg {self.name}: an item was returned twice, or isn't from this keg")
        item.invalidate()
        budget: Any = self.budget
        if budget is not None:
            budget.freed()
        elif self._waiters._queue.count:
            self._wake()
        if self.closed:
            self.drain()

    def _return_item(self, item: Item, slab: Slab, place: int) -> bool:
        if slab.keg != (cython.cast(cython.p_void, self) if cython.compiled else self):
            return False
        if not in_zone(item) or not set_free(slab, place // self._rsize):
            return False
        leave_zone(item)
        self._free += 1
        self._relist(slab)
        return True

    def drain(self) -> int:
        """Give the pages of empty slabs back. Returns the number of pages. See keg_drain."""
        slabs = 0
        if self.vm is None:
            return 0
        enter_commit()
        try:
            while True:
                slab: Any = self._empty.head()
                if slab is None or self._free - self._items < self.promised:
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

    def has_empty(self) -> bool:
        """True if there are empty slabs, and not all of them are promised."""
        return self._empty.count > 0 and self._free - self._items >= self.promised

    def close(self) -> None:
        """Close: give free pages back, and grant all waiters, which then fail."""
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
        """The error for a request without pages."""
        if self.vm is None:
            return Inval("this keg was never initialized: call its __init__")
        if self.budget is not None:
            error: MbufError = self.budget.error(self._pages)
            return error
        return self.vm.denied(self._pages)

    def _wait(self, deadline: float | None) -> bool:
        """Wait until an item or a page may be free; false after the deadline, and when the keg is closed."""
        run_all_releases()
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
                self._dequeue(waiter)
        return granted

    def _has_room(self) -> bool:
        """In a commit: true if an item is available."""
        if self._free:
            return True
        return self.vm.map.pages - self.vm.map.used >= self._pages and self.vm.map.longest() >= self._pages

    def _dequeue(self, waiter: Waiter) -> None:
        """Take a waiter out of the queue. If it was granted meanwhile, grant the next."""
        enter_commit()
        try:
            if not self._waiters.remove(waiter) and waiter.granted:
                waiter.granted = False
                self._waiters.grant_next()
        finally:
            leave_commit()
        self._wake_granted()

    def forked(self) -> None:
        """In the child of a fork: threads that waited aren't here."""
        enter_commit()
        self._waiters.forked()
        leave_commit()

    # For tasks, which can't block. A task that was woken tries again, and may find nothing.

    def wait_target(self, zone: Any) -> tuple[Any, Any]:
        """This keg's queue of waiters for pages; None with a budget, which has its own."""
        return zone, self if self.budget is None else None

    def enqueue(self, wake: Callable[[], bool]) -> Waiter:
        """Wait for pages or items without blocking: then `wake` is called. Ends with `dequeue`."""
        if self.vm is None:
            raise Inval("this keg was never initialized: call its __init__")
        run_all_releases()
        call = Waiter(wake)
        enter_commit()
        try:
            self._waiters.add(call)
            if self.closed or self._has_room():
                self._waiters.grant_next()
        finally:
            leave_commit()
        try:
            self._wake_granted()
        except BaseException:
            self._dequeue(call)
            raise
        return call

    def dequeue(self, call: Waiter) -> None:
        """End what `enqueue` began. If `use_grant` wasn't called after the grant, the next waiter is granted."""
        if call is None:
            raise TypeError("dequeue: give the waiter that enqueue returned")
        self._dequeue(call)

    def use_grant(self, call: Waiter, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`: there may be an item for it."""
        if call is None:
            raise TypeError("use_grant: give the waiter that enqueue returned")
        call.granted = False
        return ask()

    def _wake(self) -> None:
        """Grant the first waiter."""
        self._waiters.grant()
        self._wake_granted()

    def _wake_granted(self) -> None:
        """Call the functions of granted tasks. A grant that none of them took is void: it charges nothing."""
        try:
            self._waiters.wake()
        finally:
            enter_commit()
            self._waiters.refused = 0
            leave_commit()

    def wake_all(self) -> None:
        """Grant all waiters. One that finds nothing waits again."""
        for _ in range(self._waiters._queue.count):
            self._waiters.grant()
        self._wake_granted()
