import threading
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_NOWAIT, NoBufs, NoMemory, Pool, Vm
from mbuf.pool.reclaim import Reclaim, trim

Few = Callable[..., dict[str, int]]


def nothing() -> None:
    """No shortage."""


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_each_zone_that_rang_has_the_drains_run_once() -> None:
    reclaim = Reclaim(True, nothing)
    runs: list[int] = []
    reclaim.drains.register(lambda: runs.append(1))
    for zone in ("mbuf", "mbuf", "mbuf_cluster", "mbuf"):
        reclaim.ring(zone)
    assert runs == []
    assert reclaim.run() == 2
    assert len(runs) == 2
    assert reclaim.run() == 0


def test_a_bell_rings_for_its_zone() -> None:
    reclaim = Reclaim(True, nothing)
    bell = reclaim.bell("mbuf")
    bell()
    bell()
    assert (reclaim.run(), reclaim.drains.count) == (1, 1)


def test_a_drain_that_rings_again_is_run_again_later() -> None:
    reclaim = Reclaim(True, nothing)
    reclaim.drains.register(lambda: reclaim.ring("again"))
    reclaim.ring("mbuf")
    assert [reclaim.run(), reclaim.run()] == [1, 1]


def test_a_shortage_of_pages_is_looked_after_apart() -> None:
    short: list[int] = []
    reclaim = Reclaim(True, lambda: short.append(1))
    reclaim.drains.register(lambda: pytest.fail("drained"))
    reclaim.ring("pages")
    assert reclaim.run() == 1
    assert short == [1]


def test_a_worker_runs_them_by_itself() -> None:
    reclaim = Reclaim(False, nothing)
    ran = threading.Event()
    names: list[str] = []

    def drain() -> None:
        names.append(threading.current_thread().name)
        ran.set()

    reclaim.drains.register(drain)
    reclaim.ring("mbuf")
    assert ran.wait(20)
    assert names[0] == "mbuf reclaim"


def test_nobody_works_where_nobody_listens() -> None:
    reclaim = Reclaim(False, nothing)
    before = threading.active_count()
    reclaim.ring("mbuf")
    assert threading.active_count() == before


def test_one_who_rings_as_the_worker_leaves_is_heard(eventually: Callable[..., None]) -> None:
    class Late(Reclaim):
        def run(self) -> int:
            rang = super().run()
            if not rang and not late:
                late.append(1)
                self.ring("late")
            return rang

    late: list[int] = []
    reclaim = Late(False, nothing)
    reclaim.drains.register(nothing)
    reclaim.ring("mbuf")
    eventually(lambda: reclaim.drains.count == 2)


def test_without_a_thread_to_be_had_the_next_ring_tries_again(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    reclaim = Reclaim(False, nothing)
    reclaim.drains.register(nothing)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        reclaim.ring("mbuf")
    assert reclaim.drains.count == 0
    reclaim.ring("mbuf")
    eventually(lambda: reclaim.drains.count == 1)


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


def test_a_drain_may_free_what_was_asked_for(
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
    pool.vm.lowmem.register(lambda why: order.append(("after", pool.zones.mbuf.cached)))
    assert pool.vm.low()
    assert order == [("drain", cached), ("after", 2 * 254)]
    # At most once in ten seconds.
    assert not pool.vm.low()
    assert len(order) == 2


def test_a_trim_leaves_what_is_needed(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(clock=clock)
    pool.free_bulk([pool.get() for _ in range(2000)])
    trim(pool.zones)
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
