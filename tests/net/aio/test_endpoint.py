"""The arguments of `create_datagram_endpoint`, as asyncio has them."""

import asyncio
import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from mbuf import Inval, Pool
from mbuf.net.aio.endpoint import create_datagram_endpoint
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
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix,
        ):
            udp.bind(ANY)
            bad: list[dict[str, Any]] = [
                {},
                {"sock": udp, "local_addr": ANY},
                {"sock": tcp},
                {"local_addr": 5},
                {"local_addr": ("127.0.0.1",)},
                {"local_addr": udp.getsockname()},
                {"local_addr": ANY, "remote_addr": ("::1", 1)},
            ]
            for options in bad:
                with pytest.raises((ValueError, TypeError, OSError)) as ours:
                    await create_datagram_endpoint(pool, asyncio.DatagramProtocol, **options)
                with pytest.raises(ours.type) as theirs:
                    await asyncio.SelectorEventLoop.create_datagram_endpoint(loop, asyncio.DatagramProtocol, **options)
                assert str(ours.value) == str(theirs.value)
            with pytest.raises(Inval, match="IPv4 or IPv6"):
                await create_datagram_endpoint(pool, asyncio.DatagramProtocol, sock=unix)
            with pytest.raises(ZeroDivisionError):
                await create_datagram_endpoint(pool, lambda: 1 / 0, ANY)  # type: ignore[arg-type, return-value]
        loop.close()

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
