"""The send side: packets that can't be sent now stay, refused ones are counted, memory isn't reused during a send."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import (
    CSUM_IP6_TSO,
    CSUM_IP_UDP,
    CSUM_L4_CALC,
    CSUM_L4_VALID,
    M_EXTPG,
    M_NOTREADY,
    Busy,
    Freed,
    Inval,
    Mbuf,
    Pool,
    compiled,
)
from mbuf.net.linux import SOL_UDP, UDP_GRO
from mbuf.net.udp.sender import GSO_RUNS, UdpSender

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def unix() -> Iterator[Pair]:
    """Datagram sockets with a bounded queue, and without GSO."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def udp() -> Iterator[Pair]:
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        theirs.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        yield ours, theirs


def sender(sock: socket.socket, gso: bool = False) -> UdpSender:
    return UdpSender(sock, gso, True, None)


def test_a_full_queue_leaves_the_other_packets_to_the_caller(pool: Pool, unix: Pair) -> None:
    tx = sender(unix[0])
    sent = [pool.frombytes(n.to_bytes(2, "big")) for n in range(2000)]
    found = []
    while sent:
        before = len(sent)
        count = tx.push(sent)
        assert len(sent) == before - count
        found += [unix[1].recv(9) for _ in range(count)]
    assert found == [n.to_bytes(2, "big") for n in range(2000)]
    counts = tx.counts()
    assert (counts["packets_out"], counts["bytes_out"], counts["errors"]) == (2000, 4000, 0)
    assert pool.out == 0


@pytest.mark.parametrize("size", [1400, 60_000])
def test_packets_go_together_or_one_by_one(pool: Pool, udp: Pair, size: int) -> None:
    tx = sender(udp[0], True)
    count = 3 if size < 2000 else 1
    assert tx.push([pool.frombytes(bytes(size)) for _ in range(count)]) == count
    assert [len(udp[1].recv(65535)) for _ in range(count)] == [size] * count


def test_packets_that_the_kernel_cannot_segment_are_sent_without_gso(pool: Pool, udp: Pair) -> None:
    # Without checksums (SO_NO_CHECK) the kernel has no GSO.
    udp[0].setsockopt(socket.SOL_SOCKET, 11, 1)
    tx = sender(udp[0], True)
    for size in (500, 400):
        assert tx.push([pool.frombytes(bytes([n]) * size) for n in range(5)]) == 5
        assert [udp[1].recv(999) for _ in range(5)] == [bytes([n]) * size for n in range(5)]
        assert tx.gso < size
    assert tx.counts()["errors"] == 0


def test_a_packet_of_more_pieces_than_a_call_accepts_is_copied(pool: Pool, udp: Pair) -> None:
    tx = sender(udp[0])
    m = pool.gethdr()
    data = bytes(n % 251 for n in range(3000))
    for byte in data:
        m.last().next = pool.get().append(bytes([byte]))
    m.fixhdr()
    few = pool.frombytes(b"few")
    assert tx.push([few, m, pool.frombytes(b"after")]) == 3
    assert [udp[1].recv(9999) for _ in range(3)] == [b"few", data, b"after"]


def test_unmapped_pages_are_sent_without_a_copy(pool: Pool, udp: Pair) -> None:
    tx = sender(udp[0], True)
    data = bytes(n % 251 for n in range(9000))

    def packet() -> Mbuf:
        m = pool.gethdr().append(b"head").cat(pool.frombytes(data, flags=M_EXTPG))
        m.fixhdr()
        return m

    assert tx.push([packet(), packet()]) == 2
    assert [udp[1].recv(9999) for _ in range(2)] == [b"head" + data] * 2


@pytest.mark.parametrize("flags", [0, M_EXTPG])
@pytest.mark.parametrize("pieces", [1, 2000])
def test_a_packet_that_is_not_ready_is_refused(pool: Pool, udp: Pair, flags: int, pieces: int) -> None:
    for connected in (True, False):
        tx = UdpSender(udp[0], True, connected, None)
        packets = [pool.frombytes(b"first"), pool.frombytes(b"later")]
        for _ in range(pieces - 1):
            packets[1].cat(pool.get().append(b"x"))
        packets[1].cat(pool.frombytes(bytes(3), flags=flags))
        packets[1].fixhdr()
        packets[1].last().flags |= M_NOTREADY
        kept = packets[1]
        with pytest.raises(Inval, match="M_NOTREADY"):
            tx.push(packets)
        assert packets[-1] is kept
        pool.free_bulk(packets)


class Hooked:
    """A socket that calls a function when it is about to send."""

    def __init__(self, sock: socket.socket, do: Callable[[], object]) -> None:
        self.sock = sock
        self.family = sock.family
        self.do = do

    def fileno(self) -> int:
        self.do()
        return self.sock.fileno()

    def gettimeout(self) -> float | None:
        return self.sock.gettimeout()

    def sendmsg(self, *arguments: Any) -> int:
        self.do()
        return self.sock.sendmsg(*arguments)


def test_one_thread_pushes_at_a_time(pool: Pool, udp: Pair) -> None:
    def push() -> None:
        with pytest.raises(Busy):
            tx.push([])

    sock: Any = Hooked(udp[0], push)
    tx = sender(sock)
    assert tx.push([pool.frombytes(b"x")]) == 1
    assert udp[1].recv(9) == b"x"


def test_memory_that_is_being_sent_is_not_reused_when_the_packet_is_freed(pool: Pool, udp: Pair) -> None:
    data = bytes(range(250)) * 8
    packets = [pool.getcl().append(data), pool.getcl().append(data)]
    first = packets[0]

    def free() -> None:
        if "freed" not in repr(first):
            first.freem()
            # The next allocation gets another cluster.
            with pool.getcl() as m:
                m.append(bytes(2000))

    sock: Any = Hooked(udp[0], free)
    tx = sender(sock)
    with pytest.raises(Freed):
        tx.push(packets)
    assert [udp[1].recv(9999) for _ in range(2)] == [data, data]
    # Both were sent.
    assert (packets, tx.counts()["packets_out"]) == ([], 2)


def test_a_packet_that_is_in_the_list_twice_is_sent_twice_and_all_are_freed(pool: Pool, udp: Pair) -> None:
    tx = sender(udp[0])
    twice = pool.frombytes(b"twice")
    packets = [twice, twice, pool.frombytes(b"after")]
    with pytest.raises(Freed):
        tx.push(packets)
    assert [udp[1].recv(9) for _ in range(3)] == [b"twice", b"twice", b"after"]
    assert (packets, tx.counts()["packets_out"], pool.out, pool.stat().drops) == ([], 3, 0, 0)


def test_what_is_put_into_the_list_during_a_call_is_checked(pool: Pool, udp: Pair) -> None:
    # Without checksums the kernel has no GSO, and the packets are checked again.
    udp[0].setsockopt(socket.SOL_SOCKET, 11, 1)
    packets: list[Any] = [pool.frombytes(bytes(100)) for _ in range(8)]
    kept = list(packets)

    def change() -> None:
        packets[:] = [None] * 8

    sock: Any = Hooked(udp[0], change)
    tx = sender(sock, True)
    with pytest.raises(Inval, match="NoneType"):
        tx.push(packets)
    assert tx.counts()["errors"] == 0
    pool.free_bulk(kept)


@pytest.mark.skipif(not compiled(), reason="uncompiled, any object can be initialized again")
def test_a_sender_is_initialized_once(pool: Pool, udp: Pair) -> None:
    never: Any = UdpSender.__new__(UdpSender)
    with pool.frombytes(b"x") as m, pytest.raises(Inval, match="closed"):
        never.push([m])
    tx: Any = sender(udp[0])
    with pytest.raises(TypeError, match="already"):
        tx.__init__(udp[0], True, True, None)


def test_only_a_list_is_pushed(pool: Pool, udp: Pair) -> None:
    class Mine(list[Any]):
        """A list whose methods may be overridden."""

    tx = sender(udp[0])
    packets = Mine([pool.frombytes(b"x")])
    for bad in (packets, tuple(packets), None):
        with pytest.raises(TypeError, match="give a list"):
            tx.push(bad)  # type: ignore[arg-type]
    pool.free_bulk(list(packets))


# GSO that is refused.


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def run(pool: Pool, sock: socket.socket | tuple[str, int], size: int, count: int) -> list[Mbuf]:
    """Packets of a size to an address."""
    packets = [pool.frombytes(bytes(size)) for _ in range(count)]
    for m in packets:
        m.peer = sock.getsockname() if isinstance(sock, socket.socket) else sock
    return packets


def coalesced(sock: socket.socket) -> int:
    """Bytes of the next message of a socket with UDP_GRO."""
    return len(sock.recv(65535, socket.MSG_DONTWAIT))


def test_a_peer_that_nothing_can_be_sent_to_does_not_switch_gso_off(pool: Pool) -> None:
    with bound() as near, bound() as far:
        far.setsockopt(SOL_UDP, UDP_GRO, 1)
        tx = UdpSender(near, True, False, None)
        for _ in range(3):
            packets = run(pool, ("127.0.0.1", 0), 1, 2) + run(pool, far, 100, 10)
            assert tx.push(packets) == 12
            assert coalesced(far) == 1000
        assert (tx.gso, tx.counts()["errors"], tx.counts()["packets_out"]) == (65535, 6, 30)


def test_gso_is_off_for_the_peer_that_was_refused_alone_and_for_a_while(pool: Pool) -> None:
    with bound() as near, bound() as one, bound() as other:
        for sock in (one, other):
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        tx = UdpSender(near, True, False, None)
        # Without checksums (SO_NO_CHECK) the kernel has no GSO.
        near.setsockopt(socket.SOL_SOCKET, 11, 1)
        assert tx.push(run(pool, one, 100, 5)) == 5
        assert [coalesced(one) for _ in range(5)] == [100] * 5
        assert tx.gso == 99
        near.setsockopt(socket.SOL_SOCKET, 11, 0)
        assert tx.push(run(pool, one, 100, 5) + run(pool, other, 100, 5) + run(pool, one, 99, 5)) == 15
        assert [coalesced(one) for _ in range(6)] == [100] * 5 + [495]
        assert coalesced(other) == 500
        for _ in range(GSO_RUNS):
            tx.push(run(pool, one, 99, 5))
            coalesced(one)
        assert tx.gso == 65535
        assert tx.push(run(pool, one, 100, 5)) == 5
        assert coalesced(one) == 500
        assert tx.counts()["errors"] == 0


@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize("at", [1, 3, 70, 99])
def test_the_packets_before_one_that_cannot_be_sent_are_sent(pool: Pool, udp: Pair, gso: bool, at: int) -> None:
    def freed() -> Mbuf:
        m = pool.get()
        m.free()
        return m

    def flagged(**fields: int) -> Mbuf:
        m = pool.frombytes(bytes(50))
        m.flags |= fields.get("flags", 0)
        m.pkthdr.csum_flags = fields.get("csum", 0)
        return m

    tx = sender(udp[0], gso)
    for refused in (flagged(flags=M_NOTREADY), flagged(csum=CSUM_IP_UDP), flagged(csum=CSUM_IP6_TSO), freed(), None):
        mine = refused is not None and "freed" not in repr(refused)
        packets: list[Any] = [pool.frombytes(bytes(50)) for _ in range(99)]
        packets.insert(at, refused)
        before = tx.counts()["packets_out"]
        with pytest.raises((Inval, Freed)):
            tx.push(packets)
        assert tx.counts()["packets_out"] == before + at
        assert (len(packets), packets[0]) == (100 - at, refused)
        with pytest.raises((Inval, Freed)):
            tx.push(packets)
        assert len(packets) == 100 - at
        pool.free_bulk(packets[0 if mine else 1 :])
        for _ in range(at):
            assert len(udp[1].recv(100)) == 50
    assert pool.out == 0


def test_a_packet_whose_checksum_was_checked_is_sent(pool: Pool, udp: Pair) -> None:
    m = pool.frombytes(b"x")
    m.pkthdr.csum_flags = CSUM_L4_CALC | CSUM_L4_VALID
    assert sender(udp[0]).push([m]) == 1
