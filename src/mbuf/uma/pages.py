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

from mbuf.const import PAGE_SIZE
from mbuf.errors import Inval
from mbuf.uma.bucket import Bucket
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
        if not bucket.cnt:
            raise self.keg.denied()
        page = bucket.pop()
        unpoison(page)
        page.zone = self
        return page

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
