# cython: boundscheck=False, wraparound=False
"""Chains made of bytes that come from outside.

Asks a source for the mbufs, or fills those that it is given. Nothing is left of what fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.source import Source
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_PKTHDR, MHLEN, MINCLSIZE, MT_DATA
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.shape import free_chain


def pour(m: Mbuf, data: Any, size: int, align: int) -> Mbuf:
    """Fill a new chain, from byte `align` of its first mbuf on, with the first `size` bytes of data.

    The chain is freed if that fails. See m_uiotombuf.
    """
    if m is None:
        raise TypeError("pour: give the chain to fill")
    n: Chain | None = m
    at = 0
    try:
        m.off += align
        while n is not None:
            piece = min(n.space(), size - at)
            n.buf.write(n.off, data, at, piece)
            n.count = piece
            at += piece
            n = n._next
        if m.bits & M_PKTHDR:
            m.hdr.len = size
    except BaseException:
        free_chain(m)
        raise
    return m


def take_in(
    source: Source,
    data: Any,
    size: int,
    off: int,
    rcvif: Any,
    copy: Callable[[memoryview, memoryview], object] | None,
) -> Mbuf:
    """A packet of the first `size` bytes of data, with `off` bytes of room before them. See m_devget.

    All mbufs are there before the first byte is copied, and `copy` called.
    """
    if source is None:
        raise TypeError("take_in: give a source")
    top = cython.cast(Chain, None)
    last = top
    at = 0
    try:
        while at < size:
            large = size - at + off >= MINCLSIZE
            if large:
                m = source.getcl(M_NOWAIT, MT_DATA, 0 if at else M_PKTHDR)
            else:
                m = source.get(M_NOWAIT, MT_DATA) if at else source.gethdr(M_NOWAIT, MT_DATA)
            if last is None:
                top = m
                m.hdr.hold(rcvif, 0)
                m.hdr.len = size
                if not large and size + off + source.max_linkhdr <= MHLEN:
                    off += source.max_linkhdr
            else:
                last._next = m
            last = m
            m.off += off
            off = 0
            m.count = min(size - at, m.space())
            at += m.count
        at = 0
        m = top
        while m is not None:
            piece = m.count
            if copy is None:
                m.buf.write(m.off, data, at, piece)
            else:
                copy(memoryview(data).cast("B")[at : at + piece], m.data)
                m.live()
            at += piece
            m = m._next
    except BaseException:
        free_chain(top)
        raise
    made: Mbuf = cython.cast(Mbuf, top)
    return made


def land(mbufs: list[Any], size: int, like: PktHdr | None = None, bits: int = 0) -> Mbuf:
    """The packet of `size` bytes that somebody has written to the last mbufs of a list, the very last one first.

    To each up to its end; the last that it takes has what is left. They are taken out of the list. The packet has
    flags `bits`, and a header `like` that, if one is given.
    """
    if size < 0:
        raise IndexError(f"land: {size} bytes")
    top: Mbuf = _armed(mbufs.pop())
    if like is None:
        top.begin()
        top.bits |= M_PKTHDR
        top.hdr.len = size
    else:
        top.crown(like, size, bits)
    last: Mbuf = top
    rest = size - top.count
    while rest > 0:
        m: Mbuf = _armed(mbufs.pop())
        last._next = m
        last = m
        rest -= m.count
    last.count += rest
    return top


def land_each(mbufs: list[Any], size: int, each: int, like: PktHdr, bits: int) -> list[Mbuf]:
    """`land`, of packets that have one mbuf and `each` bytes; the last one has what is left."""
    if size < 1 or each < 1 or like is None or -(-size // each) > len(mbufs):
        raise IndexError(f"land_each: {size} bytes, {each} to each of {len(mbufs)}")
    start = len(mbufs) + (-size // each)
    packets = mbufs[start:]
    del mbufs[start:]
    packets.reverse()
    for thing in packets:
        m: Mbuf = _armed(thing)
        if size < each:
            m.count = size
        m.crown(like, m.count, bits)
        size -= each
    return packets


def _armed(thing: Any) -> Mbuf:
    """An mbuf that was written to. Who listens to probes may have freed it since."""
    if not isinstance(thing, Mbuf):
        raise TypeError(f"an mbuf was to be armed, not a {type(thing).__name__}")
    m: Mbuf = cython.cast(Mbuf, thing)
    m.live()
    return m
