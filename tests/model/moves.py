"""What may be done to chains, and what that does to a row of bytes."""

from collections.abc import Callable
from typing import Any

from mbuf import (
    M_COPYALL,
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MCLBYTES,
    MHLEN,
    MHSIZE,
    MLEN,
    MPKTHSIZE,
    MSIZE,
    MT_DATA,
    Inval,
    Mbuf,
    ReadOnly,
)
from model.choose import bytes_, how, inner, other, point
from model.world import BYTES, REFUSED, Head, Packet, World, chain, key

Move = Callable[[World, Packet], Any]


def fixhdr(world: World, packet: Packet) -> None:
    if packet.head is not None:
        assert packet.m.fixhdr() == len(packet.data)
        packet.head.true = True


# Longer and shorter.


def append(world: World, packet: Packet) -> None:
    data = bytes_(world)
    if world.attempt(packet.m.append, data, of=[packet]) is not REFUSED:
        packet.data += data


def prepend(world: World, packet: Packet) -> None:
    m, n = packet.m, world.rng.choice((0, 1, 14, 40, 168, 169, 224, 225))
    most = MHLEN if m.flags & M_PKTHDR else MLEN
    wrong = Inval if n > most and n > m.leading else None
    if world.attempt(m.prepend, n, *how(world), of=[packet], wrong=wrong) is REFUSED:
        return
    new = world.rng.randbytes(n)
    if m.writable:
        write(world, packet, m, 0, new)
    else:
        # A header's M_RDONLY goes with it, also to what was just added.
        new = m.copydata(0, n)
    packet.data[:0] = new


def receive(world: World, packet: Packet) -> None:
    """Write to the room of the first mbuf, if it is alone."""
    m, new = packet.m, bytes_(world)
    if m.next is not None:
        return
    if world.rng.random() < 0.5:
        wrong = Inval if len(new) > m.trailing else None
        if world.attempt(m.fill, b"before" + new, 6, len(new), of=[packet], wrong=wrong) is not REFUSED:
            packet.data += new
    elif m.writable:
        new = new[: m.trailing]
        with m.room as room:
            room[: len(new)] = new
        packet.data += new
        # What room was written to may have been looked at before it was cut off.
        world.attempt(m.grow, len(new), of=[packet])
    else:
        world.attempt(lambda: m.room, of=[packet], wrong=ReadOnly)


def extend(world: World, packet: Packet) -> None:
    """Empty mbufs at the end, for what is to come."""
    n = world.rng.choice((0, 1, 300, 3000))
    world.attempt(world.pool.getm2, n, M_NOWAIT, MT_DATA, 0, packet.m, of=[packet])


def shorten(world: World, packet: Packet) -> None:
    """Set the length of the first mbuf by hand, and what the header says of it."""
    m = packet.m
    n = world.rng.randint(0, m.len)
    del packet.data[n : m.len]
    m.len = n
    fixhdr(world, packet)


def adj(world: World, packet: Packet) -> None:
    data, n = packet.data, point(world, packet, 3)
    if world.rng.random() < 0.5:
        assert packet.m.adj(n) is packet.m
        del data[:n]
    else:
        packet.m.adj(-n)
        del data[max(len(data) - n, 0) :]


def copyback(world: World, packet: Packet) -> None:
    """Write over bytes, shared ones too: all who share them see it."""
    off, new, m = point(world, packet, 500), bytes_(world), packet.m
    pieces = []
    at = 0
    for n in chain(m):
        first, last = max(off, at), min(off + len(new), at + n.len)
        if first < last:
            pieces.append((n, key(n), n.offset + first - at, new[first - off : last - off]))
        at += n.len
    fixed = any(isinstance(world.lent[name].obj, bytes) for _, name, _, _ in pieces if name in world.lent)
    if world.attempt(m.copyback, off, new, of=[packet], wrong=ReadOnly if fixed else None, through=True) is REFUSED:
        return
    packet.data += bytes(max(off - len(packet.data), 0))
    packet.data[off : off + len(new)] = new
    for n, name, start, piece in pieces:
        if n.flags & M_EXT:
            seen_by_all(world, name, start, piece)
    if packet.head is not None and not new:
        # The kernel counts a gap wrongly that no byte follows.
        packet.head.true = m.pkthdr.len == len(packet.data)


def seen_by_all(world: World, name: int, start: int, piece: bytes) -> None:
    """Some storage has other bytes from `start` on."""
    for packet in world.all():
        at = 0
        for m in chain(packet.m):
            first, last = max(start, m.offset), min(start + len(piece), m.offset + m.len)
            if first < last and m.flags & M_EXT and key(m) == name:
                place = at + first - m.offset
                packet.data[place : place + last - first] = piece[first - start : last - start]
            at += m.len


def makespace(world: World, packet: Packet) -> None:
    at, n = min(point(world, packet, 2), world.rng.choice((3, 40, BYTES))), world.rng.choice((0, 1, 3, 20, 167, 168))
    wrong = Inval if packet.head is None or n >= MHLEN or at > len(packet.data) else None
    got = world.attempt(packet.m.makespace, at, n, of=[packet], wrong=wrong)
    if got is not REFUSED:
        new = world.rng.randbytes(n)
        m, off = got
        write(world, packet, m, off, new)
        packet.data[at:at] = new


def write(world: World, packet: Packet, m: Mbuf, off: int, new: bytes) -> None:
    """Write over bytes of an mbuf of a packet; that is allowed."""
    assert world.attempt(m.pack, f"{len(new)}s", off, new, of=[packet]) is None


# Joined and divided.


def cat(world: World, packet: Packet) -> None:
    n = other(world, packet)
    if n is not None:
        world.attempt(packet.m.cat, n.m, of=[packet, n])
        joined(world, packet, n)
        if packet.head is not None:
            packet.head.true = packet.head.true and not n.data
            if world.rng.random() < 0.8:
                fixhdr(world, packet)


def joined(world: World, packet: Packet, n: Packet) -> None:
    packet.data += n.data
    world.gone(n)


def catpkt(world: World, packet: Packet) -> None:
    n = other(world, packet)
    if n is not None:
        wrong = Inval if packet.head is None or n.head is None else None
        if world.attempt(packet.m.catpkt, n.m, of=[packet, n], wrong=wrong) is not REFUSED:
            joined(world, packet, n)
            assert packet.head is not None
            assert n.head is not None
            packet.head.true = packet.head.true and n.head.true or packet.m.pkthdr.len == len(packet.data)


def link(world: World, packet: Packet) -> None:
    """Link another chain to the end by hand."""
    n = other(world, packet)
    if n is not None:
        n.m.demote(True)
        packet.m.last().next = n.m
        joined(world, packet, n)
        fixhdr(world, packet)


def unlink(world: World, packet: Packet) -> None:
    """Take a chain apart by hand."""
    at = 0
    for m in chain(packet.m):
        at += m.len
        if world.rng.random() < 0.5 or m.next is None:
            rest, m.next = m.next, None
            world.found(rest, packet.data[at:])
            del packet.data[at:]
            fixhdr(world, packet)
            return


def split(world: World, packet: Packet) -> None:
    at, data, head = point(world, packet, 2), packet.data, packet.head
    wrong = Inval if at > len(data) else None
    tail = world.attempt(packet.m.split, at, *how(world), of=[packet], wrong=wrong)
    if tail is REFUSED:
        return
    if head is None:
        world.found(tail, data[at:])
    else:
        rest = Head()
        rest.true, rest.rcvif, rest.snd = head.true, head.rcvif, head.snd
        world.born(tail, data[at:], rest)
        head.true = True
    del data[at:]


# Copied.


def copym(world: World, packet: Packet) -> None:
    rng, data = world.rng, packet.data
    off = rng.choice((0, point(world, packet, 1)))
    count = rng.choice((M_COPYALL, rng.randint(0, len(data) + 1)))
    end = len(data) if count == M_COPYALL else off + count
    wrong = Inval if max(off, end) > len(data) else None
    n = world.attempt(packet.m.copym, off, count, *how(world), of=[packet], wrong=wrong)
    if n is REFUSED:
        return
    if n is None:
        assert off == end
        return
    head = None
    if off == 0 and packet.head is not None:
        head = packet.head.copy()
        head.true = head.true if count == M_COPYALL else True
    world.born(n, data[off:end], head)


def copypacket(world: World, packet: Packet) -> None:
    n = world.attempt(packet.m.copypacket, *how(world), of=[packet], wrong=None if packet.head else Inval)
    if n is not REFUSED:
        assert packet.head is not None
        world.born(n, packet.data, packet.head.copy())


def dup(world: World, packet: Packet) -> None:
    wrong = Inval if packet.head is None or packet.m.pkthdr.len != len(packet.data) else None
    n = world.attempt(packet.m.dup, *how(world), of=[packet], wrong=wrong)
    if n is not REFUSED:
        assert packet.head is not None
        assert all(m.writable for m in chain(n))
        world.born(n, packet.data, packet.head.copy())


# Brought together, and laid out anew.


def pullup(world: World, packet: Packet) -> None:
    m, n = packet.m, point(world, packet, 1)
    fits = not m.flags & M_EXT and m.next is not None and m.offset + start(m) + n < MSIZE
    wrong = Inval if n > len(packet.data) or (n > MHLEN and not fits) else None
    if world.attempt(m.pullup, n, of=[packet], wrong=wrong) is not REFUSED:
        assert m.len >= n


def start(m: Mbuf) -> int:
    """Where an mbuf's own memory for bytes begins in it."""
    return MPKTHSIZE if m.flags & M_PKTHDR else MHSIZE


def copyup(world: World, packet: Packet) -> None:
    m, n, room = packet.m, min(point(world, packet, 1), 170), world.rng.choice((0, 2, 16, 168))
    wrong = Inval if n > len(packet.data) or n + room > MHLEN else None
    if world.attempt(m.copyup, n, room, of=[packet], wrong=wrong) is not REFUSED:
        assert m.len >= n
        assert not m.flags & M_EXT


def pulldown(world: World, packet: Packet) -> None:
    rng, data = world.rng, packet.data
    off, at_start = point(world, packet, 1), rng.random() < 0.5
    left = max(len(data) - off, 0)
    n = rng.choice((0, 1, 2049, left, rng.randint(0, left), rng.randint(0, min(left, 100)), rng.randint(-1, 2049)))
    wrong = Inval if n < 0 or n > MCLBYTES or off + n > len(data) else None
    # At the very end there is no mbuf to name, and one cluster doesn't hold every rest.
    may = (Inval,) if off == len(data) or (at_start and len(data) - off > MCLBYTES) or not data else ()
    got = world.attempt(packet.m.pulldown, off, n, at_start, of=[packet], wrong=wrong, may=may)
    if got is not REFUSED:
        m, at = got
        assert at == 0 or not at_start
        assert m.copydata(0, m.len)[at : at + n] == data[off : off + n]


def defrag(world: World, packet: Packet) -> None:
    if world.attempt(packet.m.defrag, *how(world), of=[packet]) is not REFUSED and packet.head is not None:
        packet.head.true = True
        assert all(m.writable for m in list(chain(packet.m))[1:])


def collapse(world: World, packet: Packet) -> None:
    most = world.rng.randint(1, 6)
    if world.attempt(packet.m.collapse, most, *how(world), of=[packet], may=(Inval,)) is not REFUSED:
        assert len([*chain(packet.m)]) <= most


def fragment(world: World, packet: Packet) -> None:
    size = world.rng.choice((-2, -1, 100, 1000, 2048))
    if world.attempt(packet.m.fragment, size, *how(world), of=[packet]) is not REFUSED and packet.head is not None:
        packet.head.true = True


def unshare(world: World, packet: Packet) -> None:
    may = (Inval,) if inner(packet) else ()
    if world.attempt(packet.m.unshare, *how(world), of=[packet], may=may) is not REFUSED:
        assert all(m.writable or m.flags & M_RDONLY for m in chain(packet.m))
