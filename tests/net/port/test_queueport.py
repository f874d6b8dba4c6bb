"""Packets that are pushed into a queue can be pulled from it."""

from typing import Any

import pytest

from mbuf import Busy, Freed, Inval, Pool
from mbuf.net.port.queueport import QueuePort


def test_packets_are_pulled_in_the_order_in_which_they_were_pushed(pool: Pool) -> None:
    with QueuePort() as port:
        sent = [pool.frombytes(bytes(n)) for n in range(5)]
        kept = list(sent)
        assert port.push(sent) == 5
        assert sent == []
        assert port.pull(2) + port.pull(9) == kept
        assert port.pull(9) == []
        stat = port.stat()
        assert (stat.packets_in, stat.packets_out, stat.bytes_in, stat.bytes_out) == (5, 5, 10, 10)
        pool.free_bulk(kept)


def test_a_full_queue_leaves_the_other_packets_to_the_caller(pool: Pool) -> None:
    with QueuePort(2) as port:
        sent = [pool.frombytes(bytes([n])) for n in range(3)]
        third = sent[2]
        assert port.push(sent) == 2
        assert sent == [third]
        pool.free_bulk(port.pull(1))
        assert port.push(sent) == 1
        assert (port.fileno(), dict(port.features)) == (-1, {})
    assert pool.out == 0


def test_what_is_no_packet_is_refused_after_the_packets_before_it(pool: Pool) -> None:
    with QueuePort() as port:
        freed, listed = pool.getcl(), pool.getcl()
        freed.free()
        listed.nextpkt = pool.getcl()
        for bad, error in (("m", Inval), (freed, Freed), (listed, Inval)):
            mixed: list[Any] = [pool.getcl(), bad, pool.getcl()]
            with pytest.raises(error):
                port.push(mixed)
            assert mixed[0] is bad
            assert len(mixed) == 2
            mixed[1].free()
        assert len(port.queue) == 3
        rest = listed.nextpkt
        listed.nextpkt = None
        pool.free_bulk([m for m in (listed, rest) if m])
        with pytest.raises(TypeError, match="list"):
            port.push(())  # type: ignore[arg-type]
        with pytest.raises(Inval, match="0 or more"):
            port.pull(-1)


def test_a_closed_queue_is_empty_and_refuses_calls(pool: Pool) -> None:
    port = QueuePort()
    port.push([pool.getcl()])
    port.close()
    port.close()
    with pytest.raises(Inval, match="closed"):
        port.pull(1)
    with pytest.raises(Inval, match="closed"):
        port.push([])


def test_one_thread_is_in_each_call() -> None:
    port = QueuePort()
    with port._pull_lock, port._push_lock:
        for call in (lambda: port.pull(1), lambda: port.push([]), port.close):
            with pytest.raises(Busy):
                call()
    port.close()


def test_what_is_in_the_queue_of_a_port_that_is_closed_is_counted(pool: Pool) -> None:
    port = QueuePort()
    port.push([pool.frombytes(b"x") for _ in range(3)])
    pool.free_bulk(port.pull(1))
    port.close()
    port.close()
    assert (port.stat().packets_in, port.stat().discarded) == (1, 2)
