"""The receiving of a stream connection: what it allocates, what waits for the pool, what is delivered again."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from chains import exhaust_pool
from mbuf import M_EXT, MCLBYTES, MLEN, Inval, Mbuf, NoBufs, Pool
from mbuf.net.writable import RETRY_DELAY
from net.connections import Lines, Recorder, Small, connect, recv_bytes, send
from net.loops import Run, until


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
        others = exhaust_pool(pool)
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
        others = exhaust_pool(pool)
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


def test_a_new_connection_without_an_mbuf_waits(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        others = exhaust_pool(pool)
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


@pytest.mark.parametrize("end", ["mbuf", "lost"])
def test_a_connection_whose_task_the_program_cancels_waits_again(small: Small, run: Run, end: str) -> None:
    pool = small()

    async def main() -> None:
        others = exhaust_pool(pool)
        protocol = Recorder(pool)
        far = await connect(protocol)
        await send(far, b"early")
        for _ in range(2):
            task = protocol._wait_task
            assert task is not None
            # The second time before it has begun.
            task.cancel()
            await until(lambda task=task: protocol._wait_task not in (None, task))
        assert protocol._wait_task is not None
        protocol._wait_task.cancel()
        await until(lambda: protocol._wait_task is None)
        if end == "mbuf":
            pool.free_bulk(others)
            await until(lambda: protocol.got == b"early")
            far.close()
            await until(lambda: protocol.lost)
        else:
            protocol.abort()
            await until(lambda: protocol.lost)
            await asyncio.sleep(2 * RETRY_DELAY)
            pool.free_bulk(others)
            far.close()

    run(main())
    assert pool.out == 0


def test_a_connection_lost_while_it_waits_leaves_the_queue(small: Small, run: Run) -> None:
    pool = small()

    async def main() -> None:
        protocols = [Recorder(pool) for _ in range(3)]
        others = exhaust_pool(pool)
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
        others = exhaust_pool(pool)
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
        others = exhaust_pool(pool)
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
        others = exhaust_pool(pool)
        await send(far, b"one\ntwo\n")
        await until(lambda: protocol._undelivered is not None)
        protocol.abort()
        await until(lambda: protocol.lost)
        pool.free_bulk(others)
        far.close()

    run(main())
    assert pool.out == 0


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
