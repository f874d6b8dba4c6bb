# cython: boundscheck=False, wraparound=False
"""Chains made of bytes from outside: copied in, or received into posted mbufs.

The mbufs come from a source, or from the caller. After an error, all that was allocated is freed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.source import Source
    from mbuf.vm.buffer_export import BufferExport
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_PKTHDR, MHLEN, MINCLSIZE, MT_DATA
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.vm.page import view_of

if not cython.compiled:
    from mbuf.packet.chain import free_chain, link, link_last, own_header
    from mbuf.packet.pkthdr import reset_header
    from mbuf.packet.segment import check_alive, space
    from mbuf.packet.segmentation import init_pkthdr_like
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def fill_chain(m: Mbuf, data: BufferExport, align: int) -> Mbuf:
    """Copy data to a new chain, which has room for it; `align` bytes stay free before it. See m_uiotombuf."""
    if m is None or data is None:
        raise TypeError("fill_chain: give the chain to fill, and what to fill it with")
    n: Chain | None = m
    at = 0
    enter_commit()
    m.off += align
    while n is not None:
        piece = min(space(n), data.size - at)
        n.buf.store(n.off, data, at, piece)
        n.count = piece
        at += piece
        n = n._next
    if m.bits & M_PKTHDR:
        m.hdr.len = data.size
    leave_commit()
    return m


def from_device(
    source: Source,
    data: BufferExport,
    off: int,
    rcvif: Any,
    copy: Callable[[memoryview, memoryview], object] | None,
    view: memoryview | None,
) -> Mbuf:
    """Return a packet with a copy of data, and `off` bytes of room before it. See m_devget.

    Without `copy` the bytes are copied here. With it, all mbufs are allocated first, and then `copy(source, target)` is
    called with each piece of `view` and the bytes of the mbuf for it.
    """
    if source is None or data is None:
        raise TypeError("from_device: give a source, and the bytes")
    top = cython.cast(Chain, None)
    last = top
    size = data.size
    at = 0
    try:
        while at < size:
            large = size - at + off >= MINCLSIZE
            if large:
                m = source.getcl(M_NOWAIT, MT_DATA, 0 if at else M_PKTHDR, None)
            else:
                m = source.get(M_NOWAIT, MT_DATA, 0 if at else M_PKTHDR, None)
            top = link_last(top, last, m)
            if last is None:
                m.hdr.set_rcvif_or_tag(rcvif, 0)
                m.hdr.len = size
                if not large and size + off + source.max_linkhdr <= MHLEN:
                    off += source.max_linkhdr
            last = m
            m.off += off
            off = 0
            m.count = min(size - at, space(m))
            if copy is None:
                m.buf.store(m.off, data, at, m.count)
            at += m.count
        if copy is not None and view is not None:
            at = 0
            m = top
            while m is not None:
                copy(view[at : at + m.count], view_of(m.buf, m.off, m.count, False))
                at += m.count
                m = m._next
    except BaseException:
        free_chain(top)
        run_releases()
        raise
    made: Mbuf = cython.cast(Mbuf, top)
    return made


def from_rx(mbufs: list[Any], size: int, like: PktHdr | None = None, bits: int = 0) -> Mbuf:
    """Return the packet of `size` bytes that was written to the last mbufs of a list, beginning with the very last.

    Each of these mbufs is full, except the last of the packet. They are removed from the list, and linked. With `like`,
    the packet has the fields of that header, and the flags `bits`.
    """
    if size < 0:
        raise IndexError(f"from_rx: {size} bytes")
    top: Mbuf = _posted(mbufs.pop())
    own_header(top)
    if like is None:
        reset_header(top.hdr)
        top.bits |= M_PKTHDR
        top.hdr.len = size
    else:
        init_pkthdr_like(top, like, size, bits)
    last: Mbuf = top
    rest = size - top.count
    while rest > 0:
        m: Mbuf = _posted(mbufs.pop())
        link(last, m)
        last = m
        rest -= m.count
    last.count += rest
    return top


def from_rx_each(mbufs: list[Any], size: int, each: int, like: PktHdr, bits: int) -> list[Mbuf]:
    """`from_rx` of many packets, each with one mbuf and `each` bytes; the last has the remaining bytes."""
    if size < 1 or each < 1 or like is None or -(-size // each) > len(mbufs):
        raise IndexError(f"from_rx_each: {size} bytes, {each} to each of {len(mbufs)}")
    start = len(mbufs) + (-size // each)
    packets = mbufs[start:]
    del mbufs[start:]
    packets.reverse()
    for thing in packets:
        m: Mbuf = _posted(thing)
        if size < each:
            m.count = size
        own_header(m)
        init_pkthdr_like(m, like, m.count, bits)
        size -= each
    return packets


def _posted(thing: Any) -> Mbuf:
    """Return an mbuf that was posted for receiving. `Freed` if it was freed."""
    if not isinstance(thing, Mbuf):
        raise TypeError(f"an mbuf was to be posted for receiving, not a {type(thing).__name__}")
    m: Mbuf = cython.cast(Mbuf, thing)
    check_alive(m)
    return m
