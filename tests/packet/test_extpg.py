"""Mbufs of unmapped pages. The numbers in names are sections on bugs of the kernel that this library doesn't have."""

import io
import os
from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector, call_with_refusal
from mbuf import (
    EXT_SFBUF,
    M_EOR,
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    M_WAITOK,
    MT_DATA,
    PAGE_SIZE,
    Busy,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    NoMemory,
    Pool,
)
from mbuf.testing.unchecked import aim
from packet.layouts import file_mbufs, record
from packet.snapshot import fill_header, offsets_and_lens, snapshot
from packet.verb_cases import chain

BAD = (-1, 2**31, 2**63, 2**64, -(2**63) - 1)


def example(pool: Pool) -> Mbuf:
    """5 bytes of header, two pages used from 100 to 1000, 16 bytes of trailer."""
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    epg, data = m.epg, sample(5017)
    epg.hdr, epg.trail, epg.first_off, epg.last_len = data[:5], data[-16:], 100, 1000
    m.page(0)[100:] = data[5:4001]
    m.page(1)[:1000] = data[4001:5001]
    m.len = 5017
    return m


# unmapped_to_ext.


@pytest.mark.parametrize("front", [0, 1], ids=["alone", "behind a header"])
@pytest.mark.parametrize(
    ("cut", "kinds", "where"),
    [
        (0, "hppt", [(0, 5), (100, 3996), (0, 1000), (0, 16)]),
        (3, "hppt", [(0, 2), (100, 3996), (0, 1000), (0, 16)]),
        (5, "ppt", [(100, 3996), (0, 1000), (0, 16)]),
        (4011, "pt", [(10, 990), (0, 16)]),
        (5001, "t", [(0, 16)]),
        (5016, "t", [(0, 1)]),
    ],
)
def test_each_page_becomes_an_mbuf_and_what_is_beside_them_too(
    pool: Pool, front: int, cut: int, kinds: str, where: list[tuple[int, int]]
) -> None:
    m = example(pool)
    aim(m, cut, 5017 - cut)
    if front:
        m = pool.gethdr().cat(m)
        m.fixhdr()
    pages = kinds.count("p")
    assert m.unmapped_to_ext() is m
    made = mbufs(m)[front:]
    assert offsets_and_lens(made[0]) == where
    assert [n.flags & ~M_PKTHDR for n in made] == [M_EXT | M_RDONLY if kind == "p" else 0 for kind in kinds]
    assert [n.ext.type for n in made if n.ext] == [EXT_SFBUF] * pages
    assert bytes(m) == sample(5017)[cut:]
    # The mbuf of unmapped pages stays in use as long as a page is mapped.
    assert (pool.out, pool.pages.used) == (front + len(kinds) + (pages > 0), 2 if pages else 0)
    m.freem()
    assert (pool.out, pool.pages.used) == (0, 0)


def test_nothing_is_done_where_there_is_nothing_to_do(pool: Pool) -> None:
    m = chain(pool, 10, 3000)
    before = snapshot(pool, m)
    assert m.unmapped_to_ext() is m
    assert snapshot(pool, m) == before
    m.freem()


def test_the_head_stays_the_head_and_keeps_its_neighbours(pool: Pool) -> None:
    m, after = record(pool, sample(100)), pool.get().append(b"!")
    packet = pool.gethdr()
    m.next, m.nextpkt = after, packet
    m.unmapped_to_ext()
    assert (m.flags & M_EXTPG, m.last() is after, m.nextpkt is packet) == (0, True, True)
    assert bytes(m) == sample(100) + b"!"
    m.nextpkt = None
    pool.free_bulk([m, packet])


def test_many_are_mapped_at_once(pool: Pool) -> None:
    m = pool.frombytes(sample(100_000), flags=M_EXTPG)
    data, owners = bytes(m), len(mbufs(m))
    m.cat(pool.get().append(b"|")).cat(file_mbufs(pool, sample(9000), 17)).unmapped_to_ext()
    assert bytes(m) == data + b"|" + sample(9000)
    assert not any(n.flags & M_EXTPG for n in mbufs(m))
    # 25 pages, and 3 of the file.
    assert (owners, pool.pages.used, pool.sfbufs.used) == (5, 25, 3)
    m.freem()
    assert (pool.pages.used, pool.sfbufs.used) == (0, 0)


def test_those_that_share_the_pages_are_mapped_each_by_itself(pool: Pool) -> None:
    m = example(pool)
    n = m.copym(10, 4500)
    m.unmapped_to_ext()
    n.unmapped_to_ext()
    assert (bytes(m), bytes(n)) == (sample(5017), sample(5017)[10:4510])
    m.freem()
    assert (bytes(n), pool.pages.used) == (sample(5017)[10:4510], 2)
    n.freem()


@pytest.mark.parametrize("storage", ["memory", "file"])
@pytest.mark.parametrize("rest", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("front", [False, True], ids=["first", "behind a header"])
def test_6_6_35_the_first_mbuf_is_not_freed_twice_when_mbufs_are_out(
    make: Callable[..., Pool], storage: str, rest: bool, front: bool
) -> None:
    pool = make(debug=True)
    faults = FaultInjector(pool)
    for k in range(1, 20):
        m = example(pool) if storage == "memory" else file_mbufs(pool, sample(5017), 10)
        m.cat(pool.get().append(b"between")).cat(example(pool))
        if front:
            m = pool.gethdr().cat(m)
            m.fixhdr()
        before = snapshot(pool, m)
        _, failed = call_with_refusal(faults, k, rest, lambda m=m: m.unmapped_to_ext())
        if failed:
            assert snapshot(pool, m) == before
            m.unmapped_to_ext()
        assert bytes(m) == sample(5017) + b"between" + sample(5017)
        m.freem()
        assert (pool.out, pool.pages.used, pool.sfbufs.used, pool.stat().drops) == (0, 0, 0, 0)
        if not faults.refusals:
            break
    assert k == (9 if storage == "memory" else 9)


@pytest.mark.parametrize("front", [False, True])
def test_6_6_33_an_empty_mbuf_of_unmapped_pages_is_refused(pool: Pool, front: bool) -> None:
    m = pool.gethdr().append(b"x").cat(example(pool)) if front else example(pool)
    m.cat(pool.alloc_ext_pgs())
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="has no bytes"):
        m.unmapped_to_ext()
    assert snapshot(pool, m) == before
    m.freem()


def test_6_6_34_flags_are_the_kernels_none(pool: Pool) -> None:
    m = pool.get().cat(example(pool))
    m.next.flags |= M_EOR
    m.unmapped_to_ext()
    assert [n.flags & M_EOR for n in mbufs(m)] == [0] * 5
    m.freem()


def test_where_windows_are_out_nothing_is_mapped(make: Callable[..., Pool]) -> None:
    pool = make(nsfbufs=2)
    m = file_mbufs(pool, sample(3 * PAGE_SIZE), 0)
    before = snapshot(pool, m)
    with pytest.raises(NoBufs, match="all 2 windows"):
        m.unmapped_to_ext()
    assert snapshot(pool, m) == before
    # One window is enough to read them.
    assert bytes(m) == sample(3 * PAGE_SIZE)
    assert (pool.sfbufs.fails, pool.sfbufs.used, pool.sfbufs.mapped) == (1, 0, 2)
    # Each view needs a window; without one it fails, and nothing is lost.
    with pytest.raises(NoBufs):
        list(m)
    assert (pool.sfbufs.fails, pool.sfbufs.used) == (2, 0)
    m.freem()


# unmapped_compress.


@pytest.mark.parametrize("size", [0, 1, 100, 224])
@pytest.mark.parametrize("way", ["record", "memory", "file"])
def test_few_bytes_go_inside_and_the_pages_are_freed(pool: Pool, size: int, way: str) -> None:
    if way == "record":
        m = record(pool, sample(size))
    elif way == "memory":
        m = pool.frombytes(sample(size), flags=M_EXTPG)
    else:
        m = file_mbufs(pool, sample(size), 4090)
    who = m.id
    assert m.unmapped_compress() is m
    assert (m.flags, m.len, m.offset, m.size, m.writable, m.id == who) == (0, size, 0, 224, True, True)
    assert (bytes(m), pool.pages.used, pool.sfbufs.used) == (sample(size), 0, 0)
    m.append(b"more").adj(size)
    assert bytes(m) == b"more"
    m.freem()


def test_more_than_an_mbuf_holds_stays_where_it_is(pool: Pool) -> None:
    m = pool.frombytes(sample(225), flags=M_EXTPG)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="225 bytes: an mbuf holds 224"):
        m.unmapped_compress()
    assert snapshot(pool, m) == before
    # Bytes that were trimmed don't count.
    assert bytes(m.adj(1).unmapped_compress()) == sample(225)[1:]
    m.free()


def test_pages_that_others_use_are_not_compressed(pool: Pool) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG)
    n = m.copym()
    before = snapshot(pool, m, n)
    for user in (m, n):
        with pytest.raises(Busy):
            user.unmapped_compress()
    assert snapshot(pool, m, n) == before
    pool.free_bulk([m, n])


def test_6_6_32_a_copy_whose_owner_was_freed_is_compressed_and_the_owner_is_freed(pool: Pool) -> None:
    calls: list[Any] = []
    m = pool.alloc_ext_pgs(free=lambda m: calls.append((m.id, m.ext.arg1, m.epg.npgs)), arg1=7).addpages(1)
    m.epg.last_len = 100
    m.page(0)[:100] = sample(100)
    m.len = 100
    owner = m.id
    n = m.copym(10)
    m.free()
    # The owner stays in use; it has the free routine, and the copy has none.
    assert (pool.out, calls, n.refcnt, n.ext.embedded) == (2, [], 1, False)
    assert n.unmapped_compress() is n
    assert (calls, pool.out, pool.pages.used) == ([(owner, 7, 1)], 1, 0)
    assert (n.flags, bytes(n), n.writable) == (0, sample(100)[10:], True)
    n.free()


def test_a_mapped_page_is_a_use_too(pool: Pool) -> None:
    m = pool.frombytes(sample(100), flags=M_EXTPG)
    n = m.copym().unmapped_to_ext()
    with pytest.raises(Busy):
        m.unmapped_compress()
    n.freem()
    assert bytes(m.unmapped_compress()) == sample(100)
    m.free()


@pytest.mark.parametrize("verb", ["unmapped_compress", "addpages", "page", "epg"])
def test_only_unmapped_pages_are_unmapped_pages(pool: Pool, verb: str) -> None:
    for m in (pool.get(), pool.getcl(), pool.wrap(b"x")):
        with pytest.raises(Inval, match=f"{verb}: this mbuf has no unmapped pages"):
            getattr(m, verb)(*{"addpages": (1,), "page": (0,)}.get(verb, ())) if verb != "epg" else m.epg
        m.free()


# Pages.


def test_6_6_38_no_more_than_five_pages_are_added(pool: Pool) -> None:
    m = pool.alloc_ext_pgs()
    for count in (0, 2, 0, 3):
        m.addpages(count)
    before = snapshot(pool, m)
    for count in (1, 2, 250, 251, 2**31, 2**63, 2**64):
        with pytest.raises(Inval, match="holds 5 pages, of 20480 bytes"):
            m.addpages(count)
    with pytest.raises(Inval, match="give 0 or more"):
        m.addpages(-1)
    assert snapshot(pool, m) == before
    assert (m.epg.npgs, len(set(m.epg.pages)), m.len) == (5, 5, 0)
    m.free()


@pytest.mark.parametrize("how", [0, 3, *BAD])
def test_pages_are_waited_for_in_one_of_two_ways(pool: Pool, how: int) -> None:
    m = pool.alloc_ext_pgs()
    for keywords in ({}, {"timeout": 0}):
        with pytest.raises(Inval, match="how"):
            m.addpages(1, how, **keywords)
    with pytest.raises(Inval, match="how"):
        pool.frombytes(b"x", how, flags=M_EXTPG)
    assert (m.epg.npgs, pool.out) == (0, 1)
    m.free()


def test_when_pages_are_out_none_is_added(make: Callable[..., Pool]) -> None:
    pool = make(mem=64 * PAGE_SIZE)
    taken: list[Any] = []
    m = pool.alloc_ext_pgs()
    other = pool.alloc_ext_pgs().addpages(3)
    for _ in range(64):
        try:
            taken.append(pool.pages.alloc(M_NOWAIT, None))
        except NoMemory:
            break
    other.free()
    before = snapshot(pool, m)
    for keywords in ({}, {"how": M_WAITOK, "timeout": 0}):
        with pytest.raises(NoMemory):
            m.addpages(4, **keywords)
        assert snapshot(pool, m) == before
    m.addpages(3)
    m.free()
    for page in taken:
        pool.pages.free(page)


def test_who_waits_for_pages_finds_them_shared_meanwhile(
    make: Callable[..., Pool], spawn: Any, eventually: Any
) -> None:
    pool = make(mem=64 * PAGE_SIZE)
    m = pool.alloc_ext_pgs()
    taken: list[Any] = []
    while pool.vm.free:
        taken.append(pool.pages.alloc(M_NOWAIT, None))
    waiter = spawn(lambda: m.addpages(1, M_WAITOK))
    eventually(lambda: len(pool.pages.keg._waiters))
    n = m.copym()
    pool.pages.free(taken.pop())
    with pytest.raises(Busy):
        waiter.done()
    n.free()
    m.addpages(1)
    waiter = spawn(lambda: m.addpages(1, M_WAITOK))
    eventually(lambda: len(pool.pages.keg._waiters))
    m.free()
    with pytest.raises(Freed):
        waiter.done()
    for page in taken:
        pool.pages.free(page)
    assert (pool.out, pool.pages.used) == (0, 0)


@pytest.mark.parametrize("page", [*BAD, 2, 5])
def test_a_page_that_there_is_not_cannot_be_seen(pool: Pool, page: int) -> None:
    m = pool.alloc_ext_plus_pages(2 * PAGE_SIZE)
    with pytest.raises(Inval, match="give a number below 2"):
        m.page(page)
    m.free()


def test_a_page_is_written_through_its_view(pool: Pool) -> None:
    m = pool.alloc_ext_plus_pages(10)
    with m.page(0) as view:
        assert (len(view), view.readonly) == (PAGE_SIZE, False)
        view[-4:] = b"last"
    m.epg.first_off, m.epg.last_len = PAGE_SIZE - 4, 4
    m.len = 4
    assert bytes(m) == b"last"
    m.free()


def test_the_page_of_a_file_is_as_long_as_the_file(pool: Pool) -> None:
    m = file_mbufs(pool, sample(5000), 0)
    assert [len(m.page(n)) for n in range(2)] == [4096, 904]
    assert bytes(m.page(1)) == sample(5000)[4096:]
    with pytest.raises(Inval, match="without pages of a file"):
        m.addpages(1)
    m.free()


# free_notready.


def waiting(pool: Pool, *nrdy: int) -> Mbuf:
    """A chain of mbufs of unmapped pages that so many reads are to fill; 0 is a mapped one."""
    m: Any = None
    for count in nrdy:
        n = pool.alloc_ext_plus_pages(max(count, 1) * PAGE_SIZE) if count else pool.get()
        if count:
            n.epg.nrdy = count
        m = n if m is None else m
        if n is not m:
            m.last().next = n
    return m


def test_what_will_never_be_filled_is_freed_page_by_page(pool: Pool) -> None:
    m = waiting(pool, 2, 0)
    assert m.free_notready(0) is m
    assert m.free_notready(1) is m
    assert (m.epg.nrdy, pool.out) == (1, 2)
    assert m.free_notready(2) is None
    assert (pool.out, pool.pages.used) == (0, 0)


def test_three_of_three_are_freed(pool: Pool) -> None:
    assert waiting(pool, 2, 0).free_notready(3) is None
    assert pool.out == 0


def test_what_is_left_is_the_callers(pool: Pool) -> None:
    m = waiting(pool, 2, 3, 0)
    second = m.next
    rest = m.free_notready(4)
    assert (rest is second, rest.epg.nrdy, lens(rest), pool.out) == (True, 1, [0, 0], 2)
    rest.freem()


@pytest.mark.parametrize("count", [4, 255, *BAD])
def test_too_large_a_count_frees_nothing(pool: Pool, count: int) -> None:
    m = waiting(pool, 2, 0)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="free_notready: .* reads: give 0 to"):
        m.free_notready(count)
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize("front", [False, True])
def test_nrdy_does_not_wrap_at_0(pool: Pool, front: bool) -> None:
    m = waiting(pool, 1, 1) if front else waiting(pool, 1)
    m.last().epg.nrdy = 0
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="has no page that waits"):
        m.free_notready(2 if front else 1)
    assert snapshot(pool, m) == before
    m.freem()


# mapped_to_unmapped.


@pytest.mark.parametrize(
    ("len", "mlen", "lens_", "pages", "last"),
    [
        (10000, 8192, [8192, 1808], [2, 1], [4096, 1808]),
        (10000, 5000, [8192, 1808], [2, 1], [4096, 1808]),
        (4096, 4096, [4096], [1], [4096]),
        (4097, 1, [4096, 1], [1, 1], [4096, 1]),
        (10000, 20480, [10000], [3], [1808]),
        (1, 20480, [1], [1], [1]),
    ],
)
def test_a_copy_is_of_so_many_mbufs(
    pool: Pool, len: int, mlen: int, lens_: list[int], pages: list[int], last: list[int]
) -> None:
    m = pool.get().append(sample(len)).cat(pool.get())
    before = snapshot(pool, m)
    n = m.mapped_to_unmapped(len, mlen)
    made = mbufs(n)
    assert (lens(n), [each.epg.npgs for each in made], [each.epg.last_len for each in made]) == (lens_, pages, last)
    assert [(each.flags, each.type, each.epg.first_off, each.epg.hdr) for each in made] == [
        (M_EXT | M_EXTPG | M_RDONLY, MT_DATA, 0, b"") for _ in made
    ]
    assert bytes(n) == sample(len)
    n.freem()
    assert snapshot(pool, m) == before
    m.freem()


def test_6_6_39_none_of_0_bytes_and_an_error_where_there_are_fewer(pool: Pool) -> None:
    m = chain(pool, 100, 200)
    before = snapshot(pool, m)
    assert m.mapped_to_unmapped(0) is None
    for count in (301, *BAD):
        with pytest.raises(Inval, match="mapped_to_unmapped"):
            m.mapped_to_unmapped(count)
    for mlen in (0, -1):
        with pytest.raises(Inval, match="mlen"):
            m.mapped_to_unmapped(10, mlen)
    assert snapshot(pool, m) == before
    m.freem()


def test_more_than_five_pages_to_an_mbuf_are_refused(pool: Pool) -> None:
    m = pool.frombytes(sample(30000))
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="5 pages, of 20480 bytes"):
        m.mapped_to_unmapped(30000, 20481)
    assert snapshot(pool, m) == before
    n = m.mapped_to_unmapped(30000)
    assert (lens(n), bytes(n)) == ([20480, 9520], sample(30000))
    pool.free_bulk([m, n])


def test_unmapped_pages_are_no_bytes_to_be_copied(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 10).cat(example(pool))
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="in unmapped pages already"):
        m.mapped_to_unmapped(11)
    assert snapshot(pool, m) == before
    n = m.mapped_to_unmapped(10)
    assert bytes(n) == b"x" * 10
    n.freem()
    n = m.unmapped_to_ext().mapped_to_unmapped(5027)
    assert bytes(n) == b"x" * 10 + sample(5017)
    pool.free_bulk([m, n])


def test_6_6_39_a_copy_goes_on_to_the_end_of_an_mbuf_or_a_page(pool: Pool) -> None:
    m = chain(pool, 100, 4000, 4000)
    for count, size in ((1, 100), (100, 100), (101, 4096), (4096, 4096), (4097, 4100), (4101, 8100)):
        n = m.mapped_to_unmapped(count)
        assert bytes(n) == sample(8100)[:size]
        n.freem()
    m.freem()


@pytest.mark.parametrize("rest", [False, True], ids=["once", "for good"])
def test_failing_at_the_kth_request_leaves_no_copy(make: Callable[..., Pool], rest: bool) -> None:
    pool = make(debug=True)
    faults = FaultInjector(pool)
    m = pool.frombytes(sample(10000))
    fill_header(pool, m)
    before = snapshot(pool, m)
    for k in range(1, 20):
        n, failed = call_with_refusal(faults, k, rest, lambda: m.mapped_to_unmapped(10000, 8192))
        if not failed:
            n.freem()
            break
        assert snapshot(pool, m) == before
    # Two mbufs and three pages were asked for.
    assert k == 6
    assert snapshot(pool, m) == before
    m.freem()


def test_there_and_back(pool: Pool) -> None:
    m = chain(pool, 100, 4000, 1000, 30)
    n = m.mapped_to_unmapped(5130, 4096)
    m.freem()
    head = pool.gethdr().cat(n)
    head.fixhdr()
    assert bytes(head.unmapped_to_ext()) == sample(5130)
    assert (head.pkthdr.len, lens(head)) == (5130, [0, 4096, 1034])
    head.defrag()
    assert (bytes(head), pool.pages.used) == (sample(5130), 0)
    head.freem()


def test_a_file_that_is_cut_off_before_it_is_mapped_is_an_error(pool: Pool) -> None:
    fd = os.memfd_create("cut")
    os.write(fd, sample(5000))
    with pool.file(fd) as file:
        m = file.getm()
    os.ftruncate(fd, 4999)
    before = pool.out
    for ask in (lambda: m.unmapped_to_ext(), lambda: m.page(1), lambda: m.copydata(0, 5000), lambda: list(m)):
        with pytest.raises(Inval, match="has become shorter"):
            ask()
    assert (pool.out, m.copydata(0, 4096)) == (before, sample(4096))
    assert pool.sfbufs.used == 0
    m.freem()
    os.close(fd)


# repr and print.


def test_an_mbuf_shows_its_number_of_unmapped_pages(pool: Pool) -> None:
    m = example(pool)
    assert repr(m) == f"<Mbuf {id(m):#x} M_EXT|M_RDONLY|M_EXTPG 5017 bytes at 0 of 2 unmapped pages>"
    n = m.copym(5000)
    with file_mbufs(pool, b"0123", 5) as file:
        lines = [_first(each) for each in (m, n, file, pool.alloc_ext_pgs())]
    flags = "MT_DATA, M_EXT|M_RDONLY|M_EXTPG"
    assert lines == [
        f"mbuf 0: {flags}, 5017 bytes at 0, 2 unmapped pages with 2 users",
        f"mbuf 0: {flags}, 17 bytes at 5000, 2 unmapped pages with 2 users",
        f"mbuf 0: {flags}, 4 bytes at 0, 1 unmapped page of a file with 1 user",
        f"mbuf 0: {flags}, 0 bytes at 0, 0 unmapped pages with 1 user",
    ]
    assert (
        n.hexdump(0, 3)
        == f"00000000  {sample(5017)[5000:5003].hex(' '):23}  {'':23}  |{_ascii(sample(5017)[5000:5003])}|"
    )
    pool.free_bulk([m, n])


def _first(m: Mbuf) -> str:
    """The first line that is printed of an mbuf; one without bytes is freed."""
    out = io.StringIO()
    m.print(0, out)
    if not m.len:
        m.free()
    return out.getvalue().splitlines()[0]


def _ascii(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def test_what_a_file_has_not_is_not_mapped(pool: Pool) -> None:
    m = file_mbufs(pool, sample(5000), 0)
    m.epg.last_len, m.len = 1000, 5096
    with pytest.raises(Inval, match="unmapped_to_ext: the file ends before the data does"):
        m.unmapped_to_ext()
    assert (pool.out, pool.sfbufs.used, len(m)) == (1, 0, 5096)
    m.epg.last_len, m.len = 904, 5000
    m.unmapped_to_ext()
    assert (bytes(m), lens(m), pool.sfbufs.used) == (sample(5000), [4096, 904], 2)
    m.freem()


def test_a_file_that_has_become_shorter_is_not_mapped(pool: Pool) -> None:
    fd = os.memfd_create("pages")
    os.write(fd, sample(5000))
    with pool.file(fd) as file:
        m = file.getm(0)
        os.ftruncate(fd, 4500)
        with pytest.raises(Inval, match="has become shorter: 4500 bytes, where there were 5000"):
            m.unmapped_to_ext()
        assert (pool.out, pool.sfbufs.used, len(m)) == (1, 0, 5000)
        m.free()
    os.close(fd)
