"""The arguments of `create_datagram_endpoint`, as asyncio has them."""

import asyncio
import gc
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mbuf import Inval, Mbuf, Pool
from mbuf.net.aio.endpoint import create_datagram_endpoint
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.aio.transport import UdpTransport
from net.loops import Run, until

#: The kind of the pool makes no difference here.
POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}

ANY = ("127.0.0.1", 0)


async def made(pool: Pool, **options: Any) -> tuple[Any, Any]:
    """The names of an endpoint's socket and of its peer."""
    transport, _ = await create_datagram_endpoint(pool, asyncio.DatagramProtocol, **options)
    names = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    transport.close()
    await until(lambda: transport.get_extra_info("socket").fileno() < 0)
    return names


def test_the_socket_is_the_one_that_the_arguments_describe(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(ANY)
            there = sock.getsockname()
            sockname, peername = await made(pool, local_addr=ANY)
            assert (sockname[0], peername) == ("127.0.0.1", None)
            assert (await made(pool, remote_addr=there))[1] == there
            assert (await made(pool, remote_addr=there, allow_broadcast=True))[1] is None
            assert (await made(pool, local_addr=ANY, remote_addr=there))[1] == there
            assert (await made(pool, family=socket.AF_INET))[0] == ("0.0.0.0", 0)
            assert (await made(pool, local_addr=("::1", 0)))[0][0] == "::1"
            assert (await made(pool, local_addr=("localhost", 0), family=socket.AF_INET))[0][0] == "127.0.0.1"
            near, _ = await create_datagram_endpoint(pool, asyncio.DatagramProtocol, ANY, reuse_port=True)
            again = await made(pool, local_addr=near.get_extra_info("sockname"), reuse_port=True)
            assert again[0] == near.get_extra_info("sockname")
            near.abort()
            await asyncio.sleep(0)
        with socket.socket(type=socket.SOCK_DGRAM) as mine:
            mine.bind(ANY)
            assert (await made(pool, sock=mine.dup()))[0] == mine.getsockname()

    run(main())
    assert pool.out == 0


def test_an_endpoint_with_a_remote_address_that_is_not_connected_sends_there(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(ANY)
            transport, _ = await create_datagram_endpoint(
                pool, asyncio.DatagramProtocol, remote_addr=sock.getsockname(), allow_broadcast=True
            )
            transport.sendto(b"x")
            assert sock.recv(10) == b"x"
            with pytest.raises(ValueError, match="Invalid address"):
                transport.sendto(b"x", ANY)
            transport.abort()
            await asyncio.sleep(0)

    run(main())


def test_wrong_arguments_raise_what_asyncio_raises(pool: Pool, run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop: Any = asyncio.SelectorEventLoop()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as udp,
            socket.socket() as tcp,
            socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM) as netlink,
        ):
            udp.bind(ANY)
            bad: list[dict[str, Any]] = [
                {},
                {"sock": udp, "local_addr": ANY},
                {"sock": tcp},
                {"local_addr": 5},
                {"local_addr": ("127.0.0.1",)},
                {"local_addr": udp.getsockname()},
                {"local_addr": ("127.0.0.1", 70000)},
                {"local_addr": ("127.0.0.1", -1)},
                {"local_addr": ANY, "remote_addr": ("::1", 1)},
                {"local_addr": ANY, "family": socket.AF_UNIX},
                {"remote_addr": str(tmp_path / "nobody"), "family": socket.AF_UNIX},
            ]
            for options in bad:
                with pytest.raises((ValueError, TypeError, OSError, OverflowError)) as ours:
                    await create_datagram_endpoint(pool, asyncio.DatagramProtocol, **options)
                with pytest.raises(ours.type) as theirs:
                    await asyncio.SelectorEventLoop.create_datagram_endpoint(loop, asyncio.DatagramProtocol, **options)
                # Python 3.11 and 3.12 have an older text.
                assert str(ours.value) == str(theirs.value).replace("A UDP Socket", "A datagram socket")
            with pytest.raises(Inval, match="IPv4 or IPv6"):
                await create_datagram_endpoint(pool, asyncio.DatagramProtocol, sock=netlink)
            with pytest.raises(ZeroDivisionError):
                await create_datagram_endpoint(pool, lambda: 1 / 0, ANY)  # type: ignore[arg-type, return-value]
        loop.close()

    run(main())
    assert pool.out == 0


def test_only_an_address_with_a_name_is_looked_up_in_another_thread(pool: Pool, run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        asked: list[Any] = []

        async def getaddrinfo(host: Any, port: Any, **options: Any) -> list[Any]:
            asked.append((host, port))
            return [] if host == "nobody" else socket.getaddrinfo(host, port, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(loop), "getaddrinfo", lambda self, *a, **k: getaddrinfo(*a, **k), raising=False)
            assert (await made(pool, local_addr=ANY))[0][0] == "127.0.0.1"
            assert (await made(pool, local_addr=("::1", 0)))[0][0] == "::1"
            assert (await made(pool, remote_addr=("127.0.0.1", "7")))[1] == ("127.0.0.1", 7)
            assert (await made(pool, local_addr=("0.0.0.0", 0)))[0][0] == "0.0.0.0"
            assert not asked
            await made(pool, local_addr=("localhost", 0), family=socket.AF_INET)
            with pytest.raises(OSError, match="returned empty list"):
                await made(pool, local_addr=("nobody", 0))
            assert asked == [("localhost", 0), ("nobody", 0)]
        bad: list[tuple[Any, type[Exception]]] = [
            (("127.0.0.1", "no-such-service"), socket.gaierror),
            (("\ud800", 1), UnicodeError),
            ((5, 1), TypeError),
        ]
        for address, error in bad:
            with pytest.raises(error):
                await made(pool, local_addr=address)

    run(main())


def test_a_transport_has_the_base_classes_of_asyncio(pool: Pool, run: Run) -> None:
    async def main() -> None:
        transport, _ = await create_datagram_endpoint(pool, asyncio.DatagramProtocol, ANY)
        assert isinstance(transport, asyncio.DatagramTransport)
        assert isinstance(transport, asyncio.Transport)
        with pytest.raises(Inval, match="the transport of a stream"):
            MbufProtocol(pool).connection_made(transport)
        transport.abort()
        await asyncio.sleep(0)

    run(main())
    assert pool.out == 0


def test_an_endpoint_whose_creation_is_cancelled_is_closed(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(ANY)
            task = asyncio.ensure_future(create_datagram_endpoint(pool, asyncio.DatagramProtocol, sock=sock))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: sock.fileno() < 0)

    run(main())


def test_a_socket_whose_protocol_gets_no_datagrams_stays_open(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            with pytest.raises(AttributeError, match="datagram_received"):
                await create_datagram_endpoint(pool, asyncio.Protocol, sock=sock)
            gc.collect()
            # It can be used again.
            transport, _ = await create_datagram_endpoint(pool, asyncio.DatagramProtocol, sock=sock)
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    run(main())


class Recorder(asyncio.DatagramProtocol):
    """Collects datagrams, and errors."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)


class Packets(Recorder):
    """Collects packets."""

    def mbuf_received(self, m: Mbuf, addr: Any) -> None:
        self.received.append((bytes(m), addr))
        m.freem()


async def closed(*transports: UdpTransport) -> None:
    for transport in transports:
        transport.close()
    for transport in transports:
        await until(lambda transport=transport: transport.get_extra_info("socket").fileno() < 0)


@pytest.mark.parametrize("kind", [Recorder, Packets])
def test_datagrams_between_unix_sockets_with_and_without_a_path(
    pool: Pool, run: Run, tmp_path: Path, kind: type[Recorder]
) -> None:
    paths = [str(tmp_path / "server"), "\0" + str(tmp_path / "client")]

    async def main() -> None:
        server, served = await create_datagram_endpoint(pool, kind, paths[0], family=socket.AF_UNIX)
        client, got = await create_datagram_endpoint(pool, kind, paths[1], paths[0], family=socket.AF_UNIX)
        nameless, _ = await create_datagram_endpoint(pool, kind, remote_addr=paths[0], family=socket.AF_UNIX)
        names = [server.get_extra_info("sockname"), client.get_extra_info("sockname")]
        assert names == [paths[0], paths[1].encode()]
        assert [client.get_extra_info("peername"), server.get_extra_info("peername")] == [paths[0], None]
        client.sendto(b"from a name")
        nameless.sendto(b"from nobody", None)
        await until(lambda: len(served.received) == 2)
        assert served.received == [(b"from a name", names[1]), (b"from nobody", None)]
        for address in (names[1], paths[1]):
            server.sendto(b"back", address)
        server.sendto(pool.frombytes(b"as a packet"), names[1])
        await until(lambda: len(got.received) == 3)
        assert got.received == [(b"back", paths[0])] * 2 + [(b"as a packet", paths[0])]
        server.sendto(b"x", str(tmp_path / "nobody"))
        await until(lambda: served.errors)
        assert [type(error) for error in served.errors] == [FileNotFoundError]
        for bad, error in (((1, 2), TypeError), (None, TypeError), ("/" + "x" * 200, OSError)):
            with suppress(error):
                server.sendto(b"x", bad)
                assert [str(one) for one in served.errors[1:]] == ["AF_UNIX path too long"]
        await closed(server, client, nameless)

    run(main())
    assert pool.out == 0


def test_the_socket_file_of_an_earlier_program_is_replaced_and_no_other_file(
    pool: Pool, run: Run, tmp_path: Path
) -> None:
    path, other = tmp_path / "socket", tmp_path / "file"
    other.write_text("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as before:
        before.bind(str(path))

    async def main() -> None:
        assert await made(pool, local_addr=str(path), family=socket.AF_UNIX) == (str(path), None)
        with pytest.raises(OSError, match="in use"):
            await made(pool, local_addr=str(other), family=socket.AF_UNIX)
        assert other.exists()

    run(main())


def test_one_of_a_pair_of_unix_sockets(pool: Pool, run: Run) -> None:
    async def main() -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        transport, protocol = await create_datagram_endpoint(pool, Recorder, sock=near)
        transport.sendto(b"there")
        assert far.recv(100) == b"there"
        far.send(b"back")
        await until(lambda: protocol.received)
        assert protocol.received == [(b"back", None)]
        # More than the peer's queue holds waits here.
        for n in range(1000):
            transport.sendto(b"%d" % n)
        assert transport.get_write_buffer_size() > 0
        far.setblocking(False)
        got: list[bytes] = []
        while len(got) < 1000:
            with suppress(BlockingIOError):
                got.append(far.recv(100))
            await asyncio.sleep(0)
        assert got == [b"%d" % n for n in range(1000)]
        far.close()
        await closed(transport)

    run(main())
    assert pool.out == 0
