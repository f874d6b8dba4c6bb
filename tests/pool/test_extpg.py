"""mbuf(9)'s allocation calls for mbufs of unmapped pages."""

from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_EXT, M_EXTPG, M_NOWAIT, M_RDONLY, M_WAITOK, MT_DATA, Inval, NoBufs, NoMemory, Pool, compiled
from mbuf.const import EPG_FLAG_ANON
from mbuf.pool import extpg

BAD = (-1, 2**31, 2**63, 2**64, -(2**63) - 1)


@pytest.mark.parametrize(("len", "pages"), [(0, 0), (1, 1), (4096, 1), (4097, 2), (20479, 5), (20480, 5)])
def test_as_many_pages_as_hold_the_bytes(pool: Pool, len: int, pages: int) -> None:
    m = pool.alloc_ext_plus_pages(len)
    assert (m.flags, m.type, m.len, m.epg.npgs, m.epg.flags) == (
        M_EXT | M_EXTPG | M_RDONLY,
        MT_DATA,
        0,
        pages,
        EPG_FLAG_ANON,
    )
    assert (m.epg.first_off, m.epg.last_len, m.epg.ext_size, pool.pages.used) == (0, 0, 0, pages)
    m.free()


@pytest.mark.parametrize("len", [20481, 2**31, 2**63, 2**64])
def test_6_6_38_no_array_overflows_beyond_five_pages(pool: Pool, len: int) -> None:
    with pytest.raises(Inval, match="5 pages, of 20480 bytes"):
        pool.alloc_ext_plus_pages(len)
    assert (pool.out, pool.pages.used) == (0, 0)


@pytest.mark.parametrize("len", [-1, -(2**63) - 1])
def test_no_fewer_than_no_bytes(pool: Pool, len: int) -> None:
    with pytest.raises(Inval, match="give 0 or more"):
        pool.alloc_ext_plus_pages(len)
    assert pool.out == 0


@pytest.mark.parametrize("call", ["alloc_ext_pgs", "alloc_ext_plus_pages"])
@pytest.mark.parametrize("how", [0, 3, *BAD])
def test_how_is_one_of_two(pool: Pool, call: str, how: int) -> None:
    for words in ({}, {"timeout": 0}):
        with pytest.raises(Inval, match="how"):
            getattr(pool, call)(*(1,) * (call != "alloc_ext_pgs"), how=how, **words)
    assert (pool.out, pool.pages.used) == (0, 0)


def test_it_counts_against_the_limit_of_mbufs(make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> None:
    pool = make(few(mbufs=40), caching=False)
    made = []
    limit = pool.zones.mbuf.limit
    for _ in range(limit):
        made.append(pool.alloc_ext_plus_pages(10))
    with pytest.raises(NoBufs, match="mbuf"):
        pool.alloc_ext_plus_pages(10)
    assert (len(made), pool.pages.used, pool.zones.mbuf.stat().fails) == (limit, limit, 1)
    with pytest.raises(NoBufs):
        pool.alloc_ext_pgs(M_WAITOK, timeout=0)
    pool.free_bulk(made)


def test_where_pages_are_out_no_mbuf_is_left(make: Callable[..., Pool]) -> None:
    pool = make(mem=64 * 4096)
    pool.alloc_ext_pgs().free()
    taken: list[Any] = []
    while pool.vm.free > 2:
        taken.append(pool.pages.alloc(M_NOWAIT, None))
    for words in ({}, {"how": M_WAITOK, "timeout": 0}):
        with pytest.raises(NoMemory):
            pool.alloc_ext_plus_pages(3 * 4096, **words)
        assert (pool.out, pool.pages.used, pool.stat().drops) == (0, len(taken), 0)
    pool.alloc_ext_plus_pages(2 * 4096).free()
    for page in taken:
        pool.pages.free(page)


def test_who_may_wait_gets_pages_when_there_are(make: Callable[..., Pool], spawn: Any, eventually: Any) -> None:
    pool = make(mem=64 * 4096)
    pool.alloc_ext_pgs().free()
    taken: list[Any] = []
    while pool.vm.free:
        taken.append(pool.pages.alloc(M_NOWAIT, None))
    waiter = spawn(lambda: pool.alloc_ext_plus_pages(2 * 4096, M_WAITOK))
    eventually(lambda: len(pool.pages.keg._waiters))
    pool.pages.free(taken.pop())
    eventually(lambda: len(pool.pages.keg._waiters))
    pool.pages.free(taken.pop())
    m = waiter.done()
    assert m.epg.npgs == 2
    m.free()
    for page in taken:
        pool.pages.free(page)


def test_a_closed_pool_gives_no_page_and_takes_them_back(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.alloc_ext_plus_pages(10)
    other = pool.alloc_ext_pgs()
    with pytest.warns(ResourceWarning, match="2 mbufs still out"):
        pool.close()
    for call in (pool.alloc_ext_pgs, lambda: pool.alloc_ext_plus_pages(1), lambda: other.addpages(1)):
        with pytest.raises(Inval, match="closed"):
            call()
    m.page(0)[:4] = b"here"
    m.free()
    other.free()
    assert (pool.out, pool.vm.used) == (0, 0)


@pytest.mark.skipif(compiled(), reason="compiled, only C can call it")
def test_without_a_source_or_a_supply_there_is_not_a_mbuf(pool: Pool) -> None:
    a: Any = pool._allocator
    for source, supply in ((None, pool.pages), (a, None)):
        with pytest.raises(TypeError, match="alloc_ext_pgs: give a source of mbufs and a supply of pages"):
            extpg.alloc_ext_pgs(source, supply, M_NOWAIT, None, None, None)  # type: ignore[arg-type]
    assert (pool.out, pool.pages.used) == (0, 0)
    pool.audit()
