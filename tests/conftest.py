"""Fixtures for all tests: pools, which are checked at the end of each test; threads, clocks, signals."""

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
from mbuf.testing import Clock

# No test asserts a time: a busy machine is no failure.
settings.register_profile("mbuf", deadline=None)
settings.load_profile("mbuf")

MIB = 1 << 20

#: The fixture `mbuf_pool`.
pytest_plugins = ("mbuf_pytest",)


def pytest_collection_finish() -> None:
    """Exclude the objects made so far from garbage collection: each test collects at its end."""
    gc.collect()
    gc.freeze()


#: Arguments of `Pool` that don't change what a user sees.
POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}, "debug": {"debug": True}, "uncached": {"caching": False}}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a pool of each kind, or of those that its module names in `POOL_KINDS`."""
    if "pool_kind" in metafunc.fixturenames:
        metafunc.parametrize("pool_kind", getattr(metafunc.module, "POOL_KINDS", POOL_KINDS))


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
    """Tunables of a pool with small limits."""
    return few


@pytest.fixture
def make() -> Iterator[Callable[..., Pool]]:
    """Makes pools; at the end, checks that nothing is in use or corrupt."""
    made: list[Pool] = []

    def make(
        tunables: Mapping[str, int | str] | None = None,
        *,
        mem: int = 16 * MIB,
        vm: Vm | None = None,
        clock: Callable[[], float] = time.monotonic,
        memory: int | str | None = None,
        **kind: Any,
    ) -> Pool:
        if memory is not None:
            pool = Pool(memory, worker=False, **kind)
        else:
            budget = Vm(realmem=mem, clock=clock) if vm is None else vm
            pool = Pool(vm=budget, tunables=tunables or {}, worker=False, **kind)
        made.append(pool)
        return pool

    yield make
    while made:
        settle(made.pop())
    # The next collections need not visit the objects that this test has left.
    gc.freeze()


@pytest.fixture
def pool(pool_kind: str, make: Callable[..., Pool]) -> Pool:
    """A pool with large limits, of each kind."""
    return make(**POOL_KINDS[pool_kind])


@pytest.fixture
def small(pool_kind: str, make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> Callable[..., Pool]:
    """Makes pools of each kind with small limits, which are its keyword arguments."""

    def small(**limits: int) -> Pool:
        return make(few(**limits), **POOL_KINDS[pool_kind])

    return small


def settle(pool: Pool) -> None:
    """Check that nothing is in use or viewed, no freed memory was written, and all pages can be given back."""
    gc.collect()
    zones = pool.zones.all()
    assert pool.out == 0
    pool.audit()
    assert [zone.held for zone in zones] == [0] * 6
    assert (pool.pages.used, pool.pages.held, pool.sfbufs.used) == (0, 0, 0)
    if pool.closed:
        return
    # Only a debug pool checks the memory that it hands out.
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
    """Waits until a function returns true; fails after 20 seconds."""
    never = threading.Event()

    def eventually(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, "the condition never became true"
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
        except BaseException as error:  # raised in `done`
            self.error = error

    def done(self) -> Any:
        """Wait for the end of the thread: the result; an exception is raised again here."""
        self.join(20)
        assert not self.is_alive(), "the thread has not ended"
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def spawn() -> Callable[[Callable[[], object]], Worker]:
    """Runs a function in a thread; `done()` gives what it returned."""
    return Worker


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The exceptions that `sys.unraisablehook` was called with."""
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: errors.append(event.exc_value.with_traceback(None)))
    return errors


@pytest.fixture
def interrupted(
    spawn: Callable[[Callable[[], object]], Worker], eventually: Callable[[Callable[[], object]], None]
) -> Iterator[Callable[..., None]]:
    """When `when()` is true, sends a signal to this thread, whose handler calls `do()` and raises InterruptedError."""
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
            # Repeatedly: a signal just before the thread waits doesn't end the wait.
            while not done.wait(0.01):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handle)
        senders.append(spawn(send))

    yield interrupted
    done.set()
    for sender in senders:
        sender.done()
    signal.signal(signal.SIGUSR1, before)
