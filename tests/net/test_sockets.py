"""Checks of sockets, and waiting until one is writable."""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from mbuf import Inval, NotSupported
from mbuf.net.sockets import (
    check_nonblocking,
    check_socket,
    check_stream_socket,
    poll_writable,
    set_result,
    wait_writable,
)


def test_errors_begin_with_the_caller() -> None:
    thing: Any = 5
    with pytest.raises(Inval, match="^sendfile: give a socket.socket, not 5"):
        check_stream_socket(thing, "sendfile")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        check_socket(sock, "PacedSocket")
        with pytest.raises(NotSupported, match="^StreamPort: give a stream socket, not one of .*SOCK_DGRAM"):
            check_stream_socket(sock, "StreamPort")


def test_a_tls_socket_is_refused() -> None:
    ours, theirs = socket.socketpair()
    tls = ssl.create_default_context().wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
    with theirs, tls, pytest.raises(NotSupported, match="^sendfile: a TLS socket"):
        check_socket(tls, "sendfile")


@pytest.mark.parametrize("timeout", [None, 1.0])
def test_a_socket_with_a_timeout_is_not_nonblocking(timeout: float | None) -> None:
    with socket.socket() as sock:
        sock.settimeout(timeout)
        with pytest.raises(Inval, match=r"setblocking\(False\)"):
            check_nonblocking(sock, "asendfile")
        sock.setblocking(False)
        check_nonblocking(sock, "asendfile")


def full_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets; the first is non-blocking, and accepts no more bytes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        while True:
            ours.send(bytes(1 << 16))
    except BlockingIOError:
        return ours, theirs


def test_poll_writable_waits_for_the_peer_to_read() -> None:
    ours, theirs = full_pair()
    with ours, theirs:
        assert not poll_writable(ours, 0.001)
        while not poll_writable(ours, 0):
            theirs.recv(1 << 20)
        assert poll_writable(ours, None)


def test_wait_writable_waits_for_the_peer_to_read_and_removes_its_writer() -> None:
    ours, theirs = full_pair()

    async def main() -> None:
        waiter = asyncio.ensure_future(wait_writable(ours))
        await asyncio.sleep(0)
        assert not waiter.done()
        while not waiter.done():
            if poll_writable(ours, 0):
                await waiter
            else:
                theirs.recv(1 << 20)
        assert not asyncio.get_running_loop().remove_writer(ours)

    with ours, theirs:
        asyncio.run(main())


def test_set_result_ignores_a_cancelled_future() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        set_result(future)

    asyncio.run(main())
