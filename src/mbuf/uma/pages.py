# cython: nonecheck=True
"""Single pages of memory, each by itself: for whoever holds bytes that lie in no slab.

Draws them from the Vm through a keg of its own, and waits as that does. Keeps none: what comes back is free.
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
from mbuf.uma.item import Home, Item
from mbuf.uma.keg import Keg
from mbuf.vm.probe import Probes

if not cython.compiled:
    from mbuf.vm.poison import unpoison


@cython.no_gc
@cython.cclass
class Pages(Home):
    """The home of pages. See vm_page_alloc and vm_page_free."""

    __slots__ = ("keg",)

    def __init__(self, vm: Vm) -> None:
        self.held = 0
        self.source = None
        self.probes = Probes()
        self.keg = Keg(vm, "pages", PAGE_SIZE, PAGE_SIZE - 1, Item)

    def alloc(self, how: int, deadline: float | None) -> Item:
        """A page with anything in it; `NoMemory` if there is none, after waiting where `how` allows it."""
        if self.keg.closed:
            raise Inval("pages: this pool is closed")
        bucket = Bucket(1)
        try:
            self.keg.take(bucket, 1, how, deadline)
        except BaseException:
            if bucket.cnt:
                self.keg.give(bucket.pop())
            raise
        if not bucket.cnt:
            raise self.keg.denied()
        page = bucket.pop()
        unpoison(page)
        page.home = self
        return page

    def free(self, page: Item) -> None:
        """Take a page back."""
        if page is not None and page.home is self:
            keg = self.keg
            # The page may be the last to refer to this.
            page.home = cython.cast(Home, None)
            try:
                keg.give(page)
            finally:
                keg.drain()

    @property
    def used(self) -> int:
        """Pages handed out, those looked at after they were freed too."""
        return int(self.keg.slabs - self.keg.free)

    def close(self) -> None:
        """Hand out no more."""
        self.keg.close()
