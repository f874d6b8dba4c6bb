"""A lossy port loses packets, counts them, and loses the same ones with the same seed."""

import pytest

from mbuf import Inval, Pool
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.queueport import QueuePort


def passed(pool: Pool, loss: float, seed: int) -> list[int]:
    """Which of a hundred packets are not lost."""
    with Lossy(QueuePort(), loss, seed) as port:
        assert port.push([pool.frombytes(bytes([n])) for n in range(100)]) == 100
        got = port.pull(1000)
        found = [m.copydata(0, 1)[0] for m in got]
        stat = port.stat()
        assert (stat.packets_in, stat.bytes_in) == (len(got), len(got))
        assert stat.dropped == 100 - len(got)
        assert stat.packets_out >= len(got)
        assert port.fileno() == -1
        pool.free_bulk(got)
    return found


def test_some_packets_are_lost_and_the_others_stay_in_order(pool: Pool) -> None:
    found = passed(pool, 0.3, 1)
    assert found == sorted(found)
    assert 20 < len(found) < 80
    assert passed(pool, 0.3, 1) == found != passed(pool, 0.3, 2)
    assert passed(pool, 0, 1) == list(range(100))
    assert passed(pool, 1, 1) == []


def test_packets_that_the_inner_port_does_not_send_stay_with_the_caller(pool: Pool) -> None:
    with Lossy(QueuePort(10), 0.5, 3) as port:
        sent = [pool.frombytes(bytes([n])) for n in range(40)]
        count = port.push(sent)
        assert count + len(sent) == 40
        assert sent
        stat = port.stat()
        assert (stat.packets_out, stat.dropped) == (10, count - 10)
        assert pool.out == 10 + len(sent)
        pool.free_bulk(sent)


@pytest.mark.parametrize("loss", [-0.1, 1.1, float("nan")])
def test_only_a_probability_is_accepted(loss: float) -> None:
    with pytest.raises(Inval, match="probability"):
        Lossy(QueuePort(), loss)
