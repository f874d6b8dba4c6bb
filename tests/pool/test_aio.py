"""Allocations that asyncio tasks await."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from chains import exhaust, mbufs
from mbuf import (
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    M_WAITOK,
    MJUM16BYTES,
    MT_CONTROL,
    Inval,
    Mbuf,
    NoBufs,
    NoMemory,
    Pool,
    Vm,
    compiled,
)

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]
Small = Callable[..., Pool]


def run(main: Callable[[], Coroutine[Any, Any, object]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


async def turns(count: int = 5) -> None:
    """Let other tasks run until they wait."""
    for _ in range(count):
        await asyncio.sleep(0)


async def waiting(*calls: Coroutine[Any, Any, Mbuf]) -> list[asyncio.Task[Mbuf]]:
    """Tasks that wait in the queue, in this order."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await turns()
    assert not any(task.done() for task in tasks)
    return tasks


def test_what_is_there_is_given_at_once(pool: Pool) -> None:
    async def main() -> None:
        mbufs = [
            await pool.aget(MT_CONTROL),
            await pool.agethdr(),
            await pool.agetcl(),
            await pool.agetcl(flags=0),
            await pool.agetjcl(size=MJUM16BYTES, flags=0),
            await pool.agetjcl(size=2048),
            await pool.agetm2(10_000),
        ]
        assert [(m.flags, m.size) for m in mbufs] == [
            (0, 224),
            (M_PKTHDR, 168),
            (M_EXT | M_PKTHDR, 2048),
            (M_EXT, 2048),
            (M_EXT, MJUM16BYTES),
            (M_EXT | M_PKTHDR, 2048),
            (M_EXT | M_PKTHDR, 4096),
        ]
        assert mbufs[0].type == MT_CONTROL
        for m in mbufs:
            m.freem()

    run(main)


ASKS: dict[str, tuple[Callable[[Pool], Mbuf], Callable[[Pool], Coroutine[Any, Any, Mbuf]], str]] = {
    "aget": (lambda pool: pool.get(), lambda pool: pool.aget(), "mbuf"),
    "agethdr": (lambda pool: pool.get(), lambda pool: pool.agethdr(), "mbuf"),
    "agetcl": (lambda pool: pool.getcl(), lambda pool: pool.agetcl(), "mbuf_cluster"),
    "agetjcl": (
        lambda pool: pool.getjcl(size=MJUM16BYTES),
        lambda pool: pool.agetjcl(size=MJUM16BYTES),
        "mbuf_jumbo_16k",
    ),
    "agetm2": (lambda pool: pool.getcl(), lambda pool: pool.agetm2(2000), "mbuf_cluster"),
}


@pytest.fixture(params=ASKS)
def ask(request: pytest.FixtureRequest) -> Any:
    return ASKS[request.param]


def test_who_came_first_is_served_first(small: Small, ask: Any) -> None:
    pool = small()
    hog, call, zone = ask

    async def main() -> None:
        taken = exhaust(lambda: hog(pool))
        tasks = await waiting(*(call(pool) for _ in range(3)))
        (stat,) = [z.stat() for z in pool.zones.all() if z.name == zone]
        assert (stat.sleepers, stat.sleeps) == (3, 3)
        for n, task in enumerate(tasks):
            taken.pop().freem()
            # A later request doesn't overtake the waiters.
            with pytest.raises(NoBufs):
                hog(pool)
            await turns()
            assert [t.done() for t in tasks] == [True] * (n + 1) + [False] * (2 - n)
            taken.append(await task)
        pool.free_bulk(taken)

    run(main)


def test_threads_and_tasks_stand_in_one_line(small: Small, spawn: Spawn, eventually: Eventually) -> None:
    pool = small()
    line = pool.zones.clust.limiter.waiters

    async def main() -> None:
        taken = exhaust(pool.getcl)
        served: list[int] = []

        async def task(n: int) -> None:
            m = await pool.agetcl()
            served.append(n)
            taken.append(m)

        def thread(n: int) -> None:
            m = pool.getcl(M_WAITOK)
            served.append(n)
            taken.append(m)

        workers: list[Any] = []
        for n in range(6):
            if n % 2:
                workers.append(spawn(lambda n=n: thread(n)))
            else:
                workers.append(asyncio.ensure_future(task(n)))
                await turns()
            eventually(lambda n=n: len(line) == n + 1)
        for n in range(6):
            taken.pop().freem()
            while len(served) == n:
                await asyncio.sleep(0)
        assert served == list(range(6))
        for worker in workers[::2]:
            await worker
        for worker in workers[1::2]:
            worker.done()
        pool.free_bulk(taken)

    run(main)


def test_who_is_cancelled_leaves_the_line(small: Small, ask: Any) -> None:
    pool = small()
    hog, call, _ = ask

    async def main() -> None:
        taken = exhaust(lambda: hog(pool))
        first, second = await waiting(call(pool), call(pool))
        first.cancel()
        await turns()
        assert first.cancelled()
        taken.pop().freem()
        taken.append(await second)
        pool.free_bulk(taken)

    run(main)


def test_who_is_cancelled_when_just_served_gives_it_to_the_next(small: Small, ask: Any) -> None:
    pool = small()
    hog, call, _ = ask

    async def main() -> None:
        taken = exhaust(lambda: hog(pool))
        first, second = await waiting(call(pool), call(pool))
        taken.pop().freem()
        first.cancel()
        taken.append(await second)
        assert first.cancelled()
        pool.free_bulk(taken)

    run(main)


def test_cancelled_after_the_grant_was_sent_to_the_loop(small: Small) -> None:
    """A task is cancelled after its future has got the grant."""
    pool = small()

    async def main() -> None:
        taken = exhaust(pool.getcl)
        first, second = await waiting(pool.agetcl(), pool.agetcl())
        taken.pop().freem()
        await asyncio.sleep(0)
        first.cancel()
        taken.append(await second)
        assert first.cancelled()
        pool.free_bulk(taken)

    run(main)


def test_whose_time_is_up_gets_the_error_of_who_does_not_wait(small: Small, ask: Any) -> None:
    pool = small()
    hog, call, zone = ask

    async def main() -> None:
        taken = exhaust(lambda: hog(pool))
        with pytest.raises(NoBufs, match=zone):
            await {"mbuf_jumbo_16k": lambda: pool.agetjcl(size=MJUM16BYTES, timeout=0.001)}.get(
                zone, lambda: pool.agetcl(timeout=0.001) if "cluster" in zone else pool.aget(timeout=0)
            )()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await call(pool)
        assert pool.out == len(taken)
        assert all(len(z.limiter.waiters) == z.bypassed == 0 for z in pool.zones.all())
        pool.free_bulk(taken)

    run(main)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_is_0_or_more(pool: Pool, timeout: float) -> None:
    for call in (pool.aget, pool.agethdr, pool.agetcl, pool.agetjcl):
        with pytest.raises(Inval, match="timeout"):
            asyncio.run(call(timeout=timeout))
    with pytest.raises(Inval, match="ask for at least 1 byte"):
        asyncio.run(pool.agetm2(0))


def test_another_loop_can_be_gone(small: Small) -> None:
    """The grant for a task whose loop was closed goes to the next waiter."""
    pool = small()
    taken = exhaust(pool.getcl)
    loop = asyncio.new_event_loop()
    call = pool.agetcl()
    task = loop.create_task(call)
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    async def main() -> None:
        (second,) = await waiting(pool.agetcl())
        taken.pop().freem()
        taken.append(await second)

    run(main)
    call.close()
    limiter = pool.zones.clust.limiter
    assert (limiter.items, len(limiter.waiters)) == (10, 0)
    pool.free_bulk(taken)
    assert pool.getcl().freem() is None
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_what_another_thread_frees_is_given_to_a_task(small: Small, spawn: Spawn) -> None:
    pool = small()

    async def main() -> None:
        taken = exhaust(pool.getcl)
        (task,) = await waiting(pool.agetcl())
        spawn(lambda: taken.pop().freem()).done()
        taken.append(await task)
        pool.free_bulk(taken)

    run(main)


def test_a_jumbo_cluster_is_waited_for_with_the_mbuf_in_hand(small: Small) -> None:
    pool = small(jumbo16=1, mbufs=20)

    async def main() -> None:
        mbufs = exhaust(pool.get)
        (task,) = await waiting(pool.agetjcl(size=MJUM16BYTES))
        mbufs.pop().free()
        m = await task
        (other,) = await waiting(pool.agetjcl(size=MJUM16BYTES))
        mbufs.pop().free()
        await turns()
        assert not other.done()
        m.freem()
        m = await other
        assert (m.size, m.flags) == (MJUM16BYTES, M_EXT | M_PKTHDR)
        m.freem()
        # After a cancellation in the middle, everything is freed.
        m = pool.getjcl(size=MJUM16BYTES)
        mbufs += exhaust(pool.get)
        (task,) = await waiting(pool.agetjcl(size=MJUM16BYTES))
        mbufs.pop().free()
        await turns()
        task.cancel()
        await turns()
        mbufs.append(pool.get())
        m.freem()
        pool.free_bulk(mbufs)

    run(main)


def test_a_long_chain_waits_for_one_mbuf_after_the_other(small: Small) -> None:
    pool = small(clusters=4, jumbop=1, jumbo9=1, jumbo16=1)

    async def main() -> None:
        taken = exhaust(pool.getcl)
        (task,) = await waiting(pool.agetm2(4096 + 3 * 2048))
        for _ in range(3):
            assert not task.done()
            taken.pop().freem()
            await turns()
        m = await task
        assert [n.size for n in mbufs(m)] == [4096, 2048, 2048, 2048]
        assert [n.flags & M_PKTHDR for n in mbufs(m)] == [M_PKTHDR, 0, 0, 0]
        taken += exhaust(pool.getcl)
        (task,) = await waiting(pool.agetm2(4096))
        taken.pop().freem()
        await turns()
        task.cancel()
        await turns()
        m.freem()
        pool.free_bulk(taken)

    run(main)
    assert pool.out == 0


def test_pages_are_waited_for_too(make: Callable[..., Pool], few: Any) -> None:
    pool = make(few(clusters=1000, mbufs=4000), vm=Vm(1 << 18), strict=False)

    async def main() -> None:
        taken = exhaust(pool.getcl)
        tasks = await waiting(pool.agetcl(), pool.agetcl())
        taken.pop().freem()
        taken.pop().freem()
        taken += [await task for task in tasks]
        (task,) = await waiting(pool.agetcl())
        with pytest.raises(NoMemory):
            await pool.agetcl(timeout=0)
        task.cancel()
        await turns()
        pool.free_bulk(taken)

    run(main)


def test_close_ends_all_waits_with_an_error(make: Callable[..., Pool], few: Any) -> None:
    pool = make(few())

    async def main() -> None:
        taken = exhaust(pool.getcl)
        tasks = await waiting(pool.agetcl(), pool.agetcl())
        with pytest.warns(ResourceWarning):
            pool.close()
        for task in tasks:
            with pytest.raises(Inval, match="closed"):
                await task
        pool.free_bulk(taken)

    run(main)


def test_many_wait_and_all_are_served(small: Small) -> None:
    pool = small()

    async def worker(served: list[int], n: int) -> None:
        for _ in range(20 if compiled() else 5):
            m = await pool.agetcl()
            await asyncio.sleep(0)
            m.freem()
        served.append(n)

    async def main() -> None:
        served: list[int] = []
        await asyncio.gather(*(worker(served, n) for n in range(50)))
        assert sorted(served) == list(range(50))
        assert pool.zones.clust.limiter.items <= 10
        assert pool.zones.clust.limiter.sleeps

    run(main)


@pytest.mark.parametrize("size", [1, 168])
def test_a_chain_of_few_bytes_waits_for_an_mbuf_alone(small: Small, size: int) -> None:
    pool = small()

    async def main() -> None:
        taken = exhaust(pool.get)
        (task,) = await waiting(pool.agetm2(size))
        taken.pop().free()
        m = await task
        assert (m.flags, m.size, m.next, pool.zones.clust.used) == (M_PKTHDR, 168, None, 0)
        m.freem()
        pool.free_bulk(taken)

    run(main)
    pool.audit()


def test_a_cancelled_wait_loses_nothing(small: Small) -> None:
    """Tasks and threads that wait and time out at random, with a pool of ten clusters."""
    pool = small()

    async def task(n: int) -> None:
        for k in range(10):
            with suppress(TimeoutError):
                async with asyncio.timeout((n + k) % 3 * 0.001 or None):
                    m = await pool.agetcl()
                await asyncio.sleep(0)
                m.freem()

    def thread() -> None:
        for k in range(30):
            with suppress(NoBufs):
                pool.getcl(M_WAITOK, timeout=k % 3 * 0.001).freem()

    async def main() -> None:
        threads: list[Awaitable[object]] = [asyncio.to_thread(thread) for _ in range(3)]
        await asyncio.gather(*(task(n) for n in range(40)), *threads)

    run(main)
    taken = exhaust(lambda: pool.getcl(M_NOWAIT))
    assert len(taken) == 10
    pool.free_bulk(taken)
