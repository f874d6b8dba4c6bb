import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from chains import chain_of
from mbuf import Freed, Inval, Mbuf, Pool, compiled

BAD = [-1, -(2**31), 2**31, 2**32, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30]

#: How long a chain must be that would break a recursive free.
LONG = 1_000_000 if compiled() else 100_000


# Python's protocols work on the packet from this mbuf on.


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100])
def test_the_bytes_are_the_same_however_they_are_kept(build: Callable[[bytes], Mbuf], size: int) -> None:
    data = bytes(range(size))
    m = build(data)
    assert bytes(m) == data
    assert (len(m), m.length()) == (size, size)
    assert b"".join(m) == data
    assert all(view.nbytes for view in m)
    assert bool(m)


def test_the_kernels_names_speak_of_one_mbuf(pool: Pool) -> None:
    m = chain_of(pool, b"one", b"", b"three")
    assert (m.len, len(m), bytes(m), bytes(m.data)) == (3, 8, b"onethree", b"one")
    assert m.next is not None
    assert m.next.next is not None
    assert (len(m.next), bytes(m.next)) == (5, b"three")
    assert [bytes(view) for view in m] == [b"one", b"three"]
    assert m.last() is m.next.next
    assert m.last().last() is m.last()
    m.freem()


def test_the_next_packet_is_not_a_part_of_this_one(pool: Pool) -> None:
    m, n = chain_of(pool, b"one"), chain_of(pool, b"two")
    m.nextpkt = n
    assert (bytes(m), len(m), m.last() is m, m.next, m.nextpkt is n) == (b"one", 3, True, None, True)
    m.freem()
    assert bytes(n) == b"two"
    n.freem()


def test_views_from_a_chain_are_read_only_where_its_bytes_are_shared(pool: Pool) -> None:
    m = pool.getcl().append(b"a" * 2048 + b"b" * 10)
    n = m.copypacket()
    assert [view.readonly for view in m] == [True, False]
    m.freem()
    n.freem()


# Room and grow.


def test_growing_counts_what_was_written_to_the_room(pool: Pool) -> None:
    m = pool.gethdr()
    m.room[:3] = b"abc"
    m.grow(3)
    m.room[:2] = b"de"
    m.grow(2)
    m.grow(0)
    assert (bytes(m), m.len, m.pkthdr.len, m.trailing) == (b"abcde", 5, 5, 163)
    m.free()


@pytest.mark.parametrize("count", [225, *BAD])
def test_growing_stays_in_the_room(pool: Pool, count: int) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="give 0 to 224, the room"):
        m.grow(count)
    assert m.len == 0
    m.free()


def test_filling_copies_a_part_of_some_bytes_in(pool: Pool) -> None:
    m = pool.gethdr().append(b"ab")
    m.fill(b"0123456789", 3, 4)
    m.fill(bytearray(b"xyz"), 0, 1)
    m.fill(b"", 0, 0)
    assert (bytes(m), m.pkthdr.len) == (b"ab3456x", 7)
    m.free()


@pytest.mark.parametrize("bad", [11, *BAD])
def test_filling_stays_in_the_data(pool: Pool, bad: int) -> None:
    with pool.gethdr() as m:
        for start, count in ((bad, 1), (0, bad), (bad, bad), (bad, 0)):
            with pytest.raises(Inval):
                m.fill(b"0123456789", start, count)
        assert (m.len, m.pkthdr.len) == (0, 0)


def test_filling_stays_in_the_room(pool: Pool) -> None:
    m = pool.gethdr().append(bytes(166))
    with pytest.raises(Inval, match="give 0 to 2, the room"):
        m.fill(b"0123456789", 0, 3)
    assert (m.len, m.pkthdr.len, m.next) == (166, 166, None)
    m.free()


def test_what_is_shared_is_not_filled(pool: Pool) -> None:
    m = pool.getcl().append(b"x")
    n = m.copypacket()
    with pytest.raises(Inval, match="0 to 0"):
        m.fill(b"y", 0, 1)
    assert bytes(n) == b"x"
    n.free()
    m.free()


def test_what_is_shared_does_not_grow(pool: Pool) -> None:
    m = pool.getcl().append(b"x")
    n = m.copypacket()
    with pytest.raises(Inval, match="0 to 0"):
        m.grow(1)
    n.free()
    m.free()


def test_only_the_first_of_a_packet_has_a_header(pool: Pool) -> None:
    m = pool.get()
    with pytest.raises(Inval, match="no packet header"):
        m.pkthdr  # noqa: B018
    m.free()


# Links.


@pytest.mark.parametrize("junk", [1, "m", b"m", object(), ...])
@pytest.mark.parametrize("link", ["next", "nextpkt"])
def test_only_mbufs_can_be_linked(pool: Pool, link: str, junk: object) -> None:
    m = pool.get()
    with pytest.raises((TypeError, Inval, AttributeError)):
        setattr(m, link, junk)
    assert getattr(m, link) is None
    m.free()


@pytest.mark.parametrize("link", ["next", "nextpkt"])
def test_what_was_freed_cannot_be_linked(pool: Pool, link: str) -> None:
    m, n = pool.get(), pool.get()
    n.free()
    with pytest.raises(Freed):
        setattr(m, link, n)
    assert getattr(m, link) is None
    m.free()


CIRCLES = [
    pytest.param(["next"], id="itself"),
    pytest.param(["next", "next", "next"], id="chain"),
    pytest.param(["next", "nextpkt"], id="first of its own list"),
    pytest.param(["nextpkt"], id="its own successor"),
    pytest.param(["nextpkt", "nextpkt"], id="list"),
    pytest.param(["nextpkt", "next", "nextpkt"], id="both"),
]


@pytest.mark.parametrize("links", CIRCLES)
def test_no_links_lead_back(pool: Pool, links: list[str]) -> None:
    mbufs = [pool.gethdr() for _ in links]
    for m, n, link in zip(mbufs, mbufs[1:], links, strict=False):
        setattr(m, link, n)
    try:
        with pytest.raises(Inval, match="lead back to itself|linked to itself"):
            setattr(mbufs[-1], links[-1], mbufs[0])
        assert getattr(mbufs[-1], links[-1]) is None
    finally:
        for m in mbufs:
            m.next = m.nextpkt = None
        pool.free_bulk(mbufs)


def test_a_link_may_be_undone_and_the_rest_lives_on(pool: Pool) -> None:
    m = chain_of(pool, b"a", b"b")
    n = m.next
    m.next = None
    assert n is not None
    assert (bytes(m), bytes(n)) == (b"a", b"b")
    m.free()
    n.free()


def test_a_link_replaced_drops_what_was_there(pool: Pool) -> None:
    m = chain_of(pool, b"a", b"b", b"c")
    with_drops = pool.stat().drops
    if pool.debug:
        with pytest.warns(ResourceWarning, match="dropped, not freed"):
            m.next = None
    else:
        m.next = None
    assert (pool.out, pool.stat().drops - with_drops) == (1, 2)
    m.free()


def test_a_chain_that_lost_a_link_raises_an_error(pool: Pool) -> None:
    m = chain_of(pool, b"a", b"b", b"c")
    assert m.next is not None
    middle, last = m.next, m.last()
    middle.free()
    for ask in (bytes, len, list, lambda m: m.last(), lambda m: m.append(b"x"), lambda m: m.copypacket()):
        with pytest.raises(Freed):
            ask(m)
    assert bytes(last) == b"c"
    m.next = last
    assert bytes(m) == b"ac"
    m.freem()


def test_two_chains_never_end_in_the_same_mbuf(pool: Pool) -> None:
    m, n, tail = pool.get(), pool.get(), pool.get()
    m.next = tail
    for link in ("next", "nextpkt"):
        with pytest.raises(Inval, match="linked to another one already"):
            setattr(n, link, tail)
    m.next = None
    n.next = tail
    n.freem()
    m.free()
    assert pool.out == 0


# Freeing long chains.


def test_a_long_chain_is_freed(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = pool.gethdr().append(bytes(168 + 224 * (LONG // 10)))
    assert pool.out == LONG // 10 + 1
    m.freem()
    assert (pool.out, pool.stat().drops) == (0, 0)


def test_a_long_chain_is_dropped(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = pool.gethdr().append(bytes(168 + 224 * (LONG // 10)))
    del m
    assert (pool.out, pool.stat().drops) == (0, LONG // 10 + 1)


def test_a_long_list_of_packets_is_dropped(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = last = pool.gethdr()
    for _ in range(LONG - 1):
        n = pool.gethdr()
        last.nextpkt = n
        last = n
    del last, n
    assert pool.out == LONG
    del m
    assert (pool.out, pool.stat().drops) == (0, LONG)


def test_a_long_list_goes_with_a_freed_head(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = last = pool.gethdr()
    for _ in range(20_000):
        n = pool.gethdr()
        n.next = pool.get()
        last.nextpkt = n
        last = n
    del last, n
    m.freem()
    assert (pool.out, pool.stat().drops) == (0, 40_000)


def test_a_zigzag_of_both_links_is_dropped(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    m = last = pool.gethdr()
    for n in range(20_000):
        new = pool.gethdr()
        setattr(last, "next" if n % 2 else "nextpkt", new)
        last = new
    del last, new
    del m
    assert pool.out == 0


# Dropping is freeing.


def test_dropping_the_last_name_frees(pool: Pool) -> None:
    line = sys._getframe().f_lineno + 1
    m = pool.getcl()
    if pool.debug:
        with pytest.warns(ResourceWarning, match=f"an mbuf from {__file__}:{line} was dropped, not freed"):
            del m
    else:
        del m
    assert (pool.out, pool.stat().drops) == (0, 1)


def test_an_mbuf_with_a_reference_stays(make: Callable[..., Pool]) -> None:
    pool = make()
    m = chain_of(pool, b"a", b"b", b"c", b"d")
    assert m.next is not None
    middle = m.next.next
    assert middle is not None
    del m
    assert (pool.out, pool.stat().drops) == (2, 2)
    assert bytes(middle) == b"cd"
    middle.freem()


def test_a_packet_of_a_list_with_a_reference_stays(make: Callable[..., Pool]) -> None:
    pool = make()
    packets = [chain_of(pool, bytes([n])) for n in range(5)]
    for a, b in zip(packets, packets[1:], strict=False):
        a.nextpkt = b
    a = b = None  # type: ignore[assignment]
    m, middle = packets[0], packets[2]
    packets.clear()
    del m
    assert (pool.out, bytes(middle)) == (3, b"\2")
    assert middle.nextpkt is not None
    assert bytes(middle.nextpkt) == b"\3"
    del middle
    assert (pool.out, pool.stat().drops) == (0, 5)


def test_a_dropped_mbuf_with_viewed_bytes_is_freed_later(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.getcl().append(b"x")
    view = m.data
    del m
    assert (pool.out, pool.stat().drops, pool.zones.pack.held) == (1, 1, 1)
    view.release()
    assert pool.out == 0


def test_a_warning_made_an_error_does_not_keep_the_mbuf(
    make: Callable[..., Pool], unraisable: list[BaseException]
) -> None:
    pool = make(debug=True)
    m = chain_of(pool, b"a", b"b", b"c")
    # The suite makes all warnings errors.
    del m
    gc.collect()
    assert set(map(type, unraisable)) == {ResourceWarning}
    assert pool.out == 0


def test_an_mbuf_in_a_cycle_that_is_cut_is_freed(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.gethdr()
    m.pkthdr.rcvif = m
    m.pkthdr.rcvif = None
    del m
    assert pool.out == 0


def test_an_interface_is_released_with_its_packet(pool: Pool) -> None:
    class Interface:
        gone = 0

        def __del__(self) -> None:
            Interface.gone += 1

    m = pool.gethdr()
    m.pkthdr.rcvif = Interface()
    m.free()
    del m
    gc.collect()
    assert Interface.gone == 1


@pytest.mark.parametrize("verb", ["append", "fill"])
def test_bytes_may_come_from_the_room_that_they_go_to(make: Callable[..., Pool], verb: str) -> None:
    m = make().getcl()
    m.room[:64] = bytes(range(64))
    with m.room[1:64] as data:
        if verb == "append":
            m.append(data)
        else:
            m.fill(data, 0, len(data))
    assert bytes(m) == bytes(range(1, 64))
    m.free()


def test_a_packet_in_several_pieces_is_not_a_single_buffer(pool: Pool) -> None:
    # Uncompiled, only this is checked.
    export: Any = memoryview if compiled() else lambda m: m.before_export()
    with chain_of(pool, b"one", b"two") as m, pool.getcl().append(b"one") as n:
        with pytest.raises(BufferError, match="in several pieces"):
            export(m)
        seen = export(n)
        assert (seen == b"one" if compiled() else not seen, pool.out) == (True, 3)
        del seen


def test_a_chain_whose_inside_leads_to_a_next_packet_is_not_put_behind_a_linked_mbuf(pool: Pool) -> None:
    m, n = chain_of(pool, b"a", b"b"), chain_of(pool, b"c", b"d")
    n.next.nextpkt = other = pool.gethdr().append(b"e")
    with pytest.raises(Inval, match="next: an mbuf inside the other chain has a next packet"):
        m.next.next = n
    assert (bytes(m), bytes(n), n.next.nextpkt, pool.out) == (b"ab", b"cd", other, 5)
    n.next.nextpkt = None
    m.next.next = n
    assert bytes(m) == b"abcd"
    m.freem()
    other.free()
