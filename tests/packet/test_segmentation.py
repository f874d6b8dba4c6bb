"""A packet cut into many of one size, in whatever it is."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import sample
from faults import FaultInjector
from interfaces import SndTagInterface
from mbuf import (
    IF_SND_TAG_TYPE_RATE_LIMIT,
    M_BCAST,
    M_EXT,
    M_PKTHDR,
    M_TSTMP,
    M_WAITOK,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    Pool,
    SndTag,
)
from packet.alloc_failures import fail_on_all_layouts
from packet.snapshot import fill_header, header_state, offsets_and_lens
from packet.verb_cases import Keywords, VerbCase, chain, check_all_layouts

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def cut(m: Mbuf, size: int, keywords: Keywords) -> Mbuf | None:
    """Cut a packet, look at the others one by one, and put them together again."""
    total = len(m)
    first, *rest = m.segment(size, **keywords)
    assert first is m
    assert [len(n) for n in rest] == [min(size, total - at) for at in range(size, total, size)]
    for n in (m, *rest):
        assert n.sanity()
        assert n.pkthdr.len == len(n)
    # Two by two, since each time both are walked.
    while len(rest) > 1:
        for n, following in zip(rest[::2], rest[1::2], strict=False):
            n.catpkt(following)
        rest = rest[::2]
    return rest[0] if rest else None


def case(size: int) -> VerbCase:
    return VerbCase(
        f"segment {size}",
        lambda m, keywords: cut(m, size, keywords),
        lambda data: data[:size],
        lambda data: data[size:],
        needs_header=True,
        may_wait=True,
    )


CASES = [case(size) for size in (1, 7, 100, 150, 225, 1400, 2999, 3000, 5000)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_byte_is_in_its_packet(pool: Pool, case: VerbCase) -> None:
    check_all_layouts(pool, case)


@pytest.mark.parametrize("case", CASES[2:6], ids=lambda case: case.name)
@pytest.mark.parametrize("rest", [True, False], ids=["all after it too", "that one alone"])
def test_without_memory_nothing_changes(pool: Pool, case: VerbCase, rest: bool) -> None:
    fail_on_all_layouts(FaultInjector(pool), case, rest)


def test_packets_that_begin_with_a_cluster_have_it_to_themselves(pool: Pool) -> None:
    m = chain(pool, 1400, 1400, 1000)
    before = pool.out
    packets = m.segment(1400)
    assert pool.out == before
    assert [(offsets_and_lens(n), n.writable) for n in packets] == [
        ([(0, 1400)], True),
        ([(0, 1400)], True),
        ([(0, 1000)], True),
    ]
    pool.free_bulk(packets)


def test_packets_of_one_cluster_share_it(pool: Pool) -> None:
    m = pool.getcl().append(sample(2000))
    packets = m.segment(600)
    assert [offsets_and_lens(n) for n in packets] == [[(0, 600)], [(600, 600)], [(1200, 600)], [(1800, 200)]]
    assert all(n.refcnt == 4 and not n.writable for n in packets)
    # The owner goes first, and stays out for the others' sake.
    m.free()
    assert [bytes(n) for n in packets[1:]] == [sample(2000)[at : at + 600] for at in (600, 1200, 1800)]
    pool.free_bulk(packets[1:])


def test_a_packet_over_the_border_of_two_clusters_has_a_part_of_each(pool: Pool) -> None:
    m = chain(pool, 1000, 1000)
    packets = m.segment(800)
    assert [offsets_and_lens(n) for n in packets] == [[(0, 800)], [(800, 200), (0, 600)], [(600, 400)]]
    pool.free_bulk(packets)


def test_each_has_the_header_and_flags_but_tags_stay_with_the_first(pool: Pool) -> None:
    for sender in (False, True):
        m = chain(pool, 1000)
        fill_header(pool, m, sender)
        m.flags |= M_BCAST | M_TSTMP
        said = header_state(m)
        packets = m.segment(400)
        for n in packets[1:]:
            fields, rcvif, tags, sent = header_state(n)
            assert (fields[1:], rcvif, tags) == (said[0][1:], said[1], [])
            assert n.flags == M_EXT | M_PKTHDR | M_BCAST | M_TSTMP
            assert n.pkthdr.snd_tag is m.pkthdr.snd_tag
            assert sent is None or sent[1] == 3
        assert len(m.tags) == 2
        pool.free_bulk(packets)
    assert (pool.snd_tags.count, pool.tags.count) == (0, 0)


def test_a_send_tag_that_has_ended_lets_nothing_be_cut(pool: Pool) -> None:
    m = chain(pool, 1000)
    tag = m.pkthdr.snd_tag = pool.snd_tag_alloc(SndTagInterface("em0"))
    tag.rele()
    with pytest.raises(Freed):
        m.segment(400)
    assert (len(m), pool.out) == (1000, 1)
    with pytest.raises(Freed):
        m.pkthdr.snd_tag = None
    m.free()


def test_empty_mbufs_go_with_the_packet_before(pool: Pool) -> None:
    m = chain(pool, 300, 300)
    m.next.next = pool.get()
    packets = m.segment(300)
    assert [offsets_and_lens(n) for n in packets] == [[(0, 300)], [(0, 300), (0, 0)]]
    pool.free_bulk(packets)
    m = pool.gethdr()
    assert m.segment(5) == [m]
    m.free()


@pytest.mark.parametrize("size", [0, -1, 1 << 31, 1 << 70])
def test_sizes_that_no_packet_has_are_refused(pool: Pool, size: int) -> None:
    m = chain(pool, 100)
    with pytest.raises(Inval, match="segment: packets of"):
        m.segment(size)
    m.free()


def test_what_is_not_one_packet_is_refused(pool: Pool) -> None:
    def refused(m: Mbuf, match: str) -> None:
        out = pool.out
        with pytest.raises(Inval, match=match):
            m.segment(50)
        assert pool.out == out

    with pool.get().append(b"headless") as m:
        refused(m, "no packet header")
    with chain(pool, 100) as m:
        m.pkthdr.len = 99
        refused(m, "see fixhdr")
    with chain(pool, 100) as m:
        m.next = pool.gethdr()
        refused(m, "see demote")
    with chain(pool, 100, 100) as m:
        m.next.nextpkt = n = pool.getcl()
        refused(m, "see demote")
        m.next.nextpkt = None
        n.free()


def test_a_chain_that_is_changed_while_it_waits_for_memory_is_cut_as_it_is_then(
    make: Callable[..., Pool],
    few: Callable[..., dict[str, int]],
    spawn: Callable[[Callable[[], object]], Any],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    pool = make(few(clusters=2, mbufs=12))
    m = pool.getcl().append(sample(1000))
    held: list[Mbuf] = []
    with pytest.raises(NoBufs):
        held.extend(iter(pool.get, None))
    cutter = spawn(lambda: m.segment(300, M_WAITOK))
    eventually(lambda: pool.zones.mbuf.exhausted)
    m.adj(500)
    pool.free_bulk(held)
    packets = cutter.done()
    assert ([len(each) for each in packets], packets[0] is m, pool.out) == ([300, 200], True, 2)
    pool.free_bulk(packets)


@pytest.mark.parametrize("way", ["changes", "raises"])
def test_a_send_tag_that_meddles_has_its_references_back(pool: Pool, way: str) -> None:
    class Meddling(SndTag):
        """A driver's own kind."""

        def ref(self) -> SndTag:
            if way == "changes":
                m.next = None
            elif self.refs == 4:
                raise KeyError("way")
            return super().ref()

    m = chain(pool, 1000, 1000)
    rest = m.next
    tag = m.pkthdr.snd_tag = Meddling(pool.snd_tags, "em0", IF_SND_TAG_TYPE_RATE_LIMIT)
    before = pool.out
    with pytest.raises((Inval, KeyError)):
        m.segment(100)
    assert (tag.refs, pool.out) == (1, before)
    m.freem()
    if way == "changes":
        assert rest is not None
        rest.freem()
