"""Waiting until a socket is writable: in a thread, or in a task of asyncio."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

from mbuf.net.watch import Watch

if TYPE_CHECKING:
    import socket

#: Seconds until the next try, if a descriptor was ready and nothing could be sent or received, for lack of memory.
RETRY_DELAY = 0.005


def poll_writable(sock: socket.socket, timeout: float | None) -> bool:
    """Block the thread until the socket is writable; False if it isn't after `timeout` seconds. See poll(2)."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


async def wait_writable(sock: socket.socket) -> None:
    """Wait in a task of asyncio until the socket is writable. Raises OSError if it is closed already."""
    loop = asyncio.get_running_loop()
    writable: asyncio.Future[None] = loop.create_future()
    # Another task may close the socket meanwhile.
    watch = Watch(loop, sock.fileno())
    try:
        watch.add_writer(set_result, writable)
        await writable
    finally:
        watch.close()


def set_result(future: asyncio.Future[None]) -> None:
    """End a wait, unless it was cancelled."""
    if not future.done():
        future.set_result(None)
