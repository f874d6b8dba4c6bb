"""Packets of the same bytes, built in every way that there is."""

from collections.abc import Callable, Iterator

import pytest

from mbuf import M_NOWAIT, M_PKTHDR, M_RDONLY, Mbuf, Pool

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


WAYS: dict[str, Build] = {
    made.__name__: made
    for made in (
        *(inside, headless, packet, cluster, jumbo, tiny, shared, sharer, fixed),
        *(lent, borrowed, clusters, parts),
    )
}


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
