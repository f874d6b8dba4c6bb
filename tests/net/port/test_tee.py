"""A tee copies packets to its side; copies that the side doesn't accept are dropped."""

from collections.abc import Callable

import pytest

from mbuf import Pool
from mbuf.net.port.failing import Failing
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.port import Port
from mbuf.net.port.queueport import QueuePort
from mbuf.net.port.tee import Tee


def test_pulled_and_pushed_packets_are_copied_to_the_side(pool: Pool) -> None:
    main, side = QueuePort(), QueuePort()
    with Tee(main, side) as tee:
        assert tee.push([pool.frombytes(b"out")]) == 1
        (m,) = tee.pull(9)
        assert bytes(m) == b"out"
        copies = side.pull(9)
        assert [bytes(n) for n in copies] == [b"out", b"out"]
        stat = tee.stat()
        assert (stat.packets_in, stat.bytes_in, stat.packets_out, stat.bytes_out, stat.dropped) == (1, 3, 1, 3, 0)
        assert tee.fileno() == -1
        pool.free_bulk([m, *copies])
    assert main.closed
    assert side.closed


def test_a_packet_that_was_not_sent_is_not_copied(pool: Pool) -> None:
    side = QueuePort()
    with Tee(QueuePort(1), side) as tee:
        sent = [pool.frombytes(b"one"), pool.frombytes(b"two")]
        assert tee.push(sent) == 1
        assert len(side.queue) == 1
        pool.free_bulk(sent)


def test_copies_that_the_side_does_not_accept_are_dropped_and_counted(pool: Pool) -> None:
    with Tee(QueuePort(), QueuePort(1)) as tee:
        assert tee.push([pool.getcl() for _ in range(3)]) == 3
        assert tee.stat().dropped == 2


def test_a_packet_is_sent_even_if_the_pool_refuses_its_copy(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, mbufs=11)
    side = QueuePort()
    with Tee(QueuePort(), side) as tee:
        sent = [pool.frombytes(bytes(100)) for _ in range(8)]
        assert tee.push(sent) == 8
        assert tee.stat().denied + len(side.queue) == 8
        assert tee.stat().denied > 0


def test_an_error_loses_no_packet(pool: Pool) -> None:
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
def test_a_wrapper_passes_on_ready_and_release_buffers(pool: Pool, wrap: Callable[[Port], Port]) -> None:
    class Releasing(QueuePort):
        releases = 0

        def release_buffers(self) -> None:
            self.releases += 1

    inside = Releasing()
    with wrap(inside) as port:
        inside.push([pool.getcl(), pool.getcl()])
        pool.free_bulk(port.pull(1))
        assert port.ready == 1
        port.release_buffers()
        assert inside.releases == 1


def test_only_the_copies_of_sent_packets_are_counted_as_denied(small: Callable[..., Pool]) -> None:
    pool = small(clusters=3, mbufs=11)
    with Tee(QueuePort(1), QueuePort()) as tee:
        sent = [pool.frombytes(bytes(100)) for _ in range(8)]
        while tee.push(sent):
            pass
        copies = tee.side.pull(9)
        assert tee.stat().denied + len(copies) == 1
        pool.free_bulk(sent)
        pool.free_bulk(copies)
