"""A lossy port loses some, tells how many, and the same again with the same seed."""

import pytest

from mbuf import Inval, Pool
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.queueport import QueuePort


def passed(pool: Pool, loss: float, seed: int) -> list[int]:
    """Which of a hundred packets come through."""
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


def test_some_are_lost_and_the_others_come_in_order(pool: Pool) -> None:
    found = passed(pool, 0.3, 1)
    assert found == sorted(found)
    assert 20 < len(found) < 80
    assert passed(pool, 0.3, 1) == found != passed(pool, 0.3, 2)
    assert passed(pool, 0, 1) == list(range(100))
    assert passed(pool, 1, 1) == []


def test_what_the_port_does_not_take_stays_the_callers(pool: Pool) -> None:
    with Lossy(QueuePort(10), 0.5, 3) as port:
        sent = [pool.frombytes(bytes([n])) for n in range(40)]
        went = port.push(sent)
        assert went + len(sent) == 40
        assert sent
        stat = port.stat()
        assert (stat.packets_out, stat.dropped) == (10, went - 10)
        assert pool.out == 10 + len(sent)
        pool.free_bulk(sent)


@pytest.mark.parametrize("loss", [-0.1, 1.1, float("nan")])
def test_only_a_probability_is_taken(loss: float) -> None:
    with pytest.raises(Inval, match="probability"):
        Lossy(QueuePort(), loss)
