"""The usual cases, which `Connection` handles; all others are tested with its subclasses."""

import asyncio
import socket
from typing import Any

import pytest

from mbuf import Inval, Pool
from mbuf.net.aio.connection import Connection
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.aio.streams import StreamProtocol
from mbuf.packet.sockbuf import SockBuf
from net.loops import Run, runs


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return runs(request.param)


async def connect(pool: Pool) -> tuple[Any, socket.socket]:
    near, far = socket.socketpair()
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: StreamProtocol(pool), sock=near)
    # Reading may be paused and resumed in the next callbacks.
    await asyncio.sleep(0)
    return protocol, far


def test_a_connection_is_derived_from(pool: Pool) -> None:
    alone = Connection(pool, SockBuf())
    assert alone.pool is pool
    for call, arguments in (
        (alone.get_buffer, (0,)),
        (alone.buffer_updated, (1,)),
        (alone._write_bytes, (b"x",)),
        (alone._deliver, (None,)),
        (alone._store, (None, b"")),
        (alone._send_collected, ()),
        (alone.resume_reading, ()),
    ):
        with pytest.raises(NotImplementedError):
            call(*arguments)
    assert not alone._is_drained()


def test_one_that_is_not_initialized_sends_nothing() -> None:
    class Half(MbufProtocol):
        def __init__(self) -> None:
            pass

    with pytest.raises((NotImplementedError, AttributeError)):
        Half()._write_bytes(b"x")


def test_the_first_bytes_are_sent_at_once_and_the_next_ones_before_the_task_waits(run: Run, pool: Pool) -> None:
    async def main() -> None:
        protocol, far = await connect(pool)
        protocol._write_bytes(b"one")
        protocol._write_bytes(b"two")
        assert far.recv(10) == b"one"
        assert protocol._is_drained()
        protocol._before_wait()
        assert far.recv(10) == b"two"
        protocol.transport.abort()
        far.close()
        await asyncio.sleep(0.01)
        assert not protocol._is_drained()

    run(main())


def test_more_bytes_than_there_is_room_for_are_refused(run: Run, pool: Pool) -> None:
    async def main() -> None:
        protocol, far = await connect(pool)
        protocol._mbuf.grow(protocol._mbuf.trailing - 10)
        with pytest.raises(Inval, match="11 bytes: the buffer has 10"):
            protocol.buffer_updated(11)
        with pytest.raises(Inval, match="-1 bytes"):
            protocol.buffer_updated(-1)
        protocol.buffer_updated(10)
        assert len(await protocol.reader.read(100)) == 10
        protocol.transport.abort()
        far.close()

    run(main())
