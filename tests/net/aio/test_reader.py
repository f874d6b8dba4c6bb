import asyncio
from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Callable
from contextlib import suppress

import pytest

from mbuf import Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.reader import StreamReader
from net.loops import until


@pytest.fixture
def reader(pool: Pool) -> StreamReader:
    return StreamReader(pool, 16)


def fed(reader: StreamReader, *parts: bytes, eof: bool = True) -> StreamReader:
    for part in parts:
        reader.feed_data(part)
    if eof:
        reader.feed_eof()
    return reader


def data_of(m: Mbuf | None) -> bytes | None:
    if m is None:
        return None
    with m:
        return bytes(m)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(pool: Pool, limit: int) -> None:
    with pytest.raises(ValueError, match="Limit cannot be <= 0"):
        StreamReader(pool, limit)


def test_read_returns_what_is_there_or_all(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"abc", b"de")
        assert [await reader.read(0), await reader.read(4), reader.at_eof()] == [b"", b"abcd", False]
        assert [await reader.read(), await reader.read(), await reader.read(5)] == [b"e", b"", b""]
        assert reader.at_eof()

    asyncio.run(main())


def test_lines(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"one\ntw", b"o\n\nrest")
        assert [line async for line in reader] == [b"one\n", b"two\n", b"\n", b"rest"]
        assert await reader.readline() == b""

    asyncio.run(main())


@pytest.mark.parametrize(("parts", "left"), [((b"x" * 17 + b"\nnext\n",), b"next\n"), ((b"x" * 18,), b"")])
def test_a_line_above_the_limit_is_removed(reader: StreamReader, parts: tuple[bytes, ...], left: bytes) -> None:
    async def main() -> None:
        fed(reader, *parts, eof=False)
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()
        reader.feed_eof()
        assert await reader.read() == left

    asyncio.run(main())


def test_readuntil(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"a;b", b";;c,d")
        assert [await reader.readuntil(b";"), await reader.readuntil(b";;"), await reader.readuntil((b"d", b","))] == [
            b"a;",
            b"b;;",
            b"c,",
        ]
        with pytest.raises(IncompleteReadError) as caught:
            await reader.readuntil(b";")
        assert (caught.value.partial, caught.value.expected, reader.at_eof()) == (b"d", None, True)
        for wrong in (b"", (), (b"x", b"")):
            with pytest.raises(ValueError, match="Separator"):
                await reader.readuntil(wrong)

    asyncio.run(main())


def test_readuntil_above_the_limit_leaves_the_bytes(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"x" * 17, eof=False)
        with pytest.raises(LimitOverrunError, match="not found") as caught:
            await reader.readuntil(b";")
        assert caught.value.consumed == 17
        fed(reader, b";", eof=False)
        with pytest.raises(LimitOverrunError, match="is found") as caught:
            await reader.readuntil(b";")
        assert caught.value.consumed == 17
        assert await reader.readexactly(18) == b"x" * 17 + b";"

    asyncio.run(main())


@pytest.mark.parametrize("n", [5, 100])
def test_readexactly(reader: StreamReader, n: int) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(reader.readexactly(n))
        for _ in range(n):
            await asyncio.sleep(0)
            fed(reader, b"x", eof=False)
        assert await waiting == b"x" * n
        assert await reader.readexactly(0) == b""
        fed(reader, b"yz")
        with pytest.raises(IncompleteReadError) as caught:
            await reader.readexactly(n)
        assert (caught.value.partial, caught.value.expected) == (b"yz", n)
        with pytest.raises(ValueError, match="less than zero"):
            await reader.readexactly(-1)

    asyncio.run(main())


def test_a_long_readexactly_that_is_cancelled_loses_nothing(reader: StreamReader) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(reader.readexactly(1000))
        for part in (b"a" * 100, b"b" * 100):
            await asyncio.sleep(0)
            fed(reader, part, eof=False)
        await asyncio.sleep(0)
        fed(reader, b"c", eof=False)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reader.feed_eof()
        assert await reader.read() == b"a" * 100 + b"b" * 100 + b"c"

    asyncio.run(main())


def test_an_exception_ends_waiting_and_further_reads(reader: StreamReader) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        reader.set_exception(OSError("reset"))
        with pytest.raises(OSError, match="reset"):
            await waiting
        for read in (reader.read, reader.readline, reader.readuntil, reader.read_mbuf, reader.readline_mbuf):
            with pytest.raises(OSError, match="reset"):
                await read()
        with pytest.raises(OSError, match="reset"):
            await reader.readexactly(3)
        assert isinstance(reader.exception(), OSError)

    asyncio.run(main())


def test_one_task_waits_at_a_time(reader: StreamReader) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"readuntil\(\) called while another coroutine is already waiting"):
            await reader.readline()
        assert "waiter=" in repr(reader)
        fed(reader, b"x", eof=False)
        assert await waiting == b"x"

    asyncio.run(main())


def test_bytes_after_the_end_are_refused(reader: StreamReader) -> None:
    reader.feed_data(b"")
    reader.feed_eof()
    with pytest.raises(Inval, match="the stream has ended"):
        reader.feed_data(b"x")


def test_a_repr_tells_the_state(pool: Pool) -> None:
    assert repr(StreamReader(pool)) == "<StreamReader>"
    reader = fed(StreamReader(pool, 5), b"four")
    reader.set_exception(RuntimeError())
    assert repr(reader) == "<StreamReader 4 bytes eof limit=5 exception=RuntimeError()>"


def test_the_same_as_chains(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"one\ntwo;three", b"four\nlast")
        found = [await reader.readline_mbuf(), await reader.readuntil_mbuf(b";"), await reader.readexactly_mbuf(5)]
        assert [data_of(m) for m in found] == [b"one\n", b"two;", b"three"]
        found = [await reader.read_mbuf(2), await reader.readline_mbuf(), await reader.readline_mbuf()]
        assert [data_of(m) for m in found] == [b"fo", b"ur\n", b"last"]
        ends = [await reader.readline_mbuf(), await reader.read_mbuf(), await reader.readexactly_mbuf(0)]
        assert ends == [None, None, None]
        assert await reader.read_mbuf(0) is None

    asyncio.run(main())


def test_a_chain_above_the_limit(reader: StreamReader) -> None:
    async def main() -> None:
        fed(reader, b"x" * 17 + b"\nnext")
        with pytest.raises(ValueError, match="limit"):
            await reader.readline_mbuf()
        assert data_of(await reader.read_mbuf()) == b"next"

    asyncio.run(main())


def test_a_line_is_taken_when_the_pool_has_an_mbuf_again(small: Callable[..., Pool]) -> None:
    pool = small()

    async def main() -> None:
        reader = fed(StreamReader(pool), b"one\ntwo\n")
        held = []
        with suppress(NoBufs):
            while True:
                held.append(pool.get())
        waiting = asyncio.ensure_future(reader.readline_mbuf())
        await until(lambda: len(pool.zones.mbuf.limiter.waiters))
        held.pop().free()
        assert data_of(await waiting) == b"one\n"
        pool.free_bulk(held)
        assert data_of(await reader.readline_mbuf()) == b"two\n"

    asyncio.run(main())


def test_the_source_pauses_above_twice_the_limit_and_resumes_at_the_limit(reader: StreamReader) -> None:
    calls: list[str] = []
    reader.connect(
        lambda: calls.append("pause"), lambda: calls.append("resume"), lambda: calls.append("wait"), lambda: 1 << 20
    )

    async def main() -> None:
        fed(reader, b"x" * 32, eof=False)
        assert calls == []
        fed(reader, b"x", eof=False)
        fed(reader, b"x", eof=False)
        assert calls == ["pause", "pause"]
        await reader.readexactly(17)
        assert calls == ["pause", "pause"]
        await reader.readexactly(1)
        assert calls == ["pause", "pause", "resume"]
        await reader.readexactly(16)
        waiting = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        assert calls[3:] == ["wait"]
        reader.disconnect()
        reader.feed_eof()
        assert await waiting == b""

    asyncio.run(main())


def test_the_source_pauses_at_the_quota(pool: Pool) -> None:
    reader = StreamReader(pool, 1 << 20)
    calls: list[str] = []
    reader.connect(lambda: calls.append("pause"), lambda: None, lambda: None, lambda: 20_000)
    for _ in range(20):
        reader.feed(pool.getcl(flags=0).append(bytes(2000)))
    assert calls[0] == "pause"
    assert reader._buffer.mbcnt > 20_000
