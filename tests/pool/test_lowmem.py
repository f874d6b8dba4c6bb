import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf import Busy, Pool, Vm
from mbuf.const import VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.pool.lowmem import MemoryWatch
from mbuf.vm.psi import STALL_US, PressureFile, full_total, some_total
from system import resident_bytes

Eventually = Callable[[Callable[[], object]], None]
OFTEN = 0.001


class PressureSource:
    """A synthetic pressure file, and a watch of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.total = 0
        self.stall(0)

    def stall(self, usec: int = STALL_US) -> None:
        """Report stalled tasks."""
        self.total += usec
        # Replaced in one step, as Linux shows it.
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self.total}\n")
        fresh.rename(self.path)

    def watch(self, vm: Vm) -> MemoryWatch:
        return MemoryWatch(vm, [PressureFile(self.path, some_total, STALL_US)], OFTEN)


@pytest.fixture
def meter(tmp_path: Path) -> PressureSource:
    return PressureSource(tmp_path / "memory.pressure")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """At the end, no thread and no descriptor is left."""
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, descriptors)


@pytest.fixture
def events(vm: Vm) -> Iterator[list[tuple[int, str]]]:
    """The calls of the Vm's listeners, each with its thread."""
    events: list[tuple[int, str]] = []

    def record(why: int) -> None:
        events.append((why, threading.current_thread().name))

    vm.lowmem.register(record)
    yield events
    vm.lowmem.deregister(record)


@pytest.fixture
def vm(clock: Any) -> Vm:
    return Vm(16 << 20, clock=clock)


# In a thread.


def test_pressure_is_low_memory_told_from_a_thread(
    vm: Vm, meter: PressureSource, events: list[tuple[int, str]], eventually: Eventually
) -> None:
    with meter.watch(vm):
        meter.stall()
        eventually(lambda: events)
    assert events == [(2, "mbuf memory")]


def test_without_pressure_no_listener_is_called(vm: Vm, meter: PressureSource, events: list[Any]) -> None:
    with meter.watch(vm):
        meter.stall(STALL_US - 1)
    assert events == []


def test_pressure_that_goes_on_is_reported_once_a_period(
    meter: PressureSource, clock: Any, eventually: Eventually
) -> None:
    results: list[bool] = []
    events: list[int] = []

    class Telling(Vm):
        def low(self, why: int = VM_LOW_PAGES) -> bool:
            results.append(super().low(why))
            return results[-1]

    vm = Telling(0, clock)
    vm.lowmem.register(events.append)
    vm.lowmem_period = 3
    with meter.watch(vm):
        for later in (0, 2.9, 0.1, 2.9, 0.1):
            clock.now += later
            count = len(results)
            meter.stall()
            eventually(lambda count=count: len(results) > count)
    assert results == [True, False, True, False, True]
    assert len(events) == 3


def test_where_all_tasks_stand_still_memory_is_severely_low_too(
    vm: Vm, tmp_path: Path, events: list[tuple[int, str]], clock: Any, eventually: Eventually
) -> None:
    file = tmp_path / "memory.pressure"

    def stall(usec: int) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(f"full avg10=0.00 avg60=0.00 avg300=0.00 total={usec}\n")
        fresh.rename(file)

    stall(0)
    with MemoryWatch(vm, [PressureFile(file, full_total, STALL_US, VM_LOW_KMEM)], OFTEN):
        for second in (1, 2, 3):
            clock.now += 1
            stall(second * STALL_US)
            eventually(lambda second=second: len(events) == 1 + second)
    # Pages once in ten seconds, and kernel memory every second.
    assert [why for why, _ in events] == [2, 1, 1, 1]


def test_severely_low_memory_leaves_nothing_in_caches(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    asked: list[int] = []
    pool.drains.register(lambda: asked.append(pool.vm.used))
    pool.free_bulk(pool.getcl_bulk(300))
    pool.vm.low()
    assert pool.vm.used > 100
    assert pool.vm.low(VM_LOW_KMEM)
    assert pool.vm.used == 0
    # Within the second no listener is called again, and cached items stay.
    pool.free_bulk(pool.getcl_bulk(300))
    assert not pool.vm.low(VM_LOW_KMEM)
    assert pool.vm.used > 100
    clock.now += 1
    assert pool.vm.low(VM_LOW_KMEM)
    assert (pool.vm.used, len(asked)) == (0, 3)


def test_the_watch_shows_its_pressure_files(vm: Vm, meter: PressureSource) -> None:
    watch = meter.watch(vm)
    assert watch.source == ""
    with watch as same:
        assert same is watch
        assert watch.source == f"poll {meter.path}"
    assert watch.source == ""


def test_a_file_may_disappear_and_come_back(
    vm: Vm, meter: PressureSource, events: list[Any], eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    look = PressureFile.has_risen

    def counted(file: PressureFile) -> bool:
        pressed = look(file)
        looks.append(file._last)
        return pressed

    monkeypatch.setattr(PressureFile, "has_risen", counted)
    with meter.watch(vm):
        meter.path.unlink()
        eventually(lambda: None in looks)
        meter.path.write_text("out of order")
        meter.stall()
        eventually(lambda: looks[-1] == meter.total)
        assert events == []
        meter.stall()
        eventually(lambda: events)


def test_what_a_listener_raises_is_told_and_the_watch_goes_on(
    vm: Vm, meter: PressureSource, clock: Any, eventually: Eventually, unraisable: list[BaseException]
) -> None:
    errors: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt]

    def fail(_: int) -> None:
        raise errors[len(unraisable)]

    vm.lowmem.register(fail)
    with meter.watch(vm):
        for count in (1, 2, 3):
            clock.now += 10
            meter.stall()
            eventually(lambda count=count: len(unraisable) == count)
    assert list(map(type, unraisable)) == errors


def test_a_watch_that_is_on_is_busy_and_one_that_is_over_may_begin_again(
    vm: Vm, meter: PressureSource, events: list[Any], eventually: Eventually
) -> None:
    watch = meter.watch(vm)
    for _ in range(2):
        with watch, pytest.raises(Busy, match="on already"), watch:
            pass
    with watch:
        meter.stall()
        eventually(lambda: events)


def test_a_listener_may_end_the_watch(vm: Vm, meter: PressureSource, eventually: Eventually) -> None:
    threads = threading.active_count()
    watch = meter.watch(vm)
    vm.lowmem.register(lambda _: watch.__exit__())
    with watch:
        meter.stall()
        eventually(lambda: not watch.source and threading.active_count() == threads)


def test_a_watch_that_is_dropped_ends_by_itself(vm: Vm, meter: PressureSource, eventually: Eventually) -> None:
    threads = threading.active_count()
    watch = meter.watch(vm)
    watch.__enter__()
    assert threading.active_count() == threads + 1
    del watch
    gc.collect()
    eventually(lambda: threading.active_count() == threads)


def test_a_watch_whose_thread_has_died_ends_as_any_other(
    vm: Vm, meter: PressureSource, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda event: errors.append(event.exc_type))
    monkeypatch.setattr(PressureFile, "has_risen", lambda _: 1 // 0)
    threads = threading.active_count()
    with meter.watch(vm):
        eventually(lambda: errors == [ZeroDivisionError] and threading.active_count() == threads)


def test_without_a_thread_to_be_had_it_does_not_begin(
    vm: Vm, meter: PressureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch = meter.watch(vm)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError), watch:
            pass
    assert watch.source == ""
    with watch:
        pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_that_leaves_the_statement_ends_nothing_of_its_parents(
    vm: Vm, meter: PressureSource, events: list[Any], eventually: Eventually
) -> None:
    watch = meter.watch(vm)
    with watch:
        child = os.fork()
        if not child:
            watch.__exit__()
            os._exit(int(watch.source != ""))
        assert os.waitpid(child, 0)[1] == 0
        meter.stall()
        eventually(lambda: events)


# In an event loop.


def test_in_an_event_loop_listeners_are_called_from_the_loop(vm: Vm, meter: PressureSource) -> None:
    async def main() -> tuple[str, int]:
        called = asyncio.Event()
        vm.lowmem.register(lambda _: (called.set(), names.append(threading.current_thread().name)))
        async with meter.watch(vm) as watch:
            meter.stall()
            await asyncio.wait_for(called.wait(), 20)
            return watch.source, threading.active_count()

    names: list[str] = []
    threads = threading.active_count()
    assert asyncio.run(main()) == (f"poll {meter.path}", threads + 1)
    assert names == [threading.current_thread().name]


def test_what_a_listener_raises_goes_to_the_loops_handler(vm: Vm, meter: PressureSource) -> None:
    async def main() -> str:
        raised: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _, event: raised.set_result(event["exception"]))
        async with meter.watch(vm):
            meter.stall()
            return repr(await asyncio.wait_for(raised, 20))

    def fail(_: int) -> None:
        raise ValueError("no")

    vm.lowmem.register(fail)
    assert asyncio.run(main()) == "ValueError('no')"


def test_after_the_with_statement_no_listener_is_called(
    vm: Vm, meter: PressureSource, events: list[Any], eventually: Eventually
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[object] = []
        soon = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: calls.append(soon(*args))  # type: ignore[method-assign,assignment]
        async with meter.watch(vm):
            meter.stall()
            # The loop is blocked: callbacks run later.
            eventually(lambda: calls)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert events == []


# Of a pool.


def test_under_pressure_a_pool_drains_trims_and_gives_pages_back(
    make: Callable[..., Pool], meter: PressureSource, clock: Any, eventually: Eventually
) -> None:
    pool = make({"kern.ipc.nmbclusters": 40_000}, mem=256 << 20, clock=clock)
    kept = pool.getcl_bulk(1000)
    pool.free_bulk([m.append(bytes(2000)) for m in pool.getcl_bulk(20_000)])
    order: list[tuple[str, int]] = []
    pool.drains.register(lambda: (order.append(("drain", pool.vm.used)), pool.free_bulk(kept)))
    pool.vm.reclaim.register(lambda _: order.append(("after", pool.vm.used)))
    full, most = pool.vm.used, resident_bytes()
    # Items that were needed in the last minutes stay cached: advance the clock.
    clock.now += 1000
    with meter.watch(pool.vm):
        meter.stall()
        eventually(lambda: len(order) == 2)
    less, least = pool.vm.used, resident_bytes()
    print(f"pages {full} -> {less}, resident {most >> 20} -> {least >> 20} MiB")
    assert order == [("drain", full), ("after", less)]
    assert less < full // 10
    assert most - least > 32 << 20


def test_a_pool_makes_a_watch_of_this_machine(make: Callable[..., Pool]) -> None:
    pool = make()
    with pool.watch_memory() as watch:
        pool.getcl().free()
        assert all(name.startswith(("trigger /", "poll /")) for name in watch.source.split(", ") if name)


def test_a_watch_keeps_no_pool_alive_and_outlives_it(
    vm: Vm, meter: PressureSource, events: list[Any], eventually: Eventually
) -> None:
    pool = Pool(vm=vm, worker=False)
    with meter.watch(pool.vm):
        del pool
        gc.collect()
        meter.stall()
        eventually(lambda: events)


def test_a_watch_takes_nothing_from_the_pool(
    make: Callable[..., Pool], meter: PressureSource, clock: Any, eventually: Eventually
) -> None:
    pool = make(clock=clock)
    before = [(zone.stat().allocs, zone.limiter.items) for zone in pool.zones.all()]
    with meter.watch(pool.vm):
        meter.stall()
        eventually(lambda: pool.drains.count)
    assert [(zone.stat().allocs, zone.limiter.items) for zone in pool.zones.all()] == before
