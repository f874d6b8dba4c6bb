"""Checks of sockets."""

import asyncio
import os
import socket
import ssl
from typing import Any

import pytest

from mbuf import Inval, NotSupported, Pool
from mbuf.http import FileServer
from mbuf.net.aio.datagrams import Datagrams
from mbuf.net.aio.endpoint import create_datagram_endpoint
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.aio.waiting import WaitingPort
from mbuf.net.capture.captureport import CapturePort
from mbuf.net.link.packetport import PacketPort
from mbuf.net.link.tunport import TunPort
from mbuf.net.port.failing import Failing
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.queueport import QueuePort
from mbuf.net.port.tee import Tee
from mbuf.net.sockets import check_nonblocking, check_socket, check_stream_socket, never_waiting, peer_name
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort


def test_errors_begin_with_the_caller() -> None:
    thing: Any = 5
    with pytest.raises(Inval, match="^sendfile: give a socket.socket, not 5"):
        check_stream_socket("sendfile", thing)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        check_socket("PacedSocket", sock)
        with pytest.raises(NotSupported, match="^StreamPort: give a stream socket, not one of .*SOCK_DGRAM"):
            check_stream_socket("StreamPort", sock)


def test_what_is_no_pool_and_no_port_is_refused_where_it_is_given(pool: Pool) -> None:
    bad: Any = 16
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket() as stream:
        for call, message in (
            (lambda: UdpPort(bad, sock), "UdpPort: pool: give a Pool, not an int"),
            (lambda: SocketPort(bad, sock), "SocketPort: pool: give a Pool, not an int"),
            (lambda: StreamPort(bad, stream), "StreamPort: pool: give a Pool, not an int"),
            (lambda: PacketPort(bad, "lo"), "PacketPort: pool: give a Pool, not an int"),
            (lambda: TunPort(bad), "TunPort: pool: give a Pool, not an int"),
            (lambda: CapturePort(bad, "x"), "CapturePort: pool: give a Pool, not an int"),
            (lambda: MbufProtocol(bad), "MbufProtocol: pool: give a Pool, not an int"),
            (lambda: Datagrams(bad, QueuePort(), print), "Datagrams: pool: give a Pool, not an int"),
            (lambda: Datagrams(pool, bad, print), "Datagrams: port: give a port, such as a UdpPort, not an int"),
            (lambda: WaitingPort(bad, QueuePort()), "WaitingPort: pool: give a Pool, not an int"),
            (lambda: WaitingPort(pool, bad), "WaitingPort: port: give a port, such as a UdpPort, not an int"),
            (lambda: FileServer(bad, "."), "FileServer: pool: give a Pool, not an int"),
            (lambda: Tee(QueuePort(), bad), "Tee: port: give a port, such as a UdpPort, not an int"),
            (lambda: Lossy(bad, 0.5), "Lossy: port: give a port, such as a UdpPort, not an int"),
            (lambda: Failing(bad, 1), "Failing: port: give a port, such as a UdpPort, not an int"),
        ):
            with pytest.raises(TypeError) as caught:
                call()
            assert str(caught.value) == message


def test_an_endpoint_needs_a_pool() -> None:
    bad: Any = 16
    with pytest.raises(TypeError, match=r"^create_datagram_endpoint: pool: give a Pool, not an int$"):
        asyncio.run(create_datagram_endpoint(bad, asyncio.DatagramProtocol))


def test_a_tls_socket_is_refused() -> None:
    ours, theirs = socket.socketpair()
    tls = ssl.create_default_context().wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
    with theirs, tls, pytest.raises(NotSupported, match="^sendfile: a TLS socket"):
        check_socket("sendfile", tls)


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_a_socket_with_a_timeout_is_not_nonblocking(timeout: float | None) -> None:
    with socket.socket() as sock:
        sock.settimeout(timeout)
        with pytest.raises(Inval, match=r"setblocking\(False\)"):
            check_nonblocking("asendfile", sock)
        sock.setblocking(False)
        check_nonblocking("asendfile", sock)


def test_a_connected_socket_has_a_peer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone:
        assert peer_name(ours) is not None
        assert peer_name(alone) is None


@pytest.mark.parametrize("timeout", [None, 0.0, 3600.0])
def test_a_call_never_waits_and_leaves_the_timeout(timeout: float | None) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(timeout)
        blocking = os.get_blocking(sock.fileno())
        with pytest.raises(BlockingIOError):
            never_waiting(sock, "recv", 10, socket.MSG_DONTWAIT)
        assert never_waiting(sock, "sendto", b"x", socket.MSG_DONTWAIT, sock.getsockname()) == 1
        assert never_waiting(sock, "recv", 10, socket.MSG_DONTWAIT) == b"x"
        assert (sock.gettimeout(), os.get_blocking(sock.fileno())) == (timeout, blocking)
    with pytest.raises(OSError, match="descriptor"):
        never_waiting(sock, "recv", 10, socket.MSG_DONTWAIT)


def test_the_default_timeout_of_sockets_makes_no_call_wait() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(3600)
        socket.setdefaulttimeout(3600)
        try:
            with pytest.raises(BlockingIOError):
                never_waiting(sock, "recv", 10, socket.MSG_DONTWAIT)
        finally:
            socket.setdefaulttimeout(None)
