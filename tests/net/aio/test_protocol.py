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

from mbuf import MCLBYTES, MLEN, Inval, NoBufs, Pool
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.quota import Quota
from net.connections import Echo, Lines, Recorder, Small, connect, recv_bytes, send
from net.loops import Run, until
from net.tls_peer import certify

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


def test_bytes_are_refused_with_the_call_that_makes_a_chain_of_them(pool: Pool, run: Run) -> None:
    data: Any = b"x"

    async def main() -> None:
        protocol = MbufProtocol(pool)
        with pytest.raises(TypeError, match=r"^write: give a chain, such as pool.frombytes\(data\), not a bytes$"):
            protocol.write(data)

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


@pytest.mark.parametrize("act", ["write", "abort"])
def test_a_finalizer_that_runs_while_bytes_are_sent_harms_nothing(
    pool: Pool, run: Run, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    writev = os.writev

    async def main() -> None:
        protocol = Recorder(pool)
        far = await connect(protocol)

        def interrupted(fd: int, views: list[memoryview]) -> int:
            sent = writev(fd, views)
            monkeypatch.setattr(os, "writev", writev)
            if act == "write":
                protocol.write(pool.frombytes(b"second"))
            else:
                protocol.abort()
            return sent

        monkeypatch.setattr(os, "writev", interrupted)
        protocol.write(pool.frombytes(b"first "))
        assert await recv_bytes(far, 12) == (b"first second" if act == "write" else b"first ")
        protocol.abort()
        await until(lambda: protocol.lost)
        far.close()

    run(main())
    assert pool.out == 0
