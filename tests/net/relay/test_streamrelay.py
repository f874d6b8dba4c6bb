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

#: Seconds until a test fails because something expected hasn't happened.
TIMEOUT = 30


class Server(asyncio.Protocol):
    """Sends back what it reads, with flow control, until the other side ends the stream."""

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


class SometimesStalled(Server):
    """As Server, but reads no more after a first byte that is an s."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"s"):
            self.transport.pause_reading()
        else:
            self.transport.write(data)
            self.data_received = self.transport.write  # type: ignore[method-assign]


class CountingServer(Server):
    """Sends one line when the other side has ended the stream: how many bytes came."""

    got = 0

    def data_received(self, data: bytes) -> None:
        self.got += len(data)

    def eof_received(self) -> None:
        self.transport.write(b"got %d" % self.got)


class Setup:
    """A relay, its destination, and clients."""

    def __init__(self, relay: StreamRelay, address: str, served: list[Server]) -> None:
        self.relay = relay
        self.address = address
        self.served = served

    async def connect(self) -> Client:
        if self.address.startswith("unix:"):
            return await asyncio.open_unix_connection(self.address.removeprefix("unix:"))
        port = int(self.address.rpartition(":")[2])
        return await asyncio.open_connection("127.0.0.1", port)

    async def all_closed(self) -> None:
        """Wait until the relay has no connections."""
        while self.relay.stat().open:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def relaying(
    pool: Pool,
    kind: Callable[[], Server] = Server,
    listen: str = "tcp://127.0.0.1:0",
    unix: str = "",
    memory: int = 1 << 20,
    max_clients: int = 100,
    timeout: float = 60.0,
) -> AsyncIterator[Setup]:
    """A relay to a server of this kind, at the path `unix` or at a TCP port."""
    served: list[Server] = []

    def make() -> Server:
        served.append(kind())
        return served[-1]

    loop = asyncio.get_running_loop()
    server = await (loop.create_unix_server(make, unix) if unix else loop.create_server(make, "127.0.0.1", 0))
    dest = f"unix:{unix}" if unix else f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    address = parse(listen)
    sock = address.listen()
    relay = StreamRelay(pool, sock, parse(dest), memory, max_clients, timeout)
    try:
        async with asyncio.timeout(TIMEOUT):
            yield Setup(relay, local_address(sock), served)
    finally:
        relay.close()
        address.close_listener(sock)
        server.close()
        for protocol in served:
            protocol.transport.abort()
        await asyncio.sleep(0)
        assert (pool.out, relay.quota.held, relay.stat().open) == (0, 0, 0)


async def exchange(client: Client, data: bytes) -> bytes:
    """Send all and end the stream; return what comes back until the end."""
    reader, writer = client

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _, received = await asyncio.gather(send(), reader.read())
    writer.close()
    return received


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 100_000, 3_000_000])
def test_bytes_are_relayed_unchanged_both_ways(make: Make, size: int) -> None:
    data = os.urandom(size)

    async def main() -> None:
        async with relaying(make()) as setup:
            assert await exchange(await setup.connect(), data) == data
            await setup.all_closed()
            stat = setup.relay.stat()
            assert (stat.bytes, stat.clients, stat.failed, stat.refused, stat.denied) == (2 * size, 1, 0, 0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("kinds", ["unix to tcp", "tcp to unix", "unix to unix"])
def test_streams_are_relayed_between_unix_and_tcp(make: Make, tmp_path: Path, kinds: str) -> None:
    data = os.urandom(300_000)
    listen = f"unix:{tmp_path}/near" if kinds.startswith("unix") else "tcp://127.0.0.1:0"
    unix = f"{tmp_path}/far" if kinds.endswith("unix") else ""

    async def main() -> None:
        async with relaying(make(), Server, listen, unix) as setup:
            assert await exchange(await setup.connect(), data) == data

    asyncio.run(main())


def test_many_clients_are_relayed_at_once_in_little_memory(make: Make) -> None:
    data = [os.urandom(40_000) for _ in range(30)]

    async def main() -> None:
        pool = make(mem=1 << 20)
        async with relaying(pool, memory=1 << 19) as setup:
            clients = [await setup.connect() for _ in data]
            assert await asyncio.gather(*map(exchange, clients, data)) == data
            await setup.all_closed()
            assert setup.relay.stat().clients == len(data)

    asyncio.run(main())


def test_an_idle_connection_holds_no_memory(make: Make) -> None:
    async def main() -> None:
        pool = make()
        async with relaying(pool) as setup:
            clients = [await setup.connect() for _ in range(50)]
            for reader, writer in clients:
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            assert (setup.relay.stat().open, setup.relay.quota.held, pool.out) == (50, 0, 0)
            for _, writer in clients:
                writer.close()
            await setup.all_closed()

    asyncio.run(main())


def test_stalled_connections_hold_bounded_memory_and_others_make_progress(make: Make, tmp_path: Path) -> None:
    data = os.urandom(200_000)

    async def main() -> None:
        # Limits that are never reached: only the memory is short.
        names = ("kern.ipc.nmbclusters", "kern.ipc.nmbjumbo16", "kern.ipc.nmbufs")
        pool = make(dict(zip(names, (2048, 256, 16384), strict=True)), mem=4 << 20)
        memory = 2 << 20
        async with relaying(pool, SometimesStalled, f"unix:{tmp_path}/near", f"{tmp_path}/far", memory) as setup:
            stalled = [await setup.connect() for _ in range(40)]
            for _, writer in stalled:
                writer.write(b"s" + bytes(1 << 20))
            while setup.relay.quota.held < memory // 2:
                await asyncio.sleep(0.001)
            assert await exchange(await setup.connect(), b"e" + data) == b"e" + data
            assert memory // 2 <= setup.relay.quota.held <= memory
            assert setup.relay.stat().aborted == 0
            for _, writer in stalled:
                writer.transport.abort()

    asyncio.run(main())


def test_a_stalled_connection_is_aborted_after_the_timeout_if_others_wait_for_memory(
    make: Make, few: Callable[..., Any], tmp_path: Path
) -> None:
    data = b"e" + os.urandom(20_000)

    async def main() -> None:
        # One cluster: while one connection has it, all others wait.
        pool = make(few(clusters=1, jumbo16=1, mbufs=16), caching=False)
        held = [pool.get() for _ in range(16)]
        async with relaying(pool, SometimesStalled, f"unix:{tmp_path}/near", f"{tmp_path}/far", timeout=0.2) as setup:
            stalled = await setup.connect()
            stalled[1].write(b"s" + bytes(1 << 20))
            while not setup.relay.quota.held:
                await asyncio.sleep(0.001)
            assert await exchange(await setup.connect(), data) == data
            assert setup.relay.stat().aborted == 1
            stalled[1].transport.abort()
            pool.free_bulk(held)

    asyncio.run(main())


def test_a_client_is_reset_if_the_destination_refuses_the_connection(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            dest = parse(f"tcp://127.0.0.1:{sock.getsockname()[1]}")
            async with relaying(make()) as setup:
                for address in (dest, parse(f"unix:{tmp_path}/none")):
                    setup.relay.dest = address
                    reader, writer = await setup.connect()
                    with pytest.raises(ConnectionResetError):
                        await reader.readexactly(1)
                    writer.close()
                await setup.all_closed()
                stat = setup.relay.stat()
                assert (stat.clients, stat.refused, stat.failed) == (2, 2, 0)

    asyncio.run(main())


def test_a_reset_by_the_client_resets_the_server(make: Make) -> None:
    async def main() -> None:
        lost = asyncio.get_running_loop().create_future()

        class RecordsLoss(Server):
            def connection_lost(self, error: Exception | None) -> None:
                if not lost.done():
                    lost.set_result(error)

        async with relaying(make(), RecordsLoss) as setup:
            reader, writer = await setup.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            reset(writer)
            assert isinstance(await lost, ConnectionResetError)
            await setup.all_closed()
            assert setup.relay.stat().failed == 1

    asyncio.run(main())


def test_a_reset_by_the_server_resets_the_client(make: Make) -> None:
    async def main() -> None:
        async with relaying(make()) as setup:
            reader, writer = await setup.connect()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            reset(setup.served[0].transport)
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
            await setup.all_closed()
            assert setup.relay.stat().failed == 1

    asyncio.run(main())


def reset(side: asyncio.StreamWriter | asyncio.Transport) -> None:
    """Reset a connection."""
    sock = side.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (side if isinstance(side, asyncio.Transport) else side.transport).abort()


def test_a_half_open_connection_is_relayed(make: Make) -> None:
    async def main() -> None:
        async with relaying(make(), CountingServer) as setup:
            assert await exchange(await setup.connect(), bytes(70_000)) == b"got 70000"

    asyncio.run(main())


def test_clients_past_the_maximum_wait_until_another_one_ends(make: Make) -> None:
    async def main() -> None:
        async with relaying(make(), max_clients=2) as setup:
            first, second, third = [await setup.connect() for _ in range(3)]
            for client in (first, second):
                client[1].write(b"1")
                assert await client[0].readexactly(1) == b"1"
            third[1].write(b"3")
            assert setup.relay.stat().clients == 2
            first[1].close()
            assert await third[0].readexactly(1) == b"3"
            for _, writer in (second, third):
                writer.close()
            await setup.all_closed()

    asyncio.run(main())


def test_close_ends_all_connections_and_frees_their_memory(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        pool = make()
        async with relaying(pool, SometimesStalled, f"unix:{tmp_path}/near", f"{tmp_path}/far") as setup:
            reader, writer = await setup.connect()
            writer.write(b"s" + bytes(1 << 20))
            while not setup.relay.quota.held:
                await asyncio.sleep(0.001)
            setup.relay.close()
            assert (pool.out, setup.relay.stat().open) == (0, 0)
            with closing(writer), pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)

    asyncio.run(main())
