"""What passes a tee is seen at its side, and what the side doesn't take is not missed."""

from collections.abc import Callable

import pytest

from mbuf import Pool
from mbuf.net.port.failing import Failing
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.port import Port
from mbuf.net.port.queueport import QueuePort
from mbuf.net.port.tee import Tee


def test_both_ways_are_shown_at_the_side(pool: Pool) -> None:
    main, side = QueuePort(), QueuePort()
    with Tee(main, side) as tee:
        assert tee.push([pool.frombytes(b"out")]) == 1
        (m,) = tee.pull(9)
        assert bytes(m) == b"out"
        shown = side.pull(9)
        assert [bytes(n) for n in shown] == [b"out", b"out"]
        stat = tee.stat()
        assert (stat.packets_in, stat.bytes_in, stat.packets_out, stat.bytes_out, stat.dropped) == (1, 3, 1, 3, 0)
        assert tee.fileno() == -1
        pool.free_bulk([m, *shown])
    assert main.closed
    assert side.closed


def test_what_did_not_go_is_not_shown(pool: Pool) -> None:
    side = QueuePort()
    with Tee(QueuePort(1), side) as tee:
        sent = [pool.frombytes(b"one"), pool.frombytes(b"two")]
        assert tee.push(sent) == 1
        assert len(side.queue) == 1
        pool.free_bulk(sent)


def test_what_the_side_does_not_take_is_dropped_and_counted(pool: Pool) -> None:
    with Tee(QueuePort(), QueuePort(1)) as tee:
        assert tee.push([pool.getcl() for _ in range(3)]) == 3
        assert tee.stat().dropped == 2


def test_a_packet_without_memory_for_its_copy_passes(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, mbufs=11)
    side = QueuePort()
    with Tee(QueuePort(), side) as tee:
        sent = [pool.frombytes(bytes(100)) for _ in range(8)]
        assert tee.push(sent) == 8
        assert tee.stat().denied + len(side.queue) == 8
        assert tee.stat().denied > 0


def test_an_error_loses_nothing(pool: Pool) -> None:
    side = QueuePort()
    with Tee(Failing(QueuePort(), 1), side) as tee:
        sent = [pool.getcl()]
        with pytest.raises(OSError, match="error"):
            tee.push(sent)
        assert (len(sent), len(side.queue), pool.out) == (1, 0, 1)
        pool.free_bulk(sent)
    with Tee(QueuePort(), Failing(QueuePort(), 1)) as tee, pytest.raises(OSError, match="error"):
        tee.push([pool.getcl()])


@pytest.mark.parametrize(
    "wrap", [lambda port: Tee(port, QueuePort()), lambda port: Lossy(port, 0), lambda p: Failing(p, 99)]
)
def test_what_waits_in_a_port_is_told_of_by_a_port_around_it(pool: Pool, wrap: Callable[[Port], Port]) -> None:
    class Resting(QueuePort):
        rested = 0

        def rest(self) -> None:
            self.rested += 1

    inside = Resting()
    with wrap(inside) as port:
        inside.push([pool.getcl(), pool.getcl()])
        pool.free_bulk(port.pull(1))
        assert port.ready == 1
        port.rest()
        assert inside.rested == 1


def test_only_what_went_is_denied_a_copy(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, mbufs=11)
    with Tee(QueuePort(1), QueuePort()) as tee:
        sent = [pool.frombytes(bytes(100)) for _ in range(8)]
        while tee.push(sent):
            pass
        shown = tee.side.pull(9)
        assert tee.stat().denied + len(shown) == 1
        pool.free_bulk(sent)
        pool.free_bulk(shown)
