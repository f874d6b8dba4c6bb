"""A report is sent with mbufs of the reserve alone, and is reassembled whatever becomes of its parts."""

import socket
from collections.abc import Callable, Iterator

import pytest

from mbuf import Inval, NoBufs, Pool, Vm
from mbuf.net.udp import report
from mbuf.net.udp.report import Collector, Received, send
from mbuf.stats import netstat

Pair = tuple[socket.socket, socket.socket]
Few = Callable[..., dict[str, int]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two sockets on loopback, of which the first sends to the second."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        theirs.bind(("127.0.0.1", 0))
        theirs.settimeout(10)
        ours.connect(theirs.getsockname())
        yield ours, theirs


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(Vm(4 << 20), worker=False) as pool:
        yield pool
        pool.reserve.drain()
        assert (pool.out, pool.stat().drops) == (0, 0)


def collected(collector: Collector, datagrams: int) -> list[Received]:
    return [received for _ in range(datagrams) for received in collector.receive()]


def test_a_report_is_sent_when_every_zone_is_at_its_limit(pair: Pair, pool: Pool, few: Few) -> None:
    ours, theirs = pair
    poor = Pool(Vm(4 << 20), few(), worker=False)
    poor.reserve.reinit(1, 1)
    taken = []
    for allocate in (
        poor.getcl,
        poor.get,
        lambda: poor.getjcl(size=9216),
        lambda: poor.getjcl(size=16384),
        poor.getjcl,
    ):
        try:
            while True:
                taken.append(allocate())
        except NoBufs:
            pass
    text = netstat.text(poor.stat())
    count = send(poor, text, ours)
    with pytest.raises(NoBufs):
        poor.get()
    assert (poor.reserve.mbufs, poor.reserve.clusters) == (1, 1)
    (received,) = collected(Collector(pool, theirs), count)
    assert (received.text, received.missing, received.sender) == (text, 0, ours.getsockname())
    assert "10/0/10/10 mbuf clusters in use (current/cache/total/max)" in received.text
    poor.free_bulk(taken)
    assert poor.close() == 0


@pytest.mark.parametrize("size", [0, 1, 1431, 1432, 1433, 5000, 64 * 1432])
def test_a_report_of_any_size_is_reassembled(pair: Pair, pool: Pool, size: int) -> None:
    pool.reserve.reinit(1, 1)
    text = "x" * size
    count = send(pool, text, pair[0])
    assert count == max(-(-size // 1432), 1)
    assert [r.text for r in collected(Collector(pool, pair[1]), count)] == [text]


def test_a_report_can_be_sent_to_an_address(pair: Pair, pool: Pool) -> None:
    pool.reserve.reinit(1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert send(pool, "für alle", sock, pair[1].getsockname()) == 1
        assert [r.text for r in collected(Collector(pool, pair[1]), 1)] == ["für alle"]


def test_a_report_that_cannot_be_sent_is_refused(pair: Pair, pool: Pool) -> None:
    with pytest.raises(Inval, match="call pool.reserve.reinit first"):
        send(pool, "text", pair[0])
    pool.reserve.reinit(1, 0)
    with pytest.raises(NoBufs, match="no cluster left"):
        send(pool, "text", pair[0])
    with pytest.raises(Inval, match="give at most 91648"):
        send(pool, "x" * (64 * 1432 + 1), pair[0])
    assert not pool.reserve.started


def test_an_error_of_the_system_leaves_the_reserve_full(pool: Pool) -> None:
    pool.reserve.reinit(1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="[Dd]estination"):
        send(pool, "text", sock)
    assert (pool.reserve.started, pool.reserve.mbufs, pool.reserve.clusters) == (False, 1, 1)


def test_parts_may_arrive_in_any_order_twice_or_not_at_all(pair: Pair, pool: Pool) -> None:
    pool.reserve.reinit(1, 1)
    now = 0.0
    ours, theirs = pair
    send(pool, "a" * 1432 + "b" * 1432 + "c", ours)
    parts = [theirs.recv(2048) for _ in range(3)]
    collector = Collector(pool, theirs, lambda: now)
    for part in (parts[2], parts[0], parts[0]):
        ours.send(part)
        assert collector.receive() == []
    assert collector.expire() == []
    now = 5.0
    (received,) = collector.expire()
    assert (received.missing, received.text) == (1, "a" * 1432 + "\n[a part is missing]\n" + "c")
    for part in parts[::-1]:
        ours.send(part)
    assert [r.missing for r in collected(collector, 3)] == [0]
    assert collector.flush() == []


def test_datagrams_that_are_no_part_of_a_report_are_counted(pair: Pair, pool: Pool) -> None:
    ours, theirs = pair
    collector = Collector(pool, theirs)
    head = report.MAGIC + bytes(8)
    invalid = [b"", b"mbuf", bytes(2000), head + b"\0\1\0\1", head + b"\0\0\0\0", head + b"\0\0\0\x41"]
    invalid += [report.MAGIC[:-1] + b"\2" + bytes(8) + b"\0\0\0\1"]
    for datagram in invalid:
        ours.send(datagram)
        assert collector.receive() == []
    assert collector.invalid == len(invalid)
    # The same report in a different number of parts.
    ours.send(head + b"\0\0\0\2")
    ours.send(head + b"\0\0\0\3")
    assert (collected(collector, 2), collector.invalid) == ([], len(invalid) + 1)
    assert [r.missing for r in collector.flush()] == [1]


def test_a_flood_of_first_parts_keeps_a_bounded_number_of_reports(pair: Pair, pool: Pool) -> None:
    ours, theirs = pair
    collector = Collector(pool, theirs)
    done = []
    for number in range(report.REPORTS_MAX + 10):
        ours.send(report.MAGIC + number.to_bytes(8, "big") + b"\0\0\0\2" + bytes([65 + number % 26]))
        done += collector.receive()
    assert [(r.missing, r.text[0]) for r in done] == [(1, chr(65 + n)) for n in range(10)]
    assert len(collector.flush()) == report.REPORTS_MAX


def test_a_collector_without_mbufs_drops_datagrams_and_continues(pair: Pair, pool: Pool, few: Few) -> None:
    ours, theirs = pair
    poor = Pool(Vm(4 << 20), few(), worker=False)
    taken = poor.getcl_bulk(10)
    collector = Collector(poor, theirs)
    pool.reserve.reinit(1, 1)
    send(pool, "lost", ours)
    assert (collector.receive(), collector.dropped) == ([], 1)
    poor.free_bulk(taken)
    send(pool, "text", ours)
    assert ([r.text for r in collector.receive()], collector.dropped) == (["text"], 1)
    assert poor.close() == 0
