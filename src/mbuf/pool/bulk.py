# cython: boundscheck=False, wraparound=False
"""Many mbufs in one call, allocated or freed: all of them, or none.

Before any packet of a list is freed, the whole list is checked. Each mbuf of each packet is marked; an mbuf that is
marked already is in the list twice, or is part of another packet of the list. Then all marks are removed. No bytes
are read or written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.chain import Chain
    from mbuf.pool.allocator import Allocator
    from mbuf.pool.waiting import Needs
else:
    from mbuf.shadow import cython

from mbuf.errors import Busy, Freed, Inval, MbufError
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.segment import DOOMED, LIVE
from mbuf.pool import allocator, waiting

if not cython.compiled:

    def taken(packets: list[Any]) -> list[Any]:
        """All that is in a list; empties the list."""
        mine = packets[:]
        del packets[: len(mine)]
        return mine

    def put_back(packets: list[Any], mine: list[Any]) -> None:
        """Put back into a list what was taken out of it."""
        packets[:0] = mine

    from mbuf.packet.chain import free_chain, release, release_chain
    from mbuf.packet.mbuf import wrap_packet
    from mbuf.pool.allocator import ready
    from mbuf.uma.zone import cached_item
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases

    def singles(packets: list[Any]) -> int:
        """How many packets, from the first on, are one mbuf each and need no further check before they are freed."""
        enter_commit()
        n = 0
        for m in packets:
            if not isinstance(m, Mbuf) or m.alive != LIVE or m.bits & _SEEN or m._next is not None:
                break
            if m.item.zone.probes.on:
                break
            m.bits |= _SEEN
            n += 1
        for m in packets[:n]:
            m.bits &= ~_SEEN
        leave_commit()
        return n


#: A flag that mbufs have during one look at a list, and never otherwise.
_SEEN = 0x40000000

#: Packets that a list has room for from the beginning.
_ROOM = 1024


def getjcl_bulk(
    a: Allocator, count: int, how: int, type: int, flags: int, size: int, deadline: float | None
) -> list[Mbuf]:
    """A list of `count` mbufs as `getjcl` allocates them."""
    ready(a)
    packet = allocator.is_packet(size)
    zone = a.zones.pack if packet else a.zones.of_size(size)
    # Room for all, up to a bound: `count` may be far more than there can be.
    room = min(count, _ROOM)
    packets: list[Any] = [None] * room
    n = 0
    try:
        while n < count:
            if not packet:
                m = allocator.jumbo(a, zone, how, type, flags, deadline)
            elif a.probes.on:
                m = allocator.getcl(a, how, type, flags, deadline)
            else:
                item = cached_item(zone)
                if item is None:
                    item = zone.alloc(how, deadline)
                if item is None:
                    item = allocator.second_try(a, zone, how, deadline)
                m = wrap_packet(item, type, flags)
            if n < room:
                packets[n] = m
            else:
                packets.append(m)
            n += 1
    except BaseException:
        del packets[n:]
        _free(packets)
        raise
    return packets


def wait_for_bulk(a: Allocator, count: int, type: int, flags: int, size: int, deadline: float | None) -> list[Mbuf]:
    """`getjcl_bulk` in a pool with a budget: waits for memory for all of them."""

    def ask(how: int) -> list[Mbuf]:
        return getjcl_bulk(a, count, how, type, flags, size, deadline)

    return waiting.call(a, needs(a, count, size), ask, deadline)


def needs(a: Allocator, count: int, size: int) -> Needs:
    """The items that `count` mbufs with clusters of `size` bytes take."""
    if allocator.is_packet(size):
        return ((a.zones.pack, count),)
    return ((a.zones.mbuf, count), (a.zones.of_size(size), count))


def free_bulk(packets: list[Mbuf]) -> None:
    """Check a list; then empty it and free every packet of it, or refuse it and free none."""
    # In a list of its own, which no callback can change.
    mine = taken(packets)
    if singles(mine) == len(mine):
        _free_singles(mine)
    elif (bad := _look(mine)) < 0:
        _free(mine)
    else:
        try:
            raise _unfit(mine, bad)
        finally:
            put_back(packets, mine)


def _free(packets: list[Mbuf]) -> None:
    """Free every packet, also after a free routine or a listener has raised; its exception is raised at the end."""
    count = len(packets)
    failure: BaseException | None = None
    n = lost = 0
    while n < count:
        try:
            while n < count:
                m = cython.cast(Mbuf, packets[n])
                n += 1
                if m.alive != LIVE:
                    lost += 1
                elif m.item.zone.probes.on:
                    m.freem()
                else:
                    free_chain(m)
                    run_releases()
        except BaseException as error:  # raised below, when all is free
            if failure is None:
                failure = error
    if failure is not None:
        raise failure
    if lost:
        raise _lost(lost, count)


def _free_singles(packets: list[Mbuf]) -> None:
    """Free packets of one mbuf each in one commit; free routines and listeners are called after it."""
    lost = 0
    enter_commit()
    for n in range(len(packets)):
        m = cython.cast(Mbuf, packets[n])
        # Uncompiled, another thread may have freed it.
        if m.alive != LIVE:
            lost += 1
        elif m._next is None:
            release(m)
        else:
            release_chain(m)
    leave_commit()
    run_releases()
    if lost:
        raise _lost(lost, len(packets))


def _lost(lost: int, count: int) -> Freed:
    return Freed(f"free_bulk: {lost} of {count} packets were freed by a free routine or a listener of another one")


def _look(packets: list[Any]) -> int:
    """The index of the first element that can't be freed, or -1."""
    count = len(packets)
    n = marked = 0
    enter_commit()
    while n < count and isinstance(packets[n], Mbuf):
        marked += 1
        if not _mark(cython.cast(Mbuf, packets[n])):
            break
        n += 1
    for i in range(marked):
        _unmark(cython.cast(Mbuf, packets[i]))
    leave_commit()
    return n if n < count else -1


def _mark(m: Chain) -> bool:
    """Mark the mbufs of a packet; false if it was freed or one of its mbufs is marked already."""
    if m.alive != LIVE:
        return False
    while m is not None and m.alive:
        if m.bits & _SEEN:
            return False
        m.bits |= _SEEN
        m = m._next
    return True


def _unmark(m: Chain) -> None:
    while m is not None and m.bits & _SEEN:
        m.bits &= ~_SEEN
        m = m._next


def _unfit(packets: list[Any], n: int) -> MbufError:
    """The error for the element at index `n`, which can't be freed."""
    m = packets[n]
    if not isinstance(m, Mbuf):
        return Inval(f"free_bulk: give a list of mbufs: element {n} is a {type(m).__name__}")
    if not cython.cast(Mbuf, m).alive:
        return Freed(f"free_bulk: packet {n} of the list was freed already; nothing was freed now")
    if cython.cast(Mbuf, m).alive == DOOMED:
        return Busy(f"free_bulk: packet {n} of the list is about to be freed; nothing was freed now")
    return Inval(f"free_bulk: packet {n} is in the list twice, or shares an mbuf with one before it; nothing was freed")
