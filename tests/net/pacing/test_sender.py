"""Sending packets through a socket: after any error, each packet is sent, queued, or counted as dropped."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf import Inval, NoBufs, Pool
from mbuf.net.pacing.sender import PacedSender
from mbuf.net.pacing.txqueue import TxQueues
from net.paced import pair


class FaultySocket:
    """A datagram socket whose first calls of sendmsg raise the given errors."""

    type = socket.SOCK_DGRAM

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.sent: list[bytes] = []

    def sendmsg(self, views: list[Any]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(b"".join(views))


def sender(pool: Pool, sock: Any, *packets: bytes) -> PacedSender:
    queues = TxQueues(8)
    for data in packets:
        queues.enqueue(queues.unpaced, pool.getm2(len(data)).append(data))
    return PacedSender(sock, queues)


def refused(code: int) -> OSError:
    return OSError(code, "no")


def test_a_refused_datagram_is_dropped_and_its_error_kept(pool: Pool) -> None:
    sock = FaultySocket(refused(errno.EMSGSIZE))
    s = sender(pool, sock, b"a", b"b")
    assert s.flush(0) == 2
    assert sock.sent == [b"b"]
    stat = s.stat()
    assert (stat.sent, stat.bytes, stat.drops, stat.queued) == (1, 1, 1, 0)
    assert isinstance(stat.last_error, OSError)
    assert (stat.last_error.errno, stat.last_error.__traceback__) == (errno.EMSGSIZE, None)


def test_an_error_of_an_earlier_datagram_drops_nothing(pool: Pool) -> None:
    sock = FaultySocket(refused(errno.ECONNREFUSED))
    s = sender(pool, sock, b"a")
    assert s.flush(0) == 1
    assert (sock.sent, s.stat().drops) == ([b"a"], 0)


def test_datagrams_to_a_closed_peer_are_dropped(pool: Pool) -> None:
    ours, theirs = pair("unix datagrams")
    with ours:
        theirs.close()
        s = sender(pool, ours, b"a", b"b")
        assert s.flush(0) == 2
    assert (s.stat().drops, pool.out) == (2, 0)


@pytest.mark.parametrize("error", [refused(errno.ENOBUFS), refused(errno.ENOMEM), NoBufs("none left")])
def test_without_memory_a_packet_is_sent_again_later(pool: Pool, error: Exception) -> None:
    sock = FaultySocket(error)
    s = sender(pool, sock, b"a", b"b")
    assert s.flush(100) == 0
    assert (s.queued, s.busy, s.in_flight, s.blocked, s.due(100)) == (2, True, True, False, 1_000_100)
    assert s.flush(1_000_100) == 2
    assert (sock.sent, s.stat().drops, s.due(1_000_100)) == ([b"a", b"b"], 0, None)


def test_an_interrupted_packet_stays_in_flight(pool: Pool) -> None:
    sock = FaultySocket(KeyboardInterrupt())
    s = sender(pool, sock, b"a")
    with pytest.raises(KeyboardInterrupt):
        s.flush(0)
    assert s.queued == 1
    assert s.flush(0) == 1
    assert sock.sent == [b"a"]


def test_a_datagram_of_more_mbufs_than_iov_max_is_sent_in_one_call(pool: Pool) -> None:
    sock = FaultySocket()
    m = pool.get().append(b"x")
    for _ in range(1100):
        m.last().next = pool.get().append(b"y")
    queues = TxQueues(8)
    queues.enqueue(queues.unpaced, m)
    assert PacedSender(sock, queues).flush(0) == 1  # type: ignore[arg-type]
    assert sock.sent == [b"x" + b"y" * 1100]


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair("unix stream")
    with ours, theirs:
        yield ours, theirs


def test_a_broken_stream_raises_at_every_flush_and_keeps_its_packets(
    pool: Pool, stream: tuple[socket.socket, socket.socket]
) -> None:
    stream[1].close()
    s = sender(pool, stream[0], b"a", b"b")
    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            s.flush(0)
    assert (s.queued, s.stat().drops) == (2, 0)
    s.drain()
    assert (s.queued, s.stat().drops, pool.out) == (0, 2, 0)


def test_a_packet_freed_by_another_user_is_dropped(pool: Pool, stream: tuple[socket.socket, socket.socket]) -> None:
    queues = TxQueues(8)
    m = pool.getcl().append(b"a")
    m.next = pool.get().append(b"b")
    rest = m.next
    queues.enqueue(queues.unpaced, m)
    queues.enqueue(queues.unpaced, pool.getcl().append(b"c"))
    rest.free()
    s = PacedSender(stream[0], queues)
    assert s.flush(0) == 2
    assert (s.stat().sent, s.stat().drops, stream[1].recv(10)) == (1, 1, b"c")


def test_a_file_truncated_while_a_packet_is_sent_breaks_the_stream(
    pool: Pool, tmp_path: Path, stream: tuple[socket.socket, socket.socket]
) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(100_000))
    with pool.file(path) as file:
        queues = TxQueues(8)
        queues.enqueue(queues.unpaced, pool.gethdr().append(b"head").cat(file.getm()))
    path.write_bytes(b"")
    s = PacedSender(stream[0], queues)
    for _ in range(2):
        with pytest.raises(Inval, match="shorter"):
            s.flush(0)
    assert isinstance(s.stat().last_error, Inval)
    s.drain()
