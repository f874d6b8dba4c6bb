import asyncio
import gc
import os
import socket
import ssl
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chains import exhaust_pool
from mbuf import NoBufs, Pool
from mbuf.net.aio import streams
from mbuf.net.aio.reader import StreamReader
from mbuf.net.aio.streams import StreamProtocol
from mbuf.net.aio.writer import StreamWriter
from net.loops import Run, until
from net.tls_peer import certify

Small = Callable[..., Pool]


async def connect(pool: Pool, **kwds: Any) -> tuple[StreamReader, StreamWriter, socket.socket]:
    """A reader and a writer, and the other end, which is non-blocking."""
    near, far = socket.socketpair()
    far.setblocking(False)
    return *(await streams.open_connection(pool, sock=near, **kwds)), far


async def recv_bytes(far: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(far, 1 << 20)
        if not piece:
            break
        data += piece
    return bytes(data)


async def close(writer: StreamWriter, far: socket.socket) -> None:
    writer.close()
    far.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def fill(writer: StreamWriter, size: int = 1 << 20) -> int:
    """Write until the peer's buffer is full; return how many bytes."""
    writer.write(b"f" * size)
    assert writer.protocol.write_buffer
    return size


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    async for line in reader:
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_an_echo_server_of_lines(pool: Pool, run: Run, family: str, tmp_path: Path) -> None:
    async def main() -> None:
        if family == "tcp":
            server = await streams.start_server(pool, echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            reader, writer = await streams.open_connection(pool, *address)
            assert writer.get_extra_info("peername") == address
        else:
            server = await streams.start_unix_server(pool, echo, tmp_path / "s")
            reader, writer = await streams.open_unix_connection(pool, tmp_path / "s")
        assert writer.get_extra_info("nothing", 5) == 5
        lines = [b"%d %s\n" % (n, b"x" * (n % 300)) for n in range(3000)]

        async def write() -> None:
            for line in lines:
                writer.write(line)
                await writer.drain()
            assert writer.can_write_eof()
            writer.write_eof()

        _, back = await asyncio.gather(write(), reader.read())
        assert back == b"".join(lines)
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())
    gc.collect()
    assert pool.out == 0


def test_chains_and_bytes_keep_their_order(pool: Pool, run: Run) -> None:
    async def main() -> None:
        reader, writer, far = await connect(pool)
        sent = b""
        for n in range(200):
            data = bytes([n]) * (n * 50)
            if n % 3:
                writer.write((data, bytearray(data), memoryview(data))[n % 3 - 1])
            else:
                writer.write(pool.frombytes(data, flags=0))
            sent += data
        writer.writelines([b"one", pool.frombytes(b"two", flags=0)])
        writer.close()
        assert await recv_bytes(far, 1 << 30) == sent + b"onetwo"
        await close(writer, far)

    run(main())
    assert pool.out == 0


def test_what_is_written_together_is_sent_together(pool: Pool, run: Run) -> None:
    async def main() -> None:
        reader, writer, far = await connect(pool)
        for data in (b"1", b"2", b"3"):
            writer.write(data)
        assert far.recv(10) == b"1"
        with pytest.raises(BlockingIOError):
            far.recv(10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert far.recv(10) == b"23"
        # A task that waits sends first.
        for data in (b"4", b"5"):
            writer.write(data)
        waiting = asyncio.ensure_future(reader.read(1))
        assert await recv_bytes(far, 2) == b"45"
        far.send(b"x")
        assert await waiting == b"x"
        await close(writer, far)

    run(main())


def test_many_small_writes_are_sent_before_the_task_waits(pool: Pool, run: Run) -> None:
    async def main() -> None:
        _, writer, far = await connect(pool)
        for _ in range(100):
            writer.write(b"x" * 1000)
        early = len(far.recv(1 << 20))
        assert early >= 50_000
        assert early + len(await recv_bytes(far, 100_000 - early)) == 100_000
        await close(writer, far)

    run(main())


def test_wrong_writes_are_refused(pool: Pool, run: Run) -> None:
    async def main() -> None:
        _, writer, far = await connect(pool)
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError, match="bytes-like"):
                writer.write(wrong)
        writer.write(b"")
        writer.write_eof()
        m = pool.get()
        for data in (b"x", m):
            with pytest.raises(RuntimeError, match="after write_eof"):
                writer.write(data)
        m.free()
        assert await recv_bytes(far, 1) == b""
        await close(writer, far)

    run(main())


def test_a_lost_connection_does_not_hide_the_exception_that_is_handled(pool: Pool, run: Run) -> None:
    async def main() -> None:
        _, writer, far = await connect(pool)
        await close(writer, far)

        async def fail() -> None:
            try:
                raise ZeroDivisionError
            finally:
                await writer.drain()

        with pytest.raises(ConnectionResetError) as lost:
            await fail()
        assert isinstance(lost.value.__context__, ZeroDivisionError)
        assert not lost.value.__suppress_context__

    run(main())


def test_a_slow_peer_stops_drain_and_gets_all(pool: Pool, run: Run) -> None:
    async def main() -> None:
        _, writer, far = await connect(pool)
        size = fill(writer)
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        writer.write(b"last")
        writer.close()
        assert writer.is_closing()
        writer.write(b"too late")
        assert (await recv_bytes(far, 1 << 30))[size:] == b"last"
        with suppress(ConnectionResetError):
            await draining
        await close(writer, far)
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()

    run(main())
    assert pool.out == 0


@pytest.mark.parametrize("end", ["close", "write_eof", "drain"])
def test_without_mbufs_bytes_wait_as_they_are(small: Small, run: Run, end: str) -> None:
    pool = small()

    async def main() -> None:
        _, writer, far = await connect(pool)
        held = exhaust_pool(pool)
        data = os.urandom(3_000_000)
        writer.write(data)
        assert writer.protocol.starved
        second = os.urandom(writer.protocol.write_buffer.hiwat)
        writer.write(second)
        with pytest.raises(NoBufs, match=r"await drain\(\)"):
            writer.write(b"third")
        m = held.pop()
        with pytest.raises(NoBufs, match=r"await drain\(\)"):
            writer.protocol.write(m)
        held.append(m)
        ending = asyncio.ensure_future(writer.drain()) if end == "drain" else getattr(writer, end)()
        got = await recv_bytes(far, len(data + second))
        assert got == data + second
        if end == "drain":
            await ending
            writer.write(b"third")
            assert await recv_bytes(far, 5) == b"third"
        else:
            assert await recv_bytes(far, 1) == b""
        pool.free_bulk(held)
        await close(writer, far)

    run(main())
    assert pool.out == 0


def test_a_chain_behind_bytes_that_wait_gives_its_mbufs(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        _, writer, far = await connect(pool)
        held = exhaust_pool(pool)
        # Less than `hiwat` waits behind what the sockets hold.
        sent = 0
        while not writer.protocol.starved:
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0)
            sent += 10_000
        m = held.pop()
        m.append(b"chain")
        writer.write(m)
        got = await recv_bytes(far, sent + 5)
        assert (len(got), got[-5:]) == (sent + 5, b"chain")
        pool.free_bulk(held)
        await close(writer, far)

    run(main())
    assert pool.out == 0


def test_a_connection_that_reads_nothing_leaves_memory_to_others(small: Small, run: Run) -> None:
    pool = small(mbufs=2000, clusters=500)

    async def main() -> None:
        ends = [await connect(pool) for _ in range(20)]
        for _, writer, _ in ends:
            with suppress(NoBufs):
                while True:
                    writer.write(b"x" * 1500)
        assert all(writer.protocol.write_buffer.full for _, writer, _ in ends)
        assert pool.zones.clust.used < 400
        reader, writer, far = await connect(pool)
        for n in range(100):
            writer.write(b"%d\n" % n)
            far.send(b"%d\n" % n)
            assert await reader.readline() == b"%d\n" % n
        for _, stalled, peer in (*ends, (reader, writer, far)):
            stalled.transport.abort()
            peer.close()
        await until(lambda: all(stalled.transport.is_closing() for _, stalled, _ in ends))

    run(main())


def test_a_reader_pauses_the_peer(pool: Pool, run: Run) -> None:
    async def main() -> None:
        reader, writer, far = await connect(pool, limit=1000)
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(far, b"x" * 3_000_000))
        for _ in range(50):
            await asyncio.sleep(0)
        assert reader._buffer.cc < 200_000
        assert len(await reader.readexactly(3_000_000)) == 3_000_000
        await sending
        await close(writer, far)

    run(main())


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_client_connected_cb(pool: Pool, run: Run, kind: str) -> None:
    async def main() -> None:
        made: list[StreamWriter] = []

        def function(reader: StreamReader, writer: StreamWriter) -> None:
            made.append(writer)
            writer.write(b"hello")
            writer.close()

        async def coroutine(reader: StreamReader, writer: StreamWriter) -> None:
            function(reader, writer)

        cb = function if kind == "function" else coroutine
        server = await streams.start_server(pool, cb, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b"hello"
        writer.close()
        await made[0].wait_closed()
        server.close()

    run(main())


def test_an_exception_in_client_connected_cb_is_reported(pool: Pool, run: Run) -> None:
    async def fail(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readline()
        raise ValueError("no such command")

    async def main() -> None:
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
        server = await streams.start_server(pool, fail, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x\n")
        assert await reader.read() == b""
        assert [str(error) for error in errors] == ["no such command"]
        writer.close()
        server.close()

    run(main())


def test_a_reset_is_raised_where_it_is_waited_for(pool: Pool, run: Run) -> None:
    async def main() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        reader, writer = await streams.open_connection(pool, *server.getsockname())
        far, _ = await asyncio.get_running_loop().sock_accept(server)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        far.close()
        with pytest.raises(ConnectionResetError):
            await waiting
        for wait in (reader.read, writer.drain, writer.wait_closed):
            with pytest.raises(ConnectionResetError):
                await wait()
        writer.write(b"nothing")
        server.close()

    run(main())


def test_a_dropped_writer_closes_and_warns(pool: Pool, run: Run) -> None:
    async def main() -> None:
        reader, writer, far = await connect(pool)
        protocol = writer.protocol
        kept = [writer]
        del writer
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            kept.clear()
        await until(lambda: protocol.lost.done())
        assert await reader.read() == b""
        far.close()

    run(main())


def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    pem = certify(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(pem)
    return server, client


def test_streams_over_tls(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        server_side, client_side = contexts(tmp_path)
        server = await streams.start_server(pool, echo, "127.0.0.1", 0, ssl=server_side)
        reader, writer = await streams.open_connection(pool, *server.sockets[0].getsockname(), ssl=client_side)
        assert not writer.can_write_eof()
        with pytest.raises(NotImplementedError):
            writer.write_eof()
        data = os.urandom(500_000).replace(b"\n", b".")
        for n in range(0, len(data), 10_000):
            writer.write(data[n : n + 9999] + b"\n")
        back = await reader.readexactly(len(data) // 10_000 * 10_000)
        assert back[:9999] == data[:9999]
        writer.write(pool.frombytes(b"chain\n", flags=0))
        assert await reader.readline() == b"chain\n"
        writer.close()
        with suppress(ssl.SSLError, ConnectionError):
            await writer.wait_closed()
        server.close()

    run(main())


@pytest.mark.parametrize("early", [True, False])
def test_starttls_takes_what_was_read_too_far(pool: Pool, run: Run, tmp_path: Path, early: bool) -> None:
    """The client's handshake follows its command at once, and may be read together with it."""

    async def main() -> None:
        server_side, client_side = contexts(tmp_path)

        async def serve(reader: StreamReader, writer: StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            if early:
                await until(lambda: reader._buffer.cc > 100)
            await writer.start_tls(server_side)
            assert writer.get_extra_info("sslcontext") is server_side
            writer.write(b"secure " + await reader.readline())
            writer.close()

        server = await streams.start_server(pool, serve, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_side.wrap_bio(into, out)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        await loop.sock_sendall(sock, b"STARTTLS\n" + out.read())
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                into.write(await loop.sock_recv(sock, 1 << 16))
        tls.write(b"line\n")
        await loop.sock_sendall(sock, out.read())
        while True:
            try:
                assert tls.read(100) == b"secure line\n"
                break
            except ssl.SSLWantReadError:
                into.write(await loop.sock_recv(sock, 1 << 16))
        sock.close()
        server.close()

    run(main())


def test_a_client_starts_tls(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        server_side, client_side = contexts(tmp_path)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"go\n")
            await writer.start_tls(server_side)
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await streams.open_connection(pool, *server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_side)
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        server.close()

    run(main())


def test_start_tls_of_a_lost_connection(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        _, client_side = contexts(tmp_path)
        _, writer, far = await connect(pool)
        fill(writer)
        starting = asyncio.ensure_future(writer.start_tls(client_side))
        await asyncio.sleep(0)
        writer.transport.abort()
        with pytest.raises(ConnectionResetError):
            await starting
        far.close()

    run(main())
    assert pool.out == 0


def test_the_protocol_needs_a_running_loop(pool: Pool) -> None:
    with pytest.raises(RuntimeError), warnings.catch_warnings():
        StreamProtocol(pool)


def test_what_is_no_pool_or_no_function_is_refused(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        wrong: Any = "64M"
        path = str(tmp_path / "sock")
        for call, *args in (
            (streams.open_connection, wrong, "127.0.0.1", 9),
            (streams.open_unix_connection, wrong, path),
            (streams.start_server, wrong, echo, "127.0.0.1", 0),
            (streams.start_unix_server, wrong, echo, path),
        ):
            with pytest.raises(TypeError, match="pool: give a Pool, not a str"):
                await call(*args)
        for call, *args in ((streams.start_server, "127.0.0.1", 0), (streams.start_unix_server, path)):
            with pytest.raises(TypeError, match="can't be called"):
                await call(pool, wrong, *args)

    run(main())


def test_a_wrong_start_tls_changes_nothing(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        _, client_side = contexts(tmp_path)
        reader, writer, far = await connect(pool)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(far, b"one\n")
        await until(lambda: reader._buffer.cc)
        wrong: Any = None
        with pytest.raises(TypeError, match="give an ssl.SSLContext"):
            await writer.start_tls(wrong)
        with pytest.raises(ValueError, match="ssl_handshake_timeout"):
            await writer.start_tls(client_side, ssl_handshake_timeout=-1)
        size = fill(writer)
        starting = asyncio.ensure_future(writer.start_tls(client_side))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await loop.sock_sendall(far, b"two\n")
        assert [await reader.readline(), await reader.readline()] == [b"one\n", b"two\n"]
        assert len(await recv_bytes(far, size)) == size
        await close(writer, far)

    run(main())
    assert pool.out == 0


@pytest.mark.parametrize("how", ["cancel", "abort", "close", "timeout", "eof", "garbage"])
def test_a_handshake_that_fails_ends_the_connection(pool: Pool, run: Run, tmp_path: Path, how: str) -> None:
    async def main() -> None:
        _, client_side = contexts(tmp_path)
        reader, writer, far = await connect(pool)
        starting = asyncio.ensure_future(writer.start_tls(client_side, ssl_handshake_timeout=0.1))
        # The first message of the handshake.
        await asyncio.get_running_loop().sock_recv(far, 1)
        if how == "cancel":
            starting.cancel()
        elif how == "abort":
            writer.transport.abort()
        elif how == "close":
            writer.transport.close()
        elif how == "eof":
            far.shutdown(socket.SHUT_WR)
        elif how == "garbage":
            far.send(b"no TLS at all" * 10)
        # What is written meanwhile is lost.
        writer.write(b"x" * 100)
        with pytest.raises((OSError, asyncio.CancelledError)):
            await starting
        with suppress(OSError):
            await writer.wait_closed()
        with suppress(OSError):
            assert await reader.readline() == b""
        assert writer.protocol.transport is None
        far.close()

    run(main())
    assert pool.out == 0


def test_a_connection_that_nobody_refers_to_is_closed(pool: Pool, run: Run) -> None:
    async def main() -> None:
        reader, writer, far = await connect(pool)
        far.shutdown(socket.SHUT_WR)
        # After the end of the stream the loop doesn't refer to it either.
        assert await reader.read() == b""
        lost = writer.protocol.lost
        cycle: list[Any] = [reader, writer]
        cycle.append(cycle)
        del reader, writer, cycle
        with pytest.warns(ResourceWarning):
            gc.collect()
        await lost
        far.close()

    run(main())
    assert pool.out == 0
