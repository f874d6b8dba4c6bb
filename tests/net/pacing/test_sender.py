"""What a socket does to packets that go through it: errors lose none, and each is counted."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_NOTREADY, Inval, NoBufs, Pool
from mbuf.net.pacing.inflight import ready
from mbuf.net.pacing.sender import PacedSender
from mbuf.net.pacing.txqueue import TxQueues
from net.paced import pair


class Faulty:
    """A datagram socket that raises what it is told to, and then does as it should."""

    type = socket.SOCK_DGRAM

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.sent: list[bytes] = []

    def sendmsg(self, views: list[Any]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(b"".join(views))


def sender(pool: Pool, sock: Any, *packets: bytes) -> PacedSender:
    lines = TxQueues(8)
    for data in packets:
        lines.put(lines.free, pool.getm2(len(data)).append(data))
    return PacedSender(sock, lines)


def refused(code: int) -> OSError:
    return OSError(code, "no")


def test_a_datagram_that_is_refused_is_dropped_and_told_of(pool: Pool) -> None:
    sock = Faulty(refused(errno.EMSGSIZE))
    s = sender(pool, sock, b"a", b"b")
    assert s.pump(0) == 2
    assert sock.sent == [b"b"]
    stat = s.stat()
    assert (stat.sent, stat.bytes, stat.drops, stat.queued) == (1, 1, 1, 0)
    assert isinstance(stat.fault, OSError)
    assert (stat.fault.errno, stat.fault.__traceback__) == (errno.EMSGSIZE, None)


def test_an_error_of_an_earlier_datagram_is_not_the_next_ones(pool: Pool) -> None:
    sock = Faulty(refused(errno.ECONNREFUSED))
    s = sender(pool, sock, b"a")
    assert s.pump(0) == 1
    assert (sock.sent, s.stat().drops) == ([b"a"], 0)


def test_a_peer_that_has_gone_refuses_every_datagram(pool: Pool) -> None:
    ours, theirs = pair("unix datagrams")
    with ours:
        theirs.close()
        s = sender(pool, ours, b"a", b"b")
        assert s.pump(0) == 2
    assert (s.stat().drops, pool.out) == (2, 0)


@pytest.mark.parametrize("error", [refused(errno.ENOBUFS), refused(errno.ENOMEM), NoBufs("none left")])
def test_what_there_is_no_memory_for_is_tried_again(pool: Pool, error: Exception) -> None:
    sock = Faulty(error)
    s = sender(pool, sock, b"a", b"b")
    assert s.pump(100) == 0
    assert (s.queued, s.busy, s.stuck, s.blocked, s.due(100)) == (2, True, True, False, 1_000_100)
    assert s.pump(1_000_100) == 2
    assert (sock.sent, s.stat().drops, s.due(1_000_100)) == ([b"a", b"b"], 0, None)


def test_who_is_interrupted_still_has_the_packet(pool: Pool) -> None:
    sock = Faulty(KeyboardInterrupt())
    s = sender(pool, sock, b"a")
    with pytest.raises(KeyboardInterrupt):
        s.pump(0)
    assert s.queued == 1
    assert s.pump(0) == 1
    assert sock.sent == [b"a"]


def test_a_datagram_of_more_pieces_than_one_call_takes_goes_in_one(pool: Pool) -> None:
    sock = Faulty()
    m = pool.get().append(b"x")
    for _ in range(1100):
        m.last().next = pool.get().append(b"y")
    lines = TxQueues(8)
    lines.put(lines.free, m)
    assert PacedSender(sock, lines).pump(0) == 1  # type: ignore[arg-type]
    assert sock.sent == [b"x" + b"y" * 1100]


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair("unix stream")
    with ours, theirs:
        yield ours, theirs


def test_a_stream_that_breaks_says_so_and_keeps_what_waits_until_it_is_drained(
    pool: Pool, stream: tuple[socket.socket, socket.socket]
) -> None:
    stream[1].close()
    s = sender(pool, stream[0], b"a", b"b")
    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            s.pump(0)
    assert (s.queued, s.stat().drops) == (2, 0)
    s.drain()
    assert (s.queued, s.stat().drops, pool.out) == (0, 2, 0)


def test_a_packet_that_somebody_freed_in_between_is_dropped(
    pool: Pool, stream: tuple[socket.socket, socket.socket]
) -> None:
    lines = TxQueues(8)
    m = pool.getcl().append(b"a")
    m.next = pool.get().append(b"b")
    rest = m.next
    lines.put(lines.free, m)
    lines.put(lines.free, pool.getcl().append(b"c"))
    rest.free()
    s = PacedSender(stream[0], lines)
    assert s.pump(0) == 2
    assert (s.stat().sent, s.stat().drops, stream[1].recv(10)) == (1, 1, b"c")


def test_a_file_that_is_cut_in_the_middle_of_a_packet_ends_the_stream(
    pool: Pool, tmp_path: Path, stream: tuple[socket.socket, socket.socket]
) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(100_000))
    with pool.file(path) as file:
        lines = TxQueues(8)
        lines.put(lines.free, pool.gethdr().append(b"head").cat(file.getm()))
    path.write_bytes(b"")
    s = PacedSender(stream[0], lines)
    for _ in range(2):
        with pytest.raises(Inval, match="shorter"):
            s.pump(0)
    assert isinstance(s.stat().fault, Inval)
    s.drain()


def test_what_is_not_ready_is_not_sent(pool: Pool) -> None:
    with pool.getcl() as m:
        m.append(b"x")
        m.next = pool.get().append(b"y")
        ready(m)
        m.next.flags |= M_NOTREADY
        with pytest.raises(Inval, match="encrypted"):
            ready(m)
        m.next.flags &= ~M_NOTREADY
