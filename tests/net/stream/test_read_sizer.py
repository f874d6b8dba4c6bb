from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import MCLBYTES, MJUM16BYTES, MLEN, Mbuf, NoBufs, Pool, compiled
from mbuf.net.stream.read_sizer import READ_SIZES, ReadSizer, room_views


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
def test_alloc_returns_the_smallest_mbufs_that_have_the_room(pool: Pool, size: int, sizes: list[int]) -> None:
    m = ReadSizer(pool).alloc(size)
    assert [n.size for n in mbufs(m)] == sizes
    assert [n.flags & 2 for n in mbufs(m)] == [0] * len(sizes)
    views = room_views(m, size)
    assert sum(map(len, views)) == size
    assert len(views) == len(sizes)
    views.clear()
    m.freem()


def test_alloc_uses_small_clusters_if_there_are_no_large_ones(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, jumbo16=1)
    sizer = ReadSizer(pool)
    m = sizer.alloc(1 << 18)
    assert [n.size for n in mbufs(m)] == [MJUM16BYTES, MCLBYTES, MCLBYTES, MCLBYTES]
    # One failure, not one for each cluster that is missing.
    assert pool.stat().jumbo16.fails <= 2
    with pytest.raises(NoBufs):
        sizer.alloc(1 << 18)
    m.freem()


@pytest.mark.parametrize("got", [1, MLEN, MLEN + 1, MCLBYTES, MCLBYTES + 1, MJUM16BYTES, MJUM16BYTES + 1, 40_000])
def test_shrink_to_fit_frees_what_the_read_did_not_fill(pool: Pool, got: int) -> None:
    sizer = ReadSizer(pool)
    m = sizer.alloc(4 * MJUM16BYTES)
    data = bytes(n % 251 for n in range(got))
    at = 0
    views = room_views(m, 4 * MJUM16BYTES)
    for view in views:
        view[: len(data[at : at + len(view)])] = data[at : at + len(view)]
        at += len(view)
    views.clear()
    del view
    m = sizer.shrink_to_fit(m, got, 4 * MJUM16BYTES)
    assert bytes(m) == data
    *whole, last = (n.size for n in mbufs(m))
    rest = got - MJUM16BYTES * len(whole)
    assert whole == [MJUM16BYTES] * ((got - 1) // MJUM16BYTES)
    assert last == (MLEN if rest <= MLEN else MCLBYTES if rest <= MCLBYTES else MJUM16BYTES)
    assert pool.out == len(whole) + 1
    m.freem()


def test_shrink_to_fit_keeps_a_large_cluster_if_there_is_no_small_one(small: Callable[..., Pool]) -> None:
    pool = small(clusters=1, jumbo16=1)
    sizer = ReadSizer(pool)
    m = sizer.alloc(MJUM16BYTES)
    other = pool.getcl()
    m = sizer.shrink_to_fit(m, MLEN + 1, MJUM16BYTES)
    assert (m.size, len(m)) == (MJUM16BYTES, MLEN + 1)
    m.freem()
    other.freem()


def test_the_size_grows_after_full_reads_and_shrinks_after_small_ones(pool: Pool) -> None:
    sizer = ReadSizer(pool)
    for size in READ_SIZES:
        assert sizer.size == size
        sizer.adapt(size, size)
    assert sizer.size == READ_SIZES[-1]
    sizer.adapt(READ_SIZES[-2], READ_SIZES[-1])
    assert sizer.size == READ_SIZES[-1]
    for size in reversed(READ_SIZES):
        assert sizer.size == size
        sizer.adapt(1, size)
    assert sizer.size == READ_SIZES[0]


@pytest.mark.skipif(not compiled(), reason="uncompiled, __init__ always runs")
def test_without_init_alloc_raises_typeerror() -> None:
    sizer: Any = ReadSizer.__new__(ReadSizer)
    with pytest.raises(TypeError, match="isn't initialized"):
        sizer.alloc(1)
    with pytest.raises(TypeError, match="give the chain"):
        sizer.shrink_to_fit(None, 1, 1)
