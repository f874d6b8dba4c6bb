import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from mbuf import Pool
from mbuf.net.address import local_address, parse
from mbuf.net.relay.streamrelay import StreamRelay

Make = Callable[..., Pool]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: For what has to happen; nothing is waited for that doesn't.
SOON = 30


class Server(asyncio.Protocol):
    """Sends back what it reads, no faster than that is taken; ends when the other side does."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Moody(Server):
    """Reads nothing more if the first byte is an s."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"s"):
            self.transport.pause_reading()
        else:
            self.transport.write(data)
            self.data_received = self.transport.write  # type: ignore[method-assign]


class Late(Server):
    """Tells how many bytes it got, in the end."""

    got = 0

    def data_received(self, data: bytes) -> None:
        self.got += len(data)

    def eof_received(self) -> None:
        self.transport.write(b"got %d" % self.got)


class Bed:
    """A relay, the server behind it, and clients."""

    def __init__(self, relay: StreamRelay, text: str, served: list[Server]) -> None:
        self.relay = relay
        self.text = text
        self.served = served

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
    kind: Callable[[], Server] = Server,
    listen: str = "tcp://127.0.0.1:0",
    unix: str = "",
    bound: int = 1 << 20,
    most: int = 100,
    patience: float = 60.0,
) -> AsyncIterator[Bed]:
    """A relay to a server of that kind, at a path or at a port."""
    served: list[Server] = []

    def make() -> Server:
        served.append(kind())
        return served[-1]

    loop = asyncio.get_running_loop()
    server = await (loop.create_unix_server(make, unix) if unix else loop.create_server(make, "127.0.0.1", 0))
    dest = f"unix:{unix}" if unix else f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    address = parse(listen)
    sock = address.listen()
    relay = StreamRelay(pool, sock, parse(dest), bound, most, patience)
    try:
        async with asyncio.timeout(SOON):
            yield Bed(relay, local_address(sock), served)
    finally:
        relay.close()
        address.close_listener(sock)
        server.close()
        for one in served:
            one.transport.abort()
        await asyncio.sleep(0)
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
        async with bed(make()) as at:
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
        async with bed(make(), Server, listen, unix) as at:
            assert await exchange(await at.connect(), data) == data

    asyncio.run(main())


def test_many_clients_are_served_together_in_little_memory(make: Make) -> None:
    data = [os.urandom(40_000) for _ in range(30)]

    async def main() -> None:
        pool = make(mem=1 << 20)
        async with bed(pool, bound=1 << 19) as at:
            clients = [await at.connect() for _ in data]
            assert await asyncio.gather(*map(exchange, clients, data)) == data
            await at.gone()
            assert at.relay.stat().clients == len(data)

    asyncio.run(main())


def test_who_says_nothing_holds_nothing(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with bed(pool) as at:
            clients = [await at.connect() for _ in range(50)]
            for reader, writer in clients:
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            assert (at.relay.stat().open, at.relay.share.held, pool.out) == (50, 0, 0)
            for _, writer in clients:
                writer.close()
            await at.gone()

    asyncio.run(main())


def test_who_is_not_read_from_holds_a_bounded_part_and_others_are_served(make: Make, tmp_path: Path) -> None:
    data = os.urandom(200_000)

    async def main() -> None:
        # Only memory itself is scarce.
        names = ("kern.ipc.nmbclusters", "kern.ipc.nmbjumbo16", "kern.ipc.nmbufs")
        pool = make(dict(zip(names, (2048, 256, 16384), strict=True)), mem=4 << 20)
        bound = 2 << 20
        async with bed(pool, Moody, f"unix:{tmp_path}/near", f"{tmp_path}/far", bound) as at:
            stalled = [await at.connect() for _ in range(40)]
            for _, writer in stalled:
                writer.write(b"s" + bytes(1 << 20))
            while at.relay.share.held < bound // 2:
                await asyncio.sleep(0.001)
            assert await exchange(await at.connect(), b"e" + data) == b"e" + data
            assert bound // 2 <= at.relay.share.held <= bound
            assert at.relay.stat().cut == 0
            for _, writer in stalled:
                writer.transport.abort()

    asyncio.run(main())


def test_who_takes_nothing_for_too_long_is_cut_where_others_have_no_memory(
    make: Make, few: Callable[..., Any], tmp_path: Path
) -> None:
    data = b"e" + os.urandom(20_000)

    async def main() -> None:
        # One cluster: whoever has it is in the way of all others.
        pool = make(few(clusters=1, jumbo16=1, mbufs=16), caching=False)
        held = [pool.get() for _ in range(16)]
        async with bed(pool, Moody, f"unix:{tmp_path}/near", f"{tmp_path}/far", patience=0.2) as at:
            stalled = await at.connect()
            stalled[1].write(b"s" + bytes(1 << 20))
            while not at.relay.share.held:
                await asyncio.sleep(0.001)
            assert await exchange(await at.connect(), data) == data
            assert at.relay.stat().cut == 1
            stalled[1].transport.abort()
            pool.free_bulk(held)

    asyncio.run(main())


def test_nobody_on_the_other_side_is_a_refusal(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            dest = parse(f"tcp://127.0.0.1:{sock.getsockname()[1]}")
            async with bed(make()) as at:
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


def test_a_client_that_breaks_off_is_broken_off_on_the_other_side(make: Make) -> None:
    async def main() -> None:
        met = asyncio.get_running_loop().create_future()

        class Told(Server):
            def connection_lost(self, error: Exception | None) -> None:
                if not met.done():
                    met.set_result(error)

        async with bed(make(), Told) as at:
            reader, writer = await at.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            reset(writer)
            assert isinstance(await met, ConnectionResetError)
            await at.gone()
            assert at.relay.stat().broken == 1

    asyncio.run(main())


def test_a_server_that_breaks_off_is_broken_off_for_the_client(make: Make) -> None:
    async def main() -> None:
        async with bed(make()) as at:
            reader, writer = await at.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            reset(at.served[0].transport)
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
            await at.gone()
            assert at.relay.stat().broken == 1

    asyncio.run(main())


def reset(side: asyncio.StreamWriter | asyncio.Transport) -> None:
    """End a connection as if the program had died."""
    sock = side.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (side if isinstance(side, asyncio.Transport) else side.transport).abort()


def test_one_direction_may_end_long_before_the_other(make: Make) -> None:
    async def main() -> None:
        async with bed(make(), Late) as at:
            assert await exchange(await at.connect(), bytes(70_000)) == b"got 70000"

    asyncio.run(main())


def test_of_too_many_the_last_wait_until_somebody_leaves(make: Make) -> None:
    async def main() -> None:
        async with bed(make(), most=2) as at:
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


def test_closed_it_lets_go_of_everybody(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        pool = make()
        async with bed(pool, Moody, f"unix:{tmp_path}/near", f"{tmp_path}/far") as at:
            reader, writer = await at.connect()
            writer.write(b"s" + bytes(1 << 20))
            while not at.relay.share.held:
                await asyncio.sleep(0.001)
            at.relay.close()
            assert (pool.out, at.relay.stat().open) == (0, 0)
            with closing(writer), pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)

    asyncio.run(main())
