# cython: nonecheck=True
"""Single pages: the memory of unmapped mbufs (M_EXTPG).

Pages come from the Vm through a keg of their own. A request may wait as for other kegs. Nothing is cached: a freed page
goes back to the Vm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython

    from mbuf.vm.vm import Vm
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_WAITOK, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.uma.bucket import Bucket
from mbuf.uma.budget import Budget
from mbuf.uma.claim import Claim
from mbuf.uma.item import Item, ItemOwner
from mbuf.uma.keg import Keg
from mbuf.vm.probe import Probes

if not cython.compiled:
    from mbuf.vm.poison import unpoison


@cython.no_gc
@cython.cclass
class Pages(ItemOwner):
    """What hands out single pages and takes them back. See vm_page_alloc and vm_page_free."""

    __slots__ = ("keg",)

    def __init__(self, vm: Vm) -> None:
        self.held = 0
        self.source = None
        self.probes = Probes()
        self.keg = Keg(vm, "pages", PAGE_SIZE, PAGE_SIZE - 1, Item)

    def alloc(self, how: int, deadline: float | None) -> Item:
        """Allocate a page, with undefined contents. `NoMemory` if there is none; M_WAITOK waits for one."""
        if self.keg.closed:
            raise Inval("pages: this pool is closed")
        bucket = Bucket(1)
        # For one item, it raises only while the bucket is empty.
        self.keg.take(bucket, 1, how, deadline)
        if not bucket.cnt and how == M_WAITOK and self.keg.budget is not None:
            self._wait(bucket, deadline)
        if not bucket.cnt:
            raise self.keg.denied()
        page = bucket.pop()
        unpoison(page)
        page.zone = self
        return page

    def _wait(self, bucket: Bucket, deadline: float | None) -> None:
        """Take a page from a budget, as soon as there is one, or none after the deadline."""
        budget: Budget = self.keg.budget
        seq = 0
        after = -1
        while not bucket.cnt:
            claim = Claim(None, seq, after)
            claim.add(self.keg, 1)
            if not budget.acquire(claim, deadline):
                return
            seen = budget.changes
            try:
                self.keg.take(bucket, 1, M_NOWAIT, None)
            finally:
                budget.leave(claim)
            if self.keg.closed:
                return
            seq = claim.seq
            after = budget.retry_after(seen)

    @property
    def backend(self) -> Keg:
        """The keg of the pages: what a zone calls its backend."""
        return self.keg

    def free(self, page: Item) -> None:
        """Free a page."""
        if page is not None and page.zone is self:
            keg = self.keg
            # This may have been the last reference to `self`.
            page.zone = cython.cast(ItemOwner, None)
            try:
                keg.give(page)
            finally:
                keg.drain()

    @property
    def used(self) -> int:
        """Pages handed out, freed pages with views included."""
        return int(self.keg.slabs - self.keg.free)

    def close(self) -> None:
        """Stop handing out pages."""
        self.keg.close()
