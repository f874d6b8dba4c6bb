"""What a socket can't take now stays the caller's; what it refuses is counted; memory that goes out stays meanwhile."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import M_EXTPG, M_NOTREADY, Busy, Freed, Inval, Mbuf, Pool, compiled
from mbuf.net.udp.sender import UdpSender

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def unix() -> Iterator[Pair]:
    """Sockets of datagrams whose queue has an end, and that cut nothing."""
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


def sender(pool: Pool, sock: socket.socket, gso: bool = False) -> UdpSender:
    return UdpSender(pool, sock, gso, True, None)


def test_a_full_queue_leaves_the_rest_to_its_owner(pool: Pool, unix: Pair) -> None:
    tx = sender(pool, unix[0])
    sent = [pool.frombytes(n.to_bytes(2, "big")) for n in range(2000)]
    found = []
    while sent:
        before = len(sent)
        went = tx.push(sent)
        assert len(sent) == before - went
        found += [unix[1].recv(9) for _ in range(went)]
    assert found == [n.to_bytes(2, "big") for n in range(2000)]
    assert tx.counts()[0] == 2000
    assert tx.counts()[3] == 0
    assert pool.out == 0


@pytest.mark.parametrize("size", [1400, 60_000])
def test_packets_go_together_or_one_by_one(pool: Pool, udp: Pair, size: int) -> None:
    tx = sender(pool, udp[0], True)
    count = 3 if size < 2000 else 1
    assert tx.push([pool.frombytes(bytes(size)) for _ in range(count)]) == count
    assert [len(udp[1].recv(65535)) for _ in range(count)] == [size] * count


def test_what_the_kernel_will_not_cut_goes_uncut(pool: Pool, udp: Pair) -> None:
    # Without checksums (SO_NO_CHECK) the kernel cuts nothing.
    udp[0].setsockopt(socket.SOL_SOCKET, 11, 1)
    tx = sender(pool, udp[0], True)
    for size in (500, 400):
        assert tx.push([pool.frombytes(bytes([n]) * size) for n in range(5)]) == 5
        assert [udp[1].recv(999) for _ in range(5)] == [bytes([n]) * size for n in range(5)]
        assert tx.gso < size
    assert tx.counts()[3] == 0


def test_one_packet_of_more_pieces_than_a_call_takes_is_copied(pool: Pool, udp: Pair) -> None:
    tx = sender(pool, udp[0])
    m = pool.gethdr()
    data = bytes(n % 251 for n in range(3000))
    for byte in data:
        m.last().next = pool.get().append(bytes([byte]))
    m.fixhdr()
    few = pool.frombytes(b"few")
    assert tx.push([few, m, pool.frombytes(b"after")]) == 3
    assert [udp[1].recv(9999) for _ in range(3)] == [b"few", data, b"after"]


def test_unmapped_pages_go_without_being_copied(pool: Pool, udp: Pair) -> None:
    tx = sender(pool, udp[0], True)
    data = bytes(n % 251 for n in range(9000))

    def packet() -> Mbuf:
        m = pool.gethdr().append(b"head").cat(pool.frombytes(data, flags=M_EXTPG))
        m.fixhdr()
        return m

    assert tx.push([packet(), packet()]) == 2
    assert [udp[1].recv(9999) for _ in range(2)] == [b"head" + data] * 2
    raw = pool.frombytes(data, flags=M_EXTPG)
    raw.flags |= M_NOTREADY
    with pytest.raises(Inval, match="ready"):
        tx.push([raw])
    raw.freem()


class Meddling:
    """A socket that does something when it is about to send."""

    def __init__(self, sock: socket.socket, do: Callable[[], object]) -> None:
        self.sock = sock
        self.do = do

    def fileno(self) -> int:
        self.do()
        return self.sock.fileno()

    def sendmsg(self, *words: Any) -> int:
        self.do()
        return self.sock.sendmsg(*words)


def test_one_thread_pushes_at_a_time(pool: Pool, udp: Pair) -> None:
    def push() -> None:
        with pytest.raises(Busy):
            tx.push([])

    sock: Any = Meddling(udp[0], push)
    tx = sender(pool, sock)
    assert tx.push([pool.frombytes(b"x")]) == 1
    assert udp[1].recv(9) == b"x"


def test_memory_on_its_way_out_stays_whatever_others_do(pool: Pool, udp: Pair) -> None:
    data = bytes(range(250)) * 8
    packets = [pool.getcl().append(data), pool.getcl().append(data)]
    first = packets[0]

    def free() -> None:
        if "freed" not in repr(first):
            first.freem()
            # Whoever asks next gets another cluster.
            with pool.getcl() as m:
                m.append(bytes(2000))

    sock: Any = Meddling(udp[0], free)
    tx = sender(pool, sock)
    with pytest.raises(Freed):
        tx.push(packets)
    assert [udp[1].recv(9999) for _ in range(2)] == [data, data]
    # Both have gone.
    assert (packets, tx.counts()[0]) == ([], 2)


def test_a_packet_that_is_listed_twice_goes_twice_and_nothing_stays(pool: Pool, udp: Pair) -> None:
    tx = sender(pool, udp[0])
    twice = pool.frombytes(b"twice")
    packets = [twice, twice, pool.frombytes(b"after")]
    with pytest.raises(Freed):
        tx.push(packets)
    assert [udp[1].recv(9) for _ in range(3)] == [b"twice", b"twice", b"after"]
    assert (packets, tx.counts()[0], pool.out, pool.stat().drops) == ([], 3, 0, 0)


def test_what_is_put_into_the_list_during_a_call_is_refused_as_ever(pool: Pool, udp: Pair) -> None:
    # Without checksums the kernel cuts nothing, and the packets are looked at again.
    udp[0].setsockopt(socket.SOL_SOCKET, 11, 1)
    packets: list[Any] = [pool.frombytes(bytes(100)) for _ in range(8)]
    kept = list(packets)

    def change() -> None:
        packets[:] = [None] * 8

    sock: Any = Meddling(udp[0], change)
    tx = sender(pool, sock, True)
    with pytest.raises(Inval, match="NoneType"):
        tx.push(packets)
    assert tx.counts()[3] == 0
    pool.free_bulk(kept)


@pytest.mark.skipif(not compiled(), reason="uncompiled, nothing is made by hand")
def test_a_sender_is_made_once_and_of_a_pool(pool: Pool, udp: Pair) -> None:
    never: Any = UdpSender.__new__(UdpSender)
    with pool.frombytes(b"x") as m, pytest.raises(Inval, match="closed"):
        never.push([m])
    with pytest.raises(TypeError, match="give a pool"):
        never.__init__(None, udp[0], True, True, None)
    tx: Any = sender(pool, udp[0])
    with pytest.raises(TypeError, match="already"):
        tx.__init__(pool, udp[0], True, True, None)


def test_only_a_list_is_pushed(pool: Pool, udp: Pair) -> None:
    class Mine(list[Any]):
        """What the packets may not be gone from."""

    tx = sender(pool, udp[0])
    packets = Mine([pool.frombytes(b"x")])
    for bad in (packets, tuple(packets), None):
        with pytest.raises(TypeError, match="give a list"):
            tx.push(bad)  # type: ignore[arg-type]
    pool.free_bulk(list(packets))
