"""A UDP port receives the datagrams that were sent: every byte, every boundary, every peer."""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from chains import contents
from mbuf import M_TSTMP, M_TSTMP_HPREC, Busy, Freed, Inval, Mbuf, Pool, TooLong
from mbuf.net.linux import SO_TIMESTAMPING, SOL_UDP, UDP_GRO
from mbuf.net.udp.senderrors import SendError
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort
from mbuf.packet.control import Control
from mbuf.packet.peer import Peer
from net.coalesced import pulled

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


@pytest.mark.parametrize("gro", [False, True])
def test_a_datagram_longer_than_size_is_discarded_and_counted(pool: Pool, pair: Pair, gro: bool) -> None:
    with UdpPort(pool, pair[1], gro=gro, size=1000) as port:
        for size in (1000, 1001, 3000, 2048, 2049, 5):
            pair[0].send(bytes(size))
        assert [len(data) for data in contents(pool, pulled(port))] == [1000, 5]
        stat = port.stat()
        assert (stat.truncated, stat.packets_in, stat.bytes_in) == (4, 2, 1005)


@pytest.mark.parametrize("gro", [False, True])
@pytest.mark.parametrize("last", [1500, 1000, 1, 1001])
def test_of_coalesced_datagrams_longer_than_size_the_shorter_last_one_is_received(
    pool: Pool, pair: Pair, gro: bool, last: int
) -> None:
    with UdpPort(pool, pair[0]) as ours, UdpPort(pool, pair[1], gro=gro, size=1000) as theirs:
        data = [*(os.urandom(1500) for _ in range(20)), os.urandom(last)]
        for _ in range(3):
            ours.push([pool.frombytes(each) for each in data])
            assert contents(pool, pulled(theirs)) == ([data[-1]] if last <= 1000 else [])
        assert theirs.stat().truncated == 3 * (20 + (last > 1000))


def test_a_packet_too_long_for_any_datagram_is_raised_and_stays_with_the_caller(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as port:
        mixed = [pool.frombytes(bytes(size)) for size in (10, 65530, 10, 70000, 10)]
        for left in (4, 2):
            with pytest.raises(TooLong, match="^push: a packet of (65530|70000) bytes"):
                port.push(mixed)
            assert len(mixed) == left
            mixed.pop(0).freem()
        assert port.push(mixed) == 1
        assert (port.stat().packets_out, port.stat().errors) == (3, 0)
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
        # There is no room for a whole message any more: the others are copied, or wait in the socket.
        assert 0 < len(kept) <= 30
        assert port.stat().short > 0
        found = contents(pool, kept)
        while more := port.pull(30):
            found += contents(pool, more)
        assert found == [bytes([n]) * 100 for n in range(30)]


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


@pytest.mark.parametrize("name", ["/path", "\0abstract", "::1"])
def test_a_peer_of_another_family_is_raised_and_the_packet_stays_with_the_caller(
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
        bad = sent[1]
        with pytest.raises(Inval, match="of another family than the socket"):
            port.push(sent)
        assert sent[0] is bad
        sent.pop(0).freem()
        assert port.push(sent) == 1
        assert [theirs.recv(9) for _ in range(2)] == [b"\0", b"\2"]
        assert (port.stat().packets_out, port.stat().errors, pool.out) == (2, 0, 0)


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


# Control messages.


def test_a_packet_has_what_it_arrived_with(pool: Pool, bound: Bound, host: socket.AddressFamily) -> None:
    here, there = bound(), bound()
    with UdpPort(pool, here, local=True, tos=True, ttl=True) as port, UdpPort(pool, there) as plain:
        assert [port.features[name] for name in ("local", "tos", "ttl")] == ["yes"] * 3
        assert [plain.features[name] for name in ("local", "tos", "ttl", "errors")] == ["no"] * 4
        sent = packets(pool, 100, 40)
        for n, m in enumerate(sent):
            m.peer = here.getsockname()
            # A run of equal ones is joined; the next differs.
            m.control = Control(tos=n // 10, ttl=40 + n // 10, local=HOSTS[host])
        assert plain.push(sent) == 40
        got = pulled(port)
        controls = [m.control for m in got]
        assert [control.tos for control in controls if control] == [n // 10 for n in range(40)]
        assert [control.ttl for control in controls if control] == [40 + n // 10 for n in range(40)]
        lo = socket.if_nametoindex("lo")
        assert {(control.local, control.interface) for control in controls if control} == {(HOSTS[host], lo)}
        # One object for those that arrived in succession.
        assert controls[0] is controls[9]
        pool.free_bulk(got)
        assert plain.pull(1) == []
    with UdpPort(pool, here, ttl=True) as port:
        there.sendto(b"x", here.getsockname())
        (m,) = port.pull(1)
        assert m.control is not None
        assert (m.control.local, m.control.tos, m.control.ttl) == (None, None, 64)
        m.freem()


def test_an_answer_goes_from_the_address_that_was_asked(pool: Pool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("0.0.0.0", 0))
        port_number = server.getsockname()[1]
        client.bind(("127.0.0.1", 0))
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 4)
        for local in (True, False):
            with UdpPort(pool, server, local=local, tos=True, ttl=True) as port:
                client.sendto(b"ping", ("127.0.0.9", port_number))
                got = port.pull(1)
                assert got[0].control is not None
                assert got[0].control.tos == 4
                if not local:
                    # Another port that does have the local address isn't affected: a control is the packet's.
                    assert got[0].control.local is None
                assert port.push(got) == 1
            data, _, _, sender = client.recvmsg(9)
            assert (data, sender[0]) == (b"ping", "127.0.0.9" if local else "127.0.0.1")


def test_a_dual_socket_has_the_control_of_ipv4_too(pool: Pool) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("::", 0))
        client.connect(("127.0.0.9", server.getsockname()[1]))
        client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 8)
        with UdpPort(pool, server, local=True, tos=True, ttl=True) as port:
            client.send(b"ping")
            got = port.pull(1)
            control = got[0].control
            assert control is not None
            assert (control.local, control.tos, control.ttl) == ("::ffff:127.0.0.9", 8, 64)
            assert port.push(got) == 1
            # The client is connected: it receives what comes from the address that it asked.
            assert client.recv(9) == b"ping"


def test_a_control_that_the_socket_cannot_send_with_is_raised_or_told(pool: Pool) -> None:
    told: list[SendError] = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock, UdpPort(pool, sock, on_error=told.append) as port:
        sent = packets(pool, 10, 1)
        sent[0].peer = ("127.0.0.1", 9)
        sent[0].control = Control(local="::1")
        with pytest.raises(Inval, match="an address of IPv6"):
            port.push(sent)
        sent[0].control = Control(local="192.0.2.77")
        assert port.push(sent) == 1
        assert [error.packets for error in told] == [1]


def test_hardware_time_stamps_fall_back_to_those_of_the_system(pool: Pool, pair: Pair) -> None:
    with UdpPort(pool, pair[0]) as ours, UdpPort(pool, pair[1], timestamps="hardware") as theirs:
        assert theirs.features["timestamps"] == "hardware"
        ours.push(packets(pool, 100, 5))
        got = pulled(theirs)
        assert all(m.flags & M_TSTMP and not m.flags & M_TSTMP_HPREC for m in got)
        assert all(abs(m.pkthdr.rcv_tstmp - time.time_ns()) < 60 * 10**9 for m in got)
        pool.free_bulk(got)
    assert pair[1].getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) == 0
    with pytest.raises(Inval, match="^timestamps 'nic'"):
        UdpPort(pool, pair[0], timestamps="nic")


@pytest.mark.parametrize("reported", [True, False])
def test_joined_datagrams_that_the_socket_drops_are_counted_each(pool: Pool, pair: Pair, reported: bool) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    with UdpPort(pool, pair[0]) as ours, UdpPort(pool, pair[1], drops=reported) as theirs:
        received = 0
        for _ in range(2):
            for _ in range(50):
                ours.push(packets(pool, 1000, 20))
            got = pulled(theirs)
            received += len(got)
            pool.free_bulk(got)
        stat = theirs.stat()
        assert stat.dropped == 20 * stat.dropped_messages > 0
        assert received + stat.dropped == 2000


@pytest.mark.parametrize("make_port", [UdpPort, SocketPort])
def test_a_port_never_waits_for_a_socket_with_a_timeout(
    pool: Pool, pair: Pair, make_port: Callable[[Pool, socket.socket], UdpPort | SocketPort]
) -> None:
    for sock in pair:
        sock.settimeout(3600)
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
    with make_port(pool, pair[0]) as ours, make_port(pool, pair[1]) as theirs:
        assert ours.pull(1) == theirs.pull(1) == []
        assert ours.push([pool.frombytes(b"x")]) == 1
        assert contents(pool, theirs.pull(10)) == [b"x"]
        assert pair[0].gettimeout() == 3600
