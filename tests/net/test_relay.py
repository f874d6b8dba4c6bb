import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from mbuf import Pool
from mbuf.net.address import parse
from mbuf.net.relay import StreamRelay

Make = Callable[..., Pool]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

#: For what has to happen; nothing is waited for that doesn't.
SOON = 30


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take nothing."""
    # The reader stops when twice its limit is there.
    await asyncio.Event().wait()


class Bed:
    """A relay, the server behind it, and clients."""

    def __init__(self, relay: StreamRelay, text: str) -> None:
        self.relay = relay
        self.text = text

    async def connect(self) -> Client:
        if self.text.startswith("unix:"):
            return await asyncio.open_unix_connection(self.text.removeprefix("unix:"))
        port = int(self.text.rpartition(":")[2])
        return await asyncio.open_connection("127.0.0.1", port)

    async def gone(self, left: int = 0) -> None:
        """Wait until so many are left."""
        while self.relay.stat().open > left:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def bed(
    pool: Pool,
    handler: Handler,
    listen: str = "tcp://127.0.0.1:0",
    unix: str = "",
    bound: int = 1 << 20,
    most: int = 100,
    patience: float = 60.0,
) -> AsyncIterator[Bed]:
    server = await (
        asyncio.start_unix_server(handler, unix, limit=1 << 10)
        if unix
        else asyncio.start_server(handler, "127.0.0.1", 0, limit=1 << 10)
    )
    dest = f"unix:{unix}" if unix else f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    address = parse(listen)
    sock = address.listen()
    relay = StreamRelay(pool, sock, parse(dest), bound, most, patience)
    relay.start()
    before = asyncio.all_tasks()
    try:
        async with asyncio.timeout(SOON):
            yield Bed(relay, address.at(sock))
    finally:
        relay.close()
        address.unlisten(sock)
        server.close()
        tasks = asyncio.all_tasks() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (pool.out, relay.share.held, relay.stat().open) == (0, 0, 0)


async def exchange(client: Client, data: bytes) -> bytes:
    """Send all, and end; what comes back until that ends too."""
    reader, writer = client

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, found = await asyncio.gather(send(), reader.read())
    writer.close()
    return found


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 100_000, 3_000_000])
def test_bytes_go_to_and_fro_as_they_are(make: Make, size: int) -> None:
    data = os.urandom(size)

    async def main() -> None:
        async with bed(make(), echo) as at:
            assert await exchange(await at.connect(), data) == data
            await at.gone()
            stat = at.relay.stat()
            assert (stat.bytes, stat.clients, stat.broken, stat.refused, stat.denied) == (2 * size, 1, 0, 0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("way", ["unix to tcp", "tcp to unix", "unix to unix"])
def test_streams_of_one_kind_go_to_another(make: Make, tmp_path: Path, way: str) -> None:
    data = os.urandom(300_000)
    listen = f"unix:{tmp_path}/near" if way.startswith("unix") else "tcp://127.0.0.1:0"
    unix = f"{tmp_path}/far" if way.endswith("unix") else ""

    async def main() -> None:
        async with bed(make(), echo, listen, unix) as at:
            assert await exchange(await at.connect(), data) == data

    asyncio.run(main())


def test_many_clients_are_served_together_in_little_memory(make: Make) -> None:
    data = [os.urandom(40_000) for _ in range(30)]

    async def main() -> None:
        pool = make(mem=1 << 20)
        async with bed(pool, echo, bound=1 << 19) as at:
            clients = [await at.connect() for _ in data]
            assert await asyncio.gather(*map(exchange, clients, data)) == data
            await at.gone()
            assert at.relay.stat().clients == len(data)

    asyncio.run(main())


def test_who_says_nothing_holds_nothing(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with bed(pool, echo) as at:
            clients = [await at.connect() for _ in range(50)]
            for reader, writer in clients:
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            assert (at.relay.stat().open, at.relay.share.held, pool.out) == (50, 0, 0)
            for _, writer in clients:
                writer.close()
            await at.gone()

    asyncio.run(main())


def test_who_is_not_read_from_holds_a_bounded_part_and_others_are_served(make: Make) -> None:
    async def either(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (echo if await reader.readexactly(1) == b"e" else silent)(reader, writer)

    data = os.urandom(200_000)

    async def main() -> None:
        pool = make(mem=4 << 20)
        bound = 2 << 20
        async with bed(pool, either, bound=bound) as at:
            stalled = [await at.connect() for _ in range(40)]
            for _, writer in stalled:
                writer.write(b"s" + bytes(8 << 20))
            before = -1
            while before != at.relay.stat().bytes or not at.relay.share.held:
                before = at.relay.stat().bytes
                await asyncio.sleep(0.05)
            assert at.relay.share.held <= bound
            reader, writer = await at.connect()
            assert await exchange((reader, writer), b"e" + data) == data
            for _, other in stalled:
                other.transport.abort()

    asyncio.run(main())


def test_who_takes_nothing_for_too_long_is_cut_where_others_have_no_memory(make: Make, few: Callable[..., Any]) -> None:
    async def either(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (echo if await reader.readexactly(1) == b"e" else silent)(reader, writer)

    async def main() -> None:
        # One cluster: whoever has it is in the way of all others.
        pool = make(few(clusters=1, jumbo16=1, mbufs=1000), caching=False)
        async with bed(pool, either, bound=1 << 20, patience=0.2) as at:
            stalled = await at.connect()
            stalled[1].write(b"s" + bytes(16 << 20))
            while not at.relay.share.held:
                await asyncio.sleep(0.01)
            data = os.urandom(20_000)
            assert await exchange(await at.connect(), b"e" + data) == data
            stalled[1].transport.abort()

    asyncio.run(main())


def test_nobody_on_the_other_side_is_a_refusal(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            dest = parse(f"tcp://127.0.0.1:{sock.getsockname()[1]}")
            async with bed(make(), echo) as at:
                for address in (dest, parse(f"unix:{tmp_path}/none")):
                    at.relay.dest = address
                    reader, writer = await at.connect()
                    with pytest.raises(ConnectionResetError):
                        await reader.readexactly(1)
                    writer.close()
                await at.gone()
                stat = at.relay.stat()
                assert (stat.clients, stat.refused, stat.broken) == (2, 2, 0)

    asyncio.run(main())


@pytest.mark.parametrize("side", ["client", "server"])
def test_who_breaks_off_breaks_off_the_other_side_too(make: Make, side: str) -> None:
    met: list[BaseException] = []

    async def main() -> None:
        broken = asyncio.Event()

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x")
            await writer.drain()
            if side == "server":
                await reader.readexactly(1)
                reset(writer)
                return
            try:
                await reader.readexactly(10)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                met.append(error)
            writer.close()
            broken.set()

        async with bed(make(), handler) as at:
            reader, writer = await at.connect()
            assert await reader.readexactly(1) == b"x"
            if side == "client":
                reset(writer)
                await broken.wait()
            else:
                writer.write(b"y")
                with pytest.raises(ConnectionResetError):
                    await reader.readexactly(1)
                writer.close()
            await at.gone()
            assert at.relay.stat().broken == 1

    asyncio.run(main())
    assert [type(error) for error in met] == ([ConnectionResetError] if side == "client" else [])


def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_one_direction_may_end_long_before_the_other(make: Make) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(b"got %d" % len(data))
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with bed(make(), late) as at:
            assert await exchange(await at.connect(), bytes(70_000)) == b"got 70000"

    asyncio.run(main())


def test_of_too_many_the_last_wait_until_somebody_leaves(make: Make) -> None:
    async def main() -> None:
        async with bed(make(), echo, most=2) as at:
            first, second, third = [await at.connect() for _ in range(3)]
            for client in (first, second):
                client[1].write(b"1")
                assert await client[0].readexactly(1) == b"1"
            third[1].write(b"3")
            assert at.relay.stat().clients == 2
            first[1].close()
            assert await third[0].readexactly(1) == b"3"
            for _, writer in (second, third):
                writer.close()
            await at.gone()

    asyncio.run(main())


def test_closed_it_lets_go_of_everybody(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with bed(pool, silent) as at:
            reader, writer = await at.connect()
            writer.write(bytes(4 << 20))
            while not at.relay.share.held:
                await asyncio.sleep(0.001)
            at.relay.close()
            assert (pool.out, at.relay.stat().open) == (0, 0)
            with closing(writer), pytest.raises(ConnectionResetError):
                await reader.readexactly(1)

    asyncio.run(main())
