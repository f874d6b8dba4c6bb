"""Chains cut and joined."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from interfaces import SndTagInterface
from mbuf import M_EOR, M_EXT, M_PKTHDR, M_RDONLY, Inval, Mbuf, Pool
from packet.snapshot import fill_header, offsets_and_lens, pool_counts, snapshot
from packet.verb_cases import VerbCase, chain, check_all_layouts

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def trimmed(name: str, count: Callable[[int], int]) -> VerbCase:
    def left(data: bytes) -> bytes:
        n = count(len(data))
        return data[n:] if n >= 0 else data[: max(len(data) + n, 0)]

    return VerbCase(f"adj {name}", lambda m, keywords: m.adj(count(len(m))), left)


CASES = [
    trimmed("0", lambda n: 0),
    trimmed("1", lambda n: 1),
    trimmed("half", lambda n: n // 2),
    trimmed("all", lambda n: n),
    trimmed("more", lambda n: n + 1),
    trimmed("-1", lambda n: -1),
    trimmed("-half", lambda n: -(n // 2)),
    trimmed("-all", lambda n: -n),
    trimmed("-more", lambda n: -n - 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bytes_are_right_on_every_layout(make: Callable[..., Pool], case: VerbCase) -> None:
    check_all_layouts(make(debug=True), case)


@pytest.mark.parametrize("much", [0, 5, 2000])
def test_a_chain_joined_is_part_of_the_other(build: Callable[[bytes], Mbuf], pool: Pool, much: int) -> None:
    m, n = build(sample(50)), pool.getcl(flags=0).append(sample(much))
    said = m.pkthdr.len if m.flags & M_PKTHDR else None
    assert m.cat(n) is m
    assert bytes(m) == sample(50) + sample(much)
    if said is not None:
        assert m.pkthdr.len == said
        assert m.fixhdr() == 50 + much


@pytest.mark.parametrize("much", [0, 5, 2000])
def test_a_packet_joined_is_counted_and_no_packet_any_more(
    build: Callable[[bytes], Mbuf], pool: Pool, much: int
) -> None:
    m, n = build(sample(50)), pool.getcl().append(sample(much))
    fill_header(pool, n, sender=True)
    if not m.flags & M_PKTHDR:
        before = snapshot(pool, m, n)
        with pytest.raises(Inval, match="no packet header"):
            m.catpkt(n)
        assert snapshot(pool, m, n) == before
        n.freem()
        return
    assert m.catpkt(n) is m
    assert (bytes(m), m.pkthdr.len) == (sample(50) + sample(much), 50 + much)
    assert m.sanity()
    # The other's send tag is released, and its tags are freed.
    assert (pool.snd_tags.count, pool.tags.count) == (0, 0)


# The mbufs of a chain, as in the kernel.


@pytest.mark.parametrize(
    ("pieces", "n", "left", "len"),
    [
        ([100, 30], -50, [80], 80),
        ([100, 30], -30, [100, 0], 100),
        ([100, 30], -29, [100, 1], 101),
        ([100, 30], -31, [99], 99),
        ([100, 30], -130, [0], 0),
        ([100, 30], -(2**31) + 1, [0], 0),
        ([100, 30, 20], -50, [100], 100),
        ([100, 30, 20], -51, [99], 99),
        ([0, 30], -40, [0], 0),
        ([100], -130, [0], 0),
        ([100, 30], 110, [0, 20], 20),
        ([100, 30], 100, [0, 30], 30),
        ([100, 0, 30], 100, [0, 0, 30], 30),
        ([100, 30], 99, [1, 30], 31),
        ([100, 30], 130, [0, 0], 0),
        ([100, 30], 2**31 - 1, [0, 0], 0),
        ([0, 30], 0, [0, 30], 30),
    ],
)
def test_what_is_trimmed_at_the_front_is_emptied_and_at_the_end_freed(
    pool: Pool, pieces: list[int], n: int, left: list[int], len: int
) -> None:
    m = chain(pool, *pieces)
    m.adj(n)
    assert (lens(m), m.pkthdr.len) == (left, len)
    assert (pool.out, pool.stat().drops) == (sum(1 for _ in left), 0)
    m.freem()


def test_mbufs_emptied_at_the_front_keep_their_offset(pool: Pool) -> None:
    m = chain(pool, 100, 30).adj(110)
    assert offsets_and_lens(m) == [(0, 0), (10, 20)]
    m.freem()


def test_trimming_counts_what_there_was_where_the_header_said_more(pool: Pool) -> None:
    m, n = chain(pool, 10, 10), chain(pool, 10, 10)
    m.pkthdr.len = n.pkthdr.len = 50
    # From the end, the header's len becomes what is left, or less by what was asked if that is in the last mbuf.
    assert (m.adj(50).pkthdr.len, n.adj(-15).pkthdr.len) == (30, 5)
    m.pkthdr.len = 50
    assert chain_of_one(m, -1).pkthdr.len == 50
    pool.free_bulk([m, n])


def chain_of_one(m: Mbuf, n: int) -> Mbuf:
    """Trim an empty chain, from which nothing can be dropped: its header says 0 bytes then."""
    m.adj(n)
    assert m.pkthdr.len == 0
    m.pkthdr.len = 50
    return m


def test_read_only_bytes_can_be_trimmed(pool: Pool) -> None:
    m = pool.wrap(b"read only").adj(5).adj(-1)
    assert (bytes(m), m.flags & M_RDONLY, m.writable, m.pkthdr.len) == (b"onl", 0, False, 3)
    m.freem()


def test_joining_copies_what_fits_and_links_the_rest(pool: Pool) -> None:
    m, n = chain(pool, 100), chain(pool, 30, 20, 100, 5)
    third = mbufs(n)[2].id
    m.cat(n)
    # 30 and 20 fit beside the 100; where the third doesn't, all that comes after it stays as it is.
    assert (lens(m), (m.last().next or mbufs(m)[1]).id, m.pkthdr.len) == ([150, 100, 5], third, 100)
    assert (pool.out, pool.stat().drops, bytes(m)[:150]) == (3, 0, sample(100) + sample(155)[:50])
    m.freem()


def test_what_fits_exactly_is_copied(pool: Pool) -> None:
    m = chain(pool, 100).cat(chain(pool, 68))
    assert lens(m) == [168]
    n = chain(pool, 100).cat(chain(pool, 69))
    # A packet header inside a chain is what cat leaves, as the kernel's does.
    assert (lens(n), [each.flags for each in mbufs(n)]) == ([100, 69], [M_PKTHDR, M_PKTHDR])
    pool.free_bulk([m, n])


def test_nothing_is_copied_behind_what_cannot_be_written(pool: Pool) -> None:
    m = pool.getcl().append(b"x")
    other = m.copypacket()
    m.cat(pool.get().append(b"y"))
    assert (lens(m), bytes(other)) == ([1, 1], b"x")
    pool.free_bulk([m, other])


def test_a_joined_mbuf_whose_storage_was_shared_releases_it(pool: Pool) -> None:
    n = pool.getcl(flags=0).append(b"shared")
    other = pool.get().dupcl(n)
    m = pool.get().cat(n)
    assert (lens(m), other.refcnt, other.writable, bytes(other)) == ([6], 1, True, b"shared")
    pool.free_bulk([m, other])


def test_catpkt_demotes_all_of_the_other_packet(pool: Pool) -> None:
    m, n = chain(pool, 168), pool.getcl(flags=M_PKTHDR | M_EOR).append(b"x" * 2048 + b"y")
    m.catpkt(n)
    assert [each.flags for each in mbufs(m)] == [M_PKTHDR, M_EXT, 0]
    assert m.pkthdr.len == 168 + 2049
    m.freem()


@pytest.mark.parametrize("verb", ["cat", "catpkt"])
def test_no_chain_is_joined_to_itself_or_a_list(pool: Pool, verb: str) -> None:
    m, n, p = chain(pool, 1, 2, 3), chain(pool, 1), chain(pool, 2)
    n.nextpkt = p
    before = snapshot(pool, m, n, p)
    for other in (m, *mbufs(m)[1:], n):
        with pytest.raises(Inval):
            getattr(m, verb)(other)
    for each in mbufs(m)[1:]:
        with pytest.raises(Inval):
            getattr(each, verb)(m)
    assert snapshot(pool, m, n, p) == before
    pool.free_bulk([m, n, p])


def test_what_the_header_says_is_added_even_if_it_is_wrong(pool: Pool) -> None:
    m, n = chain(pool, 1), chain(pool, 2)
    n.pkthdr.len = 50
    assert m.catpkt(n).pkthdr.len == 51
    m.freem()


# Sanity.


def broken(pool: Pool, how: str) -> list[Mbuf]:
    m = chain(pool, 10, 20, 30)
    second = mbufs(m)[1]
    if how == "next packet":
        second.nextpkt = chain(pool, 5, 5)
    elif how == "header":
        m.last().next = chain(pool, 40)
        fill_header(pool, m.last(), sender=True)
        m.fixhdr()
    else:
        m.pkthdr.len = 61
    return [m]


@pytest.mark.parametrize(
    ("how", "said"),
    [("next packet", "has a next packet"), ("header", "has a packet header"), ("len", "says 61 bytes.*have 60")],
)
def test_sanity_says_what_is_wrong_and_changes_nothing(pool: Pool, how: str, said: str) -> None:
    (m,) = broken(pool, how)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match=said):
        m.sanity()
    assert snapshot(pool, m) == before
    packet = mbufs(m)[1].nextpkt
    m.freem()
    if packet is not None:
        packet.freem()


@pytest.mark.parametrize(("how", "len"), [("next packet", 60), ("header", 100), ("len", 0)])
def test_sanity_puts_right_what_is_wrong(pool: Pool, how: str, len: int) -> None:
    (m,) = broken(pool, how)
    data = bytes(m)
    assert m.sanity(True) is True
    assert (bytes(m), m.pkthdr.len, m.nextpkt, [each.nextpkt for each in mbufs(m)]) == (
        data,
        len,
        None,
        [None] * (4 if how == "header" else 3),
    )
    assert pool_counts(pool)[1:] == (0, 0, 0, 0)
    if how == "header":
        assert (m.last().flags, offsets_and_lens(m)[-1]) == (0, (56, 40))
    m.fixhdr()
    assert m.sanity()
    m.freem()


def test_the_length_of_an_empty_chain_is_checked_too(pool: Pool) -> None:
    m = chain(pool, 0, 0)
    m.pkthdr.len = 5
    with pytest.raises(Inval, match="says 5 bytes, the mbufs have 0"):
        m.sanity()
    assert m.sanity(True)
    assert m.pkthdr.len == 0
    m.freem()


def test_a_freed_next_packet_is_merely_forgotten(pool: Pool) -> None:
    m, p = chain(pool, 1, 2), chain(pool, 3)
    m.last().nextpkt = p
    p.free()
    assert m.sanity(True)
    assert m.last().nextpkt is None
    m.freem()


def test_a_chain_without_a_header_is_sane(pool: Pool) -> None:
    m: Any = pool.get().append(bytes(300))
    m.nextpkt = pool.get()
    assert m.sanity()
    p = m.nextpkt
    m.freem()
    p.freem()


def test_an_interface_is_released_when_its_packet_is_joined(pool: Pool) -> None:
    card = SndTagInterface("em0")
    m, n = chain(pool, 1), chain(pool, 2)
    n.pkthdr.snd_tag = pool.snd_tag_alloc(card)
    m.catpkt(n)
    assert card.refs == 0
    m.freem()
