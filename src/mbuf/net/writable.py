"""Waiting until a socket is writable: in a thread, or in a task of asyncio."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


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
