"""Random walks on chains with unmapped pages have the same results as on a bytearray.

A verb that fails changes nothing.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from chains import mbufs
from mbuf import M_EXTPG, M_PKTHDR, PAGE_SIZE, Busy, Inval, Mbuf, NoBufs, NoMemory, Pool, ReadOnly
from packet.layouts import file_mbufs, record
from packet.snapshot import snapshot

Chain = tuple[Mbuf, bytearray]
Mutator = Callable[[Random, Pool, Mbuf, bytearray], Any]

WALKS = range(200 if os.environ.get("MBUF_SOAK") else 12)
STEPS = 150
#: Errors that a verb may raise: it needs contiguous bytes, or memory that there isn't.
ERRORS = (Inval, ReadOnly, Busy, NoBufs, NoMemory)


def random_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice((1, 20, 100, 300, 3000, 9000)))


def new(rng: Random, pool: Pool) -> Chain:
    """A chain of random bytes, of a random kind."""
    data = random_bytes(rng)
    make: list[Callable[[], Mbuf]] = [
        lambda: pool.frombytes(data),
        lambda: pool.frombytes(data, align=rng.choice((0, 500, 5000)), flags=M_EXTPG),
        lambda: file_mbufs(pool, data, rng.randint(0, 2 * PAGE_SIZE)),
        lambda: pool.gethdr().append(data),
    ]
    if len(data) <= 3000:
        make.append(lambda: record(pool, data))
    return rng.choice(make)(), bytearray(data)


def cat(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    n, more = new(rng, pool)
    n.demote(True)
    m.cat(n)
    data += more


def adj(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    n = rng.randint(0, len(data))
    if rng.random() < 0.5:
        m.adj(n)
        del data[:n]
    else:
        m.adj(-n)
        del data[len(data) - n :]


def append(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    more = random_bytes(rng)
    m.append(more)
    data += more


def prepend(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    n = rng.randint(0, 168)
    m.prepend(n)
    data[:0] = m.copydata(0, n)


def copyback(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    at, more = rng.randint(0, len(data)), random_bytes(rng)
    if all(n.writable for n in mbufs(m)):
        m.copyback(at, more)
        data[at : at + len(more)] = more


def makespace(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    at, n = rng.randint(0, len(data)), rng.randint(0, 167)
    m.makespace(at, n)
    data[at:at] = m.copydata(at, n)


def pulldown(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    at = rng.randint(0, len(data))
    n = rng.randint(0, min(len(data) - at, 2048))
    found, where = m.pulldown(at, n, rng.random() < 0.5)
    assert found.data[where : where + n] == data[at : at + n]


def compress(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    rng.choice(mbufs(m)).unmapped_compress()


def to_unmapped(rng: Random, pool: Pool, m: Mbuf, data: bytearray) -> None:
    """Append a copy in unmapped pages; the copy may end later, at the end of an mbuf or a page."""
    n = rng.randint(0, len(data))
    copy = m.mapped_to_unmapped(n, rng.choice((1, 5000, 20480)))
    if copy is not None:
        copied = bytes(copy)
        assert n <= len(copied) < n + PAGE_SIZE
        assert copied == data[: len(copied)]
        m.cat(copy)
        data += copied


MUTATORS: list[Mutator] = [
    *(cat, adj, append, prepend, copyback, makespace, pulldown, compress, to_unmapped),
    lambda rng, pool, m, data: m.unmapped_to_ext(),
    lambda rng, pool, m, data: m.pullup(rng.randint(0, min(len(data), 168))),
    lambda rng, pool, m, data: m.copyup(rng.randint(0, min(len(data), 100)), 60),
    lambda rng, pool, m, data: m.defrag(),
    lambda rng, pool, m, data: m.collapse(rng.randint(1, 20)),
    lambda rng, pool, m, data: m.unshare(),
    lambda rng, pool, m, data: m.fragment(rng.randint(100, 2048)),
]


def split(rng: Random, m: Mbuf, data: bytearray) -> Chain | None:
    at = rng.randint(0, len(data))
    rest = m.split(at)
    tail = data[at:]
    del data[at:]
    return None if rest is None else (rest, tail)


def copies(rng: Random, m: Mbuf, data: bytearray) -> Chain | None:
    if m.flags & M_PKTHDR and rng.random() < 0.5:
        return (m.copypacket() if rng.random() < 0.5 else m.dup()), bytearray(data)
    at = rng.randint(0, len(data))
    n = rng.randint(0, len(data) - at)
    copy = m.copym(at, n)
    return None if copy is None else (copy, data[at : at + n])


def check(chains: list[Chain]) -> None:
    """Check the bytes of all chains; no mbuf has both a packet header and unmapped pages."""
    for m, data in chains:
        assert bytes(m) == data
        assert b"".join(m) == data
        assert not any(n.flags & M_PKTHDR and n.flags & M_EXTPG for n in mbufs(m))


@pytest.mark.parametrize("seed", WALKS)
def test_a_random_walk_on_unmapped_pages_has_the_results_of_a_bytearray(make: Callable[..., Pool], seed: int) -> None:
    rng = Random(seed)
    # The limits are small, so that some requests fail.
    pool = make({"kern.ipc.nmbclusters": 60, "kern.ipc.nmbufs": 240}, mem=300 * PAGE_SIZE, nsfbufs=rng.choice((3, 9)))
    chains: list[Chain] = []
    refused = 0
    for step in range(STEPS):
        if len(chains) > 5 or (chains and rng.random() < 0.05):
            chains.pop(rng.randrange(len(chains)))[0].freem()
        before: Any = None
        try:
            if not chains or rng.random() < 0.15:
                chains.append(new(rng, pool))
                continue
            m, data = rng.choice(chains)
            if m.flags & M_PKTHDR:
                m.fixhdr()
            chance, mutate, made = rng.random(), rng.choice(MUTATORS), None
            # These two consist of several steps, which may fail separately.
            if mutate not in (cat, to_unmapped):
                before = snapshot(pool, *[m for m, _ in chains])
            if chance < 0.15:
                made = split(rng, m, data)
            elif chance < 0.25:
                made = copies(rng, m, data)
            else:
                mutate(rng, pool, m, data)
            if made is not None:
                chains.append(made)
        except ERRORS:
            refused += 1
            if before is not None:
                assert snapshot(pool, *[m for m, _ in chains]) == before
        if step % 3 == 0:
            # A check needs a window for each viewed page of a file, and there may be too few.
            with suppress(NoBufs):
                check(chains)
    assert refused
    for m, _ in chains:
        m.freem()
