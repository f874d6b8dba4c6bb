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
    from mbuf.vm.loan import Loan
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_PKTHDR, MHLEN, MINCLSIZE, MT_DATA
from mbuf.errors import Freed
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.vm.page import pane

if not cython.compiled:
    from mbuf.packet.chain import fingerprint, free_chain, link, own_header
    from mbuf.packet.pkthdr import reset_header
    from mbuf.packet.segment import check_alive, space
    from mbuf.packet.segmentation import begin_like
    from mbuf.vm.commit import enter_commit, leave_commit, settle


def fill_chain(m: Mbuf, data: Loan, align: int) -> Mbuf:
    """Fill a new chain, from byte `align` of its first mbuf on, with the bytes of data. See m_uiotombuf."""
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
    data: Loan,
    off: int,
    rcvif: Any,
    copy: Callable[[memoryview, memoryview], object] | None,
    view: memoryview | None,
) -> Mbuf:
    """A packet of the bytes of data, with `off` bytes of room before them. See m_devget.

    All mbufs are there before the first byte is copied; `copy`, if given, is then called with each piece of `view`.
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
            if last is None:
                top = m
                m.hdr.hold(rcvif, 0)
                m.hdr.len = size
                if not large and size + off + source.max_linkhdr <= MHLEN:
                    off += source.max_linkhdr
            else:
                link(last, m)
            last = m
            m.off += off
            off = 0
            m.count = min(size - at, space(m))
            if copy is None:
                m.buf.store(m.off, data, at, m.count)
            at += m.count
        if copy is not None and view is not None:
            mark = fingerprint(top)
            at = 0
            m = top
            while m is not None:
                copy(view[at : at + m.count], pane(m.buf, m.off, m.count, False))
                if fingerprint(top) != mark:
                    raise Freed("devget: the copy routine has changed the packet")
                at += m.count
                m = m._next
    except BaseException:
        free_chain(top)
        settle()
        raise
    made: Mbuf = cython.cast(Mbuf, top)
    return made


def from_rx(mbufs: list[Any], size: int, like: PktHdr | None = None, bits: int = 0) -> Mbuf:
    """The packet of `size` bytes that somebody has written to the last mbufs of a list, the very last one first.

    To each up to its end; the last that it takes has what is left. They are taken out of the list. The packet has
    flags `bits`, and a header `like` that, if one is given.
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
        begin_like(top, like, size, bits)
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
    """`from_rx`, of packets that have one mbuf and `each` bytes; the last one has what is left."""
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
        begin_like(m, like, m.count, bits)
        size -= each
    return packets


def _posted(thing: Any) -> Mbuf:
    """An mbuf that was written to. Who listens to probes may have freed it since."""
    if not isinstance(thing, Mbuf):
        raise TypeError(f"an mbuf was to be posted for receiving, not a {type(thing).__name__}")
    m: Mbuf = cython.cast(Mbuf, thing)
    check_alive(m)
    return m
