"""What looks at bytes, or is looked at: readers, views, memory that goes back to its owner, and nonsense."""

import struct
from collections.abc import Callable
from typing import Any

from mbuf import Busy, Inval, Mbuf, ReadOnly
from model.choose import bytes_, inner, point
from model.world import REFUSED, Look, Packet, World, chain, key


def detach(world: World, packet: Packet) -> None:
    """Get somebody's memory back out of the first mbuf."""
    m = packet.m
    count, name, lent = m.len, key(m), world.lent.get(key(m))
    if lent is None:
        return
    used = lent.refs is not None or m.refcnt > 1 or any(look.name == name for look in world.views)
    if world.attempt(m.detach, of=[packet], wrong=Busy if used else None) is REFUSED:
        return
    del world.lent[name]
    if isinstance(lent.obj, bytearray):
        lent.obj.append(0)
    del packet.data[:count]
    if packet.head is not None:
        packet.head.true = packet.head.true or m.pkthdr.len == len(packet.data)


def look(world: World, packet: Packet) -> None:
    """Keep a view of an mbuf's bytes, or of those that will be."""
    if len(world.views) < 12:
        m = world.rng.choice([*chain(packet.m)])
        # Beyond the data, nobody may write as soon as it is shared.
        world.views.append(Look(m, m.writable and world.rng.random() < 0.5))


def release_view(world: World, packet: Packet) -> None:
    if world.views:
        world.views.pop(world.rng.randrange(len(world.views))).view.release()


def scribble(world: World, packet: Packet) -> None:
    """Write over bytes where that is allowed."""
    off, new = point(world, packet), bytes_(world)
    new = new[: len(packet.data) - off]
    at, shut = 0, False
    for m in chain(packet.m):
        shut = shut or (not m.writable and max(off, at) < min(off + len(new), at + m.len))
        at += m.len
    wrong = ReadOnly if shut else None
    if world.attempt(packet.m.pack, f"{len(new)}s", off, new, of=[packet], wrong=wrong) is not REFUSED:
        packet.data[off : off + len(new)] = new


# Looked at.


def read(world: World, packet: Packet) -> None:
    """Whatever reads bytes reads the same as from a row of them."""
    rng, m, data = world.rng, packet.m, bytes(packet.data)
    off = point(world, packet)
    n = rng.randint(0, len(data) - off)
    piece = data[off : off + n]
    assert m.copydata(off, n) == piece
    buffer = bytearray(rng.randint(0, 300))
    count = m.copyinto(buffer, off)
    assert buffer[:count] == data[off : off + count]
    assert count == min(len(buffer), len(data) - off)
    sought = data[off : off + rng.randint(0, 5)] if rng.random() < 0.7 else rng.randbytes(3)
    assert m.find(sought, off // 2) == data.find(sought, off // 2)
    assert m.unpack(f"{n}s", off) == (piece,)
    assert m.in_cksum(off + n, off) == checksum(piece)
    seen: list[bytes] = []
    assert m.apply(off, n, lambda view: seen.append(bytes(view))) == 0
    assert b"".join(seen) == piece
    where, at = m.getptr(off)
    assert at <= where.len
    assert at + sum(before.len for before in before_(m, where)) == off
    assert m.length() == len(m) == len(data)
    assert b"".join(m) == data
    assert m.last() is [*chain(m)][-1]


def before_(m: Mbuf, end: Mbuf) -> list[Mbuf]:
    found = []
    for n in chain(m):
        if n is end:
            return found
        found.append(n)
    raise AssertionError("the mbuf isn't in the chain")


def checksum(data: bytes) -> int:
    """RFC 1071, as it stands there."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sane(world: World, packet: Packet) -> None:
    head = packet.head
    untrue = head is not None and packet.m.pkthdr.len != len(packet.data)
    assert world.attempt(packet.m.sanity, wrong=Inval if untrue or inner(packet) else None) in (True, REFUSED)
    if world.rng.random() < 0.2:
        assert packet.m.sanity(sanitize=True)
        if head is not None:
            head.true = packet.m.pkthdr.len == len(packet.data)


HUGE = (-1, 1 << 31, 1 << 63, 10**30, -(10**30))
#: Verbs that take a number which some numbers can't be.
NUMBERED: tuple[Callable[[Mbuf, int], Any], ...] = (
    lambda m, n: m.prepend(n),
    lambda m, n: m.pullup(n),
    lambda m, n: m.copyup(n),
    lambda m, n: m.copyup(0, n),
    lambda m, n: m.pulldown(n, 1),
    lambda m, n: m.pulldown(0, n),
    lambda m, n: m.split(n),
    lambda m, n: m.copym(n, 1),
    lambda m, n: m.copym(0, n),
    lambda m, n: m.copydata(n, 0),
    lambda m, n: m.copydata(0, n),
    lambda m, n: m.copyback(n, b"x"),
    lambda m, n: m.makespace(n, 1),
    lambda m, n: m.makespace(0, n),
    lambda m, n: m.getptr(n),
    lambda m, n: m.apply(n, 0, bytes),
    lambda m, n: m.apply(0, n, bytes),
    lambda m, n: m.find(b"x", n),
    lambda m, n: m.unpack("B", n),
    lambda m, n: m.pack("B", n, 1),
    lambda m, n: m.in_cksum(0, n),
    lambda m, n: m.copyinto(bytearray(3), n),
    lambda m, n: m.demote(False, n),
    lambda m, n: m.chtype(n),
    lambda m, n: m.grow(n),
    lambda m, n: m.fill(b"x", n, 1),
    lambda m, n: m.fill(b"x", 0, n),
    lambda m, n: m.align(n),
    lambda m, n: setattr(m, "len", n),
    lambda m, n: setattr(m, "flags", n),
)


def nonsense(world: World, packet: Packet) -> None:
    """No number, however large, does anything that it shouldn't."""
    verb = world.rng.choice(NUMBERED)
    world.attempt(verb, packet.m, world.rng.choice(HUGE), of=[packet], wrong=Inval)
    for wrong in (1.5, "x", None):
        world.attempt(verb, packet.m, wrong, of=[packet], wrong=TypeError, may=(Inval,))
