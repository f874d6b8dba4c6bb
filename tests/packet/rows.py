"""Verbs as rows: what is called, and which bytes there are then, on every way to build a chain."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, cast

import pytest

from mbuf import M_NOWAIT, M_PKTHDR, MT_DATA, Inval, Mbuf, Pool, ReadOnly
from packet.conftest import UNMAPPED, WAYS
from packet.onebyte import BYTES, split
from packet.picture import adorn, header, mbufs, picture

Bytes = Callable[[bytes], bytes]
Words = dict[str, Any]

#: Bytes in the chain that a verb is tried on: in one mbuf, or several, or too many for a cluster.
SIZES = (24, 300, 3000)
#: Every way to build it, in every size; bytes that are alone in their mbufs are no more than a few.
EVERYWHERE = [(way, size) for way in WAYS for size in SIZES if way != "tiny" or size < 300]
#: The same, with each byte in an mbuf of its own.
BY_BYTES = [(way + BYTES, SIZES[0]) for way in WAYS if way != "tiny"]


def same(data: bytes) -> bytes:
    return data


class Row(NamedTuple):
    """One call of one verb."""

    name: str
    #: The words are for verbs that may wait: how, and for how long.
    call: Callable[[Mbuf, Words], Any]
    #: What the chain holds then.
    left: Bytes = same
    #: What the chain that was returned holds; None for a verb that returns the mbuf that it was called on.
    made: Bytes | None = None
    #: Only a packet can do it.
    headed: bool = False
    #: It takes `how` and `timeout`.
    waits: bool = False
    #: It writes over bytes, whoever shares them.
    through: bool = False
    #: It may need bytes in a row, and refuse those that it finds in unmapped pages.
    rowed: bool = False


@cache
def sample(size: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(size))


def chain(pool: Pool, *sizes: int) -> Mbuf:
    """A packet of mbufs with so many bytes each; in clusters where one doesn't hold them."""
    data = sample(sum(sizes))
    m = last = cast(Mbuf, None)
    at = 0
    for count in sizes:
        n = pool.get2(count, M_NOWAIT, MT_DATA, 0 if last else M_PKTHDR).append(data[at : at + count])
        at += count
        if last is None:
            m = n
        else:
            last.next = n
        last = n
    m.pkthdr.len = len(data)
    return m


def built(way: str, pool: Pool, size: int) -> list[Mbuf]:
    """A chain with all that it can have, and then those that share its bytes."""
    base, each, _ = way.partition(BYTES)
    chains = WAYS[base](pool, sample(size))
    if each:
        split(chains[0])
    if chains[0].flags & M_PKTHDR:
        adorn(pool, chains[0], sender=size % 100 != 0)
    return chains


def try_everywhere(pool: Pool, row: Row) -> None:
    """Try a row on every way to build a chain."""
    for way, size in EVERYWHERE + BY_BYTES:
        try_row(pool, row, way, size)


def try_row(pool: Pool, row: Row, way: str, size: int) -> None:
    """Build a chain, call the verb, and look at everything."""
    chains = built(way, pool, size)
    way = way.removesuffix(BYTES)
    m = chains[0]
    if error := refusal(row, way, m):
        refused(pool, row, chains, error)
    elif row.rowed and way in UNMAPPED:
        before, whole = header(m), picture(pool, *chains)
        try:
            result = row.call(m, {})
        except (Inval, ReadOnly):
            assert picture(pool, *chains) == whole
        else:
            agree(row, chains, size, before, result)
    else:
        before = header(m)
        agree(row, chains, size, before, row.call(m, {}))
    pool.free_bulk(chains)
    assert (pool.out, pool.tags.count, pool.snd_tags.count, pool.stat().drops) == (0, 0, 0, 0)


def refusal(row: Row, way: str, m: Mbuf) -> type[Exception] | None:
    """The error to expect of a verb that can't be called on such a chain."""
    if row.headed and not m.flags & M_PKTHDR:
        return Inval
    return ReadOnly if row.through and way == "lent" else None


def refused(pool: Pool, row: Row, chains: list[Mbuf], error: type[Exception]) -> None:
    """The verb refuses to do it, and nothing has changed."""
    before = picture(pool, *chains)
    with pytest.raises(error):
        row.call(chains[0], {})
    assert picture(pool, *chains) == before


def agree(row: Row, chains: list[Mbuf], size: int, before: Any, result: Any) -> None:
    """All is as the row says; what the verb has made is freed."""
    data, m = sample(size), chains[0]
    assert bytes(m) == row.left(data)
    assert m.sanity()
    after = header(m)
    assert (after is None) == (before is None)
    if after is not None and before is not None:
        assert after[0][0] == len(m)
        # A copy of the header has a reference of its own to the send tag.
        if row.made is None:
            assert said(after) == said(before)
    if row.made is None:
        assert result is m
    else:
        assert (b"" if result is None else bytes(result)) == row.made(data)
        if result is not None:
            assert result.sanity()
            assert not {n.id for n in mbufs(result)} & {n.id for n in mbufs(m)}
            result.freem()
    if not row.through:
        assert [bytes(other) for other in chains[1:]] == [data] * (len(chains) - 1)


def said(header: Any) -> Any:
    """A header but for its length, and which tags, of those that are alike, it has."""
    fields, rcvif, tags, sender = header
    return fields[1:], rcvif, [tag[1:] for tag in tags], sender
