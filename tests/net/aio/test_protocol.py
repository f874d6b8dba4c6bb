import asyncio
import gc
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_EXT, MCLBYTES, MLEN, Inval, Mbuf, NoBufs, Pool, StreamBuffer
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.quota import Quota
from net.loops import Run, runs, until
from net.tls_peer import certify

Small = Callable[..., Pool]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return runs(request.param)


class Recorder(MbufProtocol):
    """Records the bytes and events of a connection; keeps the mbufs if `held` is a list."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.got = bytearray()
        self.held: list[Mbuf] | None = None
        self.events: list[object] = []

    def mbuf_received(self, m: Mbuf) -> None:
        self.got += bytes(m)
        if self.held is None:
            m.freem()
        else:
            self.held.append(m)

    def eof_received(self) -> bool | None:
        self.events.append("eof")
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.events.append(type(exc))

    @property
    def lost(self) -> bool:
        return bool(self.events) and isinstance(self.events[-1], type)


class Echo(Recorder):
    """Sends back what it receives, and pauses reading while its write buffer is full."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.write_buffer.pause, self.write_buffer.resume = self.pause_reading, self.resume_reading

    def mbuf_received(self, m: Mbuf) -> None:
        self.write(m)


async def connect(protocol: MbufProtocol) -> socket.socket:
    """Connect a protocol; return the other end, which is non-blocking."""
    near, far = socket.socketpair()
    far.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=near)
    return far


async def recv_bytes(far: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        piece = await loop.sock_recv(far, 1 << 20)
        if not piece:
            break
        data += piece
    return bytes(data)


async def send(far: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(far, data)


def exhaust(pool: Pool) -> list[Mbuf]:
    """Allocate until the pool has no mbufs, with clusters and without."""
    mbufs: list[Mbuf] = []
    for alloc in (pool.getcl, pool.get):
        with suppress(NoBufs):
            while True:
                mbufs.append(alloc())
    return mbufs


SIZES = [1, MLEN, MLEN + 1, MCLBYTES - 1, MCLBYTES, MCLBYTES + 1, 100_000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_an_echo_server_returns_what_it_receives(pool: Pool, run: Run, size: int, family: str, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Echo] = []

        def factory() -> Echo:
            made.append(Echo(pool))
            return made[-1]

        if family == "tcp":
            server = await loop.create_server(factory, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        else:
            server = await loop.create_unix_server(factory, tmp_path / "socket")
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        data = os.urandom(size)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        _, back = await asyncio.gather(send(), reader.read())
        assert back == data
        writer.close()
        await until(lambda: made[0].lost)
        assert made[0].events == ["eof", type(None)]
        server.close()

    run(main())
    assert pool.out == 0


def test_up_to_224_bytes_use_no_cluster(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        protocol.held = []
        far = await connect(protocol)
        await send(far, b"x" * MLEN)
        await until(lambda: protocol.got)
        assert [m.flags & M_EXT for m in protocol.held] == [0]
        assert pool.out == 2
        pool.free_bulk(protocol.held)
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_bytes_are_refused_with_the_call_that_makes_a_chain_of_them(pool: Pool, run: Run) -> None:
    data: Any = b"x"

    async def main() -> None:
        protocol = MbufProtocol(pool)
        with pytest.raises(TypeError, match=r"^write: give a chain, such as pool.frombytes\(data\), not a bytes$"):
            protocol.write(data)

    run(main())


def test_many_bytes_are_received_in_few_large_clusters(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        protocol.held = []
        protocol.pause_reading()
        far = await connect(protocol)
        protocol.pause_reading()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        size = far.send(os.urandom(1 << 19))
        protocol.resume_reading()
        await until(lambda: len(protocol.got) == size)
        assert len(protocol.held) < size // MCLBYTES // 4
        pool.free_bulk(protocol.held)
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_nothing_is_received_while_reading_is_paused(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        protocol.pause_reading()
        protocol.pause_reading()
        await send(far, b"later")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not protocol.got
        protocol.resume_reading()
        await until(lambda: protocol.got == b"later")
        protocol.resume_reading()
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_a_connection_without_an_mbuf_waits_and_others_continue(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        waiting, other = Recorder(pool), Recorder(pool)
        far, far2 = await connect(waiting), await connect(other)
        others = exhaust(pool)
        waiting.held = []
        await send(far, b"1" * 1000)
        await until(lambda: len(waiting.got) == 1000)
        # It has given its mbuf to the program, and the pool has no other.
        await send(far, b"2" * 1000)
        await send(far2, b"x" * 1000)
        await until(lambda: len(other.got) == 1000)
        assert bytes(waiting.got) == b"1" * 1000
        # The other connection's mbuf was freed at once, and is for the one that waits.
        await until(lambda: len(waiting.got) == 2000)
        pool.free_bulk(waiting.held)
        pool.free_bulk(others)
        far.close()
        far2.close()
        await until(lambda: waiting.lost and other.lost)

    run(main())


def test_connections_without_an_mbuf_continue_first_come_first_served(small: Small, run: Run) -> None:
    pool = small(clusters=10)

    async def main() -> None:
        order: list[int] = []

        class Ordered(Recorder):
            def mbuf_received(self, m: Mbuf) -> None:
                order.append(protocols.index(self))
                super().mbuf_received(m)

        protocols = [Ordered(pool) for _ in range(5)]
        fars = [await connect(protocol) for protocol in protocols]
        others = exhaust(pool)
        arrival = [3, 1, 4, 0, 2]
        for n in arrival:
            protocols[n].held = []
            await send(fars[n], bytes([n]) * 1000)
            await until(lambda n=n: len(order) == arrival.index(n) + 1)
            await until(lambda n=n: len(pool.zones.clust.limiter.waiters) == arrival.index(n) + 1)
            await send(fars[n], bytes([n]) * 1000)
        kept: list[Mbuf] = []
        for k in range(5):
            others.pop(0).free()
            await until(lambda k=k: len(order) >= 6 + k)
            assert len(order) == 6 + k
        assert order == arrival * 2
        for n, protocol in enumerate(protocols):
            assert bytes(protocol.got) == bytes([n]) * 2000
            kept += protocol.held or []
        pool.free_bulk(kept)
        pool.free_bulk(others)
        for far in fars:
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))

    run(main())


def test_stalled_connections_hold_what_their_marks_allow_and_others_continue(
    make: Callable[..., Pool], run: Run
) -> None:
    pool = make()

    async def main() -> None:
        stalled = [Echo(pool, hiwat=4096, mbmax=8192, max_read=4096) for _ in range(100)]
        fars = [await connect(protocol) for protocol in stalled]
        while not all(protocol.write_buffer.full for protocol in stalled):
            for far in fars:
                with suppress(BlockingIOError):
                    far.send(bytes(10_000))
            await asyncio.sleep(0)
        assert all(protocol.write_buffer.cc < 4096 + 2048 + 4096 for protocol in stalled)
        assert all(protocol.write_buffer.mbcnt < 8192 + 2304 + 16640 for protocol in stalled)
        active = Echo(pool)
        far = await connect(active)
        data = os.urandom(100_000)
        _, back = await asyncio.gather(send(far, data), recv_bytes(far, len(data)))
        assert back == data
        for sock in (far, *fars):
            sock.close()
        await until(lambda: active.lost and all(protocol.lost for protocol in stalled))

    run(main())
    assert pool.out == 0


def test_a_new_connection_without_an_mbuf_waits(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        others = exhaust(pool)
        protocol = Recorder(pool)
        far = await connect(protocol)
        await send(far, b"early")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (protocol.got, protocol.events) == (b"", [])
        pool.free_bulk(others)
        await until(lambda: protocol.got == b"early")
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_a_connection_lost_while_it_waits_leaves_the_queue(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        protocols = [Recorder(pool) for _ in range(3)]
        others = exhaust(pool)
        fars = [await connect(protocol) for protocol in protocols]
        await until(lambda: len(pool.zones.clust.limiter.waiters) == 3)
        protocols[0].abort()
        await until(lambda: protocols[0].lost)
        others.pop(0).free()
        # It gets an mbuf, and is lost before its task runs.
        protocols[1].abort()
        await send(fars[2], b"hello")
        await until(lambda: protocols[2].got)
        pool.free_bulk(others)
        for far in fars:
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))
        assert len(pool.zones.clust.limiter.waiters) == 0

    run(main())


def test_closing_the_pool_ends_connections_that_wait(make: Callable[..., Pool], few: Any, run: Run) -> None:
    pool = make(few())

    async def main() -> None:
        others = exhaust(pool)
        protocol = Recorder(pool)
        far = await connect(protocol)
        await until(lambda: len(pool.zones.clust.limiter.waiters))
        with pytest.warns(ResourceWarning):
            pool.close()
        await until(lambda: protocol.lost)
        with pytest.raises(ConnectionResetError) as caught:
            await protocol.drain()
        assert isinstance(caught.value.__cause__, Inval)
        pool.free_bulk(others)
        far.close()

    run(main())


class Lines(Recorder):
    """Sends back each line; what it can't handle is delivered again."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.buffer = StreamBuffer(limit=1 << 16)
        self.calls = 0

    def mbuf_received(self, m: Mbuf) -> None:
        self.calls += 1
        self.buffer.append(m)
        while (line := self.buffer.take_until(b"\n")) is not None:
            self.write(line)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.buffer.clear()


def test_a_client_that_pipelines_lines_is_served(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Lines(pool)
        far = await connect(protocol)
        data = b"hello world\n" * 100_000
        _, back = await asyncio.gather(send(far, data), recv_bytes(far, len(data)))
        assert back == data
        far.close()
        await until(lambda: protocol.lost)

    run(main())
    assert pool.out == 0


@pytest.mark.parametrize("size", [10, 1000])
def test_what_was_taken_is_handled_when_the_pool_has_mbufs(small: Small, run: Run, size: int) -> None:
    pool = small()

    async def main() -> None:
        protocol = Lines(pool)
        far = await connect(protocol)
        others = exhaust(pool)
        lines = b"one\n" + b"x" * size + b"\nthree\n"
        await send(far, lines)
        await until(lambda: protocol.calls)
        for _ in range(20):
            await asyncio.sleep(0)
        assert protocol.events == []
        pool.free_bulk(others)
        assert await recv_bytes(far, len(lines)) == lines
        await send(far, b"four\n")
        assert await recv_bytes(far, 5) == b"four\n"
        far.close()
        await until(lambda: protocol.lost)

    run(main())
    assert pool.out == 0


def test_what_was_not_taken_is_delivered_again(pool: Pool, run: Run) -> None:
    class Refusing(Recorder):
        refusals = 3

        def mbuf_received(self, m: Mbuf) -> None:
            if self.refusals:
                self.refusals -= 1
                raise NoBufs("not now")
            super().mbuf_received(m)

    async def main() -> None:
        protocols = [Refusing(pool) for _ in range(3)]
        fars = [await connect(protocol) for protocol in protocols]
        for far in fars:
            await send(far, b"x" * 1000)
        await until(lambda: all(protocol.refusals == 2 for protocol in protocols))
        for far in fars:
            await send(far, b"y" * 1000)
        await until(lambda: all(len(protocol.got) == 2000 for protocol in protocols))
        assert all(bytes(protocol.got) == b"x" * 1000 + b"y" * 1000 for protocol in protocols)
        for far in fars:
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))

    run(main())
    assert pool.out == 0


def test_an_exception_when_bytes_are_delivered_again_ends_the_connection(pool: Pool, run: Run) -> None:
    class Failing(Recorder):
        def mbuf_received(self, m: Mbuf) -> None:
            if not self.got:
                self.got += b"once"
                raise NoBufs("not now")
            m.freem()
            raise ValueError("no such message")

    async def main() -> None:
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
        protocol = Failing(pool)
        far = await connect(protocol)
        await send(far, b"x" * 1000)
        await until(lambda: protocol.lost)
        assert [str(error) for error in errors] == ["no such message"]
        far.close()

    run(main())
    assert pool.out == 0


@pytest.mark.parametrize("taken", [True, False])
def test_a_connection_lost_before_bytes_are_delivered_again_frees_them(small: Small, run: Run, taken: bool) -> None:
    pool = small()

    async def main() -> None:
        protocol = Lines(pool) if taken else Recorder(pool)
        if not taken:

            def refuse(m: Mbuf) -> None:
                raise NoBufs("not now")

            protocol.mbuf_received = refuse  # type: ignore[method-assign]
        far = await connect(protocol)
        others = exhaust(pool)
        await send(far, b"one\ntwo\n")
        await until(lambda: protocol._undelivered is not None)
        protocol.abort()
        await until(lambda: protocol.lost)
        pool.free_bulk(others)
        far.close()

    run(main())
    assert pool.out == 0


def test_stalled_connections_become_full_early_and_others_lose_nothing(make: Callable[..., Pool], run: Run) -> None:
    """A broadcast by reference to 30 connections; the peers of 20 read nothing."""
    pool = make(mem=8 << 20)

    async def main() -> None:
        protocols = [Recorder(pool) for _ in range(30)]
        fars = [await connect(protocol) for protocol in protocols]
        reading = [asyncio.ensure_future(recv_bytes(far, 200_000)) for far in fars[20:]]
        for n in range(2000):
            line = pool.getcl().append(b"%04d" % n + b"x" * 96)
            for protocol in protocols:
                if not protocol.write_buffer.full:
                    protocol.write(line.copym())  # type: ignore[arg-type]
            line.freem()
            if n % 10 == 0:
                await until(lambda: not any(protocol.write_buffer for protocol in protocols[20:]))
        assert all(len(data) == 200_000 for data in await asyncio.gather(*reading))
        assert all(protocol.write_buffer.full for protocol in protocols[:20])
        assert pool.stat().mbuf.fails == 0
        for protocol, far in zip(protocols, fars, strict=True):
            protocol.abort()
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))
        quota = Quota.of(pool, asyncio.get_running_loop())
        assert (quota.held, quota.holders) == (0, 0)

    run(main())
    assert pool.out == 0


def test_the_longest_stalled_connection_is_aborted_for_one_that_waits(small: Small, run: Run) -> None:
    pool = small(mbufs=120, clusters=100)

    async def main() -> None:
        Quota.of(pool, asyncio.get_running_loop()).timeout = 0
        stalled, waiting = Recorder(pool), Lines(pool)
        fars = [await connect(stalled), await connect(waiting)]
        # The socket's buffer is full, and then the pool.
        stalled.write(pool.wrap(bytes(1 << 20)))
        with suppress(NoBufs):
            while True:
                stalled.write(pool.getcl(flags=0).append(bytes(2000)))
        with suppress(NoBufs):
            while True:
                stalled.write(pool.get().append(bytes(200)))
        await send(fars[1], b"one\ntwo\n")
        assert await recv_bytes(fars[1], 8) == b"one\ntwo\n"
        assert stalled.lost
        assert Quota.of(pool, asyncio.get_running_loop()).aborts == 1
        for far in fars:
            far.close()
        await until(lambda: waiting.lost)

    run(main())
    assert pool.out == 0


# Out.


def test_write_sends_chains_and_frees_them(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        for part in (b"one", b"two" * 1000, b"three"):
            protocol.write(pool.wrap(part))
        assert await recv_bytes(far, 3008) == b"one" + b"two" * 1000 + b"three"
        assert (len(protocol.write_buffer), pool.out) == (0, 1)
        await protocol.drain()
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_what_the_socket_does_not_accept_is_sent_later_in_order(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool, hiwat=100_000)
        far = await connect(protocol)
        parts = [os.urandom(10_000) for _ in range(400)]

        async def send() -> None:
            for part in parts:
                protocol.write(pool.wrap(part))
                assert len(protocol.write_buffer) <= 110_000
                await protocol.drain()
            protocol.close()

        _, data = await asyncio.gather(send(), recv_bytes(far, 1 << 30))
        assert data == b"".join(parts)
        await until(lambda: protocol.lost)
        assert protocol.events == [type(None)]
        far.close()

    run(main())


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_close_and_write_eof_wait_until_all_is_sent(pool: Pool, run: Run, end: str) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        data = os.urandom(3_000_000)
        protocol.write(pool.wrap(data))
        getattr(protocol, end)()
        protocol.write(pool.wrap(b"too late"))
        assert await recv_bytes(far, 1 << 30) == data
        if end == "write_eof":
            await send(far, b"still received")
            await until(lambda: protocol.got == b"still received")
            far.close()
        await until(lambda: protocol.lost)
        protocol.write(pool.wrap(b"much too late"))
        far.close()

    run(main())


def test_after_eof_the_rest_is_sent_before_the_connection_closes(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        data = os.urandom(3_000_000)
        protocol.write(pool.wrap(data))
        far.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.events)
        assert await recv_bytes(far, 1 << 30) == data
        await until(lambda: protocol.lost)
        far.close()

    run(main())


def test_a_lost_connection_frees_unsent_bytes_and_ends_drain(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        protocol.write(pool.wrap(b"x" * 3_000_000))
        waiting = [asyncio.ensure_future(protocol.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        far.close()
        for task in waiting[1:]:
            with pytest.raises(ConnectionResetError):
                await task
        await until(lambda: protocol.lost)
        assert (len(protocol.write_buffer), pool.out) == (0, 0)

    run(main())


def test_a_write_error_ends_the_connection(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)
        protocol.pause_reading()
        far.close()
        with suppress(ConnectionError):
            while not protocol.lost:
                protocol.write(pool.wrap(b"x" * 10_000))
                await asyncio.sleep(0)
        await until(lambda: protocol.lost)
        assert issubclass(protocol.events[-1], OSError)  # type: ignore[arg-type]

    run(main())


def test_a_reset_ends_the_connection_after_the_bytes_before_it(
    pool: Pool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)

        def reset(*_: object) -> int:
            raise ConnectionResetError

        monkeypatch.setattr(os, "readv", reset)
        await send(far, b"x" * MCLBYTES)
        await until(lambda: protocol.lost)
        assert (bytes(protocol.got), protocol.events) == (b"x" * MCLBYTES, [ConnectionResetError])
        far.close()

    run(main())


def test_an_exception_in_mbuf_received_ends_the_connection_and_leaks_nothing(pool: Pool, run: Run) -> None:
    class Failing(Recorder):
        def mbuf_received(self, m: Mbuf) -> None:
            super().mbuf_received(m)
            raise ValueError("no such message")

    async def main() -> None:
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
        for size in (10, 1000):
            protocol = Failing(pool)
            far = await connect(protocol)
            await send(far, b"x" * size)
            await until(lambda p=protocol: p.lost)
            assert protocol.events == [ValueError]
            far.close()
        assert [str(error) for error in errors] == ["no such message"] * 2

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 100_000, 1_000_000])
def test_tls_connections_receive_and_send(pool: Pool, run: Run, size: int, tmp_path: Path) -> None:
    async def main() -> None:
        pem = certify(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(pem)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname = False
        client_side.load_verify_locations(pem)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Echo(pool), "127.0.0.1", 0, ssl=server_side)
        client = Recorder(pool)
        await loop.create_connection(lambda: client, *server.sockets[0].getsockname(), ssl=client_side)
        data = os.urandom(size)
        client.write(pool.wrap(data))
        await until(lambda: len(client.got) == size)
        assert bytes(client.got) == data
        client.close()
        await until(lambda: client.lost)
        server.close()
        await until(lambda: pool.out == 0)

    run(main())


def test_a_connection_can_become_tls(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        pem = certify(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(pem)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname = False
        client_side.load_verify_locations(pem)
        loop = asyncio.get_running_loop()
        protocols = [Recorder(pool), Recorder(pool)]
        near, far = socket.socketpair()
        for protocol, sock in zip(protocols, (near, far), strict=True):
            await loop.create_connection(lambda protocol=protocol: protocol, sock=sock)
        made = await asyncio.gather(
            loop.start_tls(protocols[0].transport, protocols[0], server_side, server_side=True),  # type: ignore[arg-type]
            loop.start_tls(protocols[1].transport, protocols[1], client_side),  # type: ignore[arg-type]
        )
        for protocol, transport in zip(protocols, made, strict=True):
            protocol.connection_made(transport)
        data = os.urandom(100_000)
        protocols[0].write(pool.wrap(data))
        await until(lambda: len(protocols[1].got) == len(data))
        assert bytes(protocols[1].got) == data
        protocols[0].close()
        protocols[1].close()
        await until(lambda: all(protocol.lost for protocol in protocols))

    run(main())


@pytest.mark.parametrize("data", [None, b"", b"x"])
def test_start_tls_takes_early_bytes(pool: Pool, run: Run, tmp_path: Path, data: bytes | None) -> None:
    """Bytes that are no handshake end it; without any, it succeeds."""

    async def main() -> None:
        pem = certify(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(pem)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname = False
        client_side.load_verify_locations(pem)
        protocols = [Recorder(pool), Recorder(pool)]
        for protocol, sock in zip(protocols, socket.socketpair(), strict=True):
            await asyncio.get_running_loop().create_connection(lambda protocol=protocol: protocol, sock=sock)
        early = None if data is None else pool.frombytes(data, flags=0)
        protocols[0].write(pool.frombytes(b"go"))
        await until(lambda: protocols[1].got)
        server = protocols[0].start_tls(server_side, early, server_side=True, ssl_handshake_timeout=5)
        client = protocols[1].start_tls(client_side)
        found = await asyncio.gather(server, client, return_exceptions=True)
        if data:
            assert isinstance(found[0], ssl.SSLError | ConnectionError)
        else:
            assert found == [None, None]
            protocols[0].write(pool.frombytes(b"secret"))
            await until(lambda: protocols[1].got == b"gosecret")
        for protocol in protocols:
            protocol.abort()
        await until(lambda: all(protocol.transport is None for protocol in protocols))
        early = pool.frombytes(b"x")
        with pytest.raises(ConnectionResetError):
            await protocols[0].start_tls(server_side, early)

    run(main())
    assert pool.out == 0


def test_only_stream_transports_are_accepted(pool: Pool, run: Run) -> None:
    protocol = MbufProtocol(pool)
    with pytest.raises(Inval, match="the transport of a stream"):
        protocol.connection_made(asyncio.BaseTransport())
    with pytest.raises(Inval, match="paused"):
        protocol.get_buffer(-1)


def test_a_lost_connection_is_freed_without_garbage_collection(pool: Pool, run: Run) -> None:
    lost: list[Any] = []

    async def main() -> None:
        protocol = Echo(pool)
        far = await connect(protocol)
        far.close()
        await until(lambda: protocol.lost)
        assert (protocol.write_buffer.pause, protocol.write_buffer.resume) == (None, None)
        lost.append(weakref.ref(protocol))

    gc.disable()
    try:
        run(main())
        assert lost[0]() is None
    finally:
        gc.enable()
