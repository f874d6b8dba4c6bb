"""`WaitingPort` in asyncio, uvloop and trio."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mbuf import Busy, Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.waiting import WaitingPort
from mbuf.net.port.queueport import QueuePort
from mbuf.net.udp.udpport import UdpPort
from net.loops import Run, runs

#: The kind of the pool makes no difference here.
POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}


class Library:
    """Runs tasks: asyncio, uvloop or trio."""

    def __init__(self, name: str) -> None:
        self.trio: Any = pytest.importorskip("trio") if name == "trio" else None
        self._run: Run | None = None if self.trio else runs(name)

    def run(self, main: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if self._run is not None:
            self._run(main())
        else:
            self.trio.run(main)

    async def both(self, first: Callable[[], Awaitable[object]], second: Callable[[], Awaitable[object]]) -> None:
        """Run two tasks at the same time."""
        if self.trio is None:
            await asyncio.gather(first(), second())
            return
        async with self.trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)

    async def step(self) -> None:
        """Let the other task run."""
        await (self.trio.sleep(0.001) if self.trio else asyncio.sleep(0.001))


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets; the first is connected to the second."""
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
        near.connect(far.getsockname())
        yield near, far


def test_packets_are_received_and_sent(pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    got: list[bytes] = []

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client, WaitingPort(pool, UdpPort(pool, far)) as server:

            async def serve() -> None:
                for _ in range(50):
                    # It goes back to where it came from.
                    await server.send(await server.recv())

            async def ask() -> None:
                await client.send_batch([pool.wrap(b"%d" % n) for n in range(50)])
                while len(got) < 50:
                    for m in await client.recv_batch():
                        got.append(bytes(m))
                        m.freem()

            await library.both(serve, ask)
            far.sendto(b"one", near.getsockname())
            far.sendto(b"two", near.getsockname())
            for expected in (b"one", b"two"):
                with await client.recv() as m:
                    assert bytes(m) == expected

    library.run(main)
    assert got == [b"%d" % n for n in range(50)]
    assert pool.out == 0


def test_a_batch_begins_with_what_recv_has_left(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client:
            for n in range(5):
                far.sendto(b"%d" % n, near.getsockname())
            (await client.recv()).freem()
            packets = await client.recv_batch()
            assert [bytes(m) for m in packets] == [b"1", b"2", b"3", b"4"]
            pool.free_bulk(packets)
            far.sendto(b"x", near.getsockname())
            far.sendto(b"never taken", near.getsockname())
            (await client.recv()).freem()
            with pytest.raises(Inval, match="recv_batch: 0 packets"):
                await client.recv_batch(0)

    library.run(main)
    assert pool.out == 0


def test_without_mbufs_a_receive_waits(
    small: Callable[..., Pool], library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    pool = small(clusters=100, mbufs=200)
    got: list[bytes] = []

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client:
            taken: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    taken.append(pool.getcl())
            far.sendto(b"x", near.getsockname())

            async def receive() -> None:
                with await client.recv() as m:
                    got.append(bytes(m))

            async def free() -> None:
                while not client.port.stat().short:
                    await library.step()
                await library.step()
                assert got == []
                pool.free_bulk(taken)

            await library.both(receive, free)

    library.run(main)
    assert (got, pool.out) == ([b"x"], 0)


def test_a_full_port_is_waited_for(pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair

    class Full(UdpPort):
        """Accepts nothing, twice before each packet."""

        left = 2

        def push(self, packets: list[Mbuf]) -> int:
            if packets and self.left:
                self.left -= 1
                return 0
            self.left = 2
            rest = packets[1:]
            del packets[1:]
            sent = super().push(packets)
            packets += rest
            return sent

    async def main() -> None:
        async with WaitingPort(pool, Full(pool, near)) as client:
            await client.send_batch([pool.wrap(b"a"), pool.wrap(b"b")])

    library.run(main)
    assert (far.recv(10), far.recv(10), pool.out) == (b"a", b"b", 0)


def test_a_second_task_that_has_to_wait_is_refused_and_the_first_goes_on(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    said: list[str] = []

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as port:

            async def first() -> None:
                with await port.recv() as m:
                    said.append(bytes(m).decode())

            async def second() -> None:
                await library.step()
                with pytest.raises(Busy, match="^recv: another task waits in recv of this port"):
                    await port.recv()
                far.sendto(b"hello", near.getsockname())

            await library.both(first, second)

    library.run(main)
    assert said == ["hello"]
    assert pool.out == 0


def test_close_wakes_the_tasks_that_wait(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    said: list[str] = []

    async def main() -> None:
        port = WaitingPort(pool, UdpPort(pool, near))

        async def wait() -> None:
            with pytest.raises(Inval, match="the port is closed"):
                await port.recv()
            said.append("woken")

        async def close() -> None:
            await library.step()
            port.close()
            port.close()

        await library.both(wait, close)

    library.run(main)
    assert said == ["woken"]


def test_a_port_without_a_descriptor_and_a_place_without_tasks_are_refused(
    pool: Pool, pair: tuple[socket.socket, socket.socket]
) -> None:
    with pytest.raises(Inval, match="no file descriptor"):
        WaitingPort(pool, QueuePort())
    with UdpPort(pool, pair[0]) as port, pytest.raises(Inval, match="asyncio or trio"):
        WaitingPort(pool, port)
