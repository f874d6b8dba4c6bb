import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import (
    M_NOWAIT,
    M_WAITOK,
    UMA_RECLAIM_DRAIN,
    UMA_RECLAIM_DRAIN_CPU,
    UMA_RECLAIM_TRIM,
    Corrupt,
    Inval,
    NoBufs,
    NoMemory,
    Pool,
    Vm,
    compiled,
)
from mbuf.const import PAGE_SIZE
from mbuf.uma import item as items_module
from mbuf.uma import refill
from mbuf.uma.audit import audit_keg, audit_zone
from mbuf.uma.cpu import Cpus
from mbuf.uma.item import Item
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone
from mbuf.vm import commit
from uma.items import alloc_items, free_items

Make = Callable[..., Zone]
Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def numbers(zone: Zone) -> tuple[int, ...]:
    stat = zone.stat()
    return stat.used, stat.cached, stat.allocs, stat.frees, stat.fails, zone.limiter.items


# Caches.


def test_the_first_item_brings_a_bucketful(make_zone: Make) -> None:
    zone = make_zone()
    items = alloc_items(zone, 1)
    assert numbers(zone) == (1, 61, 1, 0, 0, 62)
    # 5 slabs of 15.
    assert (zone.stat().pages, zone.stat().free) == (5, 61 + 13)
    free_items(zone, items)
    assert numbers(zone) == (0, 62, 1, 1, 0, 62)


def test_from_a_fresh_bucket_items_come_in_descending_order_of_address(make_zone: Make) -> None:
    zone = make_zone(entries=15)
    items = alloc_items(zone, 15)
    assert [item.offset_in_run() for item in items] == [256 * n for n in reversed(range(15))]
    free_items(zone, items)


def test_what_was_freed_last_is_handed_out_before_anything_older(make_zone: Make) -> None:
    zone = make_zone()
    items = alloc_items(zone, 20)
    freed = items[5:]
    free_items(zone, items[5:])
    # Compiled, the last one is freed in the next round.
    again = alloc_items(zone, 16)
    assert set(freed) < set(again)
    free_items(zone, items[:5] + again)


def test_a_zone_that_does_not_cache_goes_to_its_keg_each_time(make_zone: Make) -> None:
    zone = make_zone(limit=100, caching=False)
    items = alloc_items(zone, 3)
    assert numbers(zone) == (3, 0, 3, 0, 0, 3)
    free_items(zone, items)
    assert numbers(zone) == (0, 0, 3, 3, 0, 0)
    assert zone.stat().free == 15


def test_a_limit_too_small_for_buckets_means_no_caching(make_zone: Make) -> None:
    zone = make_zone(limit=15, ncpu=8)
    items = alloc_items(zone, 15)
    assert numbers(zone) == (15, 0, 15, 0, 0, 15)
    free_items(zone, items)
    assert zone.cached == 0


def test_each_cpu_has_a_cache_of_its_own(make_zone: Make) -> None:
    zone = make_zone(ncpu=2)
    items = alloc_items(zone, 62)
    free_items(zone, items)
    assert zone.cached == 62
    zone.cpus.move(1)
    other = alloc_items(zone, 1)
    assert zone.cached == 62 + 61
    free_items(zone, other)
    zone.cpus.move(0)
    again = alloc_items(zone, 62)
    assert zone.cached == 62
    free_items(zone, again)


def test_an_item_may_be_freed_on_another_cpu(make_zone: Make) -> None:
    zone = make_zone(ncpu=2)
    items = alloc_items(zone, 10)
    zone.cpus.move(1)
    free_items(zone, items)
    assert numbers(zone) == (0, 62, 10, 10, 0, 62)
    mine = alloc_items(zone, 10)
    assert zone.cached == 52
    zone.cpus.move(0)
    free_items(zone, mine)


def test_a_full_bucket_listed_by_one_cpu_is_fetched_by_another(make_zone: Make) -> None:
    zone = make_zone(ncpu=2, entries=2)
    free_items(zone, alloc_items(zone, 6))
    assert (zone.depot.nitems, zone.cached) == (2, 6)
    zone.cpus.move(1)
    items = alloc_items(zone, 2)
    assert (zone.depot.nitems, zone.cached, zone.limiter.items) == (0, 4, 6)
    free_items(zone, items)


# Limits.


def test_the_limit_is_charged_for_cached_items_too(make_zone: Make) -> None:
    zone = make_zone(limit=32, ncpu=2)
    items = alloc_items(zone, 1)
    assert numbers(zone)[:2] == (1, 3)
    zone.cpus.move(1)
    items += alloc_items(zone, 28)
    assert zone.alloc(M_NOWAIT, None) is None
    assert numbers(zone) == (29, 3, 29, 0, 1, 32)
    error = zone.denied()
    assert isinstance(error, NoBufs)
    assert "at its limit of 32: 29 in use, 3 cached; raise kern.things" in str(error)
    assert (error.zone, error.limit, error.used, error.cached, error.sysctl) == (
        "thing",
        32,
        29,
        3,
        "kern.things",
    )
    zone.cpus.move(0)
    items += alloc_items(zone, 3)
    free_items(zone, items)


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("caching", [True, False])
def test_there_are_exactly_as_many_items_as_the_limit_says(make_zone: Make, limit: int, caching: bool) -> None:
    zone = make_zone(limit=limit, caching=caching)
    for _ in range(3):
        items = alloc_items(zone, limit)
        assert zone.alloc(M_NOWAIT, None) is None
        assert zone.used == limit
        free_items(zone, items)
    assert zone.stat().fails == 3


@pytest.mark.parametrize("limit", [0, -1, -(2**64)])
def test_a_limit_that_cannot_be_changes_nothing(make_zone: Make, limit: int) -> None:
    zone = make_zone(limit=10)
    with pytest.raises(Inval):
        zone.set_max(limit)
    assert (zone.limit, zone.depot.bucket_size) == (10, 2)


def test_set_max_returns_what_was_requested(make_zone: Make) -> None:
    zone = make_zone()
    assert zone.limit == 0
    assert zone.set_max(77) == 77
    assert zone.limit == 77


def test_below_its_limit_a_zone_lacks_pages(make_zone: Make) -> None:
    zone = make_zone(limit=100, pages=1)
    items = alloc_items(zone, 15)
    assert zone.alloc(M_NOWAIT, None) is None
    error = zone.denied()
    assert isinstance(error, NoMemory)
    assert str(error) == "out of pages: 1 of 1 in use (Vm(realmem=...) sets the budget)"
    # The bucket and the single item.
    assert numbers(zone) == (15, 0, 15, 0, 2, 15)
    free_items(zone, items)


# Waiting.


def waits(zone: Zone, deadline: float | None = None) -> Callable[[], Item | None]:
    return lambda: zone.alloc(M_WAITOK, deadline)


@pytest.mark.parametrize("caching", [True, False])
def test_waiters_are_served_in_order_of_arrival(
    make_zone: Make, spawn: Spawn, eventually: Eventually, caching: bool
) -> None:
    zone = make_zone(limit=4, caching=caching)
    items = alloc_items(zone, 4)
    workers = []
    for n in range(3):
        workers.append(spawn(waits(zone)))
        eventually(lambda n=n: len(zone.limiter.waiters) == n + 1)
    assert zone.exhausted
    for n in range(3):
        zone.free(items.pop())
        items.insert(0, workers[n].done())
        assert [worker.is_alive() for worker in workers[n + 1 :]] == [True] * (2 - n)
    assert not zone.exhausted
    assert (zone.stat().sleeps, zone.stat().fails, zone.stat().sleepers, zone.bypassed) == (3, 0, 0, 0)
    free_items(zone, items)


def test_the_number_of_waiters_is_shown(make_zone: Make, spawn: Spawn, eventually: Eventually) -> None:
    zone = make_zone(limit=2)
    items = alloc_items(zone, 2)
    workers = [spawn(waits(zone)) for _ in range(2)]
    eventually(lambda: zone.stat().sleepers == 2)
    assert zone.stat().sleeps == 2
    free_items(zone, items)
    free_items(zone, [worker.done() for worker in workers])


def test_whose_time_is_up_gets_nothing(make_zone: Make) -> None:
    zone = make_zone(limit=2)
    items = alloc_items(zone, 2)
    assert zone.alloc(M_WAITOK, time.monotonic()) is None
    assert (zone.stat().sleeps, zone.stat().fails, zone.limiter.items, zone.bypassed) == (1, 1, 2, 0)
    free_items(zone, items)


def test_a_higher_limit_wakes_as_many_as_fit(make_zone: Make, spawn: Spawn, eventually: Eventually) -> None:
    zone = make_zone(limit=2)
    items = alloc_items(zone, 2)
    workers = [spawn(waits(zone)) for _ in range(3)]
    eventually(lambda: len(zone.limiter.waiters) == 3)
    zone.set_max(4)
    eventually(lambda: sum(worker.is_alive() for worker in workers) == 1)
    zone.set_max(5)
    free_items(zone, items + [worker.done() for worker in workers])


def test_an_item_freed_between_the_look_and_the_wait_is_not_missed(make_zone: Make) -> None:
    zone = make_zone(limit=10)
    items = alloc_items(zone, 10)
    # Called after the caches were found empty, before the thread is in the queue.
    zone.limiter.on_limit = lambda: free_items(zone, items)
    item = zone.alloc(M_WAITOK, time.monotonic() + 5)
    assert item is not None
    zone.free(item)


def test_what_other_cpus_have_cached_is_not_waited_for(make_zone: Make) -> None:
    zone = make_zone(limit=32, ncpu=2)
    items = alloc_items(zone, 1)
    zone.cpus.move(1)
    items += alloc_items(zone, 28)
    item = zone.alloc(M_WAITOK, time.monotonic() + 5)
    assert item is not None
    assert numbers(zone)[:2] == (30, 0)
    free_items(zone, [*items, item])
    zone.cpus.move(0)


def test_pages_freed_elsewhere_wake_waiters_for_them(make_zone: Make, spawn: Spawn, eventually: Eventually) -> None:
    zone = make_zone(limit=100, pages=2)
    vm = zone.backend.vm
    elsewhere = vm.take(1)
    items = alloc_items(zone, 15)
    worker = spawn(waits(zone))
    eventually(lambda: len(zone.backend._waiters) == 1)
    vm.give([(elsewhere, 1)])
    free_items(zone, [*items, worker.done()])
    assert zone.bypassed == 0


def test_an_item_freed_wakes_waiters_for_pages(make_zone: Make, spawn: Spawn, eventually: Eventually) -> None:
    zone = make_zone(limit=100, pages=1)
    items = alloc_items(zone, 15)
    worker = spawn(waits(zone))
    eventually(lambda: len(zone.backend._waiters) == 1)
    zone.free(items.pop())
    free_items(zone, [*items, worker.done()])
    assert zone.bypassed == 0


def test_a_wait_for_pages_ends_at_the_deadline(make_zone: Make) -> None:
    zone = make_zone(limit=100, pages=1)
    items = alloc_items(zone, 15)
    assert zone.alloc(M_WAITOK, time.monotonic()) is None
    assert (zone.limiter.items, zone.bypassed) == (15, 0)
    free_items(zone, items)


def test_an_interrupted_wait_at_the_limit_charges_nothing(make_zone: Make, interrupted: Any) -> None:
    zone = make_zone(limit=4)
    items = alloc_items(zone, 4)
    interrupted(lambda: zone.limiter.waiters)
    with pytest.raises(InterruptedError):
        zone.alloc(M_WAITOK, None)
    assert (zone.limiter.items, len(zone.limiter.waiters), zone.bypassed) == (4, 0, 0)
    free_items(zone, items)


def test_an_interrupted_wait_for_pages_charges_nothing(make_zone: Make, interrupted: Any) -> None:
    zone = make_zone(limit=1000, pages=1)
    items = alloc_items(zone, 15)
    interrupted(lambda: zone.backend._waiters)
    with pytest.raises(InterruptedError):
        zone.alloc(M_WAITOK, None)
    assert (zone.limiter.items, len(zone.backend._waiters), zone.bypassed) == (15, 0, 0)
    free_items(zone, items)


# Reclaim and close.


def test_drained_nothing_is_left(make_zone: Make) -> None:
    zone = make_zone(ncpu=3)
    for cpu in range(3):
        zone.cpus.move(cpu)
        free_items(zone, alloc_items(zone, 200))
    assert zone.backend.vm.used > 0
    zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert (zone.cached, zone.limiter.items, zone.backend.vm.used) == (0, 0, 0)
    zone.cpus.move(0)


def test_a_drain_leaves_what_cpus_have(make_zone: Make) -> None:
    zone = make_zone(entries=4)
    free_items(zone, alloc_items(zone, 32))
    zone.reclaim(UMA_RECLAIM_DRAIN)
    assert (zone.cached, zone.depot.nitems) == (8, 0)


@pytest.mark.parametrize("request_", [0, 4, -1, 2**31, -(2**70)])
def test_what_is_not_a_request_is_refused(make_zone: Make, request_: int) -> None:
    with pytest.raises(Inval, match=f"reclaim request {request_}"):
        make_zone().reclaim(request_)


@pytest.mark.parametrize("request_", [UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM])
def test_a_reclaim_that_leads_to_another_ends(request_: int) -> None:
    class Recursive(Keg):
        zone: Zone
        depth = 0
        deepest = 0

        def give(self, item: Item) -> None:
            self.depth += 1
            self.deepest = max(self.depth, self.deepest)
            self.zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
            super().give(item)
            self.depth -= 1

    clock = [0.0]
    keg = Recursive(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = keg.zone = Zone("thing", 256, keg, Cpus(1), "", 4, True, True, lambda: clock[0])
    free_items(zone, alloc_items(zone, 100))
    clock[0] = 1000.0
    zone.reclaim(request_)
    assert keg.deepest == 1
    assert zone.depot.nitems == 0
    zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert (zone.cached, zone.limiter.items, keg.vm.used) == (0, 0, 0)


def test_zones_may_share_a_keg_and_nothing_else() -> None:
    keg = Keg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    first, second = (
        Zone(name, 256, keg, Cpus(1), "", 3, True, name == "first", time.monotonic) for name in ("first", "second")
    )
    a, b = alloc_items(first, 1), alloc_items(second, 1)
    assert (keg.slabs, keg.free) == (1, 9)
    assert a[0].run is b[0].run
    assert (first.cached, second.cached) == (2, 2)
    # The keg's free items are counted once.
    assert (first.stat().free, second.stat().free) == (2 + 9, 2)
    free_items(first, a)
    first.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert (first.cached, second.cached, keg.free, keg.slabs) == (0, 2, 12, 1)
    free_items(second, b)
    second.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert keg.vm.used == 0


def test_closed_a_zone_hands_out_nothing_and_takes_back_all() -> None:
    keg = Keg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1), "", None, True, True, time.monotonic)
    items = alloc_items(zone, 20)
    zone.close()
    assert (zone.closed, zone.used, zone.cached) == (True, 20, 0)
    with pytest.raises(Inval, match="closed"):
        zone.alloc(M_NOWAIT, None)
    with pytest.raises(Inval, match="closed"):
        zone.alloc(M_WAITOK, None)
    free_items(zone, items)
    assert (zone.used, zone.limiter.items, keg.vm.used) == (0, 0, 0)


def test_closing_ends_all_waits(spawn: Spawn, eventually: Eventually) -> None:
    keg = Keg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1), "", None, True, True, time.monotonic)
    zone.set_max(2)
    items = alloc_items(zone, 2)
    worker = spawn(waits(zone))
    eventually(lambda: len(zone.limiter.waiters) == 1)
    zone.close()
    with pytest.raises(Inval, match="closed"):
        worker.done()
    free_items(zone, items)
    assert (zone.limiter.items, keg.vm.used) == (0, 0)


def test_closed_twice_a_zone_is_closed_once() -> None:
    keg = Keg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1), "", None, True, True, time.monotonic)
    items = alloc_items(zone, 2)
    for _ in range(2):
        zone.close()
        assert (zone.closed, zone.bypassed, zone.used, zone.cached) == (True, 1, 2, 0)
    free_items(zone, items)
    audit_zone(zone)
    assert (zone.limiter.items, keg.vm.used) == (0, 0)


# Errors of the caller.


def test_an_item_of_another_zone_is_freed_there(make_zone: Make) -> None:
    zone, other = make_zone(), make_zone()
    items = alloc_items(zone, 1)
    with pytest.raises(Inval, match="^thing: this item belongs to another zone: free it there$"):
        other.free(items[0])
    assert (numbers(zone)[:2], numbers(other)) == ((1, 61), (0, 0, 0, 0, 0, 0))
    free_items(zone, items)


@pytest.mark.parametrize("caching", [True, False])
def test_an_item_freed_twice_is_corrupt(make_zone: Make, caching: bool) -> None:
    zone = make_zone(limit=100, caching=caching)
    items = alloc_items(zone, 2)
    zone.free(items[0])
    before = numbers(zone)
    with pytest.raises(Corrupt, match="^duplicate free of an item of thing$"):
        zone.free(items[0])
    assert numbers(zone) == before
    audit_zone(zone)
    zone.free(items[1])


def test_freeing_nothing_has_no_effect(make_zone: Make) -> None:
    zone = make_zone()
    zone.free(None)
    zone.receive(None)
    assert numbers(zone) == (0, 0, 0, 0, 0, 0)


@pytest.fixture
def unmade() -> Zone:
    """A zone whose `__init__` was never called."""
    made: Any = Zone.__new__(Zone)
    if not compiled():
        # Compiled, every object is in this state before `__init__`.
        made._count = made._reclaimer = 0
        made._cache = made.feeds = None
    return made  # type: ignore[no-any-return]


UNMADE: dict[str, Callable[[Zone], object]] = {
    "alloc": lambda zone: zone.alloc(M_NOWAIT, None),
    "receive": lambda zone: zone.receive(Item.__new__(Item)),
    "adopt": lambda zone: zone.adopt(),
    "limit": lambda zone: zone.limit,
    "set_max": lambda zone: zone.set_max(5),
    "exhausted": lambda zone: zone.exhausted,
    "denied": lambda zone: zone.denied(),
    "wait_target": lambda zone: zone.wait_target(),
    "reclaim": lambda zone: zone.reclaim(UMA_RECLAIM_DRAIN),
    "drain_caches": lambda zone: zone.drain_caches(),
    "close": lambda zone: zone.close(),
}


@pytest.mark.parametrize("verb", UNMADE)
def test_a_zone_that_was_never_initialized_does_nothing(unmade: Zone, verb: str) -> None:
    with pytest.raises(Inval, match="^this zone was never initialized: call its __init__$"):
        UNMADE[verb](unmade)


# Other code in the middle of a call.


@pytest.mark.skipif(compiled(), reason="compiled, nothing is freed in a commit")
def test_an_item_freed_in_a_commit_is_freed_after_it(make_zone: Make) -> None:
    zone = make_zone()
    items = alloc_items(zone, 2)
    commit.enter_commit()
    try:
        for item in items:
            zone.free(item)
        assert numbers(zone)[:2] == (2, 60)
    finally:
        commit.leave_commit()
    commit._run_releases()
    assert numbers(zone) == (0, 62, 2, 2, 0, 62)


@pytest.mark.skipif(compiled(), reason="compiled, no other thread runs in between")
def test_an_item_that_another_thread_frees_meanwhile_is_counted_once(
    make_zone: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = make_zone()
    items = alloc_items(zone, 1)
    zone.bypass_caches(1)
    real, checked = Zone._check_out, []

    def check(self: Zone, item: Item) -> None:
        real(self, item)
        checked.append(item)
        if len(checked) == 1:
            zone.free(item)

    with monkeypatch.context() as patch:
        patch.setattr(Zone, "_check_out", check)
        with pytest.raises(Corrupt, match="^duplicate free of an item of thing$"):
            zone.free(items[0])
    zone.bypass_caches(-1)
    assert (len(checked), numbers(zone)) == (2, (0, 61, 1, 1, 0, 61))


@pytest.mark.skipif(compiled(), reason="compiled, every zone with one CPU does so")
@pytest.mark.parametrize("direct", [True, False])
def test_a_zone_with_one_cache_uses_it_as_others_use_theirs(make_zone: Make, direct: bool) -> None:
    zone: Any = make_zone(entries=2)
    zone._cache = zone._caches[0] if direct else None
    items = alloc_items(zone, 8)
    assert numbers(zone) == (8, 0, 8, 0, 0, 8)
    commit.enter_commit()
    try:
        # An item that the cache doesn't take at once is freed after the commit.
        items_module.free_item(items.pop())
    finally:
        commit.leave_commit()
    commit._run_releases()
    free_items(zone, items)
    assert (numbers(zone), zone.depot.nitems) == ((0, 8, 8, 8, 0, 8), 4)
    audit_zone(zone)
    with pytest.raises(Corrupt, match="^duplicate free of an item of thing$"):
        zone.free(zone._caches[0].alloc.at(0))


class FailingKeg(Keg):
    """A keg that takes items back, and raises."""

    failing = False

    def give(self, item: Item) -> None:
        super().give(item)
        if self.failing:
            raise ValueError(item.offset_in_run())


def test_a_backend_that_raises_gets_all_items_back_and_the_first_error_is_raised() -> None:
    keg = FailingKeg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1), "", 4)
    items = alloc_items(zone, 3)
    keg.failing = True
    with pytest.raises(ValueError, match="^0$"):
        zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert (numbers(zone), keg.free) == ((3, 0, 3, 0, 0, 3), 12)
    audit_zone(zone)
    zone.bypass_caches(1)
    for left, at in ((2, 256), (1, 512), (0, 768)):
        with pytest.raises(ValueError, match=f"^{at}$"):
            free_items(zone, items)
        assert (zone.used, zone.limiter.items) == (left, left)
    zone.bypass_caches(-1)
    audit_zone(zone)
    audit_keg(keg)
    assert (keg.free, keg.vm.used) == (15, 1)
    keg.drain()


def test_a_bucket_that_can_not_be_listed_nor_given_back_costs_no_item() -> None:
    keg = FailingKeg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1))
    zone.set_max(5)
    # Buckets of one item: two in the cache, two in the depot.
    free_items(zone, alloc_items(zone, 4))
    assert (zone.cached, zone.depot.nitems) == (4, 2)
    bucket = refill.fill(zone, M_NOWAIT, None)
    assert (zone.limiter.items, zone.limiter.in_transit) == (5, 1)
    keg.failing = True
    with pytest.raises(ValueError, match="^[0-9]+$"):
        refill.load(zone, bucket)
    keg.failing = False
    assert (zone.used, zone.cached, zone.limiter.items, zone.limiter.in_transit) == (0, 4, 4, 0)
    audit_zone(zone)
    audit_keg(keg)
    zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert keg.vm.used == 0


def test_a_bucket_that_came_when_the_zone_was_closed_is_given_back() -> None:
    keg = FailingKeg(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = Zone("thing", 256, keg, Cpus(1), "", 4)
    buckets = [refill.fill(zone, M_NOWAIT, None) for _ in range(2)]
    zone.close()
    assert (zone.limiter.items, zone.limiter.in_transit, keg.vm.used) == (8, 8, 1)
    assert refill.load(zone, buckets[0]) is None
    assert (zone.limiter.items, zone.limiter.in_transit, keg.vm.used) == (4, 4, 1)
    keg.failing = True
    with pytest.raises(ValueError, match="^1024$"):
        refill.load(zone, buckets[1])
    assert (zone.limiter.items, zone.limiter.in_transit, keg.vm.used) == (0, 0, 0)
    audit_zone(zone)
    audit_keg(keg)


def test_in_the_child_of_a_fork_the_import_of_the_thread_that_forked_goes_on() -> None:
    class Forking(Keg):
        zone: Zone
        seen: list[int]

        def take(self, bucket: Any, count: int, how: int, deadline: float | None) -> None:
            refill.forked(self.zone)
            self.seen.append(self.zone.bypassed)
            super().take(bucket, count, how, deadline)

    keg = Forking(Vm(64 * PAGE_SIZE), "thing", 256, 255)
    zone = keg.zone = Zone("thing", 256, keg, Cpus(1), "", 4)
    keg.seen = []
    item = zone.alloc(M_WAITOK, None)
    assert (keg.seen, zone.bypassed, numbers(zone)) == ([1], 0, (1, 3, 1, 0, 0, 4))
    zone.free(item)
    audit_zone(zone)


# Threads.


@pytest.mark.parametrize(
    ("limit", "ncpu", "caching"),
    [(3, 1, True), (7, 2, True), (40, 2, True), (100, 4, True), (10, 1, False), (0, 2, True)],
)
def test_threads_that_free_each_others_items_never_pass_the_limit(
    make_zone: Make, spawn: Spawn, limit: int, ncpu: int, caching: bool
) -> None:
    zone = make_zone(limit=limit, ncpu=ncpu, caching=caching)
    shared: deque[Item] = deque()
    seen: set[int] = set()
    turns, threads = 600, 4

    def work(seed: int) -> int:
        dice = random.Random(seed)
        got = 0
        for turn in range(turns):
            if dice.random() < 0.55:
                item = zone.alloc(M_NOWAIT, None)
                if item is not None:
                    got += 1
                    shared.append(item)
            elif shared:
                try:
                    zone.free(shared.popleft())
                except IndexError:
                    continue
            if limit:
                assert 0 <= zone.limiter.items <= limit
                assert len(shared) <= limit
            if not turn % 97:
                zone.reclaim(dice.choice([UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM]))
            seen.add(zone.used)
        return got

    workers = [spawn(lambda seed=seed: work(seed)) for seed in range(threads)]
    assert sum(worker.done() for worker in workers) > 0
    assert zone.used == len(shared) == len(set(shared))
    assert zone.used + zone.cached == zone.limiter.items
    free_items(zone, list(shared))


def test_threads_that_wait_are_all_served(make_zone: Make, spawn: Spawn) -> None:
    zone = make_zone(limit=3, ncpu=2)

    def work() -> int:
        for _ in range(150):
            item = zone.alloc(M_WAITOK, time.monotonic() + 20)
            assert item is not None
            assert zone.limiter.items <= 3
            zone.free(item)
        return 150

    workers = [spawn(work) for _ in range(6)]
    assert [worker.done() for worker in workers] == [150] * 6
    assert (zone.used, zone.bypassed, len(zone.limiter.waiters)) == (0, 0, 0)


def test_threads_short_of_pages_are_all_served(make_zone: Make, spawn: Spawn) -> None:
    zone = make_zone(4096, pages=3, entries=1)

    def work() -> int:
        for _ in range(100):
            item = zone.alloc(M_WAITOK, time.monotonic() + 20)
            assert item is not None
            zone.free(item)
        return 100

    workers = [spawn(work) for _ in range(5)]
    assert [worker.done() for worker in workers] == [100] * 5
    assert (zone.used, zone.bypassed) == (0, 0)


def test_a_zone_tells_what_it_has_handed_out() -> None:
    pool = Pool(Vm(16 << 20), caching=False, worker=False)
    zone = pool.zones.mbuf
    m = pool.get()
    assert repr(zone) == f"<Zone mbuf: 1 used, 0 cached, limit {zone.limit}>"
    assert repr(pool.zones.pack).endswith("0 used, 0 cached, no limit>")
    m.free()
    pool.close()
    assert repr(zone) == f"<Zone mbuf: 0 used, 0 cached, limit {zone.limit}, closed>"
    assert repr(Zone.__new__(Zone)) == "<Zone, never made>"
