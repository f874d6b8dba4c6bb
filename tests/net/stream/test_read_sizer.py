from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import MCLBYTES, MJUM16BYTES, MLEN, Mbuf, NoBufs, Pool, compiled
from mbuf.net.stream.read_sizer import STEPS, ReadSizer, rooms_of


def mbufs(m: Mbuf | None) -> Iterator[Mbuf]:
    while m is not None:
        yield m
        m = m.next


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (1, [MLEN]),
        (MLEN, [MLEN]),
        (MLEN + 1, [MCLBYTES]),
        (MCLBYTES, [MCLBYTES]),
        (MCLBYTES + 1, [MJUM16BYTES]),
        (MJUM16BYTES, [MJUM16BYTES]),
        (MJUM16BYTES + 1, [MJUM16BYTES, MLEN]),
        (3 * MJUM16BYTES, [MJUM16BYTES] * 3),
    ],
)
def test_room_is_of_mbufs_as_large_as_fit(pool: Pool, size: int, sizes: list[int]) -> None:
    m = ReadSizer(pool).room(size)
    assert [n.size for n in mbufs(m)] == sizes
    assert [n.flags & 2 for n in mbufs(m)] == [0] * len(sizes)
    rooms = rooms_of(m, size)
    assert sum(map(len, rooms)) == size
    assert len(rooms) == len(sizes)
    rooms.clear()
    m.freem()


def test_without_large_clusters_small_ones_do(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, jumbo16=1)
    intake = ReadSizer(pool)
    m = intake.room(1 << 18)
    assert [n.size for n in mbufs(m)] == [MJUM16BYTES, MCLBYTES, MCLBYTES, MCLBYTES]
    # One hit of the limit, not one for each cluster that is missing.
    assert pool.stat().jumbo16.fails <= 2
    with pytest.raises(NoBufs):
        intake.room(1 << 18)
    m.freem()


@pytest.mark.parametrize("got", [1, MLEN, MLEN + 1, MCLBYTES, MCLBYTES + 1, MJUM16BYTES, MJUM16BYTES + 1, 40_000])
def test_what_a_read_did_not_fill_goes_back(pool: Pool, got: int) -> None:
    intake = ReadSizer(pool)
    m = intake.room(4 * MJUM16BYTES)
    data = bytes(n % 251 for n in range(got))
    at = 0
    rooms = rooms_of(m, 4 * MJUM16BYTES)
    for room in rooms:
        room[: len(data[at : at + len(room)])] = data[at : at + len(room)]
        at += len(room)
    rooms.clear()
    del room
    m = intake.filled(m, got, 4 * MJUM16BYTES)
    assert bytes(m) == data
    *whole, last = (n.size for n in mbufs(m))
    rest = got - MJUM16BYTES * len(whole)
    assert whole == [MJUM16BYTES] * ((got - 1) // MJUM16BYTES)
    assert last == (MLEN if rest <= MLEN else MCLBYTES if rest <= MCLBYTES else MJUM16BYTES)
    assert pool.out == len(whole) + 1
    m.freem()


def test_a_large_cluster_stays_where_there_is_no_small_one(small: Callable[..., Pool]) -> None:
    pool = small(clusters=1, jumbo16=1)
    intake = ReadSizer(pool)
    m = intake.room(MJUM16BYTES)
    other = pool.getcl()
    m = intake.filled(m, MLEN + 1, MJUM16BYTES)
    assert (m.size, len(m)) == (MJUM16BYTES, MLEN + 1)
    m.freem()
    other.freem()


def test_reads_grow_when_they_get_all_and_shrink_when_they_get_little(pool: Pool) -> None:
    intake = ReadSizer(pool)
    for step in STEPS:
        assert intake.size == step
        intake.saw(step, step)
    assert intake.size == STEPS[-1]
    intake.saw(STEPS[-2], STEPS[-1])
    assert intake.size == STEPS[-1]
    for step in reversed(STEPS):
        assert intake.size == step
        intake.saw(1, step)
    assert intake.size == STEPS[0]


@pytest.mark.skipif(not compiled(), reason="uncompiled, nothing is made by hand")
def test_an_intake_that_was_never_made_gives_no_room() -> None:
    never: Any = ReadSizer.__new__(ReadSizer)
    with pytest.raises(TypeError, match="never made"):
        never.room(1)
    with pytest.raises(TypeError, match="give the chain"):
        never.filled(None, 1, 1)
