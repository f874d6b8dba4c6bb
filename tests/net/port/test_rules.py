"""The rules of ports: what a call accepts, and what becomes of the packets that were sent."""

import os
import sys
from typing import Any

import pytest

from mbuf import M_NOTREADY, M_PKTHDR, Busy, Freed, Inval, Pool
from mbuf.net.port import rules
from mbuf.net.port.rules import CallLock
from mbuf.vm.page import compiled


def test_a_count_is_an_integer_of_0_or_more() -> None:
    assert [rules.check_count(n) for n in (0, 7, True, 1 << 80)] == [0, 7, 1, (1 << 63) - 1]
    for negative in (-1, -(1 << 80)):
        with pytest.raises(Inval, match=f"^pull: {negative} packets: give 0 or more$"):
            rules.check_count(negative)
    with pytest.raises(TypeError):
        rules.check_count("7")


def test_a_closed_port_is_named_before_a_busy_one() -> None:
    rules.check_usable("pull", False, False)
    with pytest.raises(Inval, match=r"^pull: the port is closed$"):
        rules.check_usable("pull", True, True)
    with pytest.raises(Busy, match=r"^push: the port is in use by another thread"):
        rules.check_usable("push", False, True)


@pytest.mark.parametrize("packets", [(), None, "m", type("Mine", (list,), {})()])
def test_packets_are_in_a_list(packets: object) -> None:
    rules.check_list([])
    with pytest.raises(TypeError, match=f"^push: give a list, .*not a {type(packets).__name__}$"):
        rules.check_list(packets)


def test_a_packet_is_an_mbuf_that_was_not_freed(pool: Pool) -> None:
    m = pool.getcl()
    assert rules.check_packet(m) is m
    m.free()
    with pytest.raises(Freed):
        rules.check_packet(m)
    with pytest.raises(Inval, match=r"^push: a bytes is in the list of packets: give mbufs, as of pool.frombytes$"):
        rules.check_packet(b"bytes")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_each_mbuf_of_a_packet_is_ready(pool: Pool, at: int) -> None:
    mbufs = [pool.getcl(), pool.get(), pool.get()]
    mbufs[0].next, mbufs[1].next = mbufs[1], mbufs[2]
    rules.check_ready("send", mbufs[0])
    mbufs[at].flags |= M_NOTREADY
    with pytest.raises(Inval, match=r"^send: .*M_NOTREADY"):
        rules.check_ready("send", mbufs[0])
    with pytest.raises(Inval, match=r"^send: .*M_NOTREADY"):
        rules.check_mbuf_ready("send", mbufs[at])
    if at:
        rules.check_mbuf_ready("send", mbufs[0])
    mbufs[0].freem()


def test_sent_packets_are_freed_and_removed(pool: Pool) -> None:
    packets = [pool.getcl() for _ in range(3)]
    last = packets[2]
    rules.free_sent(packets, 2)
    assert packets == [last]
    assert pool.out == 1
    rules.free_sent(packets, 0)
    rules.free_sent(packets, 1)
    assert packets == []


def test_all_sent_packets_are_freed_even_if_one_is_freed_or_replaced_meanwhile(pool: Pool) -> None:
    freed = pool.getcl()
    freed.free()
    packets: list[Any] = [freed, pool.getcl(), pool.getcl()]
    with pytest.raises(Freed):
        rules.free_sent(packets, 3)
    assert packets == []
    packets = [None, pool.getcl()]
    with pytest.raises(Inval):
        rules.free_sent(packets, 2)
    assert (packets, pool.out, pool.stat().drops) == ([], 0, 0)


def test_a_size_is_from_1_to_the_longest_message() -> None:
    assert [rules.check_size(size, 9, "frame") for size in (1, 9)] == [1, 9]
    for size in (0, -1, 10, 1 << 80):
        with pytest.raises(Inval, match=f"^size {size}: give the bytes of the longest frame, 1 to 9$"):
            rules.check_size(size, 9, "frame")


def test_a_lock_is_held_by_one_call_and_not_after_close() -> None:
    pull, push = CallLock("pull"), CallLock("push")
    with pull:
        assert (pull.held(), push.held()) == (True, False)
        with pytest.raises(Busy, match=r"^pull: the port is in use"), pull:
            pass
        with pytest.raises(Busy, match=r"^close: the port is in use"):
            rules.close_calls(pull, push)
        assert pull.held()
    with push, pytest.raises(Busy, match=r"^close: the port is in use"):
        rules.close_calls(pull, push)
    with pytest.raises(KeyError), push:
        raise KeyError
    assert [rules.close_calls(pull, push) for _ in range(2)] == [True, False]
    for lock in (pull, push):
        with pytest.raises(Inval, match=r"^pu..: the port is closed$"):
            lock.acquire()
        assert (lock.held(), lock.closed) == (False, True)


@pytest.mark.skipif(not compiled(), reason="uncompiled, these are calls of Python functions")
def test_no_signal_handler_runs_within_a_step_of_a_lock() -> None:
    lock, calls = CallLock("pull"), []

    def trace(frame: Any, event: str, arg: object) -> None:
        calls.append(frame.f_code.co_name)

    sys.settrace(trace)
    try:
        with lock:
            pass
        rules.close_calls(lock, lock)
    finally:
        sys.settrace(None)
    assert (calls, lock.closed) == ([], True)


def test_a_lock_is_free_in_the_child_of_a_fork() -> None:
    pull, push = CallLock("pull"), CallLock("push")
    with pull:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with pull:
                    code = 2 if not pull.held() else 3
                code = int(not rules.close_calls(pull, push))
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert (pull.held(), pull.closed) == (True, False)


def test_a_packet_without_an_address_is_refused(pool: Pool) -> None:
    m = pool.frombytes(b"x")
    with pytest.raises(Inval, match=r"^push: this packet has no peer: set m\.peer, connect"):
        rules.check_addressed(m)
    m.peer = ("127.0.0.1", 9)
    rules.check_addressed(m)
    m.freem()
    m = pool.get()
    assert not m.flags & M_PKTHDR
    with pytest.raises(Inval, match="has no peer"):
        rules.check_addressed(m)
    m.freem()


def test_sent_packets_are_removed_from_a_list_that_was_changed() -> None:
    sent = [object() for _ in range(3)]
    other: list[object] = [object()]
    for changed in (sent, sent + other, other + sent, [], other, sent[1:] + other, [sent[2], *other, sent[0]]):
        packets = list(changed)
        rules.remove_sent(packets, sent)
        assert packets == (other if other[0] in changed else [])
