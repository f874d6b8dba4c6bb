"""The same bytes in other mbufs."""

from collections.abc import Callable
from typing import Any

import pytest

from chains import lens, mbufs, sample
from faults import FaultInjector
from mbuf import M_EOR, M_EXT, M_EXTPG, M_NOWAIT, M_PKTHDR, M_RDONLY, MT_CONTROL, MT_DATA, Inval, Mbuf, NoBufs, Pool
from packet.alloc_failures import fail_on_all_layouts
from packet.snapshot import fill_header, header_state, offsets_and_lens, snapshot
from packet.verb_cases import VerbCase, chain, check_all_layouts

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


def laid(verb: str, *args: int) -> VerbCase:
    return VerbCase(
        " ".join(map(str, (verb, *args))), lambda m, keywords: getattr(m, verb)(*args, **keywords), may_wait=True
    )


def frags(m: Mbuf) -> int:
    """Pieces that the bytes are in: those of unmapped pages are counted."""
    unmapped = [n.epg for n in mbufs(m) if n.flags & M_EXTPG]
    return len(mbufs(m)) - len(unmapped) + sum(epg.npgs + bool(epg.hdr) + bool(epg.trail) for epg in unmapped)


def collapsed(name: str, most: Callable[[int], int]) -> VerbCase:
    def call(m: Mbuf, keywords: dict[str, Any]) -> Mbuf:
        limit = most(frags(m))
        if limit == 1 and len(m) > 168:
            # It doesn't get smaller than that.
            limit = 2
        m.collapse(limit, **keywords)
        assert frags(m) <= limit
        return m

    # Pages that are many, or at the head, can't be merged.
    return VerbCase(f"collapse to {name}", call, may_wait=True, needs_contiguous=True)


CASES = [
    laid("defrag"),
    laid("compact"),
    laid("fragment", 7),
    laid("fragment", 100),
    laid("fragment", 2048),
    laid("fragment", -1),
    laid("fragment", -2),
    collapsed("as many", lambda n: n),
    collapsed("one less", lambda n: max(n - 1, 1)),
    laid("unshare"),
]
#: Those that make many requests take long to fail at each.
FEW = [case for case in CASES if case.name not in ("fragment 7", "fragment 100", "fragment -1", "fragment -2")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bytes_are_right_on_every_layout(make: Callable[..., Pool], case: VerbCase) -> None:
    check_all_layouts(make({"kern.ipc.nmbclusters": 4000, "kern.ipc.nmbufs": 40000}, mem=64 << 20, debug=True), case)


@pytest.mark.parametrize("rest", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_failing_at_the_kth_request_changes_nothing(make: Callable[..., Pool], case: VerbCase, rest: bool) -> None:
    fail_on_all_layouts(FaultInjector(make(debug=True)), case, rest)


# defrag.


@pytest.mark.parametrize(
    ("sizes", "after", "ext"),
    [
        ([0], [0], [False]),
        ([10, 20, 30], [60], [False]),
        ([100, 68], [168], [False]),
        ([100, 69], [169], [True]),
        ([100] * 20, [2000], [True]),
        ([100] * 21, [2048, 52], [True, False]),
        ([2048, 224], [2048, 224], [True, False]),
        ([2048, 225], [2048, 225], [True, True]),
        ([2048, 2048, 10], [2048, 2048, 10], [True, True, False]),
        ([10, 0, 0], [10], [False]),
    ],
)
def test_defrag_takes_as_few_mbufs_as_hold_it(pool: Pool, sizes: list[int], after: list[int], ext: list[bool]) -> None:
    m = chain(pool, *sizes)
    fill_header(pool, m)
    fields, rcvif, tags, _ = header_state(m)
    before = {n.id for n in mbufs(m)}
    assert m.defrag() is m
    assert (lens(m), [n.ext is not None for n in mbufs(m)]) == (after, ext)
    assert not before & {n.id for n in mbufs(m)}
    now, now_rcvif, now_tags, _ = header_state(m)
    # Copies of the tags, in the same order.
    assert (now, now_rcvif, [t[1:] for t in now_tags]) == (fields, rcvif, [t[1:] for t in tags])
    assert pool.out == len(after)
    m.freem()


def test_defrag_has_a_type_of_its_own_and_the_flags_of_the_old(pool: Pool) -> None:
    m = pool.getcl(M_NOWAIT, MT_CONTROL, M_PKTHDR | M_EOR).append(sample(300))
    m.flags |= M_RDONLY
    m.defrag()
    assert (m.type, m.flags) == (MT_DATA, M_EXT | M_PKTHDR | M_EOR | M_RDONLY)
    m.freem()


def test_defrag_puts_the_header_right(pool: Pool) -> None:
    m = chain(pool, 10, 20)
    m.pkthdr.len = 99
    assert m.defrag().pkthdr.len == 30
    m.freem()


@pytest.mark.parametrize("verb", ["defrag", "compact", "fragment"])
def test_a_chain_without_a_header_is_left_alone(pool: Pool, verb: str) -> None:
    m = pool.get().append(bytes(1000))
    before = snapshot(pool, m)
    assert getattr(m, verb)(*[100][: verb == "fragment"]) is m
    assert snapshot(pool, m) == before
    m.freem()


@pytest.mark.parametrize("verb", ["defrag", "compact", "fragment", "collapse", "unshare"])
def test_the_next_packet_stays_the_next(pool: Pool, verb: str) -> None:
    m, p = chain(pool, 100, 100), chain(pool, 5)
    m.nextpkt = p
    getattr(m, verb)(*{"fragment": [50], "collapse": [2]}.get(verb, []))
    assert (m.nextpkt is p, bytes(p), p.nextpkt) == (True, sample(5), None)
    assert all(n.nextpkt is None for n in mbufs(m)[1:])
    pool.free_bulk([m, p])


# compact.


@pytest.mark.parametrize(
    ("size", "after", "memory"),
    [
        (0, [0], 256),
        (1, [1], 256),
        (168, [168], 256),
        (169, [168, 1], 512),
        (392, [168, 224], 512),
        (393, [393], 2304),
        (2049, [2048, 1], 2560),
        (2272, [2048, 224], 2560),
        (2273, [2048, 225], 4608),
    ],
)
def test_a_packet_that_shares_a_large_cluster_takes_little_memory(
    pool: Pool, size: int, after: list[int], memory: int
) -> None:
    whole = pool.getjcl(size=16384).append(sample(16000))
    m = whole.copym(0, size) if size else pool.getjcl(size=16384)
    whole.freem()
    m.pkthdr.flowid = 7
    m.tag_prepend(pool.tag_get(1, b"value"))
    assert m.compact() is m
    assert (bytes(m), lens(m)) == (sample(16000)[:size], after)
    assert (m.pkthdr.flowid, [tag.value for tag in m.tags]) == (7, [b"value"])
    assert pool.stat().jumbo16.used == 0
    assert sum(256 + (n.ext.size if n.ext else 0) for n in mbufs(m)) == memory
    m.freem()


def test_a_packet_that_would_not_take_less_memory_does_not_change(pool: Pool) -> None:
    for m in (chain(pool, 10), chain(pool, 168, 224), pool.getcl().append(sample(1000))):
        before = snapshot(pool, m)
        assert m.compact() is m
        assert snapshot(pool, m) == before
        m.freem()


def test_a_packet_in_many_mbufs_is_compacted(pool: Pool) -> None:
    m = chain(pool, *[10] * 30)
    assert lens(m.compact()) == [168, 132]
    assert bytes(m) == sample(300)
    m.freem()


# fragment.


@pytest.mark.parametrize(("size", "after"), [(100, [100, 100, 50]), (250, [250]), (2048, [250]), (249, [249, 1])])
def test_fragments_are_clusters_of_the_length_requested(pool: Pool, size: int, after: list[int]) -> None:
    m = chain(pool, 50, 200)
    m.fragment(size)
    assert (lens(m), {n.size for n in mbufs(m)}) == (after, {2048})
    assert (m.flags, m.pkthdr.len) == (M_EXT | M_PKTHDR, 250)
    m.freem()


def test_fragments_of_a_random_length_are_all_alike_or_all_different(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = iter([30, 1, 255, 10])
    monkeypatch.setattr("random.randint", lambda low, high: next(lengths) if (low, high) == (1, 255) else None)
    m = chain(pool, 100)
    assert lens(m.fragment(-1)) == [30, 30, 30, 10]
    assert lens(m.fragment(-2)) == [1, 99]
    m.freem()


@pytest.mark.parametrize("length", [0, -3, 2049, 2**31, 2**64])
def test_there_are_no_fragments_of_such_a_length(pool: Pool, length: int) -> None:
    for m in (chain(pool, 100, 100), pool.get()):
        before = snapshot(pool, m)
        with pytest.raises(Inval, match="fragment"):
            m.fragment(length)
        assert snapshot(pool, m) == before
        m.freem()


def test_an_empty_packet_is_one_empty_cluster(pool: Pool) -> None:
    m = pool.gethdr().fragment(10)
    assert (lens(m), m.size) == ([0], 2048)
    m.freem()


# collapse.


@pytest.mark.parametrize(
    ("sizes", "most", "after"),
    [
        # Into the room of the one before, if a byte of that is left.
        ([100, 30, 30], 2, [130, 30]),
        ([100, 30, 30], 1, [160]),
        ([100, 68, 30], 2, [100, 98]),
        ([118, 50, 20], 2, [118, 70]),
        # Two by two into clusters, but for the first.
        ([168, 224, 224], 2, [168, 448]),
        ([168, 224, 224, 224, 224], 3, [168, 672, 224]),
        ([168, 224, 224, 224, 224], 2, [168, 896]),
    ],
)
def test_collapse_merges_neighbours_until_there_are_few_enough(
    pool: Pool, sizes: list[int], most: int, after: list[int]
) -> None:
    m = chain(pool, *sizes[:1])
    for size in sizes[1:]:
        m.last().next = pool.get().append(sample(size))
    m.fixhdr()
    data, before = bytes(m), m.id
    m.collapse(most)
    assert (lens(m), bytes(m), m.id) == (after, data, before)
    assert (pool.out, pool.stat().drops) == (len(after), 0)
    m.freem()


def test_collapse_goes_on_with_the_cluster_that_it_made(pool: Pool) -> None:
    m = pool.gethdr().append(bytes(168 + 224 * 12))
    assert len(mbufs(m)) == 13
    m.collapse(3)
    assert lens(m) == [168, 224 * 9, 224 * 3]
    m.freem()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_chain_that_is_short_enough_is_not_a_failure(pool: Pool, n: int) -> None:
    m = pool.getcl().append(bytes(2048))
    other = m.copypacket()
    before = snapshot(pool, m)
    assert m.collapse(n) is m
    assert snapshot(pool, m) == before
    pool.free_bulk([m, other])


def test_a_chain_that_is_short_enough_needs_no_memory(make: Callable[..., Pool]) -> None:
    faults = FaultInjector(make())
    m = chain(faults.pool, 168, 224, 224)
    with faults.failing(1, True):
        assert lens(m.collapse(3)) == [168, 224, 224]
        assert faults.refusals == 1
        with pytest.raises(NoBufs):
            m.collapse(2)
    m.freem()


def test_what_cannot_be_collapsed_is_as_it_was(pool: Pool) -> None:
    m = chain(pool, 10, 20, 2048, 2048, 2048, 30, 40)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="can't be in 3 mbufs"):
        m.collapse(3)
    assert snapshot(pool, m) == before
    m.collapse(5)
    assert lens(m)[0] == 30
    m.freem()


def test_collapse_counts_storage_out_that_it_has_copied(pool: Pool) -> None:
    m = pool.gethdr().append(b"head")
    m.next = pool.getcl(flags=0).append(b"one")
    m.next.next = pool.get().dupcl(m.next)
    m.fixhdr()
    owner = m.next
    m.collapse(2)
    del owner
    # The first of them is merged into the head, so the other may be written.
    assert (lens(m), m.last().refcnt, m.last().writable) == ([7, 3], 1, True)
    m.collapse(1)
    assert (bytes(m), pool.out, pool.stat().drops) == (b"headoneone", 1, 0)
    m.freem()


@pytest.mark.parametrize("most", [0, -1, -(2**63) - 1])
def test_nothing_is_collapsed_to_nothing(pool: Pool, most: int) -> None:
    m = chain(pool, 10, 20)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="collapse"):
        m.collapse(most)
    assert snapshot(pool, m) == before
    m.freem()


# unshare.


def test_what_is_shared_is_copied_and_what_is_not_stays(pool: Pool) -> None:
    m = pool.getcl().append(sample(500))
    other = m.copypacket()
    m.last().next = pool.getcl(flags=0).append(sample(600))
    m.fixhdr()
    fill_header(pool, m, sender=True)
    data, said, mine = bytes(m), header_state(m), mbufs(m)[1].id
    assert m.unshare() is m
    assert (lens(m), bytes(m), header_state(m), mbufs(m)[1].id) == ([500, 600], data, said, mine)
    assert (m.writable, other.writable, m.ext.id == other.ext.id) == (True, True, False)
    m.data[:3] = b"new"
    assert bytes(other) == sample(500)
    pool.free_bulk([m, other])


def test_small_neighbours_are_merged_into_a_cluster(pool: Pool) -> None:
    m = pool.getcl().append(sample(500))
    m.next = pool.get().append(b"x" * 100)
    m.next.next = pool.getcl(flags=0).append(b"y" * 200)
    other = pool.get().dupcl(m.next.next)
    m.next.next.next = pool.getcl(flags=0).append(b"z" * 300)
    m.fixhdr()
    m.unshare()
    # The last has storage of its own, which stays; the owner of what is shared waits for the other.
    assert (lens(m), other.writable, pool.out) == ([800, 300], True, 4)
    other.free()
    m.freem()


def test_large_storage_is_copied_to_several_clusters(pool: Pool) -> None:
    m = pool.wrap(sample(5000))
    m.flags |= M_RDONLY
    m.unshare()
    assert (lens(m), {n.size for n in mbufs(m)}, bytes(m)) == ([2048, 2048, 904], {2048}, sample(5000))
    # What was marked read-only is so marked again.
    assert [n.flags for n in mbufs(m)] == [M_EXT | M_PKTHDR | M_RDONLY, M_EXT | M_RDONLY, M_EXT | M_RDONLY]
    m.freem()


def test_two_that_share_with_each_other_alone_need_one_copy(pool: Pool) -> None:
    m = pool.getcl().append(sample(2048))
    n = m.split(1000)
    assert m.catpkt(n) is m
    assert lens(m) == [1000, 1048]
    m.unshare()
    # Copied once, the other has the storage for itself.
    assert (lens(m), [each.writable for each in mbufs(m)], m.next.offset) == ([1000, 1048], [True, True], 1000)
    m.freem()


def test_an_empty_shared_mbuf_gets_an_empty_cluster(pool: Pool) -> None:
    m = pool.getcl()
    n = m.copypacket()
    m.unshare()
    assert (lens(m), m.writable, n.writable) == ([0], True, True)
    pool.free_bulk([m, n])


def test_a_header_inside_a_chain_is_not_unshared(pool: Pool) -> None:
    m, n = chain(pool, 2048), pool.getcl().append(sample(2048))
    other = n.copypacket()
    m.cat(n)
    before = snapshot(pool, m, other)
    with pytest.raises(Inval, match="has a packet header: see demote"):
        m.unshare()
    assert snapshot(pool, m, other) == before
    pool.free_bulk([m, other])


def test_mbufs_that_can_be_written_are_left_alone(pool: Pool) -> None:
    m = chain(pool, 10, 20, 2000, 500)
    before = snapshot(pool, m)
    m.unshare()
    assert snapshot(pool, m) == before
    assert offsets_and_lens(m)[0] == (0, 10)
    m.freem()
