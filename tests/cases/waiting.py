"""Waiting at a limit while another thread frees, changes or closes objects."""

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from cases.harness import Context, case, refused
from mbuf import M_WAITOK, MT_DATA, Mbuf, MbufError, NoBufs, Pool, Vm


def full(mbufs: int = 200, clusters: int = 20) -> Pool:
    """A pool with small limits for all kinds of clusters; otherwise mbufs would have a large limit."""
    limits = {"nmbufs": mbufs, "nmbclusters": clusters, "nmbjumbop": 8, "nmbjumbo9": 4, "nmbjumbo16": 4}
    return Pool(Vm(16 << 20), {f"kern.ipc.{name}": limit for name, limit in limits.items()}, strict=False, worker=False)


def take_all(pool: Pool, get: Callable[[], Any]) -> list[Any]:
    held: list[Any] = []
    while refused(lambda: held.append(get()), NoBufs) is None:
        pass
    return held


def parked(pool: Pool, call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that waits in a call, and the list for its result or error."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except MbufError as error:
            result.append(error.with_traceback(None))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    end = time.monotonic() + 10
    while not any(zone.sleepers for zone in _zones(pool)) and thread.is_alive():
        assert time.monotonic() < end, "it never waits"
        time.sleep(0.001)
    return thread, result


def _zones(pool: Pool) -> list[Any]:
    stat = pool.stat()
    return [stat.mbuf, stat.clust, stat.pack, stat.jumbop, stat.jumbo9, stat.jumbo16]


def over(pool: Pool) -> None:
    gc.collect()
    assert (pool.out, pool.tags.count) == (0, 0)
    assert (pool.close(), pool.vm.used) == (0, 0)


VERBS: dict[str, Callable[[Mbuf], Any]] = {
    "copym": lambda m: m.copym(0, 1000000000, M_WAITOK, 3),
    "copypacket": lambda m: m.copypacket(M_WAITOK, 3),
    "dup": lambda m: m.dup(M_WAITOK, 3),
    "defrag": lambda m: m.defrag(M_WAITOK, 3),
    "fragment": lambda m: m.fragment(20, M_WAITOK, 3),
    "segment": lambda m: m.segment(20, M_WAITOK, 3),
    "split": lambda m: m.split(50, M_WAITOK, 3),
    "prepend": lambda m: m.prepend(160, M_WAITOK, 3),
    "collapse": lambda m: m.collapse(1, M_WAITOK, 3),
    "unshare": lambda m: m.unshare(M_WAITOK, 3),
    "mapped_to_unmapped": lambda m: m.mapped_to_unmapped(100, 50, M_WAITOK, 3),
}

ACTS: dict[str, Callable[[Mbuf], object]] = {
    "free": lambda m: m.free(),
    "freem": lambda m: m.freem(),
    "cut": lambda m: setattr(m, "next", None),
    "adj": lambda m: m.adj(150),
    "demote": lambda m: m.demote(True),
    "none": lambda m: None,
}

PAIRS = [(verb, act) for verb in VERBS for act in ACTS]


@case(each=PAIRS, names=[f"{verb}-{act}" for verb, act in PAIRS])
def verb_waits(context: Context, pair: tuple[str, str]) -> None:
    """A verb waits for an mbuf while its packet is changed; it begins again."""
    verb, act = pair
    pool = full()
    m = pool.gethdr().append(b"m" * 100)
    m.next = pool.get().append(b"n" * 100)
    m.next.next = pool.get().append(b"o" * 100)
    m.fixhdr()
    m.tag_prepend(pool.tag_alloc(1, 2))
    share = m.copym() if verb == "unshare" else None
    held = take_all(pool, pool.get)
    thread, result = parked(pool, lambda: VERBS[verb](m))
    others: list[Mbuf] = []
    try:
        refused(lambda: ACTS[act](m), MbufError)
        for _ in range(20):
            held.pop().free()
        refused(lambda: others.append(pool.get().append(b"another")), NoBufs)
        thread.join(10)
        assert not thread.is_alive()
        assert [bytes(x) for x in others] == [b"another"] * len(others)
        for found in result:
            if isinstance(found, list):
                pool.free_bulk([x for x in found if x is not m])
            elif isinstance(found, Mbuf) and found is not m:
                assert b"another" not in bytes(found)
                found.freem()
        if act == "none":
            assert not any(isinstance(found, NoBufs) for found in result), result
        refused(m.freem, MbufError)
        refused(lambda: share and share.freem(), MbufError)
    finally:
        pool.free_bulk(held)
        pool.free_bulk(others)
    found = None
    result.clear()
    m = share = None  # type: ignore[assignment]
    over(pool)


@case(each=("free", "extend", "none"))
def getm2_waits(context: Context, act: str) -> None:
    """getm2 waits for mbufs to append to a chain that is freed meanwhile."""
    pool = full()
    m = pool.get()
    held = take_all(pool, pool.getcl)
    thread, result = parked(pool, lambda: pool.getm2(1000, M_WAITOK, MT_DATA, 0, m, 5))
    if act == "free":
        m.free()
    elif act == "extend":
        m.next = pool.get().append(b"mine")
    if act != "extend":
        m = None  # type: ignore[assignment]
    held.pop().free()
    thread.join(10)
    assert not thread.is_alive()
    fresh = [pool.get() for _ in range(3)]
    assert [x.next for x in fresh] == [None] * 3
    pool.free_bulk(fresh)
    for found in result:
        if isinstance(found, Mbuf):
            assert found.length() in (0, 4)
            found.freem()
    found = None
    result.clear()
    pool.free_bulk(held)
    if act == "extend":
        refused(lambda: m.freem(), MbufError)
        m = None  # type: ignore[assignment]
    over(pool)


@case(each=("clget", "cljget"))
def cluster_waits(context: Context, verb: str) -> None:
    """An mbuf waits for a cluster, and is freed, or gets another, meanwhile."""
    for act in ("free", "attach"):
        pool = full()
        m = pool.gethdr()
        held = take_all(pool, pool.getcl)
        if verb == "clget":
            thread, result = parked(pool, lambda pool=pool, m=m: pool.clget(m, M_WAITOK, 3))
        else:
            thread, result = parked(pool, lambda pool=pool, m=m: pool.cljget(m, M_WAITOK, 2048, 5))
        if act == "free":
            m.free()
        else:
            m.extadd(bytearray(300))
        held.pop().free()
        thread.join(10)
        assert not thread.is_alive()
        assert all(isinstance(found, MbufError) for found in result), result
        others = [pool.gethdr() for _ in range(5)]
        assert [x.ext for x in others] == [None] * 5
        refused(m.freem, MbufError)
        result.clear()
        pool.free_bulk(held)
        pool.free_bulk(others)
        m = None  # type: ignore[assignment]
        over(pool)


@case
def closed_while_waiting(context: Context) -> None:
    """Closing the pool ends each wait with a clear error."""
    pool = full()
    held = take_all(pool, pool.getcl)
    thread, result = parked(pool, lambda: pool.getcl(M_WAITOK, timeout=10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(result) == 1
    assert isinstance(result.pop(), MbufError)
    pool.free_bulk(held)
    assert (pool.out, pool.vm.used) == (0, 0)


@case
def many_wait(context: Context) -> None:
    """Waiters are served in order, whatever frees the item."""
    pool = full()
    held = take_all(pool, pool.getcl)
    count = len(held)
    got: list[Mbuf] = []
    threads = [
        threading.Thread(target=lambda: got.append(pool.getcl(M_WAITOK, timeout=20)), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for m in held:
        m.free()
    held.clear()
    for thread in threads:
        thread.join(20)
    m = None  # type: ignore[assignment]
    assert len(got) == count
    pool.free_bulk(got)
    over(pool)


@case
def tasks_cancelled(context: Context) -> None:
    """Tasks that are cancelled when the item that they wait for is freed."""
    pool = full()

    async def run() -> None:
        for _ in range(200):
            held = take_all(pool, pool.getcl)
            tasks = [asyncio.ensure_future(pool.agetcl()) for _ in range(3)]
            await asyncio.sleep(0)
            held.pop().free()
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            pool.free_bulk([m for m in done if isinstance(m, Mbuf)])
            pool.free_bulk(held)

    asyncio.run(run())
    over(pool)


@case
def freed_by_a_finalizer_of_the_waiting_thread(context: Context) -> None:
    """The release list of a thread is run before it waits."""
    pool = full()
    held = take_all(pool, pool.getcl)

    def on_free(obj: object) -> None:
        # Waits in a free routine for an item that the same call frees.
        got.append(pool.getcl(M_WAITOK, timeout=5))

    got: list[Mbuf] = []
    m = pool.wrap(bytearray(10), on_free)
    m.next = held.pop().demote_pkthdr()
    m.freem()
    assert len(got) == 1
    pool.free_bulk(got)
    pool.free_bulk(held)
    m = None  # type: ignore[assignment]
    over(pool)
