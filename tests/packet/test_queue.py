from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Freed, Inval, Pool
from mbuf.packet.queue import MbufQ


def test_the_first_in_is_the_first_out(pool: Pool) -> None:
    queue = MbufQ()
    packets = [pool.gethdr().append(bytes([n])) for n in range(5)]
    for n, m in enumerate(packets, 1):
        queue.enqueue(m)
        assert queue.count == n
    assert queue.first is packets[0]
    for n, m in enumerate(packets, 1):
        assert queue.dequeue() is m
        assert (queue.count, m.nextpkt) == (5 - n, None)
    assert (queue.dequeue(), queue.first, queue.count) == (None, None, 0)
    pool.free_bulk(packets)


def test_an_empty_queue_is_used_again(pool: Pool) -> None:
    queue = MbufQ()
    m = pool.gethdr()
    for _ in range(3):
        queue.enqueue(m)
        assert queue.dequeue() is m
        assert queue.dequeue() is None
    m.free()


def test_a_queue_owns_what_is_in_it(make: Callable[..., Pool]) -> None:
    pool = make(mem=1 << 36)
    queue = MbufQ()
    for _ in range(30_000):
        queue.enqueue(pool.gethdr())
    assert pool.out == queue.count == 30_000
    del queue
    assert (pool.out, pool.stat().drops) == (0, 30_000)


def test_what_was_freed_is_not_queued(pool: Pool) -> None:
    queue = MbufQ()
    m = pool.gethdr()
    m.free()
    with pytest.raises(Freed):
        queue.enqueue(m)
    assert queue.count == 0


@pytest.mark.parametrize("junk", [None, 1, "m", b"m"])
def test_only_packets_are_queued(pool: Pool, junk: Any) -> None:
    queue = MbufQ()
    with pytest.raises((Inval, TypeError, AttributeError)):
        queue.enqueue(junk)
    assert (queue.count, queue.first) == (0, None)


def test_a_list_of_packets_is_not_queued_as_one(make: Callable[..., Pool]) -> None:
    pool = make()
    queue = MbufQ()
    m, n = pool.gethdr(), pool.gethdr()
    m.nextpkt = n
    try:
        queue.enqueue(m)
    except Inval:
        assert queue.count == 0
    else:
        while queue.dequeue() is not None:
            assert queue.count >= 0
        assert queue.count == 0
    finally:
        m.nextpkt = None
        pool.free_bulk([m, n])


def test_a_packet_is_in_a_queue_once(make: Callable[..., Pool]) -> None:
    pool = make()
    queue = MbufQ()
    m = pool.gethdr()
    queue.enqueue(m)
    try:
        with pytest.raises(Inval):
            queue.enqueue(m)
    finally:
        queue.dequeue()
        m.free()
