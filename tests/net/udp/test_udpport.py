"""A UDP port receives the datagrams that were sent: every byte, every boundary, every peer."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from mbuf import M_TSTMP, Busy, Freed, Inval, Mbuf, Pool
from mbuf.net.linux import SOL_UDP, UDP_GRO
from mbuf.net.udp.udpport import UdpPort
from mbuf.packet.peer import Peer

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
#: Sizes of datagrams at and around limits, and how many of them a socket's queue holds.
SIZES = {0: 9, 1: 70, 100: 70, 1025: 70, 1400: 70, 1472: 70, 2048: 40, 2049: 30, 9000: 8, 65507: 1}
#: With and without GRO and GSO.
OFFLOADS = {f"gro={gro} gso={gso}": (gro, gso) for gro, gso in product((True, False), repeat=2)}

Pair = tuple[socket.socket, socket.socket]
Bound = Callable[[], socket.socket]


@pytest.fixture(params=HOSTS, ids=("IPv4", "IPv6"))
def host(request: pytest.FixtureRequest) -> socket.AddressFamily:
    family: socket.AddressFamily = request.param
    return family


@pytest.fixture
def bound(host: socket.AddressFamily) -> Iterator[Callable[[], socket.socket]]:
    """Makes UDP sockets with an address on loopback."""
    made: list[socket.socket] = []

    def bound() -> socket.socket:
        sock = socket.socket(host, socket.SOCK_DGRAM)
        made.append(sock)
        sock.bind((HOSTS[host], 0))
        return sock

    yield bound
    for sock in made:
        sock.close()


@pytest.fixture
def pair(bound: Callable[[], socket.socket]) -> Pair:
    """Two sockets that are connected to each other."""
    ours, theirs = bound(), bound()
    ours.connect(theirs.getsockname())
    theirs.connect(ours.getsockname())
    return ours, theirs


def packets(pool: Pool, size: int, count: int) -> list[Mbuf]:
    return [pool.frombytes(os.urandom(size)) for _ in range(count)]


def pulled(port: UdpPort, n: int = 1000) -> list[Mbuf]:
    """All packets that have arrived."""
    got: list[Mbuf] = []
    while some := port.pull(n):
        assert len(some) <= n
        got += some
    return got


def contents(pool: Pool, got: list[Mbuf]) -> list[bytes]:
    """The bytes of packets, which are checked and freed."""
    assert all(m.sanity() and m.pkthdr.len == len(m) for m in got)
    found = [bytes(m) for m in got]
    pool.free_bulk(got)
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offload", OFFLOADS)
def test_what_is_pulled_is_what_was_pushed(pool: Pool, pair: Pair, offload: str, size: int) -> None:
    gro, gso = OFFLOADS[offload]
    with UdpPort(pool, pair[0], gro=gro, gso=gso) as ours, UdpPort(pool, pair[1], gro=gro, gso=gso) as theirs:
        for _ in range(3):
            sent = packets(pool, size, SIZES[size])
            data = [bytes(m) for m in sent]
            assert ours.push(sent) == len(data)
            assert sent == []
            assert contents(pool, pulled(theirs)) == data
        out, came = ours.stat(), theirs.stat()
        assert (out.packets_out, out.bytes_out, out.errors) == (3 * len(data), 3 * len(data) * size, 0)
        assert (came.packets_in, came.bytes_in, came.denied, came.truncated) == (3 * len(data), out.bytes_out, 0, 0)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_datagrams_of_different_sizes_arrive_in_order(pool: Pool, pair: Pair, offload: str) -> None:
    gro, gso = OFFLOADS[offload]
    sizes = [5, 5, 5, 3, 3, 9, 0, 0, 1400, 1400, 1399, 1400, 2049, 4097, 4097, 1, 1400, 1400, 700, 700, 8000]
    with UdpPort(pool, pair[0], gso=gso) as ours, UdpPort(pool, pair[1], gro=gro) as theirs:
        for turn in range(len(sizes)):
            data = [os.urandom(size) for size in sizes[turn:] + sizes[:turn]]
            sent = [pool.frombytes(piece) for piece in data]
            assert ours.push(sent) == len(data)
            assert contents(pool, pulled(theirs, 1 + turn)) == data


def test_a_packet_of_an_unconnected_socket_has_its_sender(pool: Pool, bound: Callable[[], socket.socket]) -> None:
    here, one, other = bound(), bound(), bound()
    with UdpPort(pool, here) as port:
        for sock in (one, other, one):
            sock.sendto(b"ping", here.getsockname())
        got = port.pull(10)
        peers: list[Any] = [m.peer for m in got]
        assert [peer.address for peer in peers] == [one.getsockname(), other.getsockname(), one.getsockname()]
        assert peers[0] == peers[2] != peers[1]
        # Pushed, they go back to their senders.
        assert port.push(got) == 3
        assert [sock.recv(9) for sock in (one, one, other)] == [b"ping"] * 3


def test_a_packet_is_sent_to_the_peer_in_its_header(pool: Pool, bound: Callable[[], socket.socket]) -> None:
    here, one, other = bound(), bound(), bound()
    with UdpPort(pool, here) as port:
        sent = [pool.frombytes(bytes([n]) * 10) for n in range(6)]
        for n, m in enumerate(sent):
            m.peer = Peer((one, other)[n // 2 % 2].getsockname())
        assert port.push(sent) == 6
        assert [one.recv(99) for _ in range(4)] == [bytes([n]) * 10 for n in (0, 1, 4, 5)]
        assert [other.recv(99) for _ in range(2)] == [bytes([n]) * 10 for n in (2, 3)]


def test_all_packets_are_sent_to_one_address(pool: Pool, bound: Callable[[], socket.socket]) -> None:
    here, there = bound(), bound()
    with UdpPort(pool, here, to=there.getsockname()) as port:
        assert port.push(packets(pool, 700, 3)) == 3
        assert [len(there.recv(9999)) for _ in range(3)] == [700] * 3
    with pytest.raises(Inval, match="give"):
        UdpPort(pool, here, to=("localhost", 5))


def test_a_packet_has_its_time_of_arrival(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as ours, UdpPort(pool, pair[1], timestamps=True) as theirs:
        ours.push(packets(pool, 100, 5))
        got = theirs.pull(10)
        assert len(got) == 5
        assert all(m.flags & M_TSTMP and m.pkthdr.rcv_tstmp > 10**18 for m in got)
        pool.free_bulk(got)
        theirs.push(packets(pool, 100, 5))
        got = ours.pull(10)
        assert not any(m.flags & M_TSTMP or m.pkthdr.rcv_tstmp for m in got)
        pool.free_bulk(got)


def test_a_datagram_longer_than_the_room_is_discarded_and_counted(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[1], gro=False, size=1000) as port:
        for size in (1000, 1001, 3000, 2048, 2049, 5):
            pair[0].send(bytes(size))
        assert [len(data) for data in contents(pool, pulled(port))] == [1000, 1001, 2048, 5]
        stat = port.stat()
        assert (stat.truncated, stat.packets_in) == (2, 4)


def test_packets_that_the_system_refuses_are_counted_and_the_others_sent(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as port:
        mixed = [pool.frombytes(bytes(size)) for size in (10, 65530, 10, 70000, 10)]
        assert port.push(mixed) == 5
        stat = port.stat()
        assert (stat.packets_out, stat.errors) == (3, 2)
        assert [len(pair[1].recv(99)) for _ in range(3)] == [10] * 3


def test_a_closed_peer_loses_only_the_packets_sent_to_it(pool: Pool, pair: Pair) -> None:
    pair[1].close()
    with UdpPort(pool, pair[0]) as port:
        for _ in range(5):
            assert port.push(packets(pool, 10, 4)) == 4
            assert port.pull(10) == []
        stat = port.stat()
        assert stat.faults + stat.errors > 0
        assert stat.packets_out + stat.errors == 20


def test_an_error_of_the_program_is_raised_and_no_packet_is_lost(
    pool: Pool, bound: Callable[[], socket.socket]
) -> None:
    sock = bound()
    sock.connect(sock.getsockname())
    with UdpPort(pool, sock) as port:
        sent = packets(pool, 10, 3)
        sock.close()
        with pytest.raises(OSError, match="descriptor") as caught:
            port.push(sent)
        assert caught.value.errno == errno.EBADF
        assert len(sent) == 3
        pool.free_bulk(sent)
        with pytest.raises(OSError, match="descriptor"):
            port.pull(1)


def test_what_is_no_packet_is_refused_and_the_packets_stay(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as port:
        freed = pool.getcl()
        freed.free()
        for bad, error in ((b"bytes", Inval), (freed, Freed)):
            mixed: list[Any] = [*packets(pool, 10, 2), bad, *packets(pool, 10, 2)]
            with pytest.raises(error):
                port.push(mixed)
            pool.free_bulk([m for m in mixed if m is not bad])
        with pytest.raises(TypeError, match="list"):
            port.push(())  # type: ignore[arg-type]


def test_fewer_datagrams_are_received_when_the_pool_refuses_and_none_is_lost(
    small: Callable[..., Pool], bound: Callable[[], socket.socket]
) -> None:
    ours, theirs = bound(), bound()
    ours.connect(theirs.getsockname())
    pool = small(clusters=40, mbufs=60)
    with UdpPort(pool, theirs, gro=False) as port:
        for n in range(30):
            ours.send(bytes([n]) * 100)
        first = port.pull(30)
        kept = list(first)
        while more := port.pull(30):
            kept += more
        # All clusters are in use, but for those of one posted message; the other datagrams wait in the socket.
        assert 0 < len(kept) < 30
        assert port.stat().short > 0
        count = len(kept)
        found = contents(pool, kept)
        while more := port.pull(30):
            found += contents(pool, more)
        assert found == [bytes([n]) * 100 for n in range(30)]
        assert len(found) > count


def test_closing_the_port_restores_the_options_of_the_socket(pool: Pool, pair: Pair) -> None:
    port = UdpPort(pool, pair[0])
    assert pool.out == 0
    assert pair[0].getsockopt(SOL_UDP, UDP_GRO) == 1
    pair[1].send(b"one")
    pair[1].send(b"two")
    (m,) = port.pull(1)
    m.freem()
    port.close()
    port.close()
    assert pair[0].getsockopt(SOL_UDP, UDP_GRO) == 0
    with pytest.raises(Inval, match="closed"):
        port.pull(1)
    with pytest.raises(Inval, match="closed"):
        port.push([])


def test_a_socket_has_one_port_at_a_time(pool: Pool, pair: Pair) -> None:
    with pair[0].dup() as duplicate:
        with UdpPort(pool, pair[0]):
            for sock in (pair[0], duplicate):
                with pytest.raises(Busy, match="close it first"):
                    UdpPort(pool, sock, gro=False)
            assert pair[0].getsockopt(SOL_UDP, UDP_GRO) == 1
        for sock in (pair[0], duplicate):
            with UdpPort(pool, sock):
                pass
        assert pair[0].getsockopt(SOL_UDP, UDP_GRO) == 0
        # One that failed, or was dropped, is in the way of none.
        with pytest.raises(TypeError):
            UdpPort(pool, pair[0], posted="much")  # type: ignore[arg-type]
        dropped = UdpPort(pool, pair[0])
        del dropped
        UdpPort(pool, duplicate).close()


def test_only_udp_sockets_and_sizes_of_datagrams_are_accepted(pool: Pool, pair: Pair) -> None:
    with socket.socket() as stream, pytest.raises(Inval, match="UDP socket"):
        UdpPort(pool, stream)
    with pytest.raises(Inval, match=r"give a socket\.socket"):
        UdpPort(pool, 5)  # type: ignore[arg-type]
    for size in (0, 65536, -1):
        with pytest.raises(Inval, match="longest datagram"):
            UdpPort(pool, pair[0], size=size)
    with pytest.raises(Inval, match="connected"):
        UdpPort(pool, pair[0], to=("192.0.2.1", 5))
    with UdpPort(pool, pair[0]) as port, pytest.raises(Inval, match="0 or more"):
        port.pull(-1)


def test_features_say_which_calls_and_offloads_are_used(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as port:
        assert (port.features["receive"], port.features["send"]) == ("gro", "gso")
        assert port.fileno() == pair[0].fileno()
    with UdpPort(pool, pair[0], gro=False, gso=False) as port:
        assert port.features["receive"] in ("recvmmsg", "recvmsg")
        assert port.features["send"] in ("sendmmsg", "sendmsg")


@pytest.mark.parametrize("drops", [False, True])
def test_datagrams_that_the_socket_drops_are_counted(pool: Pool, pair: Pair, drops: bool) -> None:
    with UdpPort(pool, pair[0]) as ours, UdpPort(pool, pair[1], gro=False, drops=drops) as theirs:
        assert theirs.features["drops"] == ("yes" if drops else "no")
        sent = 0
        while not theirs.stat().dropped:
            sent += ours.push(packets(pool, 1000, 50))
        got = pulled(theirs)
        assert len(got) + theirs.stat().dropped == sent
        assert {m.pkthdr.PH_loc for m in got} == {0}
        ours.push(packets(pool, 10, 1))
        (last,) = theirs.pull(9)
        assert last.pkthdr.PH_loc == (theirs.stat().dropped if drops else 0)
        pool.free_bulk([*got, last])


@pytest.mark.parametrize("name", ["/path", "\0abstract", "::1", "127.0.0.1"])
def test_a_packet_with_a_bad_address_is_counted_and_the_others_are_sent(
    pool: Pool, bound: Callable[[], socket.socket], host: socket.AddressFamily, name: str
) -> None:
    if name == HOSTS[host]:
        pytest.skip("this address is valid here")
    with UdpPort(pool, bound()) as port:
        theirs = bound()
        theirs.setblocking(False)
        sent = [pool.frombytes(bytes([n])) for n in range(3)]
        for m in sent:
            m.peer = Peer(theirs.getsockname())
        sent[1].peer = Peer((name, 9) if "1" in name else name)
        assert port.push(sent) == 3
        assert [theirs.recv(9) for _ in range(2)] == [b"\0", b"\2"]
        stat = port.stat()
        # A socket of IPv6 may send to an address of IPv4.
        assert (stat.packets_out + stat.errors, pool.out) == (3, 0)
        assert stat.errors == 1 or host == socket.AF_INET6


def test_a_packet_without_an_address_stays_with_the_caller(pool: Pool, bound: Bound) -> None:
    near, far = bound(), bound()
    far.settimeout(20)
    for gso in (True, False):
        with UdpPort(pool, near, gso=gso) as port:
            packets = [pool.frombytes(b"x") for _ in range(6)]
            for m in packets[:2]:
                m.peer = Peer(far.getsockname()[:2])
            rest = packets[2:]
            for done in (2, 0):
                before = len(packets)
                with pytest.raises(Inval, match=r"^push: this packet has no peer: set m\.peer, connect"):
                    port.push(packets)
                assert before - len(packets) == done
            assert (packets, pool.out, port.stat().packets_out, port.stat().errors) == (rest, 4, 2, 0)
            assert far.recv(9) + far.recv(9) == b"xx"
            near.connect(far.getsockname())
            assert (port.push(packets), pool.out) == (4, 0)
            assert b"".join(far.recv(9) for _ in range(4)) == b"xxxx"
        near.close()
        near = bound()


class Waiting(socket.socket):
    """A socket whose next system call waits until `go` is set."""

    inside: threading.Event | None = None
    go: threading.Event

    def fileno(self) -> int:
        inside, self.inside = self.inside, None
        if inside is not None:
            inside.set()
            self.go.wait(20)
        return super().fileno()

    def sendmsg(self, *arguments: Any) -> int:
        self.fileno()
        return super().sendmsg(*arguments)

    def recvmsg_into(self, *arguments: Any) -> Any:
        self.fileno()
        return super().recvmsg_into(*arguments)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_port_in_use_is_not_closed(
    pool: Pool, bound: Bound, spawn: Callable[[Callable[[], object]], Any], direction: str
) -> None:
    far = bound()
    with Waiting(far.family, socket.SOCK_DGRAM) as sock:
        sock.connect(far.getsockname())
        port = UdpPort(pool, sock)
        sock.go, inside = threading.Event(), threading.Event()
        call = (lambda: port.push([pool.frombytes(b"x")])) if direction == "out" else (lambda: port.pull(1))
        sock.inside = inside
        thread = spawn(call)
        assert inside.wait(20)
        with pytest.raises(Busy, match="close: the port is in use by another thread"):
            port.close()
        sock.go.set()
        thread.done()
        # The refused close has changed nothing.
        assert port.pull(1) == []
        assert port.push([pool.frombytes(b"y")]) == 1
        port.close()
        for use in (lambda: port.pull(1), lambda: port.push([])):
            with pytest.raises(Inval, match="the port is closed"):
                use()


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_child_of_a_fork_can_use_a_port_that_a_thread_was_using(pool: Pool, bound: Bound, direction: str) -> None:
    far = bound()
    far.settimeout(20)
    with Waiting(far.family, socket.SOCK_DGRAM) as sock:
        sock.connect(far.getsockname())
        with UdpPort(pool, sock) as port:
            sock.go, inside = threading.Event(), threading.Event()
            call = (lambda: port.push([pool.frombytes(b"parent")])) if direction == "out" else (lambda: port.pull(1))
            thread = threading.Thread(target=call)
            sock.inside = inside
            thread.start()
            assert inside.wait(20)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = 2 if port.push([pool.frombytes(b"child")]) != 1 else 3
                    code = 0 if not port.pull(1) else 4
                    port.close()
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert far.recv(99) == b"child"
            sock.go.set()
            thread.join()
            if direction == "out":
                assert far.recv(99) == b"parent"
