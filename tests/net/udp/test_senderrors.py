"""Errors of datagrams that were sent are told to the program, with their peer, or logged; none is only counted."""

import errno
import gc
import logging
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import Inval, Pool, TooLong
from mbuf.net.udp import senderrors
from mbuf.net.udp.senderrors import SendError, SendErrors
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort
from mbuf.packet.peer import Peer

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
Bound = Callable[[], socket.socket]


@pytest.fixture(params=HOSTS, ids=("IPv4", "IPv6"))
def bound(request: pytest.FixtureRequest) -> Iterator[Bound]:
    """Makes UDP sockets with an address on loopback."""
    made: list[socket.socket] = []

    def bound() -> socket.socket:
        sock = socket.socket(request.param, socket.SOCK_DGRAM)
        made.append(sock)
        sock.bind((HOSTS[request.param], 0))
        return sock

    yield bound
    for sock in made:
        sock.close()


def closed(bound: Bound) -> Any:
    """An address at which no program listens."""
    with bound() as sock:
        return sock.getsockname()


@pytest.mark.parametrize("connected", [False, True])
def test_a_refused_datagram_is_told_with_its_peer(pool: Pool, bound: Bound, connected: bool) -> None:
    told: list[SendError] = []
    sock, there = bound(), closed(bound)
    if connected:
        sock.connect(there)
    with UdpPort(pool, sock, on_error=told.append) as port:
        assert port.features["errors"] == "yes"
        m = pool.frombytes(b"x")
        m.peer = there
        assert port.push([m]) == 1
        assert port.pull(1) == []
        assert [(error.errno, error.peer, error.packets) for error in told] == [(errno.ECONNREFUSED, Peer(there), 0)]
        assert f"(to {Peer(there).address})" in str(told[0])
        assert (port.stat().faults, port.stat().errors) == (1, 0)
    with pytest.raises(BlockingIOError):
        sock.recv(1, socket.MSG_DONTWAIT)


def test_a_pending_error_does_not_lose_the_next_packets(pool: Pool, bound: Bound) -> None:
    told: list[SendError] = []
    sock, there = bound(), closed(bound)
    sock.connect(there)
    for on_error in (None, told.append):
        with UdpPort(pool, sock, on_error=on_error) as port:
            assert port.push([pool.frombytes(b"lost")]) == 1
            with socket.socket(sock.family, socket.SOCK_DGRAM) as far:
                far.bind(there)
                assert port.push([pool.frombytes(bytes([n])) for n in range(64)]) == 64
                assert [far.recv(9) for _ in range(64)] == [bytes([n]) for n in range(64)]
            assert (port.stat().packets_out, port.stat().errors, port.stat().faults) == (65, 0, 1)
    assert [error.errno for error in told] == [errno.ECONNREFUSED]


def test_what_the_system_refuses_is_told_once_with_the_number_of_packets(pool: Pool, bound: Bound) -> None:
    told: list[SendError] = []
    sock, far = bound(), bound()
    with UdpPort(pool, sock, on_error=told.append) as port:
        nowhere = Peer((sock.getsockname()[0], 0))
        packets = [pool.frombytes(b"x") for _ in range(3)]
        for m, peer in zip(packets, (nowhere, nowhere, Peer(far.getsockname())), strict=True):
            m.peer = peer
        assert port.push(packets) == 3
        assert far.recv(9) == b"x"
        # The kernel takes port 0 of IPv6 for another one.
        assert sum(error.packets for error in told) == port.stat().errors
        if told:
            assert {(error.errno, error.peer) for error in told} == {(errno.EINVAL, nowhere)}
        assert port.features["send"] in ("gso", "sendmsg", "sendmmsg")


def test_mistakes_are_raised_and_the_packet_stays(pool: Pool) -> None:
    told: list[SendError] = []
    with socket.socket(type=socket.SOCK_DGRAM) as sock, UdpPort(pool, sock, on_error=told.append) as port:
        for size, peer, error, text in (
            (1, None, Inval, "has no peer: set m.peer"),
            (70_000, ("127.0.0.1", 9), TooLong, "give at most 65507"),
            (1, ("255.255.255.255", 9), Inval, "SO_BROADCAST"),
            (1, ("::1", 9), Inval, "another family"),
            (1, "/run/x", Inval, "another family"),
        ):
            m = pool.frombytes(bytes(size))
            m.peer = peer
            packets = [m]
            with pytest.raises(error, match=f"^push: .*{text}"):
                port.push(packets)
            assert packets == [m]
            m.freem()
        assert port.pull(1) == []
        assert (told, port.stat().errors, port.stat().packets_out) == ([], 0, 0)


def test_what_the_function_raises_is_raised_and_no_packet_is_lost(pool: Pool, bound: Bound) -> None:
    def refuse(error: SendError) -> None:
        raise error

    sock, far, there = bound(), bound(), closed(bound)
    with UdpPort(pool, sock, on_error=refuse) as port:
        packets = [pool.frombytes(b"x")]
        packets[0].peer = there
        far.sendto(b"waits", sock.getsockname())
        port.push(packets)
        with pytest.raises(SendError) as caught:
            port.pull(1)
        assert caught.value.errno == errno.ECONNREFUSED
        got = port.pull(1)
        assert [bytes(m) for m in got] == [b"waits"]
        pool.free_bulk(got)
    assert pool.out == 0


def test_the_function_may_close_the_port(pool: Pool, bound: Bound) -> None:
    sock, there = bound(), closed(bound)
    port = UdpPort(pool, sock, on_error=lambda _: port.close())
    m = pool.frombytes(b"x")
    m.peer = there
    port.push([m])
    assert port.pull(1) == []
    with pytest.raises(Inval, match="closed"):
        port.pull(1)


@pytest.mark.parametrize("kind", [UdpPort, SocketPort])
def test_a_closed_port_forgets_the_function(pool: Pool, bound: Bound, kind: type[UdpPort | SocketPort]) -> None:
    class Owner:
        def __init__(self) -> None:
            self.port = kind(pool, bound(), on_error=self.on_error)

        def on_error(self, error: SendError) -> None:
            """Refers to the port: they would be a reference cycle."""

    owner = Owner()
    gone = weakref.ref(owner)
    owner.port.close()
    gc.collect()
    gc.disable()
    try:
        del owner
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", [UdpPort, SocketPort])
def test_what_cannot_be_called_is_refused(pool: Pool, bound: Bound, kind: Any) -> None:
    sock = bound()
    with pytest.raises(TypeError, match="on_error 5 can't be called"):
        kind(pool, sock, on_error=5)
    kind(pool, sock).close()


def test_without_a_function_one_line_is_logged_in_some_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with socket.socket(type=socket.SOCK_DGRAM) as sock, caplog.at_level(logging.WARNING, "mbuf"):
        failures = SendErrors(sock, "UdpPort")
        for _ in range(3):
            failures.add(errno.ENETUNREACH, Peer(("192.0.2.1", 53)), 2)
            failures.tell()
        now += senderrors.LOG_INTERVAL
        failures.add_pending(errno.ECONNREFUSED)
        failures.tell()
    assert [record.getMessage() for record in caplog.records] == [
        "UdpPort: 2 packets were not sent: Network is unreachable (to ('192.0.2.1', 53))",
        "UdpPort: Connection refused (and 2 errors before, which were not logged)",
    ]


def test_an_error_of_a_route_has_its_mtu() -> None:
    error = SendError(errno.EMSGSIZE, Peer(("192.0.2.1", 53)), 0, 1280)
    assert (error.errno, error.mtu) == (errno.EMSGSIZE, 1280)
    assert str(error) == "[Errno 90] Message too long (to ('192.0.2.1', 53)), the MTU of the route is 1280"
