"""Packets of the same bytes, built in every way that there is."""

import os
from collections.abc import Callable, Iterator

import pytest

from mbuf import M_EXTPG, M_NOWAIT, M_PKTHDR, M_RDONLY, PAGE_SIZE, Mbuf, Pool

Build = Callable[[Pool, bytes], list[Mbuf]]


def inside(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.gethdr().append(data)]


def headless(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.get().append(data)]


def packet(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.getcl().append(data)]


def cluster(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.clget(pool.gethdr()).append(data)]


def jumbo(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.getjcl(size=9216).append(data)]


def tiny(pool: Pool, data: bytes) -> list[Mbuf]:
    """One byte to an mbuf, and an empty one in between."""
    m = last = pool.gethdr()
    for n, byte in enumerate(data):
        if n:
            last.next = pool.get()
            last = last.next
        last.append(bytes([byte]))
        if n == 1:
            last.next = pool.get()
            last = last.next
    m.pkthdr.len = len(data)
    return [m]


def shared(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl().append(data)
    return [m, m.copypacket()]


def sharer(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl().append(data)
    return [m.copypacket(), m]


def fixed(pool: Pool, data: bytes) -> list[Mbuf]:
    m = pool.getcl(M_NOWAIT, flags=M_PKTHDR).append(data)
    m.flags |= M_RDONLY
    return [m]


def lent(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.wrap(data)]


def borrowed(pool: Pool, data: bytes) -> list[Mbuf]:
    return [pool.wrap(bytearray(data))]


def chained(mbufs: list[Mbuf], data: bytes) -> list[Mbuf]:
    """One chain of those mbufs, each with its share of the bytes."""
    share = -(-len(data) // len(mbufs))
    for n, m in enumerate(mbufs):
        m.append(data[n * share : (n + 1) * share])
    for m, n in zip(mbufs, mbufs[1:], strict=False):
        m.last().next = n
    if mbufs[0].flags & M_PKTHDR:
        mbufs[0].pkthdr.len = len(data)
    return mbufs[:1]


def clusters(pool: Pool, data: bytes) -> list[Mbuf]:
    return chained([pool.getcl(), pool.clget(pool.get()), pool.getjcl(flags=0), pool.getcl(flags=0)], data)


def parts(pool: Pool, data: bytes) -> list[Mbuf]:
    """Several mbufs, and no packet."""
    return chained([pool.get(), pool.get(), pool.getcl(flags=0), pool.get()], data)


def unmapped(pool: Pool, data: bytes) -> list[Mbuf]:
    """Nothing but unmapped pages."""
    return [pool.frombytes(data, flags=M_EXTPG, align=len(data) // 2 + 1)]


def record(pool: Pool, data: bytes) -> Mbuf:
    """An mbuf of unmapped pages that has a header, the end of a page, the start of another, and a trailer."""
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    edge = min(len(data) // 3, 7)
    epg, inner = m.epg, data[edge : len(data) - edge]
    first = max(len(inner) // 2, 1)
    epg.hdr, epg.trail = data[:edge], data[len(data) - edge :]
    epg.first_off, epg.last_len = PAGE_SIZE - first, max(len(inner) - first, 0)
    m.page(0)[epg.first_off :] = inner[:first] or b"-"
    m.page(1)[: epg.last_len] = inner[first:]
    m.len = len(data)
    return m


def headed(pool: Pool, data: bytes) -> list[Mbuf]:
    """Unmapped pages behind a packet header."""
    m = pool.gethdr().cat(record(pool, data))
    m.fixhdr()
    return [m]


def between(pool: Pool, data: bytes) -> list[Mbuf]:
    """Unmapped pages between mbufs, and at the end."""
    share = len(data) // 4
    m = pool.getcl().append(data[:share]).cat(pool.frombytes(data[share : 2 * share], flags=M_EXTPG))
    m.cat(pool.getcl(flags=0).append(data[2 * share : 3 * share])).cat(pool.frombytes(data[3 * share :], flags=M_EXTPG))
    m.fixhdr()
    return [m]


def unmapped_shared(pool: Pool, data: bytes) -> list[Mbuf]:
    (m,) = headed(pool, data)
    return [m, m.copypacket()]


def unmapped_sharer(pool: Pool, data: bytes) -> list[Mbuf]:
    m, n = unmapped_shared(pool, data)
    return [n, m]


def filed(pool: Pool, data: bytes, off: int) -> Mbuf:
    """Pages of a file that nobody can find any more; so many other bytes are before those."""
    fd = os.memfd_create("pages")
    try:
        os.write(fd, bytes(off) + data)
        with pool.file(fd) as file:
            return file.getm(off)
    finally:
        os.close(fd)


def file_pages(pool: Pool, data: bytes) -> list[Mbuf]:
    """Pages of a file behind mbufs, and in front of one."""
    share = len(data) // 3
    m = pool.getcl().append(data[:share]).cat(filed(pool, data[share : 2 * share], PAGE_SIZE - 10))
    m.cat(pool.get2(len(data), M_NOWAIT, flags=0).append(data[2 * share :]))
    m.fixhdr()
    return [m]


def file_shared(pool: Pool, data: bytes) -> list[Mbuf]:
    """Nothing but pages of a file, which others use too."""
    m = filed(pool, data, 100)
    return [m.copym(), m]


#: The ways whose bytes are in unmapped pages, or some of them.
UNMAPPED: dict[str, Build] = {
    made.__name__: made
    for made in (unmapped, headed, between, unmapped_shared, unmapped_sharer, file_pages, file_shared)
}
WAYS: dict[str, Build] = {
    made.__name__: made
    for made in (
        *(inside, headless, packet, cluster, jumbo, tiny, shared, sharer, fixed),
        *(lent, borrowed, clusters, parts),
    )
} | UNMAPPED


@pytest.fixture(params=WAYS)
def build(request: pytest.FixtureRequest, pool: Pool) -> Iterator[Callable[[bytes], Mbuf]]:
    """Builds an mbuf chain that holds some bytes, in every way; all are freed at the end."""
    made: list[Mbuf] = []

    def build(data: bytes) -> Mbuf:
        chains = WAYS[request.param](pool, data)
        made.extend(chains)
        return chains[0]

    yield build
    for m in made:
        if "freed" not in repr(m):
            m.freem()
