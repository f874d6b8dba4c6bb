"""Checks of a caller's socket, and waiting until it is writable.

The checks raise an error that begins with the name of the function or class that was called. Nothing is sent or
received here.
"""

from __future__ import annotations

import asyncio
import select
import socket

from mbuf.errors import Inval, NotSupported


def check_socket(sock: socket.socket, caller: str) -> None:
    """Raise `Inval` if this isn't a `socket.socket`, and `NotSupported` if it is a TLS socket."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"{caller}: give a socket.socket, not {sock!r}")
    if hasattr(sock, "do_handshake"):
        raise NotSupported(
            f"{caller}: a TLS socket can't use mbufs: use MbufProtocol with asyncio, or copy: sock.sendall(bytes(m))"
        )


def check_stream_socket(sock: socket.socket, caller: str) -> None:
    """Raise what `check_socket` raises, and `NotSupported` if the type isn't SOCK_STREAM."""
    check_socket(sock, caller)
    if sock.type != socket.SOCK_STREAM:
        raise NotSupported(f"{caller}: give a stream socket, not one of {sock.type!r}")


def check_nonblocking(sock: socket.socket, caller: str) -> None:
    """Raise `Inval` if the socket blocks, or has a timeout."""
    if sock.gettimeout() != 0:
        raise Inval(f"{caller}: the socket blocks: call sock.setblocking(False)")


def poll_writable(sock: socket.socket, timeout: float | None) -> bool:
    """Block the thread until the socket is writable; False if it isn't after `timeout` seconds. See poll(2)."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


async def wait_writable(sock: socket.socket) -> None:
    """Wait in a task of asyncio until the socket is writable. Only one task may wait for a socket."""
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    loop.add_writer(fd, set_result, writable)
    try:
        await writable
    finally:
        loop.remove_writer(fd)


def set_result(future: asyncio.Future[None]) -> None:
    """End a wait, unless it was cancelled."""
    if not future.done():
        future.set_result(None)
