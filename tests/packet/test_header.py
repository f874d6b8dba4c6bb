"""Packet headers: adding, removing, moving and copying them, and their tags."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from chains import mbufs, sample
from faults import FaultInjector, call_with_refusal
from interfaces import SndTagInterface
from mbuf import (
    EXT_EXTREF,
    M_BCAST,
    M_EOR,
    M_EXT,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_PROTO1,
    M_PROTO11,
    M_PROTOFLAGS,
    M_RDONLY,
    MTAG_PERSISTENT,
    PACKET_TAG_IPFORWARD,
    Freed,
    Inval,
    Mbuf,
    Pool,
    RefCount,
    compiled,
)
from mbuf.packet.tag import TagList
from packet.snapshot import fill_header, header_state, offsets_and_lens, pool_counts, snapshot
from packet.verb_cases import ALL_LAYOUTS, build_chains, chain, without_identity

#: A debug pool finds writes to freed memory.
POOL_KINDS = ["debug"]


@pytest.fixture
def other(pool: Pool) -> Mbuf:
    """A packet with everything that a header can have."""
    m = pool.getcl(flags=M_PKTHDR | M_EOR | M_BCAST | M_PROTO1).append(b"other")
    fill_header(pool, m, sender=True)
    return m


# Length.


@pytest.mark.parametrize("size", [0, 1, 100])
def test_the_length_is_put_right(build: Callable[[bytes], Mbuf], pool: Pool, size: int) -> None:
    m = build(sample(size))
    if not m.flags & M_PKTHDR:
        with pytest.raises(Inval, match="no packet header"):
            m.fixhdr()
        return
    m.pkthdr.len = 7
    assert m.fixhdr() == m.pkthdr.len == size


# Removing a header.


def test_a_header_that_goes_takes_along_what_it_holds(build: Callable[[bytes], Mbuf], pool: Pool) -> None:
    m = build(sample(50))
    if not m.flags & M_PKTHDR:
        with pytest.raises(Inval, match="no packet header"):
            m.demote_pkthdr()
        return
    fill_header(pool, m, sender=True)
    flags, offset, hdr = m.flags, m.offset, m.pkthdr
    assert m.demote_pkthdr() is m
    assert (m.flags, bytes(m)) == (flags & ~M_PKTHDR, sample(50))
    assert m.offset == offset + (0 if m.ext else 56)
    assert (pool.tags.count, pool.snd_tags.count) == (0, 0)
    # A reference to the header shows that it was cleared.
    assert (hdr.len, hdr.flowid, hdr.csum_flags, hdr.rcvif, hdr.snd_tag) == (0, 0, 0, None, None)
    with pytest.raises(Inval, match="no packet header"):
        m.pkthdr  # noqa: B018


def test_where_the_header_was_is_room(pool: Pool) -> None:
    m = pool.gethdr().append(sample(168)).demote_pkthdr()
    assert (m.leading, m.trailing, m.size) == (56, 0, 224)
    m.prepend(56)
    assert (m.next, m.leading) == (None, 0)
    m.free()


def test_demote_makes_what_follows_mere_parts(pool: Pool) -> None:
    m, n = chain(pool, 10), pool.getcl(flags=M_PKTHDR | M_EOR | M_BCAST | M_PROTO1).append(b"x" * 300)
    fill_header(pool, n, sender=True)
    n.last().flags |= M_RDONLY
    m.flags |= M_EOR
    m.next = n
    assert m.demote() is m
    assert [each.flags for each in mbufs(m)] == [M_PKTHDR | M_EOR, M_EXT | M_RDONLY]
    assert (pool.tags.count, pool.snd_tags.count) == (0, 0)
    assert m.demote(True) is m
    assert [each.flags for each in mbufs(m)] == [0, M_EXT | M_RDONLY]
    m.freem()


def test_demote_keeps_the_flags_requested_but_never_makes_a_header(pool: Pool) -> None:
    m = pool.getcl(flags=M_PKTHDR | M_EOR | M_BCAST | M_PROTO1).append(b"x")
    m.demote(True, M_EOR | M_PKTHDR | M_PROTO1)
    assert m.flags == M_EXT | M_EOR | M_PROTO1
    m.demote(True, M_BCAST)
    assert m.flags == M_EXT
    m.free()


@pytest.mark.parametrize("flags", [-1, 1 << 24, 2**31, 2**64])
def test_demote_knows_24_flags(pool: Pool, flags: int) -> None:
    m = chain(pool, 1, 2)
    before = snapshot(pool, m)
    with pytest.raises(Inval, match="24 bits"):
        m.demote(True, flags)
    assert snapshot(pool, m) == before
    m.freem()


def test_demote_takes_no_list(pool: Pool) -> None:
    m, n, p = chain(pool, 1), chain(pool, 2), chain(pool, 3)
    m.nextpkt = p
    # The first mbuf is checked only if it is demoted itself.
    m.demote()
    m.next = n
    before = snapshot(pool, m, p)
    with pytest.raises(Inval, match="next packet"):
        m.demote(True)
    m.nextpkt, n.nextpkt = None, p
    with pytest.raises(Inval, match="next packet"):
        m.demote()
    n.nextpkt = None
    m.nextpkt = p
    assert snapshot(pool, m, p) == before
    pool.free_bulk([m, p])


def test_protocols_flags_are_cleared_from_here_on(pool: Pool) -> None:
    m = chain(pool, 1, 2, 300)
    for n in mbufs(m):
        n.flags |= M_PROTO1 | M_PROTO11 | M_EOR | M_RDONLY
    second = mbufs(m)[1]
    assert second.clrprotoflags() is second
    assert [n.flags & M_PROTOFLAGS for n in mbufs(m)] == [M_PROTO1 | M_PROTO11, 0, 0]
    m.clrprotoflags()
    assert [n.flags for n in mbufs(m)] == [M_PKTHDR | M_EOR | M_RDONLY, M_EOR | M_RDONLY, M_EXT | M_EOR | M_RDONLY]
    m.freem()


# Moving and copying a header.


@pytest.mark.parametrize("verb", ["move_pkthdr", "dup_pkthdr"])
@pytest.mark.parametrize(
    ("flags", "kept", "offset"),
    [(0, 0, 0), (M_PKTHDR, 0, 0), (M_EXT, M_EXT, 0), (M_EXT | M_PKTHDR | M_RDONLY, M_EXT, 0)],
)
def test_the_flags_come_with_the_header(pool: Pool, other: Mbuf, verb: str, flags: int, kept: int, offset: int) -> None:
    get = pool.get if not flags & M_PKTHDR else pool.gethdr
    m = pool.getcl(flags=flags & M_PKTHDR) if flags & M_EXT else get()
    m.append(b"m" * 20)
    m.flags |= flags & M_RDONLY
    if flags & M_PKTHDR:
        fill_header(pool, m, sender=True)
    fields = without_identity(header_state(other))
    tag = other.pkthdr.snd_tag
    assert getattr(m, verb)(other) is m
    assert (m.flags, m.offset, m.len) == (kept | M_PKTHDR | M_EOR | M_BCAST | M_PROTO1, offset, 20)
    fresh = without_identity(header_state(m))
    assert (fresh[:3], fresh[3][0], m.pkthdr.len) == (fields[:3], id(tag), 5)
    if verb == "move_pkthdr":
        assert (other.flags, tag.refs) == (M_EXT | M_EOR | M_BCAST | M_PROTO1, 1)
    else:
        assert (without_identity(header_state(other))[:3], tag.refs) == (fields[:3], 2)
    del tag
    pool.free_bulk([m, other])
    assert (pool.tags.count, pool.snd_tags.count) == (0, 0)


def test_a_header_moves_to_where_the_data_is_then_begun(pool: Pool) -> None:
    m, n = pool.get(), pool.gethdr()
    m.align(100)
    m.append(b"x" * 100)
    n.align(0)
    m.move_pkthdr(n)
    assert (offsets_and_lens(m), m.trailing) == ([(0, 100)], 68)
    # What was behind the header is in front of the data now.
    assert (offsets_and_lens(n), n.leading) == ([(224, 0)], 224)
    pool.free_bulk([m, n])


@pytest.mark.parametrize("verb", ["move_pkthdr", "dup_pkthdr"])
def test_bytes_that_do_not_fit_beside_a_header_stay_without(pool: Pool, other: Mbuf, verb: str) -> None:
    m = pool.get().append(bytes(169))
    before = snapshot(pool, m, other)
    with pytest.raises(Inval, match="169 bytes don't fit beside a packet header"):
        getattr(m, verb)(other)
    assert snapshot(pool, m, other) == before
    m.adj(1)
    getattr(m, verb)(other)
    assert (m.len, m.trailing, m.offset) == (168, 0, 0)
    pool.free_bulk([m, other])


@pytest.mark.parametrize("verb", ["move_pkthdr", "dup_pkthdr", "tag_copy_chain"])
def test_a_header_comes_from_another_mbuf_that_has_one(pool: Pool, verb: str) -> None:
    m, n, gone = pool.gethdr(), pool.get(), pool.gethdr()
    gone.free()
    before = snapshot(pool, m, n)
    for from_, error in ((m, Inval), (n, Inval), (gone, Freed), (None, (Inval, TypeError))):
        with pytest.raises(error):
            getattr(m, verb)(from_)
    assert snapshot(pool, m, n) == before
    with pytest.raises(Freed):
        getattr(gone, verb)(m)
    pool.free_bulk([m, n])


def test_an_mbuf_of_no_zone_stays_one_when_it_gets_a_header(pool: Pool, other: Mbuf) -> None:
    m = pool.init(flags=M_PKTHDR).extaddref(bytearray(10), RefCount())
    m.move_pkthdr(other)
    assert m.flags == M_NOFREE | M_EXT | M_PKTHDR | M_EOR | M_BCAST | M_PROTO1
    assert m.ext.type == EXT_EXTREF
    m.demote(True)
    assert m.flags == M_NOFREE | M_EXT
    pool.free_bulk([m, other])


@pytest.mark.parametrize("verb", ["dup_pkthdr", "tag_copy_chain"])
@pytest.mark.parametrize("headed", [False, True])
def test_failing_at_the_kth_tag_changes_nothing(make: Callable[..., Pool], verb: str, headed: bool) -> None:
    if verb == "tag_copy_chain" and not headed:
        return
    faults = FaultInjector(make(debug=True))
    pool = faults.pool
    for way, size in ALL_LAYOUTS:
        for k in count(1):
            chains = build_chains(way, pool, size)
            from_ = chains[0]
            m = (pool.gethdr() if headed else pool.get()).append(b"mine")
            if headed:
                m.tag_prepend(pool.tag_get(9, bytearray(b"nine")))
                m.pkthdr.snd_tag = pool.snd_tag_alloc(SndTagInterface("em2"))
            before = snapshot(pool, m, *chains)
            if not from_.flags & M_PKTHDR:
                with pytest.raises(Inval):
                    getattr(m, verb)(from_)
                assert snapshot(pool, m, *chains) == before
                pool.free_bulk([m, *chains])
                break
            _, failed = call_with_refusal(faults, k, True, lambda m=m, from_=from_: getattr(m, verb)(from_))
            if failed:
                assert snapshot(pool, m, *chains) == before
                assert getattr(m, verb)(from_) is m
            assert [(t.cookie, t.id, t.value) for t in m.tags] == [(t.cookie, t.id, t.value) for t in from_.tags]
            assert not {*map(id, m.tags)} & {*map(id, from_.tags)}
            # Where there was no header, it has taken the place of the bytes.
            assert (m.len, bytes(m) == b"mine" or not headed) == (4, True)
            pool.free_bulk([m, *chains])
            assert pool_counts(pool)[1:] == (0, 0, 0, 0)
            if not faults.refusals:
                assert k == 3
                break


# Tags.


def test_the_tag_put_last_is_the_first(pool: Pool) -> None:
    m = pool.gethdr()
    assert m.tags == ()
    tags = [pool.tag_alloc(7, n) for n in range(3)]
    for t in tags:
        assert m.tag_prepend(t) is m
    assert m.tags == tuple(reversed(tags))
    assert m.tag_locate(7, 1) is tags[1]
    assert m.tag_locate(7, 1, tags[2]) is tags[1]
    assert m.tag_locate(7, 1, tags[1]) is None
    assert m.tag_locate(8, 1) is None
    assert m.tag_find(1) is None
    assert m.tag_unlink(tags[1]).tags == (tags[2], tags[0])
    tags[1].free()
    assert m.tag_delete(tags[0]).tags == (tags[2],)
    m.free()
    assert pool.tags.count == 0


def test_tags_from_one_on_are_deleted(pool: Pool) -> None:
    m = pool.gethdr()
    tags = [pool.tag_get(n) for n in range(5)]
    for t in tags:
        m.tag_prepend(t)
    assert m.tag_find(2) is tags[2]
    assert m.tag_delete_chain(tags[2]).tags == (tags[4], tags[3])
    assert m.tag_delete_chain().tags == ()
    assert m.tag_delete_chain().tags == ()
    m.free()


def test_persistent_tags_stay(pool: Pool) -> None:
    m = pool.gethdr()
    assert m.tag_delete_nonpersistent() is m
    for id in (1, MTAG_PERSISTENT | 2, PACKET_TAG_IPFORWARD):
        m.tag_prepend(pool.tag_get(id))
    assert [t.id for t in m.tag_delete_nonpersistent().tags] == [MTAG_PERSISTENT | 2]
    m.free()


def test_a_packet_without_tags_has_none_to_give(pool: Pool) -> None:
    m, n, t = pool.gethdr(), pool.gethdr(), pool.tag_get(1)
    for verb in (m.tag_unlink, m.tag_delete, m.tag_delete_chain):
        with pytest.raises(Inval, match="isn't on this packet"):
            verb(t)
    assert m.tag_locate(0, 1) is None
    assert m.tag_copy_chain(n, M_NOWAIT).tags == ()
    n.tag_prepend(t)
    assert [tag.id for tag in m.tag_copy_chain(n).tags] == [1]
    # Copies of none are none.
    n.tag_delete(t)
    assert m.tag_copy_chain(n).tags == ()
    assert pool.tags.count == 0
    pool.free_bulk([m, n])


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.tags,
        lambda m: m.tag_prepend(None),
        lambda m: m.tag_unlink(None),
        lambda m: m.tag_delete(None),
        lambda m: m.tag_delete_chain(),
        lambda m: m.tag_delete_nonpersistent(),
        lambda m: m.tag_locate(0, 0),
        lambda m: m.tag_find(0),
        lambda m: m.tag_copy_chain(m),
    ],
)
def test_what_begins_no_packet_has_no_tags(pool: Pool, ask: Callable[[Mbuf], object]) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="no packet header"):
        ask(m)
    m.free()


@pytest.mark.skipif(compiled(), reason="compiled, most headers are such")
def test_a_header_that_nothing_else_refers_to_stays_with_its_mbuf(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mbuf.packet.header.header_shared", lambda m: False)
    m, n = pool.gethdr().append(b"data"), pool.gethdr()
    spare, given = n.hdr, m.hdr
    n.move_pkthdr(m)
    assert (n.hdr is given, m.hdr is spare, m.flags & M_PKTHDR, n.pkthdr.len) == (True, True, 0, 4)
    n.demote_pkthdr()
    assert (n.hdr is given, n.flags & M_PKTHDR) == (True, 0)
    pool.free_bulk([m, n])


@pytest.mark.skipif(compiled(), reason="nothing runs in between but a garbage collection")
def test_tags_that_came_meanwhile_are_kept(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    m = pool.gethdr()
    tags = [pool.tag_get(id, bytearray(4)) for id in (3, 5)]

    def interrupted() -> Any:
        monkeypatch.undo()
        m.tag_prepend(tags[0])
        return TagList()

    monkeypatch.setattr("mbuf.packet.header.TagList", interrupted)
    m.tag_prepend(tags[1])
    assert m.tags == (tags[1], tags[0])
    m.free()
    assert pool.tags.count == 0
