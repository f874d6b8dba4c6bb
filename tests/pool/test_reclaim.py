import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import M_NOWAIT, NoBufs, NoMemory, Pool, Vm
from mbuf.pool.reclaim import PAGES, Reclaim

Few = Callable[..., dict[str, int]]


def nothing() -> None:
    """A drain that frees nothing."""


def interrupt() -> None:
    """A drain that is interrupted."""
    raise KeyboardInterrupt


@pytest.fixture
def reclaim(make: Callable[..., Pool]) -> Reclaim:
    """The reclaim of a pool without a worker."""
    return make().reclaim


@pytest.fixture
def worker() -> Iterator[Reclaim]:
    """A reclaim with a worker."""
    with Pool(vm=Vm(16 << 20)) as pool:
        yield pool.reclaim


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_each_zone_that_rang_has_the_drains_run_once(reclaim: Reclaim) -> None:
    runs: list[int] = []
    reclaim.drains.register(lambda: runs.append(1))
    for zone in ("mbuf", "mbuf", "mbuf_cluster", "mbuf"):
        reclaim.trigger(zone)
    assert runs == []
    assert reclaim.run() == 2
    assert len(runs) == 2
    assert reclaim.run() == 0


def test_a_bell_rings_for_its_zone(reclaim: Reclaim) -> None:
    trigger = reclaim.trigger_for("mbuf")
    trigger()
    trigger()
    assert (reclaim.run(), reclaim.drains.count) == (1, 1)


def test_a_drain_that_rings_again_is_run_again_later(reclaim: Reclaim) -> None:
    reclaim.drains.register(lambda: reclaim.trigger("again"))
    reclaim.trigger("mbuf")
    assert [reclaim.run(), reclaim.run()] == [1, 1]


def test_a_shortage_of_pages_is_low_memory(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    results: list[int] = []
    pool.vm.lowmem.register(results.append)
    counts: list[int] = []
    for _ in range(3):
        pool.reclaim.trigger(PAGES)
        assert pool.reclaim.run() == 1
        counts.append(pool.drains.count)
    # The second frees nothing, so the shortage is severe; a third within a second is ignored.
    assert (results, counts) == ([2, 1], [1, 2, 2])


def test_a_shortage_within_the_second_lets_all_that_is_cached_go_all_the_same(
    make: Callable[..., Pool], clock: Any
) -> None:
    pool = make(clock=clock)
    for _ in range(3):
        pool.getcl().free()
        assert pool.vm.used > 0
        pool.reclaim.trigger(PAGES)
        pool.reclaim.run()
    assert (pool.vm.used, pool.drains.count) == (0, 2)


def test_a_repeated_shortage_empties_the_caches(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    pool.getcl().free()
    pool.vm.low()
    assert pool.vm.used > 0
    pool.reclaim.trigger(PAGES)
    pool.reclaim.run()
    assert pool.vm.used == 0


def test_a_worker_runs_them_by_itself(worker: Reclaim) -> None:
    ran = threading.Event()
    names: list[str] = []

    def drain() -> None:
        names.append(threading.current_thread().name)
        ran.set()

    worker.drains.register(drain)
    worker.trigger("mbuf")
    assert ran.wait(20)
    assert names[0] == "mbuf reclaim"


def test_without_listeners_there_is_not_a_work(worker: Reclaim) -> None:
    before = threading.active_count()
    worker.trigger("mbuf")
    assert threading.active_count() == before


def test_a_trigger_while_the_worker_ends_is_not_lost(eventually: Callable[..., None]) -> None:
    class Late(Reclaim):
        def run(self) -> int:
            rang = super().run()
            if not rang and not late:
                late.append(1)
                self.trigger("late")
            return rang

    late: list[int] = []
    with Pool(vm=Vm(16 << 20)) as pool:
        reclaim = Late(pool.vm, pool.zones, by_hand=False)
        reclaim.close()
    reclaim.drains.register(nothing)
    reclaim.trigger("mbuf")
    eventually(lambda: reclaim.drains.count == 2)


def test_without_a_thread_to_be_had_the_next_ring_tries_again(
    worker: Reclaim, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    worker.drains.register(nothing)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        worker.trigger("mbuf")
    assert worker.drains.count == 0
    worker.trigger("mbuf")
    eventually(lambda: worker.drains.count == 1)


def test_two_that_ring_at_once_start_one_worker(make: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = make().reclaim

    class Taken:
        """A lock that another thread acquires first, which starts the worker."""

        def __enter__(self) -> None:
            calls._busy = True

        def __exit__(self, *_: object) -> None:
            pass

    calls.by_hand = False
    calls.drains.register(nothing)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        patch.setattr(calls, "_lock", Taken())
        calls.trigger("mbuf")
        assert calls._busy
    # The request is not lost: the other thread's worker handles it.
    calls._busy = False
    assert (calls.run(), calls.drains.count) == (1, 1)


def test_a_limit_that_is_hit_rings(make: Callable[..., Pool], few: Few) -> None:
    """freebsd-13.md, 8.3: every failing packet hits the limit of clusters four times, coalesced here."""
    pool = make(few(clusters=10))
    taken = pool.getcl_bulk(10)
    pool.reclaim.run()
    for _ in range(3):
        with pytest.raises(NoBufs):
            pool.getcl()
    runs: list[int] = []
    pool.drains.register(lambda: runs.append(1))
    assert pool.reclaim.run() == 1
    assert runs == [1]
    pool.free_bulk(taken)


def test_a_drain_may_free_what_was_requested(
    few: Few, spawn: Callable[[Callable[[], object]], Any], eventually: Callable[..., None]
) -> None:
    pool = Pool(vm=Vm(16 << 20), tunables=few(clusters=4))
    with pool:
        taken = pool.getcl_bulk(4)
        pool.drains.register(lambda: pool.free_bulk(taken))
        m = pool.getcl(2, timeout=20)
        m.free()
        eventually(lambda: not pool.out)


def test_low_memory_drains_then_trims(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    order: list[tuple[str, int]] = []
    pool.drains.register(lambda: order.append(("drain", pool.zones.mbuf.cached)))
    pool.free_bulk([pool.get() for _ in range(2000)])
    cached = pool.zones.mbuf.cached
    assert cached == 2032
    clock.now += 1000
    pool.vm.reclaim.register(lambda why: order.append(("after", pool.zones.mbuf.cached)))
    assert pool.vm.low()
    assert order == [("drain", cached), ("after", 2 * 254)]
    # At most once in ten seconds.
    assert not pool.vm.low()
    assert len(order) == 2


def test_a_trim_leaves_what_is_needed(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    pool.free_bulk([pool.get() for _ in range(2000)])
    pool.reclaim.reclaim(2)
    assert pool.zones.mbuf.cached == 2032


def test_a_shortage_of_pages_lets_everything_cached_go(make: Callable[..., Pool], few: Few, clock: Any) -> None:
    pool = make(few(clusters=1000, jumbo16=100, mbufs=10_000), mem=40 * 4096, clock=clock)
    packets = pool.getcl_bulk(20)
    pool.free_bulk(packets)
    assert pool.vm.used > 30
    with pytest.raises(NoMemory, match="in use"):
        [pool.cljget(None, M_NOWAIT, 16384) for _ in range(3)]
    assert pool.reclaim.run() >= 1
    pool.cljget(None, M_NOWAIT, 16384).free()


def test_a_drain_that_fails_does_not_prevent_trimming(
    make: Callable[..., Pool], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make(clock=clock)
    pool.free_bulk([pool.get() for _ in range(2000)])
    clock.now += 1000
    pool.drains.register(lambda: 1 // 0, "ip")
    assert pool.vm.low()
    assert pool.zones.mbuf.cached == 2 * 254
    assert caplog.messages == ["drain ip failed"]


def test_what_ends_the_program_goes_through_after_the_trim(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    pool.free_bulk([pool.get() for _ in range(2000)])
    clock.now += 1000
    pool.drains.register(interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.vm.low()
    assert pool.zones.mbuf.cached == 2 * 254


def test_zones_whose_turn_had_not_come_when_a_drain_ended_it_are_served_later(reclaim: Reclaim) -> None:
    for zone in ("mbuf", "mbuf_cluster", "mbuf_jumbo_page"):
        reclaim.trigger(zone)
    reclaim.drains.register(interrupt)
    with pytest.raises(KeyboardInterrupt):
        reclaim.run()
    reclaim.drains.deregister(interrupt)
    assert reclaim.run() == 2
    assert reclaim.drains.count == 3


def test_a_drain_that_ends_the_worker_leaves_it_to_the_next_ring(
    worker: Reclaim, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda event: errors.append(event.exc_type))
    worker.drains.register(interrupt)
    worker.trigger("mbuf")
    eventually(lambda: errors == [KeyboardInterrupt])
    worker.drains.deregister(interrupt)
    worker.drains.register(nothing)
    worker.trigger("mbuf")
    eventually(lambda: worker.drains.count == 2)


def test_a_trim_gives_the_clusters_of_packets_back_too(make: Callable[..., Pool], clock: Any) -> None:
    pool = make({"kern.ipc.nmbclusters": 4000, "kern.ipc.nmbufs": 8000}, clock=clock)
    pool.free_bulk(pool.getcl_bulk(3000))
    clock.now += 1000
    assert pool.vm.low()
    assert (pool.zones.clust.cached, pool.zones.clust.bypassed, pool.zones.pack.bypassed) == (0, 0, 0)
    assert pool.zones.clust.used == pool.zones.pack.cached == 2 * 254
