"""Verbs that read bytes, views of them, `detach`, and calls with arguments that are never valid."""

from collections.abc import Callable
from typing import Any

from chains import internet_checksum
from mbuf import Busy, Inval, Mbuf, ReadOnly
from model.choose import has_inner_header, offset, random_data
from model.pool_model import FAILED, Packet, PoolModel, View, chain, storage_id


def detach(model: PoolModel, packet: Packet) -> None:
    """Take external memory out of the first mbuf."""
    m = packet.m
    count, storage, memory = m.len, storage_id(m), model.external.get(storage_id(m))
    if memory is None:
        return
    used = memory.refs is not None or m.refcnt > 1 or any(view.storage == storage for view in model.views)
    if model.attempt(m.detach, packets=[packet], error=Busy if used else None) is FAILED:
        return
    del model.external[storage]
    if isinstance(memory.obj, bytearray):
        memory.obj.append(0)
    del packet.data[:count]
    if packet.head is not None:
        packet.head.len_valid = packet.head.len_valid or m.pkthdr.len == len(packet.data)


def add_view(model: PoolModel, packet: Packet) -> None:
    """Keep a view of the bytes of an mbuf, or of its room."""
    if len(model.views) < 12:
        m = model.rng.choice([*chain(packet.m)])
        # The room may be written only if the storage isn't shared.
        model.views.append(View(m, m.writable and model.rng.random() < 0.5))


def release_view(model: PoolModel, packet: Packet) -> None:
    if model.views:
        model.views.pop(model.rng.randrange(len(model.views))).view.release()


def overwrite(model: PoolModel, packet: Packet) -> None:
    """Overwrite bytes, if all of them are writable."""
    off, new = offset(model, packet), random_data(model)
    new = new[: len(packet.data) - off]
    at, read_only = 0, False
    for m in chain(packet.m):
        read_only = read_only or (not m.writable and max(off, at) < min(off + len(new), at + m.len))
        at += m.len
    error = ReadOnly if read_only else None
    if model.attempt(packet.m.pack, f"{len(new)}s", off, new, packets=[packet], error=error) is not FAILED:
        packet.data[off : off + len(new)] = new


# Read.


def read(model: PoolModel, packet: Packet) -> None:
    """Every verb that reads returns the expected bytes."""
    rng, m, data = model.rng, packet.m, bytes(packet.data)
    off = offset(model, packet)
    n = rng.randint(0, len(data) - off)
    piece = data[off : off + n]
    assert m.copydata(off, n) == piece
    buffer = bytearray(rng.randint(0, 300))
    count = m.copyinto(buffer, off)
    assert buffer[:count] == data[off : off + count]
    assert count == min(len(buffer), len(data) - off)
    sought = data[off : off + rng.randint(0, 5)] if rng.random() < 0.7 else rng.randbytes(3)
    assert m.find(sought, off // 2) == data.find(sought, off // 2)
    assert m.find(sought, 1, off) == data.find(sought, 1, off)
    assert m.rfind(sought, 1, -off) == data.rfind(sought, 1, -off)
    assert (sought in m) == (sought in data)
    assert m.startswith(sought) == data.startswith(sought)
    assert m == data
    assert m.equals(m)
    assert m.cmp(piece) == (data > piece) - (data < piece)
    assert not data or m[off - 1] == data[off - 1]
    assert m.unpack(f"{n}s", off) == (piece,)
    assert m.in_cksum(off + n, off) == internet_checksum(piece)
    seen: list[bytes] = []
    assert m.apply(off, n, lambda view: seen.append(bytes(view))) == 0
    assert b"".join(seen) == piece
    where, at = m.getptr(off)
    assert at <= where.len
    assert at + sum(before.len for before in mbufs_before(m, where)) == off
    assert m.length() == len(m) == len(data)
    assert b"".join(m) == data
    assert m.last() is [*chain(m)][-1]


def mbufs_before(m: Mbuf, end: Mbuf) -> list[Mbuf]:
    found = []
    for n in chain(m):
        if n is end:
            return found
        found.append(n)
    raise AssertionError("the mbuf isn't in the chain")


def sanity(model: PoolModel, packet: Packet) -> None:
    head = packet.head
    untrue = head is not None and packet.m.pkthdr.len != len(packet.data)
    assert model.attempt(packet.m.sanity, error=Inval if untrue or has_inner_header(packet) else None) in (True, FAILED)
    if model.rng.random() < 0.2:
        assert packet.m.sanity(sanitize=True)
        if head is not None:
            head.len_valid = packet.m.pkthdr.len == len(packet.data)


HUGE = (-1, 1 << 31, 1 << 63, 10**30, -(10**30))
#: Verbs with an argument that must be a small number.
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


def bad_argument(model: PoolModel, packet: Packet) -> None:
    """Numbers that are out of range, and objects that aren't numbers, are refused."""
    verb = model.rng.choice(NUMBERED)
    model.attempt(verb, packet.m, model.rng.choice(HUGE), packets=[packet], error=Inval)
    for error in (1.5, "x", None):
        model.attempt(verb, packet.m, error, packets=[packet], error=TypeError, may_raise=(Inval,))
