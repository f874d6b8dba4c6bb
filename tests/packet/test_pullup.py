"""Bytes brought together."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector
from mbuf import EXT_CLUSTER, EXT_PACKET, M_EXT, M_NOWAIT, M_PKTHDR, MT_CONTROL, Inval, Mbuf, Pool
from mbuf.testing.unchecked import put
from packet.alloc_failures import fail_on_all_layouts
from packet.snapshot import fill_header, header_state, offsets_and_lens, snapshot
from packet.verb_cases import VerbCase, chain, check_all_layouts

Count = Callable[[int], int]


#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def pulled(name: str, count: Count) -> VerbCase:
    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        n = count(len(m))
        assert m.pullup(n) is m
        assert m.len >= n
        assert m.ext is None
        return m

    return VerbCase(f"pullup {name}", call, needs_contiguous=True)


def up(name: str, count: Count, room: int) -> VerbCase:
    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        n = count(len(m))
        assert m.copyup(n, room) is m
        assert m.len >= n
        assert m.ext is None
        assert m.offset == room
        return m

    return VerbCase(f"copyup {name} behind {room}", call, needs_contiguous=True)


def down(name: str, off: Count, count: Count, at_start: bool) -> VerbCase:
    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        at, n = off(len(m)), min(count(len(m)), 2048)
        wanted = bytes(m)[at : at + n]
        found, where = m.pulldown(at, n, at_start)
        assert any(found is each for each in mbufs(m))
        assert found.data[where : where + n] == wanted
        assert 0 <= where <= found.len - n
        assert not (at_start and where)
        return m

    return VerbCase(f"pulldown {name}{' at its start' * at_start}", call, needs_contiguous=True)


CASES = [
    pulled("0", lambda n: 0),
    pulled("1", lambda n: 1),
    pulled("half", lambda n: min(n // 2, 168)),
    pulled("most", lambda n: min(n, 168)),
    up("0", lambda n: 0, 0),
    up("1", lambda n: 1, 100),
    up("half", lambda n: min(n // 2, 160), 8),
    up("most", lambda n: min(n, 168), 0),
    *(
        down(name, off, count, at_start)
        for name, off, count in (
            ("all", lambda n: 0, lambda n: n),
            ("front", lambda n: 0, lambda n: n // 2),
            ("middle", lambda n: n // 3, lambda n: n // 3),
            ("rest", lambda n: n // 2, lambda n: n - n // 2),
            ("last", lambda n: n - 1, lambda n: 1),
            ("nothing", lambda n: n // 2, lambda n: 0),
        )
        for at_start in (False, True)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bytes_are_right_on_every_layout(make: Callable[..., Pool], case: VerbCase) -> None:
    check_all_layouts(make(debug=True), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_failing_at_the_kth_request_changes_nothing(make: Callable[..., Pool], case: VerbCase) -> None:
    fail_on_all_layouts(FaultInjector(make(debug=True)), case)


# pullup.


def long(pool: Pool, first: int, second: int, align: int = 0) -> Mbuf:
    """A header mbuf of some bytes, and a cluster of some more."""
    m = pool.gethdr()
    put(m, align, sample(first))
    m.next = pool.getcl(flags=0).append(sample(first + second)[first:])
    m.fixhdr()
    return m


@pytest.mark.parametrize(
    ("sizes", "align", "n", "after", "same"),
    [
        # Up to max_protohdr bytes come along.
        ((20, 1000), 0, 40, [(0, 80), (60, 940)], True),
        ((20, 1000), 0, 21, [(0, 80), (60, 940)], True),
        ((20, 1000), 0, 100, [(0, 100), (80, 920)], True),
        ((20, 30), 0, 40, [(0, 50)], True),
        # Nothing to do.
        ((20, 1000), 0, 20, [(0, 20), (0, 1000)], True),
        ((20, 1000), 0, 0, [(0, 20), (0, 1000)], True),
        # To the end of the mbuf is too far: there must be a byte after it.
        ((20, 1000), 0, 167, [(0, 167), (147, 853)], True),
        ((20, 1000), 0, 168, [(0, 168), (148, 852)], False),
        # No room before its end.
        ((20, 1000), 148, 21, [(0, 80), (60, 940)], False),
        ((20, 1000), 120, 40, [(120, 48), (28, 972)], True),
    ],
)
def test_pullup_uses_the_first_mbuf_or_puts_a_new_one_in_front(
    pool: Pool,
    sizes: tuple[int, int],
    align: int,
    n: int,
    after: list[tuple[int, int]],
    same: bool,
) -> None:
    m = long(pool, *sizes, align)
    data, before = bytes(m), m.id
    assert m.pullup(n) is m
    assert (offsets_and_lens(m), m.id == before, bytes(m), m.pkthdr.len) == (after, same, data, len(data))
    m.freem()


@pytest.mark.parametrize(
    ("size", "n", "left"), [(100, 40, [60, 40]), (168, 100, [100, 68]), (50, 40, [50]), (60, 1, [60])]
)
def test_pullup_of_a_single_mbuf_makes_a_new_one(pool: Pool, size: int, n: int, left: list[int]) -> None:
    m = chain(pool, size)
    before = m.id
    m.pullup(n)
    assert (lens(m), m.id == before, pool.out) == (left, False, len(left))
    m.freem()


def test_pullup_of_external_storage_copies_the_front(pool: Pool) -> None:
    m = pool.getcl(M_NOWAIT, MT_CONTROL).append(sample(500))
    fill_header(pool, m, sender=True)
    said = header_state(m)
    m.pullup(10)
    assert (offsets_and_lens(m), [n.flags for n in mbufs(m)]) == ([(0, 60), (60, 440)], [M_PKTHDR, M_EXT])
    assert (m.type, header_state(m), m.next.ext.type) == (MT_CONTROL, said, EXT_PACKET)
    m.freem()


def test_pullup_brings_as_much_along_as_the_pool_says(make: Callable[..., Pool]) -> None:
    pool = make(max_protohdr=100)
    m = pool.getcl().append(sample(500)).pullup(10)
    assert lens(m) == [100, 400]
    m.freem()


def test_pullup_frees_what_it_has_emptied(pool: Pool) -> None:
    m = chain(pool, 10, 10, 10, 10, 100)
    m.pullup(41)
    assert (lens(m), pool.out, pool.stat().drops) == ([100, 40], 2, 0)
    m.freem()


@pytest.mark.parametrize("n", [-1, 51, 169, 2**31])
@pytest.mark.parametrize("verb", ["pullup", "copyup"])
def test_what_there_is_not_cannot_be_pulled_up(pool: Pool, verb: str, n: int) -> None:
    m = chain(pool, 20, 30)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match=verb):
        getattr(m, verb)(n)
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize("verb", ["pullup", "copyup"])
def test_no_more_than_an_mbuf_holds_is_pulled_up(pool: Pool, verb: str) -> None:
    m = chain(pool, 100, 500)
    before = snapshot(pool, m)
    for n in (169, 224, 500):
        with pytest.raises(Inval, match="an mbuf holds 168"):
            getattr(m, verb)(n)
    assert snapshot(pool, m) == before
    assert getattr(m, verb)(168).len == 168
    m.freem()


def test_a_chain_without_a_header_has_room_for_more(pool: Pool) -> None:
    m = pool.get().append(sample(20))
    m.next = pool.get().append(bytes(224))
    assert offsets_and_lens(m.pullup(200)) == [(0, 200), (180, 44)]
    m.freem()
    n = pool.getcl(flags=0).append(sample(500))
    with pytest.raises(Inval, match="holds 168"):
        n.pullup(169)
    assert offsets_and_lens(n.pullup(168)) == [(0, 168), (168, 332)]
    n.freem()


# copyup.


@pytest.mark.parametrize(
    ("sizes", "n", "room", "after"),
    [
        # What is left where the header was has room before it.
        ((100,), 40, 0, [(0, 60), (116, 40)]),
        ((100,), 40, 20, [(20, 60), (116, 40)]),
        ((100,), 40, 128, [(128, 40), (96, 60)]),
        ((20, 30, 100), 40, 100, [(100, 50), (0, 100)]),
        ((100,), 0, 168, [(168, 0), (56, 100)]),
        ((10,), 10, 0, [(0, 10)]),
    ],
)
def test_copyup_always_makes_a_new_front_with_room_before_it(
    pool: Pool, sizes: tuple[int, ...], n: int, room: int, after: list[tuple[int, int]]
) -> None:
    m = chain(pool, *sizes)
    fill_header(pool, m)
    data, said, before = bytes(m), header_state(m), m.id
    assert m.copyup(n, room) is m
    assert (offsets_and_lens(m), bytes(m), header_state(m), m.id == before) == (after, data, said, False)
    m.freem()


@pytest.mark.parametrize(("n", "room"), [(10, 159), (0, 169), (1, -1), (168, 1), (1, 2**63), (1, 2**64)])
def test_copyup_holds_room_and_bytes_in_one_mbuf(pool: Pool, n: int, room: int) -> None:
    m = chain(pool, 168, 10)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="holds 168 beside its header"):
        m.copyup(n, room)
    assert snapshot(pool, m) == before
    m.freem()


# pulldown.


def test_bytes_in_one_mbuf_stay_where_they_are(pool: Pool) -> None:
    m = chain(pool, 50, 100)
    before = snapshot(pool, m)
    assert m.pulldown(60, 20) == (m.next, 10)
    assert m.pulldown(50, 100, at_start=True) == (m.next, 0)
    assert m.pulldown(10, 0) == (m, 10)
    assert m.pulldown(0, 50) == (m, 0)
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize(("size", "flags"), [(100, 0), (168, 0), (224, M_EXT)])
def test_bytes_wanted_at_the_start_are_chopped_off(pool: Pool, size: int, flags: int) -> None:
    m = chain(pool, 10, size + 5)
    n, at = m.pulldown(15, 20, at_start=True)
    assert (n is mbufs(m)[2], at, lens(m)) == (True, 0, [10, 5, size])
    assert (n.flags, bytes(m), m.pkthdr.len) == (flags, sample(15 + size), 15 + size)
    m.freem()


def test_no_more_than_a_cluster_is_chopped_off(pool: Pool) -> None:
    m = pool.wrap(sample(3000))
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="2949 bytes would have to move"):
        m.pulldown(51, 10, at_start=True)
    assert snapshot(pool, m) == before
    assert m.pulldown(952, 10, at_start=True)[0].len == 2048
    m.freem()


@pytest.mark.parametrize("at_start", [False, True])
def test_bytes_are_appended_where_there_is_room(pool: Pool, at_start: bool) -> None:
    m = chain(pool, 50, 100)
    n, at = m.pulldown(0, 80, at_start)
    assert (n is m, at, offsets_and_lens(m)) == (True, 0, [(0, 80), (30, 70)])
    m.freem()


def test_bytes_that_begin_inside_are_appended_too_but_not_if_wanted_at_the_start(pool: Pool) -> None:
    m, p = chain(pool, 50, 100), chain(pool, 50, 100)
    assert (m.pulldown(20, 60), lens(m)) == ((m, 20), [80, 70])
    n, at = p.pulldown(20, 60, at_start=True)
    assert (n is p.next, at, lens(p)) == (True, 0, [20, 60, 70])
    pool.free_bulk([m, p])


def test_of_clusters_only_those_of_their_own_kind_are_extended(pool: Pool) -> None:
    own = pool.clget(pool.gethdr()).append(sample(2000))
    packet = pool.getcl().append(sample(2000))
    jumbo = pool.getjcl(size=4096).append(sample(2000))
    shared = pool.clget(pool.gethdr()).append(sample(2000))
    other = shared.copypacket()
    for m in (own, packet, jumbo, shared):
        m.next = pool.get().append(b"x" * 100)
        m.fixhdr()
        m.pulldown(1990, 20)
    assert own.ext.type == EXT_CLUSTER
    assert [lens(m) for m in (own, packet, jumbo, shared)] == [[2010, 90], *[[1990, 20, 90]] * 3]
    pool.free_bulk([own, packet, jumbo, shared, other])


def test_bytes_go_into_the_room_before_the_next_mbuf(pool: Pool) -> None:
    m = pool.gethdr().append(sample(168))
    m.next = pool.getcl(flags=0)
    put(m.next, 100, sample(268)[168:])
    m.fixhdr()
    n, at = m.pulldown(118, 100)
    assert (n is m.next, at, offsets_and_lens(m), bytes(m)) == (True, 0, [(0, 118), (50, 150)], sample(268))
    m.freem()


@pytest.mark.parametrize(("n", "ext"), [(224, None), (225, EXT_PACKET), (2048, EXT_PACKET)])
def test_a_new_mbuf_comes_between_where_there_is_not_a_room(pool: Pool, n: int, ext: int | None) -> None:
    m = chain(pool, 168, 224, 2048)
    found, at = m.pulldown(100, n)
    assert (found is m.next, at, found.len, bytes(m)) == (True, 0, n, sample(2440))
    assert (found.ext and found.ext.type) == ext
    # What was emptied stays, as adj leaves it.
    assert lens(m) == [100, n, *((68 + 224 - n, 2048) if n < 292 else (0, 2048 + 292 - n))]
    assert m.sanity()
    m.freem()


def test_empty_mbufs_on_the_way_are_passed(pool: Pool) -> None:
    m = chain(pool, 10, 0, 0, 20)
    assert m.pulldown(10, 5) == (m.last(), 0)
    assert m.pulldown(0, 5) == (m, 0)
    n = chain(pool, 0, 20)
    assert n.pulldown(0, 5) == (n.next, 0)
    pool.free_bulk([m, n])


@pytest.mark.parametrize(("off", "n"), [(0, 0), (30, 0)])
def test_where_there_are_no_bytes_none_are_found(pool: Pool, off: int, n: int) -> None:
    m = chain(pool, 0, 0) if off == 0 else chain(pool, 10, 20)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="there are no bytes"):
        m.pulldown(off, n)
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize(("off", "n"), [(0, 31), (30, 1), (31, 0), (0, 2049), (0, -1), (-1, 1), (2**31, 1), (0, 2**32)])
def test_what_there_is_not_cannot_be_pulled_down(pool: Pool, off: int, n: int) -> None:
    m = chain(pool, 10, 20)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="pulldown"):
        m.pulldown(off, n)
    assert snapshot(pool, m) == before
    m.freem()
