"""Mbufs that are allocated with contents: copied bytes, or memory of the caller.

Takes mbufs from the allocator; the bytes are copied by `packet.build` and `packet.pages`. Data is a buffer whose
export is held by the façade (`BufferExport`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import (
    EXT_MOD_TYPE,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    MBUF_PEXT_MAX_PGS,
    MHLEN,
    MT_DATA,
    PAGE_SIZE,
)
from mbuf.errors import Inval
from mbuf.packet.build import fill_chain, from_device
from mbuf.packet.mbuf import Mbuf, call_free_routine
from mbuf.packet.pages import fill_pages
from mbuf.pool import allocator, chain
from mbuf.vm.ints import INT_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.pool.allocator import Allocator
    from mbuf.vm.buffer_export import BufferExport
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.packet.attach import attach_buffer
    from mbuf.packet.mbuf import use_whole_storage, wrap_item
    from mbuf.pool.allocator import ready


def init(a: Allocator, how: int, type: int, flags: int) -> Mbuf:
    """An mbuf that belongs to no zone. See m_init."""
    ready(a)
    return allocator.fire_init(a, wrap_item(a.nofree.item(), type, flags | M_NOFREE), how, type, flags)


def frombytes(a: Allocator, data: BufferExport, how: int, align: int, flags: int, deadline: float | None) -> Mbuf:
    """A chain with a copy of the bytes of data. See m_uiotombuf."""
    ready(a)
    size = data.size
    if flags & M_EXTPG:
        most = MBUF_PEXT_MAX_PGS * PAGE_SIZE
        if flags != M_EXTPG:
            raise Inval("frombytes: an mbuf of unmapped pages has no packet header: give M_EXTPG alone")
        if not 0 <= align <= most:
            raise Inval(f"frombytes: align {align}: give the bytes of an mbuf of unmapped pages, up to {most}")
        filled: Mbuf = fill_pages(a, data, align or most, how, deadline)
        return filled
    if not 0 <= align < MHLEN:
        raise Inval(f"frombytes: align {align}: give 0 to {MHLEN - 1}")
    return fill_chain(chain.getm2(a, None, max(size + align, 1), how, MT_DATA, flags, deadline), data, align)


def devget(
    a: Allocator,
    data: BufferExport,
    off: int,
    rcvif: Any,
    copy: Callable[[memoryview, memoryview], object] | None,
    view: memoryview | None,
) -> Mbuf:
    """A packet with a copy of the bytes of data. See m_devget."""
    ready(a)
    size = data.size
    if not 0 <= off <= MHLEN:
        raise Inval(f"devget: off {off}: give 0 to {MHLEN}")
    if not 0 < size <= INT_MAX:
        raise Inval(f"devget: {size} bytes: give 1 or more")
    return from_device(a, data, off, rcvif, copy, view)


def wrap(a: Allocator, obj: Any, on_free: Callable[[Any], object] | None) -> Mbuf:
    """A packet whose bytes are those of any object with a buffer, not copied."""
    m = allocator.get(a, M_NOWAIT, MT_DATA, M_PKTHDR, None)
    try:
        if on_free is None:
            attach_buffer(m, obj, EXT_MOD_TYPE, None, 0, None, None, None, None)
        else:
            attach_buffer(m, obj, EXT_MOD_TYPE, None, 0, _unwrap, on_free, obj, call_free_routine)
        use_whole_storage(m)
    except BaseException:
        m.freem()
        raise
    return m


def _unwrap(m: Mbuf) -> None:
    """The free routine of `wrap`: the storage that it is called for has its function and its object as arguments."""
    ext: Any = m.ext
    ext.arg1(ext.arg2)
