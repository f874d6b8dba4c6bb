"""`WaitingPort` in asyncio, uvloop and trio."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest

from mbuf import Busy, Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.waiting import WaitingPort
from mbuf.net.port.port import PortStat
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
            with pytest.raises(TypeError, match="n: give a whole number"):
                await client.recv_batch(cast(int, "3"))

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


def test_a_port_without_a_descriptor_and_a_place_without_tasks_are_refused(
    pool: Pool, pair: tuple[socket.socket, socket.socket]
) -> None:
    with pytest.raises(Inval, match="no file descriptor"):
        WaitingPort(pool, QueuePort())
    with UdpPort(pool, pair[0]) as port, pytest.raises(Inval, match="asyncio or trio"):
        WaitingPort(pool, port)


def test_what_is_no_pool_or_no_port_is_refused(pool: Pool, pair: tuple[socket.socket, socket.socket]) -> None:
    with UdpPort(pool, pair[0]) as port:
        with pytest.raises(TypeError, match="WaitingPort: pool: give a Pool"):
            WaitingPort(cast(Pool, None), port)
        with pytest.raises(TypeError, match="WaitingPort: port: give a port"):
            WaitingPort(pool, cast(UdpPort, None))


def test_a_batch_has_no_more_than_was_asked_for(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client:
            for n in range(5):
                far.sendto(b"%d" % n, near.getsockname())
            got = [await client.recv(), *await client.recv_batch(1), *await client.recv_batch(2), await client.recv()]
            assert [bytes(m) for m in got] == [b"0", b"1", b"2", b"3", b"4"]
            pool.free_bulk(got)

    library.run(main)


def test_a_second_task_that_receives_is_refused(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client:

            async def receive() -> None:
                with await client.recv() as m:
                    got.append(bytes(m))

            async def intrude() -> None:
                await library.step()
                with pytest.raises(Busy, match="another task is receiving"):
                    await client.recv()
                far.sendto(b"x", near.getsockname())

            await library.both(receive, intrude)

    library.run(main)
    assert got == [b"x"]


def test_a_second_task_that_sends_is_refused(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    class Full(UdpPort):
        """Accepts nothing until it is opened."""

        full = True

        def push(self, packets: list[Mbuf]) -> int:
            return 0 if self.full else super().push(packets)

    async def main() -> None:
        port = Full(pool, near)
        async with WaitingPort(pool, port) as client:

            async def intrude() -> None:
                await library.step()
                with pool.wrap(b"b") as m, pytest.raises(Busy, match="another task is sending"):
                    await client.send(m)
                port.full = False

            await library.both(lambda: client.send(pool.wrap(b"a")), intrude)

    library.run(main)
    assert (far.recv(10), pool.out) == (b"a", 0)


def test_closing_ends_a_wait(pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        client = WaitingPort(pool, UdpPort(pool, pair[0]))

        async def receive() -> None:
            with pytest.raises(Inval, match="the port is closed"):
                await client.recv()

        async def close() -> None:
            await library.step()
            client.close()
            client.close()

        await library.both(receive, close)

    library.run(main)


def test_closing_ends_the_wait_for_a_cluster(
    small: Callable[..., Pool], library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    pool = small(clusters=100, mbufs=200)

    async def main() -> None:
        client = WaitingPort(pool, UdpPort(pool, near))
        taken: list[Mbuf] = []
        with suppress(NoBufs):
            while True:
                taken.append(pool.getcl())
        far.sendto(b"x", near.getsockname())

        async def receive() -> None:
            with pytest.raises(Inval, match="the port is closed"):
                await client.recv()

        async def close() -> None:
            while not client.port.stat().short:
                await library.step()
            client.close()

        await library.both(receive, close)
        pool.free_bulk(taken)

    library.run(main)
    assert pool.out == 0


def test_the_descriptor_of_a_closed_socket_is_left_alone(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        loop = None if library.trio else asyncio.get_running_loop()
        sock = socket.socket(type=socket.SOCK_DGRAM)
        fd = sock.fileno()
        client = WaitingPort(pool, UdpPort(pool, sock))

        async def receive() -> None:
            with pytest.raises(Inval, match="the port is closed"):
                await client.recv()

        async def reuse() -> None:
            await library.step()
            sock.close()
            with socket.socket(type=socket.SOCK_DGRAM) as other:
                assert other.fileno() == fd
                other.setblocking(False)
                other.bind(("127.0.0.1", 0))
                far.sendto(b"x", other.getsockname())
                if loop is not None:
                    readable = asyncio.Event()
                    loop.add_reader(fd, readable.set)
                    client.close()
                    # The task that has waited runs now.
                    await library.step()
                    await readable.wait()
                    loop.remove_reader(fd)
                else:
                    client.close()
                    await library.trio.lowlevel.wait_readable(fd)

        await library.both(receive, reuse)

    library.run(main)


def test_a_port_that_needs_more_than_one_cluster_lets_others_run(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    class Short(UdpPort):
        """Finds too little memory until others have run."""

        others_ran = False
        refused = 0

        def pull(self, n: int) -> list[Mbuf]:
            if not self.others_ran:
                self.refused += 1
                return []
            return super().pull(n)

        def stat(self) -> PortStat:
            return replace(super().stat(), short=self.refused)

    async def main() -> None:
        port = Short(pool, near)
        async with WaitingPort(pool, port) as client:
            far.sendto(b"x", near.getsockname())

            async def receive() -> None:
                (await client.recv()).freem()

            async def other() -> None:
                for _ in range(3):
                    await library.step()
                port.others_ran = True

            await library.both(receive, other)

    library.run(main)


def test_a_port_that_is_never_empty_or_full_lets_others_run(
    pool: Pool, library: Library, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    ran: list[str] = []

    async def main() -> None:
        async with WaitingPort(pool, UdpPort(pool, near)) as client:

            async def echo() -> None:
                while not ran:
                    far.sendto(b"x", near.getsockname())
                    await client.send(await client.recv())
                    far.recv(10)

            async def other() -> None:
                ran.append("other")

            await library.both(echo, other)

    library.run(main)
