"""`copym`, `copypacket`, `dup`, `dupcl` and `split`."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector
from interfaces import SndTagInterface
from mbuf import (
    M_COPYALL,
    M_EOR,
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MT_CONTROL,
    Busy,
    Freed,
    Interface,
    Inval,
    Mbuf,
    Pool,
    SndTag,
    compiled,
)
from mbuf.packet.sndtag import SndTags
from mbuf.packet.unmapped import Unmapped
from packet.alloc_failures import fail_on_all_layouts
from packet.snapshot import fill_header, header_state, offsets_and_lens, snapshot
from packet.verb_cases import VerbCase, chain, check_all_layouts

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def copied(name: str, off: Callable[[int], int], count: Callable[[int], int]) -> VerbCase:
    return VerbCase(
        f"copym {name}",
        lambda m, keywords: m.copym(off(len(m)), count(len(m)), **keywords),
        expected_result=lambda data: data[off(len(data)) :][: count(len(data))],
        may_wait=True,
    )


def cut(name: str, at: Callable[[int], int]) -> VerbCase:
    return VerbCase(
        f"split {name}",
        lambda m, keywords: m.split(at(len(m)), **keywords),
        lambda data: data[: at(len(data))],
        lambda data: data[at(len(data)) :],
        may_wait=True,
    )


CASES = [
    VerbCase("copym", lambda m, keywords: m.copym(**keywords), expected_result=lambda data: data, may_wait=True),
    copied("all", lambda n: 0, lambda n: n),
    copied("first", lambda n: 0, lambda n: 1),
    copied("front", lambda n: 0, lambda n: n // 2),
    copied("rest", lambda n: n // 2, lambda n: M_COPYALL),
    copied("middle", lambda n: n // 3, lambda n: n // 3),
    copied("last", lambda n: n - 1, lambda n: 1),
    copied("nothing", lambda n: n // 2, lambda n: 0),
    copied("end", lambda n: n, lambda n: M_COPYALL),
    VerbCase(
        "copypacket",
        lambda m, keywords: m.copypacket(**keywords),
        expected_result=lambda data: data,
        needs_header=True,
        may_wait=True,
    ),
    VerbCase(
        "dup",
        lambda m, keywords: m.dup(**keywords),
        expected_result=lambda data: data,
        needs_header=True,
        may_wait=True,
    ),
    cut("0", lambda n: 0),
    cut("1", lambda n: 1),
    cut("quarter", lambda n: n // 4),
    cut("half", lambda n: n // 2),
    cut("last", lambda n: n - 1),
    cut("end", lambda n: n),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bytes_are_right_on_every_layout(make: Callable[..., Pool], case: VerbCase) -> None:
    check_all_layouts(make(debug=True), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_failing_at_the_kth_request_changes_nothing(make: Callable[..., Pool], case: VerbCase) -> None:
    fail_on_all_layouts(FaultInjector(make(debug=True)), case)


@pytest.mark.parametrize("verb", ["copym", "copypacket", "dup"])
def test_a_copy_has_all_that_the_header_has(pool: Pool, verb: str) -> None:
    for sender in (False, True):
        m = chain(pool, 10, 3000)
        fill_header(pool, m, sender)
        n = getattr(m, verb)()
        (fields, rcvif, tags, sent), (theirs, their_rcvif, their_tags, their_sent) = header_state(m), header_state(n)
        assert (fields, rcvif, sent) == (theirs, their_rcvif, their_sent)
        assert [t[1:] for t in tags] == [t[1:] for t in their_tags]
        assert {t[0] for t in tags} & {t[0] for t in their_tags} == set()
        assert sent is None or sent[1] == 2
        pool.free_bulk([m, n])
    assert (pool.tags.count, pool.snd_tags.count) == (0, 0)


# copym.


def test_storage_is_shared_and_bytes_inside_are_copied(pool: Pool) -> None:
    m = pool.gethdr()
    m.align(100)
    m.append(b"i" * 100)
    m.next = pool.getcl(flags=0).append(b"c" * 1000)
    m.fixhdr()
    n = m.copym()
    assert offsets_and_lens(m) == [(64, 100), (0, 1000)]
    # Internal bytes begin at the start, except those of the first mbuf of copypacket.
    assert offsets_and_lens(n) == [(0, 100), (0, 1000)]
    p = m.copypacket()
    assert offsets_and_lens(p) == [(64, 100), (0, 1000)]
    assert m.last().ext.id == n.last().ext.id == p.last().ext.id
    assert (m.last().refcnt, m.last().writable, m.last().ext.embedded, n.last().ext.embedded) == (3, False, True, False)
    pool.free_bulk([m, n, p])


def test_a_piece_of_a_chain_is_copied_mbuf_by_mbuf(pool: Pool) -> None:
    m = chain(pool, 20, 30, 2000, 40)
    n = m.copym(25, 2000)
    assert (lens(n), n.flags, [each.offset for each in mbufs(n)]) == ([25, 1975], 0, [0, 0])
    p = m.copym(100, 1000)
    assert offsets_and_lens(p) == [(50, 1000)]
    pool.free_bulk([m, n, p])


@pytest.mark.parametrize(
    ("off", "len", "counted"), [(0, M_COPYALL, 99), (0, 30, 30), (0, 20, 20), (1, M_COPYALL, None), (1, 5, None)]
)
def test_only_from_the_start_there_is_a_header(pool: Pool, off: int, len: int, counted: int | None) -> None:
    m = chain(pool, 20, 30)
    # A copy of the whole packet has the same header, even if its length is wrong.
    m.pkthdr.len = 99
    n = m.copym(off, len)
    assert (n.pkthdr.len if n.flags & M_PKTHDR else None) == counted
    pool.free_bulk([m, n])


@pytest.mark.parametrize(("off", "len"), [(0, 0), (10, 0), (50, 0), (50, M_COPYALL)])
def test_where_no_byte_is_requested_there_is_not_a_copy(pool: Pool, off: int, len: int) -> None:
    m = chain(pool, 20, 30)
    assert m.copym(off, len) is None
    assert pool.out == 2
    m.freem()


@pytest.mark.parametrize(
    ("off", "len"), [(51, M_COPYALL), (51, 0), (0, 51), (20, 31), (-1, M_COPYALL), (-1, 5), (0, -1), (5, -5)]
)
def test_a_copy_stays_inside_the_chain(pool: Pool, off: int, len: int) -> None:
    m = chain(pool, 20, 30)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="copym"):
        m.copym(off, len)
    assert snapshot(pool, m) == before
    m.freem()


def test_an_empty_packet_is_copied_with_its_header(pool: Pool) -> None:
    m = pool.gethdr()
    copies = [m.copym(), m.copypacket(), m.dup()]
    assert [(n.flags, n.len, n.next) for n in copies] == [(M_PKTHDR, 0, None)] * 3
    pool.free_bulk([m, *copies])


def test_empty_mbufs_are_copied_too(pool: Pool) -> None:
    m = chain(pool, 0, 10, 0, 10)
    n, p = m.copym(), m.copym(10, 10)
    assert (lens(n), lens(p)) == ([0, 10, 0, 10], [0, 10])
    pool.free_bulk([m, n, p])


@pytest.mark.parametrize(("verb", "kept"), [("copym", M_RDONLY), ("copypacket", M_RDONLY), ("dup", 0)])
def test_a_read_only_mark_goes_to_a_copy_that_shares(pool: Pool, verb: str, kept: int) -> None:
    m = pool.getcl(flags=M_PKTHDR | M_EOR).append(b"x" * 200)
    m.flags |= M_RDONLY
    n = getattr(m, verb)()
    assert n.flags == kept | M_EXT | M_PKTHDR | M_EOR
    pool.free_bulk([m, n])


# dup.


@pytest.mark.parametrize(
    ("sizes", "lens_", "flags"),
    [
        ([0], [0], [0]),
        ([100], [100], [0]),
        ([168], [168], [0]),
        ([169], [169], [M_EXT]),
        ([100, 100, 100], [300], [M_EXT]),
        ([2048], [2048], [M_EXT]),
        ([2048, 168], [2048, 168], [M_EXT, 0]),
        ([2048, 224], [2048, 224], [M_EXT, M_EXT]),
        ([2048, 2048, 1], [2048, 2048, 1], [M_EXT, M_EXT, 0]),
        ([0, 5, 0], [5], [0]),
    ],
)
def test_a_duplicate_is_in_as_few_mbufs_as_hold_it(
    pool: Pool, sizes: list[int], lens_: list[int], flags: list[int]
) -> None:
    m = chain(pool, *sizes)
    n = m.dup()
    assert (lens(n), [each.flags & ~M_PKTHDR for each in mbufs(n)], bytes(n)) == (lens_, flags, bytes(m))
    assert all(each.writable for each in mbufs(n))
    pool.free_bulk([m, n])


def test_a_duplicate_has_the_types_of_where_its_bytes_were(pool: Pool) -> None:
    m = pool.getcl(M_NOWAIT, MT_CONTROL).append(bytes(2048))
    m.next = pool.get().append(bytes(100))
    m.fixhdr()
    n = m.dup()
    assert [(each.type, each.len) for each in mbufs(n)] == [(MT_CONTROL, 2048), (1, 100)]
    pool.free_bulk([m, n])


@pytest.mark.parametrize("len", [0, 49, 51])
def test_a_packet_whose_header_is_wrong_is_not_duplicated(pool: Pool, len: int) -> None:
    m = chain(pool, 20, 30)
    m.pkthdr.len = len
    with pytest.raises(Inval, match=f"says {len} bytes, the mbufs have 50"):
        m.dup()
    assert pool.out == 2
    m.freem()


# dupcl.


def test_two_mbufs_show_the_same_bytes_of_one_storage(pool: Pool) -> None:
    m = pool.getcl().append(b"0123456789").adj(2)
    n = pool.get().append(b"gone")
    assert n.dupcl(m) is n
    assert (bytes(n), n.offset, n.refcnt, n.flags, m.writable) == (b"23456789", 2, 2, M_EXT, False)
    # A copy of a copy shares with the owner, which has the reference count.
    p = pool.get().dupcl(n)
    assert [(each.refcnt, each.ext.embedded) for each in (m, n, p)] == [(3, True), (3, False), (3, False)]
    m.free()
    assert pool.zones.pack.used == 1
    n.free()
    assert (p.writable, pool.zones.mbuf.used, pool.zones.pack.used) == (True, 1, 1)
    p.free()


def test_what_has_storage_or_none_is_not_made_to_share(pool: Pool) -> None:
    m, n, p = pool.getcl().append(b"x"), pool.get().append(b"y"), pool.getcl()
    before = snapshot(pool, m, n, p)
    for taker, giver in ((p, m), (n, n), (m, n), (m, m)):
        with pytest.raises(Inval, match="dupcl"):
            taker.dupcl(giver)
    assert snapshot(pool, m, n, p) == before
    pool.free_bulk([m, n, p])


def test_a_freed_mbuf_shares_nothing(pool: Pool) -> None:
    m, n = pool.getcl(), pool.get()
    m.free()
    with pytest.raises(Freed):
        n.dupcl(m)
    n.free()


# split.


def test_storage_that_is_cut_through_is_shared_by_both(pool: Pool) -> None:
    m = pool.getcl().append(sample(300))
    n = m.split(100)
    assert (offsets_and_lens(m), offsets_and_lens(n), m.refcnt, n.flags) == (
        [(0, 100)],
        [(100, 200)],
        2,
        M_EXT | M_PKTHDR,
    )
    assert (m.pkthdr.len, n.pkthdr.len, m.writable, n.writable) == (100, 200, False, False)
    pool.free_bulk([m, n])


@pytest.mark.parametrize(
    ("sizes", "at", "front", "rest"),
    [
        ([100], 40, [(0, 40)], [(104, 60)]),
        ([100], 100, [(0, 100)], [(0, 0)]),
        ([100, 50], 100, [(0, 100)], [(0, 0), (0, 50)]),
        ([100, 50], 150, [(0, 100), (0, 50)], [(0, 0)]),
        ([100, 50], 120, [(0, 100), (0, 20)], [(136, 30)]),
        ([100, 50], 0, [(0, 0)], [(64, 100), (0, 50)]),
    ],
)
def test_the_rest_of_a_packet_is_a_packet(
    pool: Pool, sizes: list[int], at: int, front: list[tuple[int, int]], rest: list[tuple[int, int]]
) -> None:
    m = chain(pool, *sizes)
    total = m.pkthdr.len
    n = m.split(at)
    assert (offsets_and_lens(m), offsets_and_lens(n), m.pkthdr.len, n.pkthdr.len) == (front, rest, at, total - at)
    pool.free_bulk([m, n])


def test_a_rest_too_large_beside_a_header_comes_after_an_empty_mbuf(pool: Pool) -> None:
    m = pool.gethdr().append(b"x")
    m.next = pool.get().append(sample(200))
    m.fixhdr()
    n = m.split(2)
    assert (offsets_and_lens(m), offsets_and_lens(n)) == ([(0, 1), (0, 1)], [(168, 0), (24, 199)])
    assert bytes(n) == sample(200)[1:]
    pool.free_bulk([m, n])


@pytest.mark.parametrize(
    ("at", "front", "rest"),
    [(0, [0], [5, 5]), (3, [3], [2, 5]), (5, [5], [5]), (7, [5, 2], [3]), (10, [5, 5], None)],
)
def test_a_chain_without_a_header_is_cut_without_one(
    pool: Pool, at: int, front: list[int], rest: list[int] | None
) -> None:
    m = pool.get().append(b"01234")
    m.next = pool.get().append(b"56789")
    n = m.split(at)
    assert (lens(m), n and lens(n)) == (front, rest)
    if n is not None:
        assert not n.flags & M_PKTHDR
        n.freem()
    m.freem()


def test_the_rest_of_a_packet_has_its_length_and_interface_alone(pool: Pool) -> None:
    for sender in (False, True):
        m = chain(pool, 100, 100)
        fill_header(pool, m, sender)
        n = m.split(50)
        fields, rcvif, tags, sent = header_state(n)
        assert (fields[0], fields[3:], tags, rcvif) == (150, [0] * 6, [], None if sender else "em1")
        assert n.pkthdr.snd_tag is m.pkthdr.snd_tag
        assert n.pkthdr.csum_flags & 0x7FFFFFFF == n.pkthdr.flowid == 0
        assert len(m.tags) == 2
        assert sent is None or sent[1] == 2
        pool.free_bulk([m, n])
    assert pool.snd_tags.count == 0


def test_what_both_are_said_to_have_is_what_was_said(pool: Pool) -> None:
    m = chain(pool, 100)
    m.pkthdr.len = 120
    n = m.split(30)
    assert (m.pkthdr.len, n.pkthdr.len, len(n)) == (30, 90, 70)
    pool.free_bulk([m, n])


def test_a_send_tag_that_has_ended_is_not_split(pool: Pool) -> None:
    m = chain(pool, 100, 100)
    tag = m.pkthdr.snd_tag = pool.snd_tag_alloc(SndTagInterface("em0"))
    tag.rele()
    for verb in (lambda: m.split(50), lambda: m.split(100), m.copypacket, m.copym, m.dup, m.defrag):
        before = lens(m), m.pkthdr.len, pool.out
        with pytest.raises(Freed):
            verb()
        assert (lens(m), m.pkthdr.len, pool.out) == before
    with pytest.raises(Freed):
        m.pkthdr.snd_tag = None
    m.freem()


@pytest.mark.parametrize("at", [-1, 51, 2**31 - 1])
def test_a_chain_is_not_split_where_it_is_not(pool: Pool, at: int) -> None:
    m = chain(pool, 20, 30)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="split at"):
        m.split(at)
    assert snapshot(pool, m) == before
    m.freem()


def test_the_verbs_need_an_open_pool(make: Callable[..., Pool]) -> None:
    pool = make()
    m: Mbuf = pool.gethdr().append(b"x")
    with pytest.warns(ResourceWarning, match="1 mbufs still out"):
        pool.close()
    for verb in (m.copym, m.copypacket, m.dup, lambda: m.split(1), lambda: m.prepend(100), m.defrag):
        with pytest.raises(Inval, match="closed"):
            verb()
    assert bytes(m) == b"x"
    m.free()


@pytest.mark.parametrize("flags", [0, M_EOR])
def test_what_has_a_cluster_and_no_header_is_not_a_packet_to_copy(pool: Pool, flags: int) -> None:
    m = pool.getcl(flags=flags).append(b"data")
    with pytest.raises(Inval, match="no packet header"):
        m.copypacket()
    assert (pool.out, m.refcnt) == (1, 1)
    m.free()


class CallingSndTag(SndTag):
    """A send tag that calls a function when a reference is taken."""

    def __init__(self, tags: SndTags, ifp: Any, type: int) -> None:
        super().__init__(tags, ifp, type)
        self.todo: list[Callable[[], object]] = []

    def ref(self) -> SndTag:
        super().ref()
        if self.todo:
            self.todo.pop()()
        return self


@pytest.mark.parametrize("what", ["frees it", "changes it"])
def test_a_split_gives_back_the_send_tag_of_a_chain_that_its_driver_changes(pool: Pool, what: str) -> None:
    m, tag = pool.getcl().append(bytes(300)), CallingSndTag(pool.snd_tags, Interface(), 0)
    m.pkthdr.snd_tag = tag
    if what == "frees it":
        tag.todo = [m.freem]
        with pytest.raises(Freed):
            m.split(100)
    else:
        tag.todo = [lambda: m.adj(-100)]
        n = m.split(100)
        assert (len(m), len(n), tag.refs) == (100, 100, 2)
        pool.free_bulk([m, n])
    assert (tag.todo, tag.refs, pool.out, pool.snd_tags.count) == ([], 0, 0, 0)


@pytest.mark.skipif(compiled(), reason="nothing runs in between but a garbage collection")
def test_storage_that_is_another_each_time_is_not_shared(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    m: Any
    other: Any
    m, other = (pool.frombytes(data, flags=M_EXTPG) for data in (b"one", b"two"))
    n, make_sharer = pool.get(), Unmapped.make_sharer
    calls: list[Any] = []

    def changing(self: Any) -> Any:
        calls.append(self)
        m.buf, other.buf = other.buf, m.buf
        return make_sharer(self)

    monkeypatch.setattr(Unmapped, "make_sharer", changing)
    with pytest.raises(Busy, match="dupcl: other code changed the chain"):
        n.dupcl(m)
    assert (len(calls), bytes(m), bytes(other), bytes(n), n.flags) == (8, b"one", b"two", b"", 0)
    pool.free_bulk([m, other, n])
    assert pool.pages.used == 0


def test_the_first_bytes_of_a_cluster_are_a_packet_of_that_length(pool: Pool) -> None:
    m = pool.getcl().append(sample(600))
    n = m.copym(0, 100)
    assert (n.flags & M_PKTHDR, n.pkthdr.len, bytes(n), n.writable) == (M_PKTHDR, 100, sample(100), False)
    assert (m.pkthdr.len, m.ext.count, pool.out) == (600, 2, 2)
    pool.free_bulk([m, n])
