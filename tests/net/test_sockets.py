"""Checks of sockets."""

import socket
import ssl
from typing import Any

import pytest

from mbuf import Inval, NotSupported
from mbuf.net.sockets import check_nonblocking, check_socket, check_stream_socket, peer_name


def test_errors_begin_with_the_caller() -> None:
    thing: Any = 5
    with pytest.raises(Inval, match="^sendfile: give a socket.socket, not 5"):
        check_stream_socket("sendfile", thing)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        check_socket("PacedSocket", sock)
        with pytest.raises(NotSupported, match="^StreamPort: give a stream socket, not one of .*SOCK_DGRAM"):
            check_stream_socket("StreamPort", sock)


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
