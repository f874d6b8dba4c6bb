"""Chains of as many mbufs as hold a number of bytes: m_getm2.

While it waits for an mbuf, others may change or free the chain that it is to extend, so it checks that again. No
bytes are read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import M_EOR, M_NOWAIT, M_PKTHDR, M_WAITOK, MCLBYTES, MHLEN, MINCLSIZE, MJUMPAGESIZE, MLEN
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.mbuf import Mbuf
from mbuf.pool import allocator, waiting

if TYPE_CHECKING:
    import cython

    from mbuf.pool.allocator import Allocator
    from mbuf.pool.waiting import Needs
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.packet.chain import free_chain, last_of, link, link_last
    from mbuf.packet.segment import capacity, check_mutable
    from mbuf.pool.allocator import ready
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def getm2(a: Allocator, m: Mbuf | None, size: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """A chain that holds `size` bytes, appended to `m` if that is given. See m_getm2."""
    ready(a)
    if size < 0 or (size == 0 and (m is None or flags & M_EOR)):
        raise Inval(f"getm2: len {size}: ask for at least 1 byte")
    if m is None:
        first = _chain(a, size, how, type, flags & M_PKTHDR, deadline)
        if flags & M_EOR:
            tail = last_of(first)
            tail.bits |= M_EOR
        return first
    check_mutable(m)
    last_of(m)
    first = _chain(a, size, how, type, 0, deadline)
    # It may have waited, and others have freed m, or put mbufs behind it.
    try:
        check_mutable(m)
        tail = last_of(m)
    except BaseException:
        free_chain(first)
        raise
    enter_commit()
    try:
        tail.bits &= ~M_EOR
        if first is not None:
            link(tail, first)
            if flags & M_EOR:
                while tail._next is not None:
                    tail = tail._next
                tail.bits |= M_EOR
    finally:
        leave_commit()
    return m


def _chain(a: Allocator, size: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """Mbufs that hold `size` bytes, or an exception and none."""
    if how == M_WAITOK and a.budget is not None and size > 0:
        waited: Mbuf = _wait_chain(a, size, type, flags, deadline)
        return waited
    return make_chain(a, size, how, type, flags, deadline)


def make_chain(a: Allocator, size: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`_chain`; with M_WAITOK it waits for one mbuf after the other."""
    first: Mbuf = cython.cast(Mbuf, None)
    last = cython.cast(Mbuf, None)
    try:
        while size > 0:
            m: Mbuf = _next(a, size, how, type, flags, deadline)
            size -= capacity(m)
            flags = 0
            first = cython.cast(Mbuf, link_last(first, last, m))
            last = m
    except BaseException:
        free_chain(first)
        run_releases()
        raise
    return first


def wait_for_row(a: Allocator, count: int, type: int, deadline: float | None) -> Mbuf:
    """`allocator.row` in a pool with a budget: waits for memory for all of it."""

    def ask(how: int) -> Mbuf:
        return allocator.row(a, count, how, type, deadline)

    got: Mbuf = waiting.call(a, ((a.zones.mbuf, max(count, 0)),), ask, deadline)
    return got


def _wait_chain(a: Allocator, size: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`_chain` in a pool with a budget: waits for memory for all of it."""

    def ask(how: int) -> Mbuf:
        return make_chain(a, size, how, type, flags, deadline)

    got: Mbuf = waiting.call(a, needs(a, size, flags), ask, deadline)
    return got


def needs(a: Allocator, size: int, flags: int) -> Needs:
    """The items that a chain for `size` bytes takes, if there are clusters of a page."""
    pages = max(0, -(-(size - MCLBYTES) // MJUMPAGESIZE))
    rest = size - pages * MJUMPAGESIZE
    zones = a.zones
    packets = mbufs = 0
    if needs_cluster(rest):
        packets = 1
    elif rest > 0:
        # The first mbuf of a packet has less room.
        rest -= MHLEN if flags & M_PKTHDR and not pages else MLEN
        mbufs = 1 + max(0, -(-rest // MLEN))
    return (zones.mbuf, pages + mbufs), (zones.jumbop, pages), (zones.pack, packets)


def _next(a: Allocator, size: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """The next mbuf of a chain that is to hold `size` bytes more."""
    m = try_page(a, size, type, flags)
    if m is not None:
        return m
    if needs_cluster(size):
        return allocator.getcl(a, how, type, flags, deadline)
    return allocator.get(a, how, type, flags, deadline)


# What the next mbuf of a chain is, here and in `aio`. See m_getm2.


def try_page(a: Allocator, size: int, type: int, flags: int) -> Mbuf | None:
    """An mbuf with a cluster of a page if `size` bytes need one and there is one, else None. It never waits."""
    if size <= MCLBYTES:
        return None
    refused = a.refused
    try:
        return allocator.jumbo(a, a.zones.jumbop, M_NOWAIT, type, flags, None)
    except (NoBufs, NoMemory):
        # A smaller one will do: this is no refusal of the request.
        a.refused = refused
        return None


def needs_cluster(size: int) -> bool:
    """True if `size` bytes, fewer than a page, take an mbuf with a cluster."""
    return size >= MINCLSIZE
