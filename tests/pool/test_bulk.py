"""Bulk allocation and free: all mbufs, or none."""

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chains import mbufs
from mbuf import (
    M_BCAST,
    M_EXT,
    M_PKTHDR,
    MCLBYTES,
    MJUM16BYTES,
    MT_CONTROL,
    Busy,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    Pool,
    Vm,
    compiled,
)
from mbuf.pool import bulk

Small = Callable[..., Pool]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 300])
def test_a_bulk_is_so_many_packets(pool: Pool, n: int) -> None:
    packets = pool.getcl_bulk(n, flags=M_PKTHDR | M_BCAST, type=MT_CONTROL)
    assert len({id(m) for m in packets}) == n == pool.out
    assert {(m.flags, m.type, m.size, m.len) for m in packets} <= {(M_PKTHDR | M_BCAST | M_EXT, MT_CONTROL, 2048, 0)}
    pool.free_bulk(packets)
    assert packets == []


@pytest.mark.parametrize("k", range(6))
def test_a_bulk_is_all_or_nothing(small: Small, k: int) -> None:
    pool = small(clusters=5)
    taken = pool.getcl_bulk(5 - k)
    with pytest.raises(NoBufs, match="mbuf_cluster"):
        pool.getcl_bulk(k + 1)
    assert (pool.out, pool.stat().drops) == (5 - k, 0)
    more = pool.getcl_bulk(k)
    pool.free_bulk(taken + more)


@pytest.mark.parametrize("junk", [None, 1, "m", b"m", object()])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_list_with_junk_in_it_is_left_alone(pool: Pool, junk: Any, at: int) -> None:
    packets: list[Any] = pool.getcl_bulk(3)
    packets.insert(at, junk)
    before = list(packets)
    with pytest.raises(Inval, match=rf"give a list of mbufs: element \d+ is a {type(junk).__name__}"):
        pool.free_bulk(packets)
    assert packets == before
    assert pool.out == 3
    packets.remove(junk)
    pool.free_bulk(packets)


@pytest.mark.parametrize("junk", [None, 1, (), {}, "m"])
def test_only_a_list_is_freed(pool: Pool, junk: Any) -> None:
    with pytest.raises((TypeError, Inval)):
        pool.free_bulk(junk)


def test_a_tuple_is_refused_before_anything_is_freed(pool: Pool) -> None:
    packets = tuple(pool.getcl_bulk(3))
    with pytest.raises((TypeError, Inval)):
        pool.free_bulk(packets)  # type: ignore[arg-type]
    assert pool.out == 3
    for m in packets:
        m.free()


def test_a_list_with_a_freed_packet_in_it_is_left_alone(pool: Pool) -> None:
    packets = pool.getcl_bulk(4)
    a, b, c, d = packets
    c.free()
    with pytest.raises(Freed, match="packet 2 of the list was freed already"):
        pool.free_bulk(packets)
    assert (packets, pool.out) == ([a, b, c, d], 3)
    del packets[2]
    pool.free_bulk(packets)
    assert (packets, pool.out) == ([], 0)


def test_a_list_with_a_packet_twice_in_it_is_left_alone(pool: Pool) -> None:
    m, n, chain = pool.getcl(), pool.getcl(), pool.gethdr().append(bytes(1000))
    for packets in ([m, m, n], [m, n, m], [chain, n, chain.next], [chain.next, chain], [chain, chain]):
        before = list(packets)
        with pytest.raises(Inval, match="is in the list twice, or shares an mbuf with one before it"):
            pool.free_bulk(packets)
        assert (packets, pool.out) == (before, 7)
    assert m.flags == n.flags == M_PKTHDR | M_EXT
    pool.free_bulk([m, n, chain])
    assert pool.out == 0


@pytest.mark.parametrize("kind", [tuple, type("Sub", (list,), {}), set])
def test_nothing_but_a_list_is_emptied(pool: Pool, kind: Any) -> None:
    packets = pool.getcl_bulk(3)
    with pytest.raises(TypeError, match="give a list, which it takes over and empties"):
        pool.free_bulk(kind(packets))
    assert pool.out == 3
    pool.free_bulk(packets)


def test_a_routine_that_changes_the_list_changes_nothing(pool: Pool) -> None:
    late = pool.getcl()

    def change(_: object) -> None:
        packets[:] = [late, None]

    packets: list[Any] = [pool.gethdr().extadd(bytearray(9), change), *pool.getcl_bulk(4)]
    pool.free_bulk(packets)
    assert packets == [late, None]
    assert pool.out == 1
    late.free()


def test_routines_are_called_when_the_whole_list_is_free(pool: Pool) -> None:
    packets: list[Any] = [pool.gethdr(), *pool.getcl_bulk(3)]
    victim, calls = packets[2], []

    def routine(_: object) -> None:
        with pytest.raises(Freed):
            victim.free()
        calls.append(len(packets))

    packets[0].extadd(bytearray(9), routine)
    pool.free_bulk(packets)
    assert (packets, calls, pool.out) == ([], [0], 0)


def test_what_a_routine_frees_of_the_list_is_told_when_all_is_free(pool: Pool) -> None:
    packets: list[Any] = [pool.gethdr().append(bytes(1000)), *pool.getcl_bulk(3)]
    victim = packets[2]
    packets[0].last().next = pool.get().extadd(bytearray(9), lambda _: victim.free())
    with pytest.raises(Freed, match="1 of 4 packets were freed by a free routine or a listener of another one"):
        pool.free_bulk(packets)
    assert (packets, pool.out) == ([], 0)


def test_a_probe_that_ends_the_program_does_so_when_all_is_free(pool: Pool) -> None:
    def end(_: object) -> None:
        raise KeyboardInterrupt

    packets = pool.getcl_bulk(3)
    pool.probes.attach("m-free", end)
    with pytest.raises(KeyboardInterrupt):
        pool.free_bulk(packets)
    pool.probes.detach("m-free", end)
    assert (packets, pool.out) == ([], 0)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_list_with_a_packet_that_is_about_to_be_freed_is_left_alone(pool: Pool, at: int) -> None:
    errors: list[str] = []

    def free_too(m: Mbuf) -> None:
        packets = [*others[:at], m, *others[at:]]
        before = list(packets)
        with pytest.raises(Busy) as caught:
            pool.free_bulk(packets)
        assert packets == before
        errors.append(str(caught.value))

    first, others = pool.getcl(), pool.getcl_bulk(2)
    with pool.probes.attached("m-free", free_too):
        first.free()
    assert errors == [f"free_bulk: packet {at} of the list is about to be freed; nothing was freed now"]
    assert pool.out == 2
    pool.audit()
    pool.free_bulk(others)


@pytest.mark.skipif(compiled(), reason="compiled, no other thread gets in between")
def test_what_another_thread_does_after_a_list_was_checked_is_seen(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    singles = bulk.singles

    def late(packets: list[Any]) -> int:
        count = singles(packets)
        packets[1].free()
        packets[2].next = tail
        return count

    packets, tail = pool.getcl_bulk(4), pool.get_row(2)
    monkeypatch.setattr(bulk, "singles", late)
    with pytest.raises(Freed, match="1 of 4 packets were freed by a free routine or a listener of another one"):
        pool.free_bulk(packets)
    assert (packets, pool.out, pool.stat().drops) == ([], 0, 0)
    with pytest.raises(Freed):
        tail.free()
    pool.audit()


def test_whole_chains_are_freed_in_bulk(pool: Pool) -> None:
    packets = [pool.gethdr().append(bytes(1000)) for _ in range(3)]
    assert pool.out == 15
    pool.free_bulk(packets)
    assert (pool.out, pool.stat().drops) == (0, 0)


def test_packets_of_other_pools_go_to_those(make: Callable[..., Pool]) -> None:
    here, there = make(), make()
    packets = here.getcl_bulk(3) + there.getcl_bulk(3)
    here.free_bulk(packets)
    assert (here.out, there.out) == (0, 0)


@pytest.mark.parametrize("n", [1, 2, 300])
def test_a_row_is_a_chain_of_so_many_mbufs(pool: Pool, n: int) -> None:
    m = pool.get_row(n, type=MT_CONTROL)
    assert [(one.flags, one.type, one.len) for one in mbufs(m)] == [(0, MT_CONTROL, 0)] * n
    assert pool.out == n
    m.freem()


def test_a_row_is_all_or_nothing(small: Small) -> None:
    pool = small(clusters=2, mbufs=12)
    m = pool.get_row(10)
    with pytest.raises(NoBufs, match="mbuf"):
        pool.get_row(3)
    assert (pool.out, pool.stat().drops) == (10, 0)
    m.last().next = pool.get_row(2)
    m.freem()


@pytest.mark.parametrize("size", [MCLBYTES, 4096, 9216, MJUM16BYTES])
def test_a_bulk_of_clusters_of_any_size(pool: Pool, size: int) -> None:
    packets = pool.getjcl_bulk(3, flags=0, size=size)
    assert [(m.flags, m.size) for m in packets] == [(M_EXT, size)] * 3
    pool.free_bulk(packets)


def test_a_bulk_of_large_clusters_is_all_or_nothing(small: Small) -> None:
    pool = small(jumbo16=2)
    with pytest.raises(NoBufs, match="mbuf_jumbo_16k"):
        pool.getjcl_bulk(3, size=MJUM16BYTES)
    assert (pool.out, pool.stat().drops) == (0, 0)
    pool.free_bulk(pool.getjcl_bulk(2, size=MJUM16BYTES))


def test_a_number_of_mbufs_that_cannot_be_is_refused(pool: Pool) -> None:
    for verb in (pool.getcl_bulk, pool.getjcl_bulk, pool.get_row):
        with pytest.raises(Inval, match="give [01] or more"):
            verb(-1)
    with pytest.raises(Inval, match="give 1 or more"):
        pool.get_row(0)
    with pytest.raises(Inval, match="cluster size"):
        pool.getjcl_bulk(1, size=5)


@pytest.mark.parametrize("late", [None, 5, "m"])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_collection_that_changes_the_list_does_no_harm(late: object, where: int) -> None:
    pool = Pool(Vm(1 << 24))
    packets: list[Any] = pool.getcl_bulk(3)
    kept = list(packets)

    def change(phase: str, _: object) -> None:
        if phase == "start" and packets:
            packets[where] = late

    before = gc.get_threshold()
    gc.callbacks.append(change)
    gc.set_threshold(1)
    try:
        with suppress(Inval):
            pool.free_bulk(packets)
    finally:
        gc.callbacks.remove(change)
        gc.set_threshold(*before)
    # All or nothing; from 3.12 on, no collection begins there.
    assert [m for m in kept if "freed" not in repr(m)] in ([], kept)
    for m in kept:
        if "freed" not in repr(m):
            m.free()
    assert pool.out == 0
    pool.close()
