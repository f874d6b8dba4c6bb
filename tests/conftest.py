"""Pools to try things on, which must end with nothing in use and nothing corrupt."""

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

from mbuf import M_NOWAIT, Pool, Vm

# No test asserts a time: a busy machine is no failure.
settings.register_profile("mbuf", deadline=None)
settings.load_profile("mbuf")

MIB = 1 << 20


def pytest_collection_finish() -> None:
    """Spare the tests themselves from the many collections that look for what a test has left over."""
    gc.collect()
    gc.freeze()


#: The ways to make a pool that change nothing that a user may see.
VARIANTS: dict[str, dict[str, bool]] = {"plain": {}, "debug": {"debug": True}, "uncached": {"caching": False}}


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def few(clusters: int = 10, jumbop: int = 4, jumbo9: int = 2, jumbo16: int = 2, mbufs: int = 40) -> dict[str, int]:
    return {
        "kern.ipc.nmbclusters": clusters,
        "kern.ipc.nmbjumbop": jumbop,
        "kern.ipc.nmbjumbo9": jumbo9,
        "kern.ipc.nmbjumbo16": jumbo16,
        "kern.ipc.nmbufs": mbufs,
    }


@pytest.fixture(name="few")
def few_fixture() -> Callable[..., dict[str, int]]:
    """Tunables of a pool with hardly anything in it."""
    return few


@pytest.fixture
def make() -> Iterator[Callable[..., Pool]]:
    """Makes pools, and looks at the end whether they are empty and whole."""
    made: list[Pool] = []

    def make(
        tunables: Mapping[str, int | str] | None = None,
        *,
        mem: int = 16 * MIB,
        vm: Vm | None = None,
        clock: Callable[[], float] = time.monotonic,
        **kind: Any,
    ) -> Pool:
        pool = Pool(
            vm=Vm(realmem=mem, clock=clock) if vm is None else vm,
            tunables=tunables or {},
            worker=False,
            **kind,
        )
        made.append(pool)
        return pool

    yield make
    while made:
        settle(made.pop())
    # What this test has left behind is spared the next collections: each would walk through all of it again.
    gc.freeze()


@pytest.fixture(params=VARIANTS)
def pool(request: pytest.FixtureRequest, make: Callable[..., Pool]) -> Pool:
    """A pool with more than enough of everything, of each kind."""
    return make(**VARIANTS[request.param])


@pytest.fixture(params=VARIANTS)
def small(
    request: pytest.FixtureRequest, make: Callable[..., Pool], few: Callable[..., dict[str, int]]
) -> Callable[..., Pool]:
    """Makes pools of each kind, of as few mbufs and clusters as are asked for."""

    def small(**limits: int) -> Pool:
        return make(few(**limits), **VARIANTS[request.param])

    return small


def settle(pool: Pool) -> None:
    """Nothing is out, nothing is looked at, nothing was written to while it was free; everything can be given back."""
    gc.collect()
    zones = pool.zones.all()
    assert pool.out == 0
    pool.audit()
    assert [zone.held for zone in zones] == [0] * 6
    assert (pool.pages.used, pool.pages.held, pool.sfbufs.used) == (0, 0, 0)
    if pool.closed:
        return
    # Only a debug pool looks at what it hands out; the others would do no more than count.
    for zone in zones if pool.debug else ():
        items = [zone.alloc(M_NOWAIT, None) for _ in range(zone.cached)]
        for item in items:
            zone.free(item)
    before = pool.vm.used
    pages = sum({id(zone.backend): zone.backend.pages for zone in zones[1:]}.values())
    pool.drain()
    assert [(zone.used, zone.cached, zone.limiter.items, zone.backend.pages) for zone in zones] == [(0, 0, 0, 0)] * 6
    assert before - pool.vm.used == pages
    assert pool.close() == 0


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until something is so; fails when that takes long."""
    never = threading.Event()

    def eventually(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, "it never came about"
            never.wait(0.0005)

    return eventually


class Worker(threading.Thread):
    """A thread that keeps what its function returns or raises."""

    def __init__(self, fn: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.fn = fn
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.fn()
        except BaseException as error:  # looked at by whoever joins
            self.error = error

    def done(self) -> Any:
        """The result, or the exception raised here."""
        self.join(20)
        assert not self.is_alive(), "the thread still waits"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def spawn() -> Callable[[Callable[[], object]], Worker]:
    """Runs a function in a thread; `done()` gives what it returned."""
    return Worker


@pytest.fixture
def unraised(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was raised where nobody could catch it."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: told.append(event.exc_type))
    return told


@pytest.fixture
def interrupted(
    spawn: Callable[[Callable[[], object]], Worker], eventually: Callable[[Callable[[], object]], None]
) -> Iterator[Callable[..., None]]:
    """Once something is so, has a signal handler do something in this thread, and raise InterruptedError."""
    before = signal.getsignal(signal.SIGUSR1)
    done = threading.Event()
    senders: list[Worker] = []

    def interrupted(when: Callable[[], object], do: Callable[[], object] = lambda: None) -> None:
        def handle(*_: object) -> None:
            if not done.is_set():
                done.set()
                do()
                raise InterruptedError

        def send() -> None:
            eventually(when)
            # Again and again: what comes just before the thread waits doesn't end the wait.
            while not done.wait(0.01):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handle)
        senders.append(spawn(send))

    yield interrupted
    done.set()
    for sender in senders:
        sender.done()
    signal.signal(signal.SIGUSR1, before)
