"""mbuf(9)'s allocation calls for mbufs of unmapped pages.

Takes mbufs from a source and pages from a supply. No bytes are read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.packet.source import Source
    from mbuf.pool.allocator import Allocator
    from mbuf.uma.pages import Pages
else:
    from mbuf.shadow import cython

from mbuf.const import EPG_FLAG_ANON, M_NOWAIT, MBUF_PEXT_MAX_PGS, MT_DATA, PAGE_SIZE
from mbuf.errors import Inval
from mbuf.packet.mbuf import call_free_routine
from mbuf.packet.pages import make_unmapped
from mbuf.packet.source import seconds_left
from mbuf.packet.unmapped import Unmapped
from mbuf.pool import waiting

if not cython.compiled:
    from mbuf.packet.unmapped import check_page_count


def alloc_ext_pgs(
    source: Source,
    supply: Pages,
    how: int,
    free: Callable[[Mbuf], object] | None,
    arg1: Any,
    deadline: float | None,
) -> Mbuf:
    """An mbuf of unmapped pages, without any page yet. See mb_alloc_ext_pgs."""
    if source is None or supply is None:
        raise TypeError("alloc_ext_pgs: give a source of mbufs and a supply of pages")
    if free is not None and not callable(free):
        raise Inval("alloc_ext_pgs: free must be a function to call, or None")
    m: Mbuf = make_unmapped(source.get(how, MT_DATA, 0, deadline), supply)
    if free is not None or arg1 is not None:
        pages: Unmapped = cython.cast(Unmapped, m.buf)
        pages.set_free_cb(free, arg1, call_free_routine)
    return m


def alloc_ext_plus_pages(source: Source, supply: Pages, size: int, how: int, deadline: float | None) -> Mbuf:
    """An mbuf with as many pages of memory as hold `size` bytes. See mb_alloc_ext_plus_pages."""
    if size < 0:
        raise Inval(f"alloc_ext_plus_pages: {size} bytes: give 0 or more")
    count = size // PAGE_SIZE + (size % PAGE_SIZE > 0)
    check_page_count(count, "alloc_ext_plus_pages")
    m = alloc_ext_pgs(source, supply, how, None, None, deadline)
    try:
        m.addpages(count, how, seconds_left(deadline))
    except BaseException:
        m.free()
        raise
    m.epg.flags = EPG_FLAG_ANON
    return m


def wait_for_pages(a: Allocator, size: int, deadline: float | None) -> Mbuf:
    """`alloc_ext_plus_pages` in a pool with a budget: waits for memory for all of it."""

    def ask(how: int) -> Mbuf:
        return alloc_ext_plus_pages(a, a.pages, size, how, None if how == M_NOWAIT else deadline)

    # As many as an mbuf can have, if `size` is too large: then it raises.
    count = min(max(-(-size // PAGE_SIZE), 0), MBUF_PEXT_MAX_PGS)
    got: Mbuf = waiting.call(a, ((a.zones.mbuf, 1), (a.pages, count)), ask, deadline)
    return got
