"""Transmit queues, and the order in which their packets are sent."""

import pytest

from mbuf import Inval, NoBufs, Pool
from mbuf.net.pacing.tokenbucket import TokenBucket
from mbuf.net.pacing.txqueue import TxQueue, TxQueues


def send_all(queues: TxQueues, now: int) -> str:
    """Send all packets that may be sent at a time; return their names."""
    names = ""
    while (found := queues.dequeue(now)) is not None:
        queue, m = found
        if queue.bucket is not None:
            queue.bucket.consume(len(m), now)
        names += bytes(m).decode()
        queues.complete(queue)
        m.freem()
    return names


def enqueue(pool: Pool, queues: TxQueues, queue: TxQueue, names: str) -> None:
    for name in names:
        queues.enqueue(queue, pool.gethdr().append(name.encode()))


def paced_queue(rate: int, now: int = 0) -> TxQueue:
    return TxQueue(8, TokenBucket(rate * 1_000_000_000, 0, now))


def test_without_packets_there_is_nothing_to_send(pool: Pool) -> None:
    queues = TxQueues(8)
    assert (bool(queues), len(queues), queues.dequeue(0), queues.due(7)) == (False, 0, None, None)


def test_the_unpaced_queue_alternates_with_paced_queues(pool: Pool) -> None:
    queues, queue = TxQueues(8), TxQueue(8, TokenBucket(1_000_000_000, 100, 0))
    enqueue(pool, queues, queues.unpaced, "abcd")
    enqueue(pool, queues, queue, "123")
    assert (len(queues), queues.due(50)) == (7, 50)
    assert send_all(queues, 50) == "a1b2c3d"


def test_the_queue_with_the_earliest_departure_time_is_first(pool: Pool) -> None:
    queues, a, b, c = TxQueues(8), paced_queue(1, 30), paced_queue(1, 10), paced_queue(1, 20)
    for queue, name in ((a, "a"), (b, "b"), (c, "c")):
        enqueue(pool, queues, queue, name)
    assert queues.due(0) == 10
    assert send_all(queues, 9) == ""
    assert send_all(queues, 20) == "bc"
    assert queues.due(20) == 30
    queues.lead = 5
    assert queues.due(20) == 25
    assert send_all(queues, 25) == "a"


def test_reorder_uses_changed_departure_times(pool: Pool) -> None:
    queues, a, b = TxQueues(8), paced_queue(1, 10), paced_queue(1, 20)
    enqueue(pool, queues, a, "a")
    enqueue(pool, queues, b, "b")
    assert a.bucket is not None
    a.bucket.departure = 40
    queues.reorder()
    assert queues.due(0) == 20
    assert send_all(queues, 100) == "ba"


def test_a_full_queue_refuses_packets_and_others_accept_them(pool: Pool) -> None:
    queues, queue = TxQueues(1), TxQueue(1, TokenBucket(1, 0, 0))
    enqueue(pool, queues, queue, "a")
    with pool.gethdr() as m:
        with pytest.raises(NoBufs):
            queues.enqueue(queue, m)
        with pytest.raises(Inval):
            queues.enqueue(queues.unpaced, None)  # type: ignore[arg-type]
    enqueue(pool, queues, queues.unpaced, "b")
    assert len(queues) == 2
    assert queues.drain() == 2


def test_packets_freed_by_another_user_are_skipped(pool: Pool) -> None:
    queues, queue = TxQueues(8), paced_queue(1)
    enqueue(pool, queues, queue, "a")
    enqueue(pool, queues, queues.unpaced, "b")
    for packets in (queue.packets, queues.unpaced.packets):
        assert packets.first is not None
        packets.first.freem()
    assert send_all(queues, 10) == ""
    assert not queues
    enqueue(pool, queues, queue, "c")
    assert send_all(queues, 20) == "c"


@pytest.mark.parametrize("unpaced", [True, False])
def test_a_queue_with_a_packet_in_flight_is_not_chosen_but_counted(pool: Pool, unpaced: bool) -> None:
    queues = TxQueues(8)
    queue = queues.unpaced if unpaced else paced_queue(1)
    enqueue(pool, queues, queue, "ab")
    found = queues.dequeue(0)
    assert found is not None
    enqueue(pool, queues, queue, "c")
    assert (found[0] is queue, len(queues)) == (True, 2)
    found[1].freem()
    assert queues.drain() == 2
    assert not queues
