"""Waiting until a socket is writable."""

import asyncio
import os
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


def test_wait_writable_waits_for_the_peer_to_read_and_leaves_no_descriptor() -> None:
    ours, theirs = full_pair()

    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        waiter = asyncio.ensure_future(wait_writable(ours))
        await asyncio.sleep(0)
        assert not waiter.done()
        while not waiter.done():
            if poll_writable(ours, 0):
                await waiter
            else:
                theirs.recv(1 << 20)
        assert len(os.listdir("/proc/self/fd")) == before

    with ours, theirs:
        asyncio.run(main())


def test_wait_writable_leaves_another_socket_alone_that_got_the_number_of_this_one() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = full_pair()
        number = ours.fileno()
        waiter = asyncio.ensure_future(wait_writable(ours))
        await asyncio.sleep(0)
        ours.close()
        writable = loop.create_future()
        with theirs, socket.socket(type=socket.SOCK_DGRAM) as other:
            assert other.fileno() == number
            loop.add_writer(other, set_result, writable)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            await writable
            assert loop.remove_writer(other)

    asyncio.run(main())


def test_set_result_ignores_a_cancelled_future() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        set_result(future)

    asyncio.run(main())
