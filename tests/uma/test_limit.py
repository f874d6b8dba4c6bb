import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_NOWAIT, M_WAITOK, Inval, compiled
from mbuf.uma.item import ItemOwner
from mbuf.uma.limit import WARNING_INTERVAL, Limit
from mbuf.vm import commit

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def limit(clock: Any) -> Limit:
    """A limit of 3 that is reached."""
    made = Limit("thing", "kern.things", clock)
    made.set(3)
    assert made.charge(3, M_NOWAIT, None) == 3
    return made


def test_without_a_maximum_there_is_always_room(clock: Any) -> None:
    free = Limit("thing", "", clock)
    assert free.charge(1 << 40, M_NOWAIT, None) == 1 << 40
    assert free.items == 1 << 40


def test_what_fits_is_charged(clock: Any) -> None:
    made = Limit("thing", "", clock)
    made.set(10)
    assert [made.charge(6, M_NOWAIT, None), made.charge(6, M_NOWAIT, None)] == [6, 4]
    assert made.items == 10
    assert made.charge(6, M_NOWAIT, None) == 0
    made.uncharge(2)
    assert made.charge(6, M_NOWAIT, None) == 2


@pytest.mark.parametrize("maximum", [0, -1, -(2**63)])
def test_a_maximum_is_1_or_more(limit: Limit, maximum: int) -> None:
    with pytest.raises(Inval, match=f"limit {maximum} of thing"):
        limit.set(maximum)
    assert limit.max == 3


def test_below_what_is_charged_a_maximum_lets_nothing_in(limit: Limit) -> None:
    limit.set(1)
    assert limit.charge(1, M_NOWAIT, None) == 0
    limit.uncharge(2)
    assert limit.charge(1, M_NOWAIT, None) == 0
    limit.uncharge(1)
    assert limit.charge(1, M_NOWAIT, None) == 1


def test_each_hit_rings_and_one_in_300_seconds_is_logged(
    limit: Limit, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rings: list[int] = []
    limit.on_limit = lambda: rings.append(1)
    with caplog.at_level(logging.WARNING, "mbuf"):
        for _ in range(3):
            assert limit.charge(1, M_NOWAIT, None) == 0
        assert (len(rings), limit.suppressed) == (3, 2)
        clock.now += WARNING_INTERVAL - 1
        limit.charge(1, M_NOWAIT, None)
        clock.now += 1
        limit.charge(1, M_NOWAIT, None)
    assert [vars(record)["kernel"] for record in caplog.records] == ["[zone: thing] kern.things limit reached"] * 2
    assert (len(rings), limit.suppressed, limit.sleeps) == (5, 3, 0)
    assert WARNING_INTERVAL == 300


def test_unwanted_warnings_are_counted_and_another_interval_holds_at_once(
    limit: Limit, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mbuf"):
        limit.warnings.on = 0
        limit.charge(1, M_NOWAIT, None)
        assert (len(caplog.messages), limit.suppressed) == (0, 1)
        limit.warnings.on = 1
        limit.charge(1, M_NOWAIT, None)
        clock.now += 60
        limit.charge(1, M_NOWAIT, None)
        assert (len(caplog.messages), limit.suppressed) == (1, 2)
        limit.warnings.interval = 60
        limit.charge(1, M_NOWAIT, None)
    assert (len(caplog.messages), limit.suppressed) == (2, 2)


def test_a_partial_charge_is_not_a_hit(clock: Any) -> None:
    made = Limit("thing", "", clock)
    made.set(3)
    made.on_limit = lambda: pytest.fail("rung")
    assert made.charge(4, M_NOWAIT, None) == 3


def wait(limit: Limit, deadline: float | None = None) -> Callable[[], int]:
    return lambda: limit.charge(1, M_WAITOK, deadline)


def test_room_is_handed_out_in_order_of_arrival(limit: Limit, spawn: Spawn, eventually: Eventually) -> None:
    workers = []
    for n in range(3):
        workers.append(spawn(wait(limit)))
        eventually(lambda n=n: len(limit.waiters) == n + 1)
    for n in range(3):
        limit.uncharge(1)
        assert workers[n].done() == 1
        assert [worker.is_alive() for worker in workers[n + 1 :]] == [True] * (2 - n)
    assert (limit.items, limit.sleeps, len(limit.waiters)) == (3, 3, 0)


def test_no_request_overtakes_the_waiters(limit: Limit, spawn: Spawn, eventually: Eventually) -> None:
    workers = [spawn(wait(limit)) for _ in range(2)]
    eventually(lambda: len(limit.waiters) == 2)
    limit.uncharge(1)
    assert limit.items == 3
    assert limit.charge(1, M_NOWAIT, None) == 0
    limit.uncharge(1)
    assert [worker.done() for worker in workers] == [1, 1]


def test_a_higher_maximum_lets_in_as_many_as_fit(limit: Limit, spawn: Spawn, eventually: Eventually) -> None:
    workers = [spawn(wait(limit)) for _ in range(3)]
    eventually(lambda: len(limit.waiters) == 3)
    limit.set(5)
    assert (limit.items, len(limit.waiters)) == (5, 1)
    limit.set(6)
    assert [worker.done() for worker in workers] == [1, 1, 1]


def test_whose_time_is_up_is_charged_nothing(limit: Limit) -> None:
    assert limit.charge(1, M_WAITOK, time.monotonic()) == 0
    assert (limit.items, limit.sleeps, len(limit.waiters)) == (3, 1, 0)


def test_before_waiting_others_are_squeezed_out(limit: Limit) -> None:
    class Owner(ItemOwner):
        def drain_caches(self) -> None:
            limit.uncharge(1)

    limit.zone = Owner()
    assert limit.charge(1, M_WAITOK, None) == 1
    assert (limit.items, limit.sleeps) == (3, 0)


def test_frees_bypass_the_caches_while_there_are_waiters(limit: Limit) -> None:
    owner = limit.zone = Drainer(limit)
    limit.charge(1, M_WAITOK, time.monotonic())
    assert [change for change, _ in owner.seen] == [1, -1]


def test_the_caches_are_bypassed_before_the_first_waiter_is_queued(limit: Limit) -> None:
    """Otherwise an item that is freed in between would be cached, and no waiter would be woken."""
    owner = limit.zone = Drainer(limit)
    limit.charge(1, M_WAITOK, time.monotonic())
    assert owner.seen == [(1, 0), (-1, 0)]


class Drainer(ItemOwner):
    """Records calls of `bypass_caches`, and the number of waiters then."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.seen: list[tuple[int, int]] = []

    def bypass_caches(self, change: int) -> None:
        self.seen.append((change, len(self.limit.waiters)))


def test_dismiss_ends_all_waits(limit: Limit, spawn: Spawn, eventually: Eventually) -> None:
    workers = [spawn(wait(limit)) for _ in range(2)]
    eventually(lambda: len(limit.waiters) == 2)
    limit.close()
    assert [worker.done() for worker in workers] == [1, 1]


def test_an_interrupted_wait_leaves_the_line(limit: Limit, interrupted: Callable[..., None]) -> None:
    interrupted(lambda: len(limit.waiters) == 1)
    with pytest.raises(InterruptedError):
        limit.charge(1, M_WAITOK, None)
    assert (limit.items, len(limit.waiters)) == (3, 0)
    limit.uncharge(1)
    assert limit.items == 2


def test_a_grant_that_meets_an_interrupt_is_not_lost(limit: Limit, interrupted: Callable[..., None]) -> None:
    interrupted(lambda: len(limit.waiters) == 1, lambda: limit.uncharge(1))
    with pytest.raises(InterruptedError):
        limit.charge(1, M_WAITOK, None)
    assert (limit.items, len(limit.waiters)) == (2, 0)


def test_an_interrupted_call_that_cannot_block_is_repeated(limit: Limit) -> None:
    calls: list[str] = []

    def wake() -> bool:
        calls.append("wake")
        if len(calls) < 3:
            raise InterruptedError
        return True

    call = limit.enqueue(wake)
    with pytest.raises(InterruptedError):
        limit.uncharge(1)
    assert (len(calls), call.granted, limit.items) == (3, True, 3)
    limit.dequeue(call)
    assert limit.items == 2


def test_who_can_not_be_told_loses_its_turn_to_the_next(limit: Limit) -> None:
    def wake() -> bool:
        raise ValueError("untold")

    first, second = limit.enqueue(wake), limit.enqueue(lambda: True)
    with pytest.raises(ValueError, match="untold"):
        limit.uncharge(1)
    assert (first.granted, second.granted, limit.items, len(limit.waiters)) == (False, True, 3, 0)
    limit.dequeue(first)
    limit.dequeue(second)
    assert limit.items == 2


def test_a_grant_is_spent_once_and_only_by_the_thread_that_redeems_it(limit: Limit, spawn: Spawn) -> None:
    call = limit.enqueue(lambda: True)
    limit.uncharge(1)

    def ask() -> list[int]:
        other = spawn(lambda: limit.charge(1, M_NOWAIT, None)).done()
        return [other, limit.charge(1, M_NOWAIT, None), limit.charge(1, M_NOWAIT, None)]

    assert limit.use_grant(call, ask) == [0, 1, 0]
    limit.dequeue(call)
    assert limit.items == 3


def test_what_is_not_a_place_in_line_is_refused(limit: Limit) -> None:
    for act in (lambda: limit.dequeue(None), lambda: limit.use_grant(None, print), lambda: limit.dequeue(5)):
        with pytest.raises((TypeError, AttributeError)):
            act()


def test_a_grant_that_is_used_before_it_comes_is_a_request_like_any_other(limit: Limit) -> None:
    call = limit.enqueue(lambda: True)
    assert limit.use_grant(call, lambda: limit.charge(1, M_NOWAIT, None)) == 0
    assert (limit.items, len(limit.waiters), call.granted) == (3, 1, False)
    limit.uncharge(1)
    assert limit.use_grant(call, lambda: limit.charge(1, M_NOWAIT, None)) == 1
    limit.dequeue(call)
    assert (limit.items, len(limit.waiters)) == (3, 0)


def test_where_the_caches_can_not_be_drained_nothing_waits(limit: Limit) -> None:
    class Failing(Drainer):
        def drain_caches(self) -> None:
            raise ValueError("undrained")

    owner = limit.zone = Failing(limit)
    with pytest.raises(ValueError, match="undrained"):
        limit.enqueue(lambda: True)
    assert owner.seen == [(1, 0), (-1, 0)]
    assert (limit.items, limit.sleeps, len(limit.waiters)) == (3, 0, 0)


def test_a_task_that_raises_when_it_is_granted_at_once_is_charged_nothing(limit: Limit) -> None:
    owner = limit.zone = Drainer(limit)
    limit.uncharge(1)

    def wake() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limit.enqueue(wake)
    assert [change for change, _ in owner.seen] == [1, -1]
    assert (limit.items, limit.sleeps, len(limit.waiters)) == (2, 1, 0)
    assert limit.charge(2, M_NOWAIT, None) == 1


def test_a_task_that_leaves_while_it_is_woken_passes_its_grant_on_once(limit: Limit) -> None:
    calls: list[Any] = []

    def wake() -> bool:
        limit.dequeue(calls[0])
        return False

    calls += [limit.enqueue(wake), limit.enqueue(lambda: True), limit.enqueue(lambda: True)]
    limit.uncharge(1)
    assert [call.granted for call in calls] == [False, True, False]
    assert (limit.items, len(limit.waiters)) == (3, 1)
    limit.dequeue(calls[1])
    limit.dequeue(calls[2])
    assert limit.items == 2


def test_in_the_child_of_a_fork_tasks_wait_on_and_threads_are_gone(limit: Limit) -> None:
    thread, call = limit.waiters.enqueue(), limit.enqueue(lambda: True)
    owner = limit.zone = Drainer(limit)
    limit.forked()
    assert (owner.seen, len(limit.waiters)) == ([(-1, 1)], 1)
    limit.uncharge(1)
    assert (thread.granted, call.granted, limit.items) == (False, True, 3)
    limit.dequeue(call)
    assert limit.items == 2


@pytest.mark.skipif(compiled(), reason="compiled, only C puts objects on the release list")
@pytest.mark.parametrize("owned", [True, False])
def test_where_a_release_ends_the_program_no_task_waits(limit: Limit, owned: bool) -> None:
    class Ending(commit.Releasable):
        def on_release(self) -> int:
            raise KeyboardInterrupt

    owner = Drainer(limit)
    limit.zone = owner if owned else None
    commit.release_later(Ending())
    with pytest.raises(KeyboardInterrupt):
        limit.enqueue(lambda: True)
    assert owner.seen == ([(1, 0), (-1, 0)] if owned else [])
    assert (limit.items, limit.sleeps, len(limit.waiters), commit.has_listed()) == (3, 0, 0, False)
