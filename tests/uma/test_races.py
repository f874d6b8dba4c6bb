"""Zones with threads, signal handlers that raise, finalizers and waits: each item is in exactly one place."""

import gc
import logging
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mbuf import M_WAITOK, Busy, Inval, MbufError, NoBufs, NoMemory, Pool, Vm, compiled
from mbuf.uma.audit import audit_keg, audit_zone

Spawn = Callable[[Callable[[], object]], Any]
Interrupted = Callable[..., None]

#: Seconds of each trial.
SPAN = 1.0

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "3 CPUs": {"ncpu": 3},
    "debug": {"debug": True},
    "uncached": {"caching": False},
}

only_compiled = pytest.mark.skipif(not compiled(), reason="uncompiled, what an interrupted step holds may be lost")


def audit(pool: Pool) -> None:
    """Audit all zones, kegs, pages and windows of a pool."""
    runs = []
    for zone in pool.own.all():
        audit_zone(zone)
    for zone in pool.own.all()[1:]:
        runs += audit_keg(zone.backend)
    runs += audit_keg(pool.pages.keg)
    pool.vm.audit(runs)
    pool.sfbufs.audit()


def settled(pool: Pool) -> None:
    """Check that nothing is in use or cached, and that the pool has no pages."""
    gc.collect()
    audit(pool)
    assert pool.out == 0
    pool.drain()
    audit(pool)
    assert [(zone.cached, zone.limiter.items, zone.bypassed) for zone in pool.own.all()] == [(0, 0, 0)] * 6
    assert pool.close() == 0
    audit(pool)
    assert pool.vm.used == 0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


@pytest.fixture(autouse=True)
def often() -> Iterator[None]:
    """Threads are switched as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def some(pool: Pool, dice: random.Random) -> list[Any]:
    """Some mbufs and packets of all sizes."""
    got: list[Any] = []
    try:
        for _ in range(dice.randint(1, 300)):
            got.append(dice.choice((pool.get, pool.getcl, pool.getjcl))())
    except (NoBufs, NoMemory, Inval):
        pass
    return got


def test_threads_that_allocate_drain_and_set_limits_lose_nothing(kind: dict[str, Any], spawn: Spawn) -> None:
    pool = Pool(Vm(32 << 20), worker=False, **kind)
    stop = time.monotonic() + SPAN

    def work(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < stop:
            got = some(pool, dice)
            dice.shuffle(got)
            while got:
                got.pop().free()

    def drain() -> None:
        dice = random.Random(99)
        while time.monotonic() < stop:
            pool.drain()
            for zone in pool.own.all()[1:]:
                zone.set_max(dice.randint(2000, 60000))
            pool.reclaim.reclaim(2)

    for worker in [spawn(lambda n=n: work(n)) for n in range(3)] + [spawn(drain)]:
        worker.done()
    settled(pool)


def test_a_pool_closed_beside_threads_takes_all_back(kind: dict[str, Any], spawn: Spawn) -> None:
    end = time.monotonic() + SPAN
    while time.monotonic() < end:
        pool = Pool(Vm(32 << 20), {"kern.ipc.nmbclusters": 200}, strict=False, worker=False, **kind)
        ready = threading.Barrier(4)

        def work(seed: int, pool: Pool = pool, ready: threading.Barrier = ready) -> None:
            dice = random.Random(seed)
            ready.wait(20)
            while not pool.closed:
                got = some(pool, dice)
                with suppress(MbufError, TimeoutError):
                    got.append(pool.getcl(M_WAITOK, timeout=0.01))
                while got:
                    got.pop().free()

        workers = [spawn(lambda n=n: work(n)) for n in range(3)]
        ready.wait(20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            pool.close()
        for worker in workers:
            worker.done()
        audit(pool)
        assert (pool.out, pool.vm.used) == (0, 0)


class Stop(BaseException):
    """Raised by the signal handler; like KeyboardInterrupt it isn't an Exception."""


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Calls a function in a loop, while a signal handler often raises `Stop` at random points."""

    enabled = [False]
    dice = random.Random(7)

    def arm() -> None:
        enabled[0] = True
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00005, 0.0008))

    def handle(*_: object) -> None:
        if enabled[0]:
            enabled[0] = False
            raise Stop

    def interrupted(act: Callable[[], object], span: float = 2 * SPAN) -> None:
        stop = time.monotonic() + span
        hits = 0

        # A function of its own: from 3.12 on, a handler called where a loop jumps back is outside the loop's `try`.
        def burst() -> None:
            arm()
            while time.monotonic() < stop:
                act()

        while time.monotonic() < stop:
            try:
                try:
                    burst()
                finally:
                    enabled[0] = False
            except Stop:
                hits += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert hits > 20

    hook = sys.unraisablehook

    def lost(args: Any) -> None:
        # The handler may run in a finalizer or in a callback of the garbage collector, where what it raises ends.
        if args.exc_type is Stop:
            arm()
        else:
            hook(args)

    monkeypatch.setattr(sys, "unraisablehook", lost)
    # Items that an interrupt leaves in a list are dropped. Handlers of loggers have locks, which stay locked after an
    # interrupt.
    monkeypatch.setattr(logging.getLogger("mbuf.pool"), "filters", [lambda record: False])
    before = signal.signal(signal.SIGALRM, handle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield interrupted
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@only_compiled
def test_interrupts_of_allocations_and_drains_lose_nothing(kind: dict[str, Any], interrupted: Interrupted) -> None:
    pool = Pool(Vm(32 << 20), worker=False, **kind)

    def act() -> None:
        for m in pool.getcl_bulk(300):
            m.free()
        pool.drain()
        pool.zones.clust.set_max(4000)
        pool.free_bulk(pool.getjcl_bulk(20, size=9216))

    interrupted(act)
    settled(pool)


@only_compiled
def test_interrupts_at_a_limit_that_warns_lose_nothing(kind: dict[str, Any], interrupted: Interrupted) -> None:
    pool = Pool(Vm(32 << 20), {"kern.ipc.nmbclusters": 40}, strict=False, worker=False, **kind)
    pool.warnings.interval = 0
    pool.drains.register(lambda: None)

    def act() -> None:
        got = []
        try:
            while True:
                got.append(pool.getcl())
        except NoBufs:
            pass
        pool.reclaim.run()

    interrupted(act)
    settled(pool)


@only_compiled
def test_interrupted_waits_pass_on_what_they_were_granted(
    kind: dict[str, Any], spawn: Spawn, interrupted: Interrupted
) -> None:
    pool = Pool(Vm(32 << 20), {"kern.ipc.nmbclusters": 8}, strict=False, worker=False, **kind)
    done = threading.Event()

    def work() -> int:
        served = 0
        while not done.is_set():
            try:
                pool.getcl(M_WAITOK, timeout=5).free()
                served += 1
            except NoBufs:
                assert done.is_set()
        return served

    workers = [spawn(work) for _ in range(3)]
    held: list[Any] = []

    def act() -> None:
        held.append(pool.getcl(M_WAITOK, timeout=1))
        if len(held) > 6:
            held.clear()

    interrupted(act)
    done.set()
    held.clear()
    assert all(worker.done() for worker in workers)
    settled(pool)


@only_compiled
def test_interrupted_waits_for_pages_lose_nothing(spawn: Spawn, interrupted: Interrupted) -> None:
    pool = Pool(Vm(40 * 4096), {"kern.ipc.nmbclusters": 1000, "kern.ipc.nmbufs": 4000}, strict=False, worker=False)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            got = some(pool, random.Random(1))
            while got:
                got.pop().free()
            pool.drain()

    worker = spawn(work)

    def act() -> None:
        with suppress(MbufError):
            pool.getjcl(M_WAITOK, size=9216, timeout=0.05).free()

    interrupted(act)
    done.set()
    worker.done()
    settled(pool)


class Reentrant:
    """Uses the pool in its finalizer."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.me = self

    def __del__(self) -> None:
        try:
            self.pool.getcl().free()
            self.pool.drain()
            self.pool.get().free()
        except (Busy, NoBufs, NoMemory, Inval):
            pass


def test_finalizers_that_come_back_into_the_zone_lose_nothing(kind: dict[str, Any]) -> None:
    pool = Pool(Vm(32 << 20), worker=False, **kind)
    thresholds = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        dice = random.Random(5)
        stop = time.monotonic() + SPAN
        while time.monotonic() < stop:
            Reentrant(pool)
            got = some(pool, dice)
            Reentrant(pool)
            while got:
                got.pop().free()
            pool.drain()
    finally:
        gc.set_threshold(*thresholds)
    settled(pool)


def test_the_reserve_begins_and_ends_beside_threads(spawn: Spawn) -> None:
    pool = Pool(Vm(32 << 20), worker=False)
    pool.reserve.reinit(40, 40)
    stop = time.monotonic() + SPAN

    def work(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < stop:
            got = some(pool, dice)
            while got:
                got.pop().free()

    workers = [spawn(lambda n=n: work(n)) for n in range(3)]
    while time.monotonic() < stop:
        with pool.reserve.active():
            assert pool.reserve.started
    for worker in workers:
        worker.done()
    pool.reserve.drain()
    gc.collect()
    audit(pool)
    assert pool.out == 0
    pool.drain()
    assert pool.close() == 0
    assert pool.vm.used == 0


@pytest.mark.skipif(compiled(), reason="compiled, no exception comes in between")
def test_uncompiled_a_bucket_that_an_interrupt_lost_stops_no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(Vm(32 << 20), worker=False)
    pool.free_bulk(pool.getcl_bulk(2000))
    depot: Any = pool.zones.pack.depot
    before = depot._work.nitems
    assert before

    def interrupt(_: object, count: int) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(type(depot._work), "remove", interrupt)
        with pytest.raises(Stop):
            pool.drain()
    pool.drain()
    pool.getcl().free()
    pool.drain()
