from collections.abc import Callable
from typing import Any

import pytest

from mbuf import UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM, Inval
from mbuf.uma.depot import Depot
from mbuf.uma.zone import Zone
from uma.items import alloc_items, free_items

Make = Callable[..., Zone]


@pytest.mark.parametrize(
    ("limit", "entries", "most"),
    [
        (1_000_000, 254, 995_936),
        (4096, 128, 2048),
        (1024, 32, 512),
        (100, 3, 52),
        (32, 1, 16),
        (16, 1, 0),
        (15, 0, 15),
    ],
)
def test_a_limit_sizes_the_buckets_of_8_cpus(limit: int, entries: int, most: int, clock: Any) -> None:
    depot = Depot(8, clock)
    depot.set_maxcache(limit, 8)
    assert (depot.bucket_size, depot.bucket_max, depot.most) == (entries, entries, most)
    assert depot.bucket_min == min(8, entries)


def test_a_zone_with_a_limit_has_larger_buckets_than_its_items_would_have(make_zone: Make) -> None:
    assert make_zone(2048).depot.bucket_size == 8
    zone = make_zone(2048, 524288)
    assert (zone.depot.bucket_size, zone.depot.bucket_min, zone.depot.bucket_max) == (254, 8, 254)


def test_full_buckets_are_listed_as_long_as_fewer_items_than_the_bound_are(make_zone: Make) -> None:
    zone = make_zone(256, 64)
    assert (zone.depot.bucket_size, zone.depot.most) == (16, 32)
    free_items(zone, alloc_items(zone, 64))
    # 32 in this CPU's two buckets, 16 listed; with 16 more it would be 32.
    assert (zone.depot.nitems, zone.cached, zone.limiter.items) == (16, 48, 48)


def test_without_a_limit_the_list_is_unbounded(make_zone: Make) -> None:
    zone = make_zone(256, entries=16)
    free_items(zone, alloc_items(zone, 1600))
    assert (zone.depot.nitems, zone.cached) == (1568, 1600)


def test_the_bucket_listed_last_is_fetched_first(make_zone: Make) -> None:
    zone = make_zone(256, entries=2)
    items = alloc_items(zone, 12)
    for item in items:
        zone.free(item)
    assert zone.depot.nitems == 8
    # 4 of this CPU's caches, then the two of the bucket that was listed last.
    again = alloc_items(zone, 6)
    assert set(again[4:]) < set(items[4:8])
    assert zone.depot.nitems == 6
    free_items(zone, again)


def test_reclaims_shrink_buckets_slowly_and_draining_cpus_fast(make_zone: Make) -> None:
    zone = make_zone(2048, 524288)
    sizes = []
    for request in (UMA_RECLAIM_DRAIN, UMA_RECLAIM_TRIM, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM):
        zone.reclaim(request)
        sizes.append(zone.depot.bucket_size)
    # (252 + 8) / 2 - 1
    assert sizes == [253, 252, 129, 128]
    for _ in range(200):
        zone.reclaim(UMA_RECLAIM_DRAIN)
    assert zone.depot.bucket_size == 8


@pytest.fixture
def full(make_zone: Make, clock: Any) -> Zone:
    """A zone that had 64 items in use, of which 32 are in the depot now and 32 in its CPU's cache."""
    zone = make_zone(256, entries=16, clock=clock)
    free_items(zone, alloc_items(zone, 64))
    assert (zone.depot.nitems, zone.cached) == (32, 64)
    return zone


def test_a_drain_takes_all_that_is_listed(full: Zone) -> None:
    full.reclaim(UMA_RECLAIM_DRAIN)
    assert (full.depot.nitems, full.cached, full.limiter.items) == (0, 32, 32)


def test_a_drain_of_cpus_takes_everything(full: Zone) -> None:
    full.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert (full.depot.nitems, full.cached, full.backend.pages) == (0, 0, 0)


def test_a_trim_leaves_what_was_needed_lately(full: Zone, clock: Any) -> None:
    full.reclaim(UMA_RECLAIM_TRIM)
    assert full.depot.nitems == 32
    clock.now += 20
    # 64 items were made: an estimate of 4 * 64 / 5 = 51.
    full.reclaim(UMA_RECLAIM_TRIM)
    assert full.depot.nitems == 32
    clock.now += 20
    # A quiet period later 10 of 32 are left to be needed: no bucket is small enough.
    full.reclaim(UMA_RECLAIM_TRIM)
    assert (full.depot.nitems, full.cached) == (0, 32)


def test_a_trim_takes_only_as_many_buckets_as_are_spare(make_zone: Make, clock: Any) -> None:
    zone = make_zone(256, entries=16, clock=clock)
    free_items(zone, alloc_items(zone, 160))
    assert zone.depot.nitems == 128
    clock.now += 40
    # 4 * 160 / 5 = 128, then 128 / 5 = 25 after a quiet period.
    zone.reclaim(UMA_RECLAIM_TRIM)
    assert zone.depot.nitems == 16


def test_a_trim_leaves_what_this_period_has_fetched(make_zone: Make, clock: Any) -> None:
    zone = make_zone(256, entries=16, clock=clock)
    free_items(zone, alloc_items(zone, 160))
    clock.now += 1000
    items = alloc_items(zone, 32 + 48)
    free_items(zone, items)
    assert (zone.depot.nitems, zone.depot.work().imin) == (128, 80)
    zone.reclaim(UMA_RECLAIM_TRIM)
    assert zone.depot.nitems == 48


@pytest.mark.parametrize("entries", [-1, 1 << 20])
def test_a_bucket_has_no_fewer_items_than_none_and_no_more_than_a_bucket_may(entries: int) -> None:
    with pytest.raises(Inval, match=f"buckets of {entries} items: give 0 to"):
        Depot(entries, float)
