"""Mbufs of loose pages: mbuf(9)'s allocation calls for them.

Takes mbufs from the zones in force, and pages from their supply. Never touches bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.zones import Zones
else:
    from mbuf.shadow import cython

from mbuf.const import EPG_FLAG_ANON, M_NOWAIT, MT_DATA, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.packet.mbuf import show
from mbuf.packet.pages import loosen
from mbuf.packet.source import left, until
from mbuf.packet.unmapped import Unmapped, few_enough
from mbuf.pool.bulk import Bulk
from mbuf.uma.pages import Pages
from mbuf.vm.number import clip


class Paged(Bulk):
    """The calls that allocate mbufs of loose pages."""

    __slots__ = ("pages",)

    def __init__(self, zones: Zones, pages: Pages, max_linkhdr: int, max_protohdr: int) -> None:
        Bulk.__init__(self, zones, max_linkhdr, max_protohdr)
        #: The supply of single pages.
        self.pages = pages

    def alloc_ext_pgs(
        self,
        how: int = M_NOWAIT,
        free: Callable[[Mbuf], object] | None = None,
        arg1: Any = None,
        timeout: float | None = None,
    ) -> Mbuf:
        """An mbuf of loose pages that has none yet: see `m.addpages` and `m.epg`. See mb_alloc_ext_pgs.

        When the last mbuf that shares them lets go, `free(m)` is called once, with an mbuf whose `epg`, and `ext`
        with `arg1`, still tell of them; then the pages are freed.
        """
        if free is not None and not callable(free):
            raise Inval("alloc_ext_pgs: free must be a function to call, or None")
        m = loosen(self.get(how, MT_DATA, timeout), self.pages)
        if free is not None or arg1 is not None:
            pages: Unmapped = cython.cast(Unmapped, m.buf)
            pages.tell_owner(free, arg1, show)
        return m

    def alloc_ext_plus_pages(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """An mbuf of loose pages in memory, as many as hold `len` bytes, at most 20480; it has no bytes yet.

        Raises `NoMemory` when pages are out. Write to the pages with `m.page`. See mb_alloc_ext_plus_pages.
        """
        size = clip(len)
        if size < 0:
            raise Inval(f"alloc_ext_plus_pages: {len} bytes: give 0 or more")
        count = size // PAGE_SIZE + (size % PAGE_SIZE > 0)
        few_enough(count, "alloc_ext_plus_pages")
        deadline = until(how, timeout)
        m = self.alloc_ext_pgs(how, None, None, left(deadline))
        try:
            m.addpages(count, how, left(deadline))
        except BaseException:
            m.free()
            raise
        m.epg.flags = EPG_FLAG_ANON
        return m
