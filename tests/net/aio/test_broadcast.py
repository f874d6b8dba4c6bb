import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mbuf import Inval, NoBufs, Pool
from mbuf.net.aio import streams
from mbuf.net.aio.broadcast import Broadcast
from mbuf.net.aio.protocol import MbufProtocol
from mbuf.net.aio.writer import StreamWriter
from net.loops import Run, until

Small = Callable[..., Pool]

#: Messages that are more than a write buffer holds.
COUNT = 1500


async def stream(pool: Pool) -> tuple[StreamWriter, socket.socket]:
    near, far = socket.socketpair()
    far.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    _, writer = await streams.open_connection(pool, sock=near)
    return writer, far


async def connection(pool: Pool, **marks: int) -> tuple[MbufProtocol, socket.socket]:
    near, far = socket.socketpair()
    far.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: MbufProtocol(pool, **marks), sock=near)
    return protocol, far


async def read_all(far: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(far, 1 << 20)
    return bytes(data)


async def close(*ends: tuple[Any, socket.socket]) -> None:
    for end, far in ends:
        (end.transport.abort if isinstance(end, StreamWriter) else end.abort)()
        far.close()
    protocols = [end.protocol if isinstance(end, StreamWriter) else end for end, _ in ends]
    await until(lambda: all(protocol.transport is None for protocol in protocols))


@pytest.mark.parametrize("size", [1, 100, 2000, 5000, 100_000])
def test_all_connections_get_a_message(pool: Pool, run: Run, size: int) -> None:
    async def main() -> None:
        ends = [await stream(pool), await connection(pool), await stream(pool)]
        news = Broadcast()
        for end, _ in ends:
            news.add(end)
            news.add(end)
        assert (len(news), ends[0][0] in news, len(list(news))) == (3, True, 3)
        data = os.urandom(size)
        assert news.send(pool.frombytes(data)) == 3
        assert [await read_all(far, size) for _, far in ends] == [data] * 3
        news.discard(ends[0][0])
        assert news.send(pool.frombytes(b"again")) == 2
        assert (news.dropped, news.aborted, news.dropped_for(ends[0][0])) == (0, 0, 0)
        await close(*ends)
        assert (news.send(pool.frombytes(b"nobody")), len(news)) == (0, 0)

    run(main())
    assert pool.out == 0


def test_messages_follow_what_was_written_before(pool: Pool, run: Run) -> None:
    async def main() -> None:
        writer, far = await stream(pool)
        news = Broadcast()
        news.add(writer)
        sent = b""
        for n in range(100):
            data = b"%d " % n * n
            writer.write(data)
            writer.write(b"collected")
            news.send(pool.frombytes(data + b"\n"))
            sent += data + b"collected" + data + b"\n"
            if n % 10 == 0:
                await asyncio.sleep(0)
        assert await read_all(far, len(sent)) == sent
        assert news.dropped == 0
        await close((writer, far))

    run(main())
    assert pool.out == 0


@pytest.mark.parametrize("size", [100, 3000])
def test_messages_for_a_slow_reader_are_dropped_whole_and_counted(pool: Pool, run: Run, size: int) -> None:
    async def main() -> None:
        slow, fast = await stream(pool), await connection(pool)
        news = Broadcast()
        news.add(slow[0])
        news.add(fast[0])
        reading = asyncio.ensure_future(read_all(fast[1], COUNT * size))
        for n in range(COUNT):
            news.send(pool.frombytes(b"%04d" % n + b"x" * (size - 4)))
            await until(lambda: not fast[0].write_buffer)
        assert len(await reading) == COUNT * size
        dropped = news.dropped_for(slow[0])
        assert 0 < dropped == news.dropped < COUNT
        assert news.dropped_for(fast[0]) == 0
        got = await read_all(slow[1], (COUNT - dropped) * size)
        assert [got[at : at + 4] for at in range(0, len(got), size)] == [b"%04d" % n for n in range(COUNT - dropped)]
        await close(slow, fast)

    run(main())
    assert pool.out == 0


def test_slow_readers_may_be_aborted(pool: Pool, run: Run) -> None:
    async def main() -> None:
        slow, fast = await stream(pool), await connection(pool)
        news = Broadcast("abort")
        news.add(slow[0])
        news.add(fast[0])
        reading = asyncio.ensure_future(read_all(fast[1], 500_000))
        for _ in range(500):
            news.send(pool.frombytes(b"x" * 1000))
            await until(lambda: not fast[0].write_buffer)
        await reading
        assert (news.aborted, news.dropped, len(news), slow[0] in news) == (1, 0, 1, False)
        await until(lambda: slow[0].protocol.transport is None)
        await close(fast)
        slow[1].close()

    run(main())
    assert pool.out == 0


def test_an_empty_pool_loses_no_part_of_a_message(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        writer, far = await stream(pool)
        news = Broadcast()
        news.add(writer)
        data = os.urandom(400_000)
        m = pool.wrap(data)
        held = []
        for alloc in (pool.getcl, pool.get):
            with suppress(NoBufs):
                while True:
                    held.append(alloc())
        second = held.pop(0)
        second.append(b"dropped")
        assert news.send(m) == 1
        # The chain's mbuf may be had now, and not more.
        assert news.send(second) <= 1
        assert (await read_all(far, len(data)))[: len(data)] == data
        pool.free_bulk(held)
        await close((writer, far))

    run(main())
    assert pool.out == 0


def test_many_stalled_readers_leave_mbufs_to_the_others(small: Small, run: Run) -> None:
    pool = small(mbufs=1000, clusters=500)

    async def main() -> None:
        slow = [await stream(pool) for _ in range(100)]
        fast = [await connection(pool) for _ in range(5)]
        news = Broadcast()
        for end, _ in (*slow, *fast):
            news.add(end)
        reading = [asyncio.ensure_future(read_all(far, 600_000)) for _, far in fast]
        for n in range(600):
            news.send(pool.frombytes(b"%03d" % n + b"x" * 997))
            if n % 3 == 0:
                await until(lambda: not any(protocol.write_buffer for protocol, _ in fast))
        assert [len(data) for data in await asyncio.gather(*reading)] == [600_000] * 5
        assert sum(news.dropped_for(protocol) for protocol, _ in fast) == 0
        assert all(news.dropped_for(writer) > 0 for writer, _ in slow)
        await close(*slow, *fast)

    run(main())
    assert pool.out == 0


def test_wrong_arguments_are_refused(pool: Pool) -> None:
    with pytest.raises(Inval, match='give "drop" or "abort"'):
        Broadcast("wait")
    with pytest.raises(TypeError, match="give a writer of mbuf.net.aio.start_server or .*, not 5"):
        Broadcast().add(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"send: give a chain, such as pool.frombytes\(data\), not a bytes"):
        Broadcast().send(b"x")  # type: ignore[arg-type]


def test_an_exception_of_one_connection_is_reported_and_the_others_get_the_message(pool: Pool, run: Run) -> None:
    told: list[Any] = []

    def stop() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        ends = [await connection(pool, hiwat=100), await connection(pool)]
        news = Broadcast()
        for end, _ in ends:
            news.add(end)
        ends[0][0].write(pool.frombytes(bytes(1 << 18)))
        # It becomes full with the next message.
        ends[0][0].write_buffer.clear()
        ends[0][0].write_buffer.pause = stop
        assert news.send(pool.frombytes(b"m" * 200)) == 2
        assert await read_all(ends[1][1], 200) == b"m" * 200
        await close(*ends)

    run(main())
    assert [type(error) for error in told] == [ZeroDivisionError]
    assert pool.out == 0
