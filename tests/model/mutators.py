"""Verbs that change chains, and the same changes to the expected bytes."""

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
from model.choose import has_inner_header, how, offset, other, random_data
from model.pool_model import BYTES, FAILED, Head, Packet, PoolModel, chain, storage_id

Mutator = Callable[[PoolModel, Packet], Any]


def fixhdr(model: PoolModel, packet: Packet) -> None:
    if packet.head is not None:
        assert packet.m.fixhdr() == len(packet.data)
        packet.head.len_valid = True


# Append, prepend, trim.


def append(model: PoolModel, packet: Packet) -> None:
    data = random_data(model)
    if model.attempt(packet.m.append, data, packets=[packet]) is not FAILED:
        packet.data += data


def prepend(model: PoolModel, packet: Packet) -> None:
    m, n = packet.m, model.rng.choice((0, 1, 14, 40, 168, 169, 224, 225))
    most = MHLEN if m.flags & M_PKTHDR else MLEN
    error = Inval if n > most and n > m.leading else None
    if model.attempt(m.prepend, n, *how(model), packets=[packet], error=error) is FAILED:
        return
    new = model.rng.randbytes(n)
    if m.writable:
        write(model, packet, m, 0, new)
    else:
        # M_RDONLY moves with the header, so the new mbuf may be read-only.
        new = m.copydata(0, n)
    packet.data[:0] = new


def receive(model: PoolModel, packet: Packet) -> None:
    """Write to the room of an mbuf that is alone in its chain."""
    m, new = packet.m, random_data(model)
    if m.next is not None:
        return
    if model.rng.random() < 0.5:
        error = Inval if len(new) > m.trailing else None
        if model.attempt(m.fill, b"before" + new, 6, len(new), packets=[packet], error=error) is not FAILED:
            packet.data += new
    elif m.writable:
        new = new[: m.trailing]
        with m.room as room:
            room[: len(new)] = new
        packet.data += new
        # A view of the room may exist already.
        model.attempt(m.grow, len(new), packets=[packet])
    else:
        model.attempt(lambda: m.room, packets=[packet], error=ReadOnly)


def extend(model: PoolModel, packet: Packet) -> None:
    """Append empty mbufs."""
    n = model.rng.choice((0, 1, 300, 3000))
    model.attempt(model.pool.getm2, n, M_NOWAIT, MT_DATA, 0, packet.m, packets=[packet])


def shorten(model: PoolModel, packet: Packet) -> None:
    """Set the length of the first mbuf, and that in the header."""
    m = packet.m
    n = model.rng.randint(0, m.len)
    del packet.data[n : m.len]
    m.len = n
    fixhdr(model, packet)


def adj(model: PoolModel, packet: Packet) -> None:
    data, n = packet.data, offset(model, packet, 3)
    if model.rng.random() < 0.5:
        assert packet.m.adj(n) is packet.m
        del data[:n]
    else:
        packet.m.adj(-n)
        del data[max(len(data) - n, 0) :]


def copyback(model: PoolModel, packet: Packet) -> None:
    """Overwrite bytes, also shared ones, which change in all packets that share them."""
    off, new, m = offset(model, packet, 500), random_data(model), packet.m
    pieces = []
    at = 0
    for n in chain(m):
        first, last = max(off, at), min(off + len(new), at + n.len)
        if first < last:
            pieces.append((n, storage_id(n), n.offset + first - at, new[first - off : last - off]))
        at += n.len
    read_only = any(isinstance(model.external[name].obj, bytes) for _, name, _, _ in pieces if name in model.external)
    if (
        model.attempt(m.copyback, off, new, packets=[packet], error=ReadOnly if read_only else None, overwrites=True)
        is FAILED
    ):
        return
    packet.data += bytes(max(off - len(packet.data), 0))
    packet.data[off : off + len(new)] = new
    for n, name, start, piece in pieces:
        if n.flags & M_EXT:
            write_to_all_users(model, name, start, piece)
    if packet.head is not None and not new:
        # As in the kernel, the header's length is wrong after a gap that no byte follows.
        packet.head.len_valid = m.pkthdr.len == len(packet.data)


def write_to_all_users(model: PoolModel, name: int, start: int, piece: bytes) -> None:
    """Write bytes at an offset of a storage into all packets that use it."""
    for packet in model.all():
        at = 0
        for m in chain(packet.m):
            first, last = max(start, m.offset), min(start + len(piece), m.offset + m.len)
            if first < last and m.flags & M_EXT and storage_id(m) == name:
                place = at + first - m.offset
                packet.data[place : place + last - first] = piece[first - start : last - start]
            at += m.len


def makespace(model: PoolModel, packet: Packet) -> None:
    at, n = min(offset(model, packet, 2), model.rng.choice((3, 40, BYTES))), model.rng.choice((0, 1, 3, 20, 167, 168))
    error = Inval if packet.head is None or n >= MHLEN or at > len(packet.data) else None
    got = model.attempt(packet.m.makespace, at, n, packets=[packet], error=error)
    if got is not FAILED:
        new = model.rng.randbytes(n)
        m, off = got
        write(model, packet, m, off, new)
        packet.data[at:at] = new


def write(model: PoolModel, packet: Packet, m: Mbuf, off: int, new: bytes) -> None:
    """Overwrite bytes of an mbuf that is writable."""
    assert model.attempt(m.pack, f"{len(new)}s", off, new, packets=[packet]) is None


# Join and split.


def cat(model: PoolModel, packet: Packet) -> None:
    n = other(model, packet)
    if n is not None:
        model.attempt(packet.m.cat, n.m, packets=[packet, n])
        joined(model, packet, n)
        if packet.head is not None:
            packet.head.len_valid = packet.head.len_valid and not n.data
            if model.rng.random() < 0.8:
                fixhdr(model, packet)


def joined(model: PoolModel, packet: Packet, n: Packet) -> None:
    packet.data += n.data
    model.remove(n)


def catpkt(model: PoolModel, packet: Packet) -> None:
    n = other(model, packet)
    if n is not None:
        error = Inval if packet.head is None or n.head is None else None
        if model.attempt(packet.m.catpkt, n.m, packets=[packet, n], error=error) is not FAILED:
            joined(model, packet, n)
            assert packet.head is not None
            assert n.head is not None
            packet.head.len_valid = (
                packet.head.len_valid and n.head.len_valid or packet.m.pkthdr.len == len(packet.data)
            )


def link(model: PoolModel, packet: Packet) -> None:
    """Link another chain to the end with `next`."""
    n = other(model, packet)
    if n is not None:
        n.m.demote(True)
        packet.m.last().next = n.m
        joined(model, packet, n)
        fixhdr(model, packet)


def unlink(model: PoolModel, packet: Packet) -> None:
    """Unlink the rest of a chain with `next`."""
    at = 0
    for m in chain(packet.m):
        at += m.len
        if model.rng.random() < 0.5 or m.next is None:
            rest, m.next = m.next, None
            model.adopt(rest, packet.data[at:])
            del packet.data[at:]
            fixhdr(model, packet)
            return


def split(model: PoolModel, packet: Packet) -> None:
    at, data, head = offset(model, packet, 2), packet.data, packet.head
    error = Inval if at > len(data) else None
    tail = model.attempt(packet.m.split, at, *how(model), packets=[packet], error=error)
    if tail is FAILED:
        return
    if head is None:
        model.adopt(tail, data[at:])
    else:
        rest = Head()
        rest.len_valid, rest.rcvif, rest.snd = head.len_valid, head.rcvif, head.snd
        model.add(tail, data[at:], rest)
        head.len_valid = True
    del data[at:]


# Copy.


def copym(model: PoolModel, packet: Packet) -> None:
    rng, data = model.rng, packet.data
    off = rng.choice((0, offset(model, packet, 1)))
    count = rng.choice((M_COPYALL, rng.randint(0, len(data) + 1)))
    end = len(data) if count == M_COPYALL else off + count
    error = Inval if max(off, end) > len(data) else None
    n = model.attempt(packet.m.copym, off, count, *how(model), packets=[packet], error=error)
    if n is FAILED:
        return
    if n is None:
        assert off == end
        return
    head = None
    if off == 0 and packet.head is not None:
        head = packet.head.copy()
        head.len_valid = head.len_valid if count == M_COPYALL else True
    model.add(n, data[off:end], head)


def copypacket(model: PoolModel, packet: Packet) -> None:
    n = model.attempt(packet.m.copypacket, *how(model), packets=[packet], error=None if packet.head else Inval)
    if n is not FAILED:
        assert packet.head is not None
        model.add(n, packet.data, packet.head.copy())


def dup(model: PoolModel, packet: Packet) -> None:
    error = Inval if packet.head is None or packet.m.pkthdr.len != len(packet.data) else None
    n = model.attempt(packet.m.dup, *how(model), packets=[packet], error=error)
    if n is not FAILED:
        assert packet.head is not None
        assert all(m.writable for m in chain(n))
        model.add(n, packet.data, packet.head.copy())


# Pull up and defragment.


def pullup(model: PoolModel, packet: Packet) -> None:
    m, n = packet.m, offset(model, packet, 1)
    fits = not m.flags & M_EXT and m.next is not None and m.offset + internal_start(m) + n < MSIZE
    error = Inval if n > len(packet.data) or (n > MHLEN and not fits) else None
    if model.attempt(m.pullup, n, packets=[packet], error=error) is not FAILED:
        assert m.len >= n


def internal_start(m: Mbuf) -> int:
    """The offset of the internal storage of an mbuf."""
    return MPKTHSIZE if m.flags & M_PKTHDR else MHSIZE


def copyup(model: PoolModel, packet: Packet) -> None:
    m, n, room = packet.m, min(offset(model, packet, 1), 170), model.rng.choice((0, 2, 16, 168))
    error = Inval if n > len(packet.data) or n + room > MHLEN else None
    if model.attempt(m.copyup, n, room, packets=[packet], error=error) is not FAILED:
        assert m.len >= n
        assert not m.flags & M_EXT


def pulldown(model: PoolModel, packet: Packet) -> None:
    rng, data = model.rng, packet.data
    off, at_start = offset(model, packet, 1), rng.random() < 0.5
    left = max(len(data) - off, 0)
    n = rng.choice((0, 1, 2049, left, rng.randint(0, left), rng.randint(0, min(left, 100)), rng.randint(-1, 2049)))
    error = Inval if n < 0 or n > MCLBYTES or off + n > len(data) else None
    # At the end there is no mbuf to return; and the rest may be too long for one cluster.
    may = (Inval,) if off == len(data) or (at_start and len(data) - off > MCLBYTES) or not data else ()
    got = model.attempt(packet.m.pulldown, off, n, at_start, packets=[packet], error=error, may_raise=may)
    if got is not FAILED:
        m, at = got
        assert at == 0 or not at_start
        assert m.copydata(0, m.len)[at : at + n] == data[off : off + n]


def defrag(model: PoolModel, packet: Packet) -> None:
    if model.attempt(packet.m.defrag, *how(model), packets=[packet]) is not FAILED and packet.head is not None:
        packet.head.len_valid = True
        assert all(m.writable for m in list(chain(packet.m))[1:])


def compact(model: PoolModel, packet: Packet) -> None:
    model.attempt(packet.m.compact, *how(model), packets=[packet])
    if packet.head is not None:
        # It is a copy, with the right length, or the same.
        packet.head.len_valid = packet.m.pkthdr.len == packet.m.length()


def collapse(model: PoolModel, packet: Packet) -> None:
    most = model.rng.randint(1, 6)
    if model.attempt(packet.m.collapse, most, *how(model), packets=[packet], may_raise=(Inval,)) is not FAILED:
        assert len([*chain(packet.m)]) <= most


def fragment(model: PoolModel, packet: Packet) -> None:
    size = model.rng.choice((-2, -1, 100, 1000, 2048))
    if model.attempt(packet.m.fragment, size, *how(model), packets=[packet]) is not FAILED and packet.head is not None:
        packet.head.len_valid = True


def unshare(model: PoolModel, packet: Packet) -> None:
    may = (Inval,) if has_inner_header(packet) else ()
    if model.attempt(packet.m.unshare, *how(model), packets=[packet], may_raise=may) is not FAILED:
        assert all(m.writable or m.flags & M_RDONLY for m in chain(packet.m))
