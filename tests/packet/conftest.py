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


WAYS: dict[str, Build] = {
    made.__name__: made for made in (inside, headless, packet, cluster, jumbo, tiny, shared, sharer, fixed)
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
