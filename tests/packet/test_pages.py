"""Chains of unmapped pages, which are built from bytes or files."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector, call_with_refusal
from mbuf import M_EXT, M_EXTPG, M_NOTREADY, M_PKTHDR, M_RDONLY, M_WAITOK, PAGE_SIZE, Inval, NoBufs, Pool, ReadOnly
from mbuf.const import EPG_FLAG_ANON
from mbuf.packet.pages import file_run, views_outside_file
from packet.layouts import file_mbufs, record

# From bytes.


@pytest.mark.parametrize(
    ("size", "align", "lens_", "pages", "last"),
    [
        (0, 0, [0], [0], [0]),
        (1, 0, [1], [1], [1]),
        (4096, 0, [4096], [1], [4096]),
        (4097, 0, [4097], [2], [1]),
        (20480, 0, [20480], [5], [4096]),
        (20481, 0, [20480, 1], [5, 1], [4096, 1]),
        (10000, 5000, [5000, 5000], [2, 2], [904, 904]),
        (3, 1, [1, 1, 1], [1, 1, 1], [1, 1, 1]),
        (30000, 20480, [20480, 9520], [5, 3], [4096, 1328]),
    ],
)
def test_bytes_fill_page_after_page(
    pool: Pool, size: int, align: int, lens_: list[int], pages: list[int], last: list[int]
) -> None:
    m = pool.frombytes(sample(size), align=align, flags=M_EXTPG)
    made = mbufs(m)
    assert (lens(m), [n.epg.npgs for n in made], [n.epg.last_len for n in made]) == (lens_, pages, last)
    assert {(n.flags, n.epg.flags, n.epg.first_off) for n in made} == {(M_EXT | M_EXTPG | M_RDONLY, EPG_FLAG_ANON, 0)}
    # The bytes that they count in a socket buffer.
    assert [n.size for n in made] == [n.ext.size for n in made] == [count * PAGE_SIZE for count in pages]
    assert (bytes(m), pool.pages.used) == (sample(size), sum(pages))
    m.freem()


@pytest.mark.parametrize("align", [-1, 20481, 2**31, 2**64])
def test_an_mbuf_has_no_more_than_five_pages(pool: Pool, align: int) -> None:
    with pytest.raises(Inval, match="up to 20480"):
        pool.frombytes(b"x", align=align, flags=M_EXTPG)
    assert pool.out == 0


@pytest.mark.parametrize("flags", [M_PKTHDR, M_RDONLY, 1 << 24, M_EXT])
def test_flags_are_those_of_unmapped_pages_alone(pool: Pool, flags: int) -> None:
    with pytest.raises(Inval, match="M_EXTPG alone"):
        pool.frombytes(b"x", flags=M_EXTPG | flags)
    assert pool.out == 0


@pytest.mark.parametrize("rest", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("keywords", [{}, {"how": M_WAITOK, "timeout": 0}])
def test_nothing_is_left_of_what_fails(make: Callable[..., Pool], rest: bool, keywords: dict[str, Any]) -> None:
    pool = make(debug=True)
    faults = FaultInjector(pool)
    for k in range(1, 20):
        m, failed = call_with_refusal(
            faults, k, rest, lambda: pool.frombytes(sample(10000), align=5000, flags=M_EXTPG, **keywords)
        )
        if not failed:
            m.freem()
            break
        assert (pool.out, pool.pages.used, pool.stat().drops) == (0, 0, 0)
    # Two mbufs of two pages.
    assert k == 7


def test_what_has_no_bytes_in_a_row_fails_and_nothing_is_left(pool: Pool) -> None:
    with pytest.raises(BufferError):
        pool.frombytes(memoryview(bytearray(100))[::2], flags=M_EXTPG)
    assert (pool.out, pool.pages.used) == (0, 0)


# From files.


@pytest.mark.parametrize(
    ("off", "size", "lens_", "first", "pages", "last"),
    [
        (0, 0, [0], [0], [()], [0]),
        (0, 1, [1], [0], [(0,)], [1]),
        (4095, 1, [1], [4095], [(0,)], [1]),
        (4095, 2, [2], [4095], [(0, 1)], [1]),
        (4096, 4096, [4096], [0], [(1,)], [4096]),
        (10, 20470, [20470], [10], [(0, 1, 2, 3, 4)], [4096]),
        (10, 20471, [20470, 1], [10, 0], [(0, 1, 2, 3, 4), (5,)], [4096, 1]),
        (5000, 30000, [19576, 10424], [904, 0], [(1, 2, 3, 4, 5), (6, 7, 8)], [4096, 2232]),
    ],
)
def test_a_file_is_named_page_by_page(
    pool: Pool, off: int, size: int, lens_: Any, first: Any, pages: Any, last: Any
) -> None:
    m = file_mbufs(pool, sample(size), off)
    made = mbufs(m)
    assert lens(m) == lens_
    assert [n.epg.first_off for n in made] == first
    assert [n.epg.pages for n in made] == pages
    assert [n.epg.last_len for n in made] == last
    assert [n.size for n in made] == [len(each) * PAGE_SIZE for each in pages]
    # It has not been mapped yet.
    assert (pool.sfbufs.mapped, pool.pages.used) == (0, 0)
    assert bytes(m) == sample(size)
    m.freem()
    assert pool.sfbufs.mapped == 0


def test_what_is_left_is_named_again(pool: Pool) -> None:
    m = file_mbufs(pool, sample(30000), 5000)
    file, start, count, rest, at = file_run(m, 0)
    assert (file is m.ext.obj, start, count, rest, at) == (True, 5000, 30000, None, 0)
    assert file_run(m, 100)[1:3] == (5100, 29900)
    m.adj(20)
    m.adj(-30)
    assert file_run(m, 0)[1:3] == (5020, 29950)
    n = m.copym(1000, 25000)
    assert file_run(n, 0)[1:] == (6020, 25000, None, 0)
    pool.free_bulk([m, n])
    del file


def test_a_run_ends_where_the_file_does_not_go_on(pool: Pool) -> None:
    m = file_mbufs(pool, sample(100), 0)
    gap, other = m.copym(50), file_mbufs(pool, sample(100), 100)
    plain = pool.get().append(b"x")
    m.adj(-60)
    m.cat(gap).cat(other).cat(plain)
    assert file_run(m, 0)[1:] == (0, 40, gap, 0)
    assert file_run(gap, 0)[1:] == (50, 50, other, 0)
    assert file_run(other, 0)[1:] == (100, 100, plain, 0)
    for none in (plain, pool.frombytes(b"x", flags=M_EXTPG), record(pool, sample(100))):
        assert file_run(none, 0) is None
        if none is not plain:
            none.freem()
    m.freem()


def test_a_run_ends_before_bytes_that_are_not_ready(pool: Pool) -> None:
    m = file_mbufs(pool, sample(60_000), 0)
    late = mbufs(m)[1]
    late.flags |= M_NOTREADY
    assert file_run(m, 0)[1:] == (0, 20480, late, 0)
    assert file_run(late, 0) is None
    late.flags &= ~M_NOTREADY
    assert file_run(m, 0)[1:3] == (0, 60_000)
    m.freem()


def test_a_header_that_was_added_is_in_no_file(pool: Pool) -> None:
    m = file_mbufs(pool, sample(100), 0)
    m.epg.hdr = b"head"
    m.len = 104
    assert file_run(m, 0) is None
    assert bytes(m) == b"head" + sample(100)
    m.freem()


@pytest.mark.parametrize("at", [0, 3, 50, 99])
def test_views_are_of_what_is_left(pool: Pool, at: int) -> None:
    m = record(pool, sample(100))
    views = views_outside_file(m, at)
    assert b"".join(views) == sample(100)[at:]
    assert all(view.readonly for view in views)
    m.freem()
    assert b"".join(views) == sample(100)[at:]


@pytest.mark.parametrize("at", [0, 3, 50, 99])
def test_what_is_in_a_file_is_not_looked_at(pool: Pool, at: int) -> None:
    m = file_mbufs(pool, sample(100), 4050)
    assert (views_outside_file(m, at), pool.sfbufs.mapped) == ([], 0)
    views = list(m.adj(at))
    assert b"".join(views) == sample(100)[at:]
    assert all(view.readonly for view in views)
    m.freem()
    assert b"".join(views) == sample(100)[at:]


def test_no_byte_of_a_file_is_written(pool: Pool) -> None:
    m = pool.gethdr().cat(file_mbufs(pool, sample(100), 0))
    m.fixhdr()
    for write in (lambda: m.copyback(0, b"x"), lambda: m.pack("B", 0, 1), lambda: m.copyback(50, b"x" * 100)):
        with pytest.raises(ReadOnly):
            write()
    assert bytes(m) == sample(100)
    m.append(b"more").prepend(4)
    assert bytes(m)[4:] == sample(100) + b"more"
    m.freem()


def test_one_window_is_enough_to_read_a_file(make: Callable[..., Pool]) -> None:
    pool = make(nsfbufs=1)
    m = file_mbufs(pool, sample(30000), 5)
    head = pool.gethdr().cat(m)
    head.fixhdr()
    assert bytes(head) == sample(30000)
    assert (pool.sfbufs.peak, pool.sfbufs.fails, pool.sfbufs.mapped) == (1, 0, 1)
    assert head.find(sample(30000)[7000:7300]) == sample(30000).find(sample(30000)[7000:7300])
    n = head.dup()
    assert bytes(n) == sample(30000)
    view = head.next.page(0)
    with pytest.raises(NoBufs):
        head.copydata(0, 30000)
    with pytest.raises(NoBufs):
        head.dup()
    view.release()
    del view
    head.defrag()
    assert (bytes(head), pool.sfbufs.mapped) == (sample(30000), 0)
    pool.free_bulk([head, n])


def test_pages_of_different_files_are_different(pool: Pool) -> None:
    m, n = file_mbufs(pool, b"one", 0), file_mbufs(pool, b"other", 0)
    m.cat(n)
    assert bytes(m) == b"oneother"
    m.freem()


def test_a_trailer_that_was_added_is_in_no_file(pool: Pool) -> None:
    m = file_mbufs(pool, sample(100), 0)
    m.epg.hdr, m.epg.trail = b"head", b"end"
    m.len = 107
    assert views_outside_file(m, 1) == [b"ead"]
    assert file_run(m, 4)[1:] == (0, 100, m, 104)
    assert views_outside_file(m, 104) == [b"end"]
    m.freem()


def test_more_bytes_than_the_pages_hold_are_not_found(pool: Pool) -> None:
    m = file_mbufs(pool, sample(100), 50)
    m.epg.last_len = PAGE_SIZE
    with pytest.raises(Inval, match=f"epg: {PAGE_SIZE} bytes at 50 of the pages"):
        file_run(m, 0)
    m.epg.last_len = 100
    assert file_run(m, 0)[1:] == (50, 100, None, 0)
    m.freem()
