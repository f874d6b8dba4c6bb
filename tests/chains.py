"""The mbufs of a chain, their lengths, and other small functions on bytes that many tests need."""

import struct
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from mbuf import Mbuf, NoBufs, NoMemory, Pool

T = TypeVar("T")


def mbufs(m: Mbuf | None) -> list[Mbuf]:
    """The mbufs of a chain, first to last."""
    found = []
    while m is not None:
        found.append(m)
        m = m.next
    return found


def lens(m: Mbuf | None) -> list[int]:
    """The length of each mbuf of a chain."""
    return [n.len for n in mbufs(m)]


def chain_of(pool: Pool, *pieces: bytes) -> Mbuf:
    """A packet with one mbuf for each piece."""
    m = last = pool.gethdr().append(pieces[0])
    for piece in pieces[1:]:
        last.next = pool.get().append(piece)
        last = last.next
    m.pkthdr.len = sum(map(len, pieces))
    return m


def exhaust(alloc: Callable[[], T]) -> list[T]:
    """Call it until there is no more: all that it returned."""
    got = []
    while True:
        try:
            got.append(alloc())
        except (NoBufs, NoMemory):
            return got


def exhaust_pool(pool: Pool) -> list[Mbuf]:
    """All mbufs that the pool has, with clusters and without."""
    return exhaust(pool.getcl) + exhaust(pool.get)


def contents(pool: Pool, packets: list[Mbuf]) -> list[bytes]:
    """The bytes of packets, which are checked and freed."""
    assert all(m.sanity() and m.pkthdr.len == len(m) for m in packets)
    found = [bytes(m) for m in packets]
    pool.free_bulk(packets)
    return found


@cache
def sample(size: int) -> bytes:
    """So many bytes, which differ from their neighbours."""
    return bytes(n * 7 % 251 for n in range(size))


def internet_checksum(data: bytes) -> int:
    """The checksum of RFC 1071."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
