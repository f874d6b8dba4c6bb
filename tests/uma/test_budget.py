"""A budget: kegs that share pages, and the queue of claims."""

from __future__ import annotations

from typing import Any

import pytest

from mbuf import M_NOWAIT, PAGE_SIZE, Inval, Vm
from mbuf.errors import PoolFull
from mbuf.uma.audit import audit_budget, audit_keg
from mbuf.uma.bucket import Bucket
from mbuf.uma.budget import Budget
from mbuf.uma.claim import Claim
from mbuf.uma.cpu import Cpus
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone


def shared(pages: int, *sizes: int, cached: bool = False) -> tuple[Budget, list[Keg], list[Zone]]:
    """A budget, and kegs and zones of these sizes that share it."""
    vm = Vm(pages * PAGE_SIZE)
    budget = Budget(vm, lambda run, needed=0: PoolFull(vm.realmem, 0, run, 0, needed * PAGE_SIZE), lambda: None)
    kegs = [Keg(vm, str(size), size, 7) for size in sizes]
    for keg in kegs:
        keg.join(budget)
    cpus = Cpus(1)
    zones = [Zone(keg.name, keg.size, keg, cpus, caching=cached) for keg in kegs]
    budget.zones = tuple(zones)
    return budget, kegs, zones


def claim(*needs: tuple[Keg, int], wake: Any = lambda: True) -> Claim:
    made = Claim(wake)
    for keg, count in needs:
        keg.claim(made, count)
    return made


def taken(zone: Zone, count: int) -> list[Any]:
    items = [zone.alloc(M_NOWAIT, None) for _ in range(count)]
    assert None not in items
    return items


def test_a_keg_joins_one_budget() -> None:
    budget, kegs, _ = shared(2, 2048)
    with pytest.raises(Inval, match="give a keg that has none"):
        kegs[0].join(budget)
    other = Keg(Vm(1), "other", 64, 7)
    with pytest.raises(Inval, match="give a keg of a budget"):
        Claim().add(other, 1)
    with pytest.raises(Inval, match="and a number of items"):
        Claim().add(kegs[0], -1)


def test_pages_go_from_one_keg_to_the_other() -> None:
    _, _, zones = shared(4, 2048, 4096, cached=True)
    small, large = zones
    for _ in range(3):
        for item in taken(small, 8):
            small.free(item)
        assert small.cached > 0
        for item in taken(large, 4):
            large.free(item)
        assert small.cached == 0


def test_a_claim_is_granted_when_all_of_it_fits() -> None:
    budget, kegs, zones = shared(4, 2048, 4096)
    small = taken(zones[0], 8)
    both = claim((kegs[0], 1), (kegs[1], 2))
    budget.enqueue(both)
    assert budget.waiting == 1
    for _ in range(4):
        # One free item of the small keg, and one page of it less than two.
        zones[0].free(small.pop())
        audit_budget(budget)
    assert (budget.waiting, both.granted) == (1, False)
    zones[0].free(small.pop())
    assert (budget.waiting, budget.granted, both.granted) == (0, 1, True)
    # It is set aside: others get none of it.
    assert zones[1].alloc(M_NOWAIT, None) is None
    got = budget.use(both, lambda: [*taken(zones[1], 2), *taken(zones[0], 1)])
    budget.leave(both)
    assert budget.granted == 0
    audit_budget(budget)
    for item in got:
        (zones[1] if item.size == 4096 else zones[0]).free(item)
    for item in small:
        zones[0].free(item)


def test_a_later_claim_that_would_fit_waits_for_the_first() -> None:
    budget, kegs, zones = shared(4, 2048, 4096)
    held = taken(zones[1], 4)
    large, small = claim((kegs[1], 3)), claim((kegs[0], 1))
    budget.enqueue(large)
    budget.enqueue(small)
    zones[1].free(held.pop())
    assert (budget.waiting, small.granted) == (2, False)
    assert zones[0].alloc(M_NOWAIT, None) is None
    # The first one gives up: the second is granted.
    budget.leave(large)
    assert (budget.waiting, small.granted) == (0, True)
    budget.leave(small)
    budget.leave(small)
    for item in held:
        zones[1].free(item)


def test_more_than_there_is_never_waits() -> None:
    budget, kegs, _ = shared(4, 4096)
    large = claim((kegs[0], 5), wake=None)
    assert budget.excess(large) == 5
    assert not budget.acquire(large, None)
    assert "this call needs 20 KiB, and this pool has 16 KiB" in str(budget.denied(large))


def test_runs_are_granted_only_where_there_are_some() -> None:
    budget, kegs, zones = shared(8, 4096, 16384)
    held = taken(zones[0], 8)
    run = claim((kegs[1], 1))
    budget.enqueue(run)
    pages = sorted(held, key=lambda item: item.run.page)
    for at in (0, 2, 4, 6):
        zones[0].free(pages[at])
    assert not run.granted
    zones[0].free(pages[1])
    zones[0].free(pages[3])
    assert run.granted
    # Single pages would break it, so nobody gets one before the run is taken.
    assert zones[0].alloc(M_NOWAIT, None) is None
    item = budget.use(run, lambda: zones[1].alloc(M_NOWAIT, None))
    budget.leave(run)
    assert item is not None
    zones[1].free(item)
    for at in (5, 7):
        zones[0].free(pages[at])


def test_a_task_that_has_gone_gives_its_grant_up() -> None:
    budget, kegs, zones = shared(2, 4096)
    held = taken(zones[0], 2)
    gone, late = claim((kegs[0], 1), wake=lambda: False), claim((kegs[0], 1))
    budget.enqueue(gone)
    budget.enqueue(late)
    zones[0].free(held.pop())
    assert (budget.granted, gone.granted, late.granted) == (1, False, True)
    budget.leave(gone)
    budget.leave(late)
    audit_budget(budget)
    zones[0].free(held.pop())


def test_what_a_wake_function_raises_is_raised_when_all_were_called() -> None:
    budget, kegs, zones = shared(2, 4096)
    held = taken(zones[0], 2)

    def wrong() -> bool:
        raise ValueError

    first, second = claim((kegs[0], 1), wake=wrong), claim((kegs[0], 1))
    budget.enqueue(first)
    budget.enqueue(second)
    with pytest.raises(ValueError):  # noqa: PT011 (there is no text)
        zones[0].free(held.pop())
    assert second.granted
    budget.leave(second)
    zones[0].free(held.pop())


def test_a_call_that_tries_again_keeps_its_place() -> None:
    budget, kegs, zones = shared(2, 4096)
    held = taken(zones[0], 2)
    first = claim((kegs[0], 1))
    budget.enqueue(first)
    second = claim((kegs[0], 1))
    budget.enqueue(second)
    budget.leave(first)
    again = Claim(lambda: True, first.seq)
    again.add(kegs[0], 1)
    budget.enqueue(again)
    zones[0].free(held.pop())
    assert (again.granted, second.granted) == (True, False)
    budget.leave(again)
    assert second.granted
    budget.leave(second)
    zones[0].free(held.pop())


def test_a_claim_that_was_granted_too_little_waits_for_something_new() -> None:
    budget, kegs, zones = shared(2, 4096)
    held = taken(zones[0], 1)
    seen = budget.changes
    first = claim((kegs[0], 1))
    budget.enqueue(first)
    assert first.granted
    budget.leave(first)
    after = budget.retry_after(seen)
    assert after == budget.changes
    again = Claim(lambda: True, first.seq, after)
    again.add(kegs[0], 1)
    budget.enqueue(again)
    assert not again.granted
    audit_budget(budget)
    zones[0].free(held.pop())
    assert again.granted
    budget.leave(again)


def test_closing_grants_all() -> None:
    budget, kegs, zones = shared(1, 4096)
    held = taken(zones[0], 1)
    waits = [claim((kegs[0], 1)) for _ in range(3)]
    for each in waits:
        budget.enqueue(each)
    budget.close()
    assert [each.granted for each in waits] == [True] * 3
    for each in waits:
        budget.leave(each)
    assert isinstance(budget.error(1), Inval)
    zones[0].free(held.pop())


def test_imports_begin_small_after_caches_were_taken_back() -> None:
    _, kegs, zones = shared(1000, 256, 4096, cached=True)
    small, large = zones
    item = small.alloc(M_NOWAIT, None)
    assert item is not None
    assert small.cached > 10
    small.free(item)
    bucket = Bucket(1000)
    while bucket.cnt < 1000:
        kegs[1].take(bucket, 1000 - bucket.cnt, M_NOWAIT, None)
    assert small.cached == 0
    kegs[1].give(bucket.pop())
    kegs[1].give(bucket.pop())
    item = small.alloc(M_NOWAIT, None)
    assert item is not None
    assert small.cached == 0
    small.free(item)
    while bucket.cnt:
        kegs[1].give(bucket.pop())
    assert large.cached == 0
    for keg in kegs:
        audit_keg(keg)
