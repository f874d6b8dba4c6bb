# cython: boundscheck=False, wraparound=False
"""Many mbufs in one call, got or let go: all of them, or none.

A list that is to be freed is looked at as a whole first. Each mbuf of each packet is marked, and whatever is met
a second time was listed twice, or is part of another packet that is listed; then the marks are taken off again.
Never touches bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.chain import Chain
    from mbuf.pool.allocator import Allocator
else:
    from mbuf.shadow import cython

from mbuf.errors import Busy, Freed, Inval, MbufError
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.segment import DOOMED, LIVE
from mbuf.pool import allocator

if not cython.compiled:

    def taken(packets: list[Any]) -> list[Any]:
        """All that is in a list, which is empty then."""
        mine = packets[:]
        del packets[: len(mine)]
        return mine

    def put_back(packets: list[Any], mine: list[Any]) -> None:
        """Have in a list what was taken from it."""
        packets[:0] = mine

    from mbuf.packet.chain import free_chain, release, release_chain
    from mbuf.packet.mbuf import wrap_packet
    from mbuf.pool.allocator import ready
    from mbuf.uma.zone import cached_item
    from mbuf.vm.commit import enter_commit, leave_commit, settle

    def singles(packets: list[Any]) -> int:
        """How many packets, from the first on, are one mbuf each and can be freed at once; the others need a look."""
        enter_commit()
        n = 0
        for m in packets:
            if not isinstance(m, Mbuf) or m.alive != LIVE or m.bits & _SEEN or m._next is not None:
                break
            if m.item.home.probes.on:
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
    """`count` times `getjcl`; of 2048 bytes, `getcl`."""
    ready(a)
    packet = allocator.is_packet(size)
    zone = a.zones.pack if packet else a.zones.of_size(size)
    # Room for all, or for some of a number that there can't be.
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
                    item = allocator.second_try(a, zone, how)
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


def free_bulk(packets: list[Mbuf]) -> None:
    """Free every packet of a list, which is taken over and emptied; refuse it as a whole, or free it as a whole."""
    # From here on nobody else can change it: no collection, and nothing that is called in the end.
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
    """Free every packet, whatever routines and listeners raise; what ends the program is raised at the end."""
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
                elif m.item.home.probes.on:
                    m.freem()
                else:
                    free_chain(m)
                    settle()
        except BaseException as error:  # raised below, when all is free
            if failure is None:
                failure = error
    if failure is not None:
        raise failure
    if lost:
        raise _lost(lost, count)


def _free_singles(packets: list[Mbuf]) -> None:
    """Free packets of one mbuf each, all in one step; then routines are called, and listeners."""
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
    settle()
    if lost:
        raise _lost(lost, len(packets))


def _lost(lost: int, count: int) -> Freed:
    return Freed(f"free_bulk: {lost} of {count} packets were freed by what the end of another one has called")


def _look(packets: list[Any]) -> int:
    """The first thing in a list that can't be freed after those before it, or -1."""
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
    """Mark a packet's mbufs; false if it was freed or one of them is marked already."""
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
    """Why the thing at index `n` can't be freed."""
    m = packets[n]
    if not isinstance(m, Mbuf):
        return Inval(f"free_bulk: a list of mbufs is wanted, but there is a {type(m).__name__} in it")
    if not cython.cast(Mbuf, m).alive:
        return Freed(f"free_bulk: packet {n} of the list was freed already; nothing was freed now")
    if cython.cast(Mbuf, m).alive == DOOMED:
        return Busy(f"free_bulk: packet {n} of the list is about to be freed; nothing was freed now")
    return Inval(f"free_bulk: packet {n} is in the list twice, or shares an mbuf with one before it; nothing was freed")
