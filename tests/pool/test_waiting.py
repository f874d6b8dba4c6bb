"""Calls that wait for memory in a pool with a budget: in one queue, in order of arrival."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from mbuf import M_EXTPG, M_WAITOK, MJUM16BYTES, Inval, Mbuf, NoBufs, NoMemory, Pool

Make = Callable[..., Pool]
Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]
Wait = Callable[[Pool, float | None], Any]

#: Each call that may wait, and frees what it gets.
CALLS: dict[str, Wait] = {
    "get": lambda pool, t: pool.get(M_WAITOK, timeout=t).free(),
    "gethdr": lambda pool, t: pool.gethdr(M_WAITOK, timeout=t).free(),
    "getcl": lambda pool, t: pool.getcl(M_WAITOK, timeout=t).free(),
    "getjcl": lambda pool, t: pool.getjcl(M_WAITOK, timeout=t).free(),
    "getjcl 9k": lambda pool, t: pool.getjcl(M_WAITOK, size=9216, timeout=t).free(),
    "getjcl 16k": lambda pool, t: pool.getjcl(M_WAITOK, size=MJUM16BYTES, timeout=t).free(),
    "get2": lambda pool, t: pool.get2(3000, M_WAITOK, timeout=t).free(),
    "getm2": lambda pool, t: pool.getm2(30_000, M_WAITOK, timeout=t).freem(),
    "get_row": lambda pool, t: pool.get_row(50, M_WAITOK, timeout=t).freem(),
    "cljget": lambda pool, t: pool.cljget(None, M_WAITOK, size=MJUM16BYTES, timeout=t).free(),
    "getcl_bulk": lambda pool, t: pool.free_bulk(pool.getcl_bulk(20, M_WAITOK, timeout=t)),
    "getjcl_bulk": lambda pool, t: pool.free_bulk(pool.getjcl_bulk(5, M_WAITOK, size=9216, timeout=t)),
    "frombytes": lambda pool, t: pool.frombytes(bytes(20_000), M_WAITOK, timeout=t).freem(),
    "frombytes to pages": lambda pool, t: pool.frombytes(bytes(30_000), M_WAITOK, flags=M_EXTPG, timeout=t).freem(),
    "alloc_ext_plus_pages": lambda pool, t: pool.alloc_ext_plus_pages(20_000, M_WAITOK, timeout=t).free(),
    "alloc_ext_pgs": lambda pool, t: pool.alloc_ext_pgs(M_WAITOK, timeout=t).free(),
}


def everything(pool: Pool, get: Callable[[], Mbuf]) -> list[Mbuf]:
    """All mbufs that a call gives."""
    got = []
    with suppress(NoBufs):
        while True:
            got.append(get())
    return got


def free_one(held: list[Mbuf]) -> None:
    """Free one of them, if there is one."""
    if held:
        held.pop().free()


@pytest.fixture
def full(make: Make) -> tuple[Pool, list[Mbuf]]:
    """A pool of 256 pages, and the mbufs and packets that take all of it."""
    pool = make(memory="1M")
    packets = everything(pool, pool.getcl)
    return pool, everything(pool, pool.get) + packets


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_until_there_is_memory_for_all_of_it(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually, name: str
) -> None:
    pool, held = full
    thread = spawn(lambda: CALLS[name](pool, None))
    eventually(lambda: pool.stat().waiting == 1)
    pool.audit()
    eventually(lambda: free_one(held) or not thread.is_alive())
    thread.done()
    assert pool.stat().waits >= 1
    pool.free_bulk(held)


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_gives_up_leaves_nothing_behind(full: tuple[Pool, list[Mbuf]], name: str) -> None:
    pool, held = full
    for timeout in (0, 0.001):
        refused = pool.stat().refused
        with pytest.raises(NoBufs, match="memory is full, 1 MiB; in use: 450 packets with 2 KiB"):
            CALLS[name](pool, timeout)
        assert (pool.stat().waiting, pool.out) == (0, len(held))
        assert pool.stat().refused == refused + 1
    pool.audit()
    pool.free_bulk(held)
    CALLS[name](pool, 0)


def test_get2_waits_for_the_mbuf_and_the_cluster_at_once(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually
) -> None:
    pool, held = full
    held.pop(0).free()
    # There is an mbuf for it, but no page for the cluster.
    thread = spawn(lambda: CALLS["get2"](pool, None))
    eventually(lambda: pool.stat().waiting == 1)
    assert pool.out == len(held)
    pool.free_bulk(held)
    thread.done()


def test_small_requests_do_not_starve_a_large_one(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually
) -> None:
    pool, held = full
    done: list[str] = []

    def large() -> None:
        m = pool.getjcl(M_WAITOK, size=MJUM16BYTES)
        done.append("large")
        m.free()

    thread = spawn(large)
    eventually(lambda: pool.stat().waiting == 1)
    small = 0
    for _ in range(len(held)):
        held.pop().free()
        if done:
            break
        # What was freed is for the one that waits.
        with suppress(NoBufs):
            pool.get().free()
            small += 1
            assert not pool.stat().waiting
    thread.done()
    assert (done, small > 0 or done == ["large"]) == (["large"], True)
    pool.free_bulk(held)


def test_who_does_not_wait_gets_nothing_while_others_wait(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually
) -> None:
    pool, held = full
    thread = spawn(lambda: CALLS["getjcl 16k"](pool, None))
    eventually(lambda: pool.stat().waiting == 1)
    held.pop().free()
    with pytest.raises(NoBufs, match=r"is for the calls that wait for memory \(1\)"):
        pool.get()
    assert pool.available("mbuf") == 0
    pool.free_bulk(held)
    thread.done()
    assert pool.available("mbuf") == 3840


def test_a_waiting_call_that_gives_up_lets_the_next_one_go_on(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually
) -> None:
    pool, held = full
    refused: list[BaseException] = []

    def large() -> None:
        try:
            pool.getjcl(M_WAITOK, size=MJUM16BYTES, timeout=0.2)
        except NoMemory as error:
            refused.append(error)

    threads = [spawn(large)]
    eventually(lambda: pool.stat().waiting == 1)
    held.pop().free()
    threads.append(spawn(lambda: CALLS["get"](pool, None)))
    for thread in threads:
        thread.done()
    assert len(refused) == 1
    pool.free_bulk(held)


def test_more_than_the_pool_has_is_refused_at_once(make: Make) -> None:
    pool = make(memory="1M")
    for call in (
        lambda: pool.getm2(2 << 20, M_WAITOK),
        lambda: pool.getcl_bulk(1000, M_WAITOK),
        lambda: pool.getjcl_bulk(70, M_WAITOK, size=MJUM16BYTES),
        lambda: pool.get_row(4000, M_WAITOK),
    ):
        with pytest.raises(NoBufs, match=r"this call needs .* MiB, and this pool has 1 MiB in all: ask for less"):
            call()
    assert pool.stat().refused == 4


def test_the_reserve_waits_too(full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually) -> None:
    pool, held = full
    with pytest.raises(NoBufs):
        pool.reserve.reinit(2, 2, how=M_WAITOK, timeout=0)
    thread = spawn(lambda: pool.reserve.reinit(20, 20, how=M_WAITOK))
    eventually(lambda: pool.stat().waiting == 1)
    eventually(lambda: free_one(held) or not thread.is_alive())
    thread.done()
    assert (pool.reserve.mbufs, pool.reserve.clusters) == (20, 20)
    pool.reserve.drain()
    pool.free_bulk(held)


def test_closing_the_pool_ends_all_waits(full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually) -> None:
    pool, held = full
    ended: list[BaseException] = []

    def wait(name: str) -> None:
        try:
            CALLS[name](pool, None)
        except Inval as error:
            ended.append(error)

    threads = [spawn(lambda name=name: wait(name)) for name in CALLS]
    eventually(lambda: pool.stat().waiting == len(CALLS))
    with pytest.warns(ResourceWarning):
        pool.close()
    for thread in threads:
        thread.done()
    assert len(ended) == len(CALLS)
    pool.free_bulk(held)


def test_a_kind_at_its_own_limit_waits_for_that(make: Make, spawn: Spawn, eventually: Eventually) -> None:
    pool = make(memory="1M", limits={"clust": 4, "jumbop": 2})
    held = [*pool.getcl_bulk(4), *pool.getjcl_bulk(2)]
    with pytest.raises(NoBufs, match=r'mbuf_cluster at its limit of 4: .*; raise limits={"clust": ...}$'):
        pool.getcl()
    for call in (
        lambda: pool.getcl(M_WAITOK).free(),
        lambda: pool.getjcl(M_WAITOK).free(),
        lambda: pool.free_bulk(pool.getcl_bulk(3, M_WAITOK)),
    ):
        thread = spawn(call)
        eventually(lambda: pool.zones.clust.exhausted or pool.zones.jumbop.exhausted)
        assert pool.stat().waiting == 0
        pool.free_bulk(held)
        thread.done()
        held = [*pool.getcl_bulk(4), *pool.getjcl_bulk(2)]
    pool.free_bulk(held)


def test_what_is_reserved_for_a_kind_is_had_while_others_wait(make: Make, spawn: Spawn, eventually: Eventually) -> None:
    pool = make(memory="1M", reserve_for={"mbuf": "64K"})
    held = everything(pool, pool.getjcl)
    thread = spawn(lambda: CALLS["getjcl"](pool, None))
    eventually(lambda: pool.stat().waiting == 1)
    control = everything(pool, pool.get)
    assert len(control) >= 16 * 15
    pool.audit()
    pool.free_bulk(control)
    assert pool.stat().waiting == 1
    pool.free_bulk(held)
    thread.done()


# Tasks.


def run(main: Coroutine[Any, Any, object]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


async def settled(pool: Pool, count: int) -> None:
    while pool.stat().waiting != count:
        await asyncio.sleep(0)


ASYNC: dict[str, Callable[[Pool], Coroutine[Any, Any, Mbuf]]] = {
    "aget": lambda pool: pool.aget(),
    "agethdr": lambda pool: pool.agethdr(),
    "agetcl": lambda pool: pool.agetcl(),
    "agetjcl": lambda pool: pool.agetjcl(),
    "agetjcl 16k": lambda pool: pool.agetjcl(size=MJUM16BYTES),
    "agetm2": lambda pool: pool.agetm2(30_000),
}


def test_large_and_small_calls_are_served_in_order_of_arrival(full: tuple[Pool, list[Mbuf]]) -> None:
    pool, held = full
    names = ["agetjcl 16k", "aget", "agetcl", "agetjcl 16k", "aget", "agetm2", "agetcl"]
    order: list[int] = []

    async def one(n: int) -> None:
        m = await ASYNC[names[n]](pool)
        order.append(n)
        m.freem()

    async def main() -> None:
        tasks = []
        for n in range(len(names)):
            tasks.append(asyncio.ensure_future(one(n)))
            await settled(pool, n + 1)
        while len(order) < len(names):
            held.pop().free()
            pool.audit()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    run(main())
    assert order == [*range(len(names))]
    pool.free_bulk(held)


def test_tasks_and_threads_wait_in_one_queue(
    full: tuple[Pool, list[Mbuf]], spawn: Spawn, eventually: Eventually
) -> None:
    pool, held = full
    order: list[str] = []

    async def main() -> None:
        async def one(name: str) -> None:
            m = await ASYNC[name](pool)
            order.append(name)
            m.freem()

        tasks = []
        for n, name in enumerate(ASYNC):
            tasks.append(asyncio.ensure_future(one(name)))
            await settled(pool, n + 1)
        thread = spawn(lambda: CALLS["getcl"](pool, None))
        await settled(pool, len(ASYNC) + 1)
        pool.audit()
        while not all(task.done() for task in tasks):
            if held:
                held.pop().free()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        while thread.is_alive():
            await asyncio.sleep(0)
        thread.done()

    run(main())
    assert order == [*ASYNC]
    pool.free_bulk(held)


@pytest.mark.parametrize("name", ASYNC)
def test_a_task_that_is_cancelled_leaves_the_queue(full: tuple[Pool, list[Mbuf]], name: str) -> None:
    pool, held = full

    async def main() -> None:
        first = asyncio.ensure_future(ASYNC[name](pool))
        await settled(pool, 1)
        second = asyncio.ensure_future(pool.aget())
        await settled(pool, 2)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert pool.stat().waiting == 1
        held.pop().free()
        (await second).free()
        # Granted, and cancelled before it runs: what was set aside is given up.
        pool.free_bulk(held)
        held.extend(everything(pool, pool.getcl))
        held[:0] = everything(pool, pool.get)
        third = asyncio.ensure_future(ASYNC[name](pool))
        await settled(pool, 1)
        while pool.stat().waiting:
            held.pop().free()
        third.cancel()
        with suppress(asyncio.CancelledError):
            await third
        pool.audit()

    run(main())
    assert pool.stat().waiting == 0
    pool.free_bulk(held)


def test_a_task_whose_loop_is_closed_keeps_nothing(full: tuple[Pool, list[Mbuf]]) -> None:
    pool, held = full
    loop = asyncio.new_event_loop()
    task = loop.create_task(pool.agetcl())
    loop.run_until_complete(settled(pool, 1))
    loop.close()
    pool.free_bulk(held)
    pool.audit()
    assert pool.available("clust") == 450
    task.get_coro().close()  # type: ignore[union-attr]
    del task


def test_a_call_of_tasks_that_needs_too_much_is_refused(make: Make) -> None:
    pool = make(memory="64K")
    with pytest.raises(NoBufs, match="ask for less at once"):
        run(pool.agetm2(1 << 20))


def test_tasks_wait_at_the_limit_of_a_kind(make: Make) -> None:
    pool = make(memory="1M", limits={"jumbop": 1, "clust": 3})

    async def main() -> None:
        held = [pool.getjcl(), *pool.getcl_bulk(3)]
        tasks = [asyncio.ensure_future(call) for call in (pool.agetjcl(), pool.agetm2(4000), pool.agetcl())]
        while not (pool.zones.jumbop.exhausted and pool.zones.clust.exhausted):
            await asyncio.sleep(0)
        assert pool.stat().waiting == 0
        pool.free_bulk(held)
        for task in tasks:
            (await task).freem()

    run(main())


def test_threads_that_come_and_go_lose_nothing(make: Make, spawn: Spawn) -> None:
    pool = make(memory="256K", ncpu=2)
    calls = [*CALLS]

    def churn(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(30):
            with suppress(NoBufs):
                held = [pool.getcl() for _ in range(rng.randrange(30))]
                CALLS[rng.choice(calls)](pool, rng.choice([0, 0.001, 0.02]))
                pool.free_bulk(held)
                held = []
            pool.free_bulk(held)

    threads = [spawn(lambda seed=seed: churn(seed)) for seed in range(4)]
    for thread in threads:
        thread.done()
    assert (pool.stat().waiting, pool.out) == (0, 0)
