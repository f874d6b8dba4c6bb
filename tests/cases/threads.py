"""Threads that allocate, free, drain and close at the same time: caches stay intact, and nothing is lost."""

import contextlib
import gc
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable

from cases.harness import Context, case, chain
from mbuf import Freed, MbufError, MbufQ, Pool, SockBuf, Vm

SECONDS = 1.5


def race(*works: Callable[[], object], seconds: float = SECONDS) -> None:
    """Call each function repeatedly in a thread of its own for some time; any error but those of mbuf fails."""
    sys.setswitchinterval(1e-6)
    end = time.monotonic() + seconds
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            while time.monotonic() < end and not errors:
                with contextlib.suppress(MbufError):
                    work()
        except BaseException as error:  # shown below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 20)
        assert not thread.is_alive(), "a thread never ends"
    sys.setswitchinterval(0.005)
    if errors:
        raise errors[0]


def over(pool: Pool, most: int = 0) -> None:
    """Assert that nothing is in use, everything can be allocated again, and all pages are given back."""
    gc.collect()
    assert pool.out == 0, f"{pool.out} mbufs are out"
    pool.drain()
    if most:
        pool.free_bulk(pool.getcl_bulk(most))
    assert (pool.close(), pool.vm.used) == (0, 0)


def get_and_free(pool: Pool) -> Callable[[], None]:
    def work() -> None:
        own = [pool.get() for _ in range(random.randint(1, 600))]
        while own:
            own.pop().free()

    return work


def clusters(pool: Pool) -> Callable[[], None]:
    def work() -> None:
        if random.random() < 0.5:
            pool.free_bulk([pool.getcl() for _ in range(random.randint(1, 200))])
        else:
            for m in [pool.getcl() for _ in range(150)]:
                m.free()

    return work


def jumbo(pool: Pool) -> Callable[[], None]:
    def work() -> None:
        pool.free_bulk([pool.getjcl(size=random.choice((2048, 4096, 9216, 16384))) for _ in range(10)])

    return work


@case
def depot(context: Context) -> None:
    pool = Pool(Vm(64 << 20), worker=False)
    race(*[get_and_free(pool)] * 8)
    over(pool, 1000)


@case
def drain(context: Context) -> None:
    pool = Pool(Vm(64 << 20), worker=False)
    race(*[clusters(pool)] * 3, pool.drain)
    over(pool, 4000)


@case
def all_sizes_and_cpus(context: Context) -> None:
    pool = Pool(Vm(64 << 20), ncpu=4, worker=False)

    def work() -> None:
        with pool.cpu(random.randrange(4)):
            clusters(pool)()
            jumbo(pool)()

    race(*[work] * 4, pool.drain)
    over(pool)


@case
def sysctl_and_stat(context: Context) -> None:
    """Limits are raised and statistics are read meanwhile."""
    pool = Pool(Vm(64 << 20), worker=False)
    limit = [pool.sysctl["kern.ipc.nmbclusters"]]

    def raise_limit() -> None:
        limit[0] += 1  # type: ignore[operator]
        pool.sysctl["kern.ipc.nmbclusters"] = limit[0]

    race(clusters(pool), clusters(pool), raise_limit, pool.stat)
    over(pool)


@case
def closed_meanwhile(context: Context) -> None:
    for _ in range(30):
        pool = Pool(Vm(16 << 20), worker=False)

        def close(pool: Pool = pool) -> None:
            time.sleep(random.random() * 0.02)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pool.close()

        race(clusters(pool), clusters(pool), close, seconds=0.06)
        # On a slow machine the thread may be too late.
        if not pool.closed:
            close()
        gc.collect()
        assert (pool.out, pool.vm.used) == (0, 0), f"{pool.out} out, {pool.vm.used} pages"


@case
def one_chain(context: Context) -> None:
    """Verbs of several threads on one chain damage no memory."""
    pool = Pool(Vm(64 << 20), worker=False)
    shared = [chain(pool, 100, 1000, 1000)]

    def change() -> None:
        m = shared[0]
        with contextlib.suppress(Freed):
            random.choice(
                [
                    lambda: m.append(b"x" * 50),
                    lambda: m.adj(20),
                    lambda: m.prepend(30),
                    lambda: m.pullup(60),
                    lambda: m.defrag(),
                    lambda: m.copypacket().freem(),
                    lambda: m.dup().freem(),
                    lambda: m.adj(-20),
                    lambda: bytes(m),
                    lambda: (n := m.split(50)) and n.freem(),
                    lambda: m.unshare(),
                ]
            )()

    def renew() -> None:
        old, shared[0] = shared[0], chain(pool, 100, 1000, 1000)
        old.freem()

    race(change, change, change, renew)
    shared.clear()
    over(pool)


@case
def free_twice(context: Context) -> None:
    """Two threads free the same packets: each is freed once."""
    pool = Pool(Vm(64 << 20), worker=False)
    box = [pool.getcl_bulk(100)]

    def free() -> None:
        for m in list(box[0]):
            with contextlib.suppress(Freed):
                m.freem()

    def renew() -> None:
        box[0] = pool.getcl_bulk(100)

    race(free, free, renew)
    box.clear()
    over(pool)


@case
def queue_of_all(context: Context) -> None:
    """Threads share one queue and one buffer: the order is undefined, but nothing is lost."""
    pool = Pool(Vm(64 << 20), worker=False)
    q, buffer = MbufQ(), SockBuf()

    def put() -> None:
        q.enqueue(pool.getcl())
        buffer.append(pool.getcl().append(b"x" * 1000))

    def get() -> None:
        m = q.dequeue()
        if m is not None:
            m.free()
        m = buffer.take(700)
        if m is not None:
            m.freem()

    race(put, put, get, get)
    q.drain()
    buffer.clear()
    q = buffer = None  # type: ignore[assignment]
    over(pool)


@case
def tags_and_views(context: Context) -> None:
    pool = Pool(Vm(64 << 20), worker=False)

    def work() -> None:
        m = pool.getcl().append(b"x" * 100)
        m.tag_prepend(pool.tag_alloc(1, 2, [m.pkthdr]))
        n = m.copypacket()
        view = n.data
        m.freem()
        assert bytes(view) == b"x" * 100
        n.freem()
        view.release()

    race(work, work, work, pool.drain)
    assert pool.tags.count == 0
    over(pool)


@case
def threads_that_end(context: Context) -> None:
    """Items in the cache of a thread that has ended aren't lost."""
    pool = Pool(Vm(64 << 20), ncpu=8, worker=False)
    for _ in range(50):
        threads = [threading.Thread(target=clusters(pool)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    over(pool)
