import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_EXT, MCLBYTES, MLEN, Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.protocol import MbufProtocol
from net.loops import Run, runs, until
from net.tls_peer import certify

Small = Callable[..., Pool]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return runs(request.param)


class Keeper(MbufProtocol):
    """Keeps what comes, and what happens."""

    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.got = bytearray()
        self.held: list[Mbuf] | None = None
        self.said: list[object] = []

    def mbuf_received(self, m: Mbuf) -> None:
        self.got += bytes(m)
        if self.held is None:
            m.freem()
        else:
            self.held.append(m)

    def eof_received(self) -> bool | None:
        self.said.append("eof")
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.said.append(type(exc))

    @property
    def lost(self) -> bool:
        return bool(self.said) and isinstance(self.said[-1], type)


class Echo(Keeper):
    def __init__(self, pool: Pool, **marks: int) -> None:
        super().__init__(pool, **marks)
        self.out.pause, self.out.resume = self.pause, self.resume

    def mbuf_received(self, m: Mbuf) -> None:
        self.write(m)


async def connected(protocol: MbufProtocol) -> socket.socket:
    """The other end, that doesn't block."""
    near, far = socket.socketpair()
    far.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=near)
    return far


async def bytes_of(far: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        piece = await loop.sock_recv(far, 1 << 20)
        if not piece:
            break
        data += piece
    return bytes(data)


async def sent(far: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(far, data)


def hog(pool: Pool) -> list[Mbuf]:
    mbufs: list[Mbuf] = []
    for ask in (pool.getcl, pool.get):
        with suppress(NoBufs):
            while True:
                mbufs.append(ask())
    return mbufs


SIZES = [1, MLEN, MLEN + 1, MCLBYTES - 1, MCLBYTES, MCLBYTES + 1, 100_000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_what_is_sent_comes_back(pool: Pool, run: Run, size: int, family: str, tmp_path: Path) -> None:
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
        assert made[0].said == ["eof", type(None)]
        server.close()

    run(main())
    assert pool.out == 0


def test_a_few_bytes_hold_no_cluster(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        protocol.held = []
        far = await connected(protocol)
        await sent(far, b"x" * MLEN)
        await until(lambda: protocol.got)
        assert [m.flags & M_EXT for m in protocol.held] == [0]
        assert pool.out == 2
        pool.free_bulk(protocol.held)
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_much_comes_at_once(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        protocol.held = []
        protocol.pause()
        far = await connected(protocol)
        protocol.pause()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        size = far.send(os.urandom(1 << 19))
        protocol.resume()
        await until(lambda: len(protocol.got) == size)
        assert len(protocol.held) < size // MCLBYTES // 4
        pool.free_bulk(protocol.held)
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_who_pauses_is_told_nothing_until_it_resumes(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        protocol.pause()
        protocol.pause()
        await sent(far, b"later")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not protocol.got
        protocol.resume()
        await until(lambda: protocol.got == b"later")
        protocol.resume()
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_without_an_mbuf_it_waits_and_others_go_on(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        hungry, other = Keeper(pool), Keeper(pool)
        far, far2 = await connected(hungry), await connected(other)
        others = hog(pool)
        hungry.held = []
        await sent(far, b"1" * 1000)
        await until(lambda: len(hungry.got) == 1000)
        # It has given away what it had in hand, and there is no other.
        await sent(far, b"2" * 1000)
        await sent(far2, b"x" * 1000)
        await until(lambda: len(other.got) == 1000)
        assert bytes(hungry.got) == b"1" * 1000
        # What the other one's mbuf held was freed at once: it is for who waits.
        await until(lambda: len(hungry.got) == 2000)
        pool.free_bulk(hungry.held)
        pool.free_bulk(others)
        far.close()
        far2.close()
        await until(lambda: hungry.lost and other.lost)

    run(main())


def test_those_without_an_mbuf_go_on_in_the_order_in_which_they_came(small: Small, run: Run) -> None:
    pool = small(clusters=10)

    async def main() -> None:
        order: list[int] = []

        class Ordered(Keeper):
            def mbuf_received(self, m: Mbuf) -> None:
                order.append(protocols.index(self))
                super().mbuf_received(m)

        protocols = [Ordered(pool) for _ in range(5)]
        fars = [await connected(protocol) for protocol in protocols]
        others = hog(pool)
        turn = [3, 1, 4, 0, 2]
        for n in turn:
            protocols[n].held = []
            await sent(fars[n], bytes([n]) * 1000)
            await until(lambda n=n: len(order) == turn.index(n) + 1)
            await until(lambda n=n: len(pool.zones.clust.limiter.waiters) == turn.index(n) + 1)
            await sent(fars[n], bytes([n]) * 1000)
        kept: list[Mbuf] = []
        for k in range(5):
            others.pop(0).free()
            await until(lambda k=k: len(order) >= 6 + k)
            assert len(order) == 6 + k
        assert order == turn * 2
        for n, protocol in enumerate(protocols):
            assert bytes(protocol.got) == bytes([n]) * 2000
            kept += protocol.held or []
        pool.free_bulk(kept)
        pool.free_bulk(others)
        for far in fars:
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))

    run(main())


def test_stalled_connections_hold_what_their_marks_allow_and_others_go_on(make: Callable[..., Pool], run: Run) -> None:
    pool = make()

    async def main() -> None:
        stalled = [Echo(pool, hiwat=4096, mbmax=8192, most=4096) for _ in range(100)]
        fars = [await connected(protocol) for protocol in stalled]
        while not all(protocol.out.full for protocol in stalled):
            for far in fars:
                with suppress(BlockingIOError):
                    far.send(bytes(10_000))
            await asyncio.sleep(0)
        assert all(protocol.out.cc < 4096 + 2048 + 4096 for protocol in stalled)
        assert all(protocol.out.mbcnt < 8192 + 2304 + 16640 for protocol in stalled)
        lively = Echo(pool)
        far = await connected(lively)
        data = os.urandom(100_000)
        _, back = await asyncio.gather(sent(far, data), bytes_of(far, len(data)))
        assert back == data
        for sock in (far, *fars):
            sock.close()
        await until(lambda: lively.lost and all(protocol.lost for protocol in stalled))

    run(main())
    assert pool.out == 0


def test_a_connection_that_begins_without_an_mbuf_waits(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        others = hog(pool)
        protocol = Keeper(pool)
        far = await connected(protocol)
        await sent(far, b"early")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (protocol.got, protocol.said) == (b"", [])
        pool.free_bulk(others)
        await until(lambda: protocol.got == b"early")
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_a_connection_lost_while_it_waits_gives_up_its_turn(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        protocols = [Keeper(pool) for _ in range(3)]
        others = hog(pool)
        fars = [await connected(protocol) for protocol in protocols]
        await until(lambda: len(pool.zones.clust.limiter.waiters) == 3)
        protocols[0].abort()
        await until(lambda: protocols[0].lost)
        others.pop(0).free()
        # Served, and lost in the same moment.
        protocols[1].abort()
        await sent(fars[2], b"hello")
        await until(lambda: protocols[2].got)
        pool.free_bulk(others)
        for far in fars:
            far.close()
        await until(lambda: all(protocol.lost for protocol in protocols))
        assert len(pool.zones.clust.limiter.waiters) == 0

    run(main())


def test_a_closed_pool_ends_those_who_wait(make: Callable[..., Pool], few: Any, run: Run) -> None:
    pool = make(few())

    async def main() -> None:
        others = hog(pool)
        protocol = Keeper(pool)
        far = await connected(protocol)
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


# Sending.


def test_chains_are_sent_and_freed(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        for part in (b"one", b"two" * 1000, b"three"):
            protocol.write(pool.wrap(part))
        assert await bytes_of(far, 3008) == b"one" + b"two" * 1000 + b"three"
        assert (len(protocol.out), pool.out) == (0, 1)
        await protocol.drain()
        far.close()
        await until(lambda: protocol.lost)

    run(main())


def test_what_does_not_go_at_once_goes_later_and_in_order(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool, hiwat=100_000)
        far = await connected(protocol)
        parts = [os.urandom(10_000) for _ in range(400)]

        async def send() -> None:
            for part in parts:
                protocol.write(pool.wrap(part))
                assert len(protocol.out) <= 110_000
                await protocol.drain()
            protocol.close()

        _, data = await asyncio.gather(send(), bytes_of(far, 1 << 30))
        assert data == b"".join(parts)
        await until(lambda: protocol.lost)
        assert protocol.said == [type(None)]
        far.close()

    run(main())


@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_the_end_comes_after_all_was_sent(pool: Pool, run: Run, end: str) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        data = os.urandom(3_000_000)
        protocol.write(pool.wrap(data))
        getattr(protocol, end)()
        protocol.write(pool.wrap(b"too late"))
        assert await bytes_of(far, 1 << 30) == data
        if end == "write_eof":
            await sent(far, b"but this comes")
            await until(lambda: protocol.got == b"but this comes")
            far.close()
        await until(lambda: protocol.lost)
        protocol.write(pool.wrap(b"much too late"))
        far.close()

    run(main())


def test_the_end_of_the_other_side_waits_for_what_is_to_be_sent(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        data = os.urandom(3_000_000)
        protocol.write(pool.wrap(data))
        far.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.said)
        assert await bytes_of(far, 1 << 30) == data
        await until(lambda: protocol.lost)
        far.close()

    run(main())


def test_a_lost_connection_frees_what_was_not_sent_and_tells_who_waits(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        protocol.write(pool.wrap(b"x" * 3_000_000))
        waiting = [asyncio.ensure_future(protocol.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        far.close()
        for task in waiting[1:]:
            with pytest.raises(ConnectionResetError):
                await task
        await until(lambda: protocol.lost)
        assert (len(protocol.out), pool.out) == (0, 0)

    run(main())


def test_an_error_of_the_socket_ends_the_connection(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)
        protocol.pause()
        far.close()
        with suppress(ConnectionError):
            while not protocol.lost:
                protocol.write(pool.wrap(b"x" * 10_000))
                await asyncio.sleep(0)
        await until(lambda: protocol.lost)
        assert issubclass(protocol.said[-1], OSError)  # type: ignore[arg-type]

    run(main())


def test_a_reset_behind_what_was_read_comes_after_it(pool: Pool, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        protocol = Keeper(pool)
        far = await connected(protocol)

        def reset(*_: object) -> int:
            raise ConnectionResetError

        monkeypatch.setattr(os, "readv", reset)
        await sent(far, b"x" * MCLBYTES)
        await until(lambda: protocol.lost)
        assert (bytes(protocol.got), protocol.said) == (b"x" * MCLBYTES, [ConnectionResetError])
        far.close()

    run(main())


def test_what_the_user_raises_ends_the_connection_and_loses_nothing(pool: Pool, run: Run) -> None:
    class Failing(Keeper):
        def mbuf_received(self, m: Mbuf) -> None:
            super().mbuf_received(m)
            raise ValueError("no such message")

    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        for size in (10, 1000):
            protocol = Failing(pool)
            far = await connected(protocol)
            await sent(far, b"x" * size)
            await until(lambda p=protocol: p.lost)
            assert protocol.said == [ValueError]
            far.close()
        assert [str(error) for error in told] == ["no such message"] * 2

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 100_000, 1_000_000])
def test_tls_works_as_well(pool: Pool, run: Run, size: int, tmp_path: Path) -> None:
    async def main() -> None:
        pem = certify(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(pem)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname = False
        client_side.load_verify_locations(pem)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Echo(pool), "127.0.0.1", 0, ssl=server_side)
        client = Keeper(pool)
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


def test_a_connection_may_become_tls(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        pem = certify(tmp_path)
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_side.load_cert_chain(pem)
        client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_side.check_hostname = False
        client_side.load_verify_locations(pem)
        loop = asyncio.get_running_loop()
        protocols = [Keeper(pool), Keeper(pool)]
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


def test_only_streams_have_bytes(pool: Pool, run: Run) -> None:
    protocol = MbufProtocol(pool)
    with pytest.raises(Inval, match="no transport of a stream"):
        protocol.connection_made(asyncio.BaseTransport())
    with pytest.raises(Inval, match="paused"):
        protocol.get_buffer(-1)
