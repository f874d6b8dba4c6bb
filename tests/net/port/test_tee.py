"""A tee copies packets to its side; copies that the side doesn't accept are dropped."""

from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Busy, Inval, Mbuf, Pool
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


@pytest.mark.parametrize("error", [OSError(5, "error"), Inval("closed"), Busy("in use")])
def test_an_error_of_the_side_is_counted_and_no_packet_is_lost(pool: Pool, error: Exception) -> None:
    main = QueuePort()
    with Tee(main, Failing(Failing(QueuePort(), 1, error), 2, error)) as tee:
        sent = [pool.frombytes(b"one"), pool.frombytes(b"two")]
        assert (tee.push(sent), sent) == (2, [])
        got = tee.pull(9)
        assert [bytes(m) for m in got] == [b"one", b"two"]
        stat = tee.stat()
        assert (stat.packets_in, stat.packets_out, stat.dropped, stat.denied) == (2, 2, 4, 0)
        pool.free_bulk(got)


def test_a_packet_without_a_header_is_copied_too(pool: Pool) -> None:
    with Tee(QueuePort(), QueuePort()) as tee:
        assert tee.push([pool.frombytes(b"packet"), pool.get().append(b"bare")]) == 2
        got, copies = tee.pull(9), tee.side.pull(9)
        assert [bytes(m) for m in got] == [b"packet", b"bare"]
        assert [bytes(m) for m in copies] == [b"packet", b"bare"] * 2
        pool.free_bulk([*got, *copies])


def test_a_packet_that_is_added_to_the_list_during_push_stays_in_it(pool: Pool) -> None:
    sent, late = [pool.frombytes(b"one"), pool.frombytes(b"two")], pool.frombytes(b"late")

    class Interrupted(QueuePort):
        def push(self, packets: list[Mbuf]) -> int:
            sent.append(late)
            return super().push(packets)

    with Tee(Interrupted(1), QueuePort()) as tee:
        assert tee.push(sent) == 1
        assert [bytes(m) for m in sent] == [b"two", b"late"]
        assert [bytes(m) for m in tee.side.queue] == [b"one"]
        assert (tee.stat().packets_out, tee.stat().bytes_out) == (1, 3)
        pool.free_bulk(sent)


def test_a_port_that_adds_packets_to_the_list_gives_them_to_the_caller(pool: Pool) -> None:
    class Adding(QueuePort):
        def push(self, packets: list[Mbuf]) -> int:
            done = super().push(packets)
            packets += [pool.getcl() for _ in range(3)]
            return done

    with Tee(Adding(), QueuePort()) as tee:
        sent = [pool.getcl()]
        assert (tee.push(sent), len(sent), tee.stat().packets_out, pool.out) == (0, 3, 0, 4)
        pool.free_bulk(sent)


def test_something_that_is_no_packet_is_refused_and_nothing_leaks(pool: Pool) -> None:
    with Tee(QueuePort(), QueuePort()) as tee:
        mixed: list[Any] = [pool.frombytes(b"one"), b"bytes"]
        with pytest.raises(Inval, match="give mbufs"):
            tee.push(mixed)
        assert (len(mixed), pool.out) == (2, 1)
        mixed[0].freem()


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
