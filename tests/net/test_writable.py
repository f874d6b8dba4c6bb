"""Waiting until a socket is writable."""

import asyncio
import socket

from mbuf.net.writable import poll_writable, set_result, wait_writable


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
