import asyncio
from collections.abc import Callable
from functools import partial

from mbuf import MCLBYTES, MJUM16BYTES, Pool
from mbuf.net.quota import DIVISOR, MIN_QUOTA, RETRY_DELAY, Quota


class RecordingHolder:
    """A holder that records its calls."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls

    def on_turn(self) -> None:
        self.calls.append(f"{self.name} turn")

    def abort(self) -> None:
        self.calls.append(f"{self.name} abort")


class FakeLoop:
    """A clock, and the calls that are due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, fn: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, fn))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = self.due, []
        for when, fn in due:
            if when <= self.now:
                fn()
            else:
                self.due.append((when, fn))


def make(
    names: str = "abcd", limit: int = 1 << 20, timeout: float = 10.0
) -> tuple[Quota, FakeLoop, list[str], list[RecordingHolder]]:
    """A quota, its loop, the calls that holders got, and holders with these names."""
    loop = FakeLoop()
    calls: list[str] = []
    holders = [RecordingHolder(name, calls) for name in names]
    return Quota(limit, timeout, loop.call_later, lambda: loop.now), loop, calls, holders


def test_a_holder_may_hold_an_eighth_of_the_free_memory_and_at_least_one_packet() -> None:
    quota, _, _, (a, *_) = make(limit=1 << 20)
    assert quota.allowance(0) == 1 << 17
    quota.update(a, 0, 1 << 19, sent=False)
    assert quota.allowance(0) == 1 << 16
    assert quota.allowance(1 << 16) == 0
    quota.update(a, 1 << 19, 1 << 20, sent=False)
    assert quota.allowance(0) == min(MIN_QUOTA, MCLBYTES)
    assert quota.allowance(MIN_QUOTA) == 0


def test_an_allowance_that_would_not_fill_a_large_cluster_is_at_most_a_small_one() -> None:
    quota, *_ = make(limit=1 << 20)
    assert quota.allowance((1 << 17) - MJUM16BYTES) == MJUM16BYTES
    assert quota.allowance((1 << 17) - MJUM16BYTES + 1) == MCLBYTES
    assert quota.allowance((1 << 17) - 5) == 5


def test_a_paused_holder_should_read_again_when_it_holds_half_of_its_quota() -> None:
    quota, *_ = make(limit=1 << 20)
    assert [quota.is_low(held) for held in (0, 1 << 16, (1 << 16) + 1)] == [True, True, False]


def test_waiting_holders_are_resumed_one_by_one_and_in_order() -> None:
    quota, _, calls, (a, b, c, _) = make()
    assert quota.begin_turn(a)
    quota.allocation_denied(a)
    assert not quota.begin_turn(b)
    for _ in range(2):
        quota.memory_freed()
        assert calls == ["a turn"]
    assert not quota.begin_turn(c)
    assert quota.begin_turn(a)
    quota.end_turn(a)
    assert calls == ["a turn", "b turn"]
    quota.end_turn(b)
    quota.end_turn(c)
    assert calls == ["a turn", "b turn", "c turn"]
    assert quota.begin_turn(a)
    assert quota.denials == 1


def test_a_holder_that_is_denied_in_its_turn_stays_first() -> None:
    quota, _, calls, (a, b, *_) = make()
    quota.allocation_denied(a)
    assert not quota.begin_turn(b)
    quota.memory_freed()
    quota.allocation_denied(a)
    quota.memory_freed()
    assert calls == ["a turn", "a turn"]


def test_a_holder_removed_in_its_turn_resumes_the_next() -> None:
    quota, _, calls, (a, b, c, _) = make()
    for holder in (a, b, c):
        quota.allocation_denied(holder)
    quota.memory_freed()
    quota.remove(b, 0)
    quota.remove(a, 0)
    assert calls == ["a turn", "c turn"]


def test_memory_that_a_holder_frees_resumes_a_waiting_one() -> None:
    quota, _, calls, (a, b, *_) = make()
    quota.update(a, 0, 5000, sent=False)
    quota.allocation_denied(b)
    quota.update(a, 5000, 6000, sent=False)
    assert not calls
    quota.update(a, 6000, 100, sent=True)
    assert (calls, quota.held) == (["b turn"], 100)


def test_a_waiting_holder_has_one_place_in_the_queue_and_none_when_removed() -> None:
    quota, _, calls, (a, b, c, _) = make()
    quota.allocation_denied(a)
    for _ in range(2):
        assert not quota.begin_turn(b)
    quota.allocation_denied(b)
    assert not quota.begin_turn(c)
    quota.remove(b, 0)
    quota.end_turn(a)
    assert calls == ["a turn", "c turn"]


def test_a_denied_allocation_is_tried_again_after_a_delay() -> None:
    quota, loop, calls, (a, *_) = make()
    quota.allocation_denied(a)
    for count in (1, 2):
        assert not calls[count - 1 :]
        loop.advance(RETRY_DELAY)
        assert calls == ["a turn"] * count
        quota.allocation_denied(a)
    loop.advance(RETRY_DELAY)
    quota.end_turn(a)
    assert not loop.due


def test_the_holder_stalled_longest_is_aborted_after_the_timeout_and_then_the_next() -> None:
    quota, loop, calls, (a, b, c, _) = make(timeout=10.0)

    def abort(holder: RecordingHolder) -> None:
        calls.append(f"{holder.name} abort")
        quota.remove(holder, 4000)

    for holder in (a, b):
        holder.abort = partial(abort, holder)  # type: ignore[method-assign]
    c.on_turn = lambda: quota.allocation_denied(c)  # type: ignore[method-assign]
    quota.update(a, 0, 5000, sent=False)
    loop.advance(4)
    quota.update(b, 0, 4000, sent=False)
    loop.advance(3)
    quota.update(a, 5000, 4000, sent=True)
    quota.allocation_denied(c)
    for _ in range(6):
        loop.advance(1)
    assert not calls
    loop.advance(1)
    assert (calls, quota.aborts, quota.held) == (["b abort"], 1, 4000)
    loop.advance(2)
    assert calls == ["b abort"]
    loop.advance(1)
    assert (calls, quota.aborts, quota.held) == (["b abort", "a abort"], 2, 0)


def test_only_one_stalled_holder_is_aborted_if_its_memory_is_enough() -> None:
    quota, loop, calls, (a, b, c, d) = make(timeout=10.0)
    quota.update(a, 0, 5000, sent=False)
    quota.update(b, 0, 5000, sent=False)
    loop.advance(100)
    quota.allocation_denied(c)
    assert not quota.begin_turn(d)
    loop.advance(0)
    quota.remove(a, 5000)
    quota.end_turn(c)
    quota.end_turn(d)
    loop.advance(100)
    assert calls == ["a abort", "c turn", "d turn"]


def test_no_stalled_holder_is_aborted_while_none_waits() -> None:
    quota, loop, calls, (a, *_) = make(timeout=1.0)
    quota.update(a, 0, 5000, sent=False)
    loop.advance(100)
    assert not calls
    assert not loop.due


def test_many_holders_get_less_each() -> None:
    quota, *_ = make(limit=1 << 20)
    holders = [RecordingHolder(str(n), []) for n in range(2 * DIVISOR)]
    for holder in holders:
        quota.update(holder, 0, 1024, sent=False)
    assert quota.holders == 2 * DIVISOR
    assert quota.quota() == ((1 << 20) - 1024 * 2 * DIVISOR) // (2 * DIVISOR)


def test_connections_with_the_same_pool_and_loop_share_a_quota(pool: Pool) -> None:
    async def find() -> Quota:
        loop = asyncio.get_running_loop()
        assert Quota.of(pool, loop) is Quota.of(pool, loop)
        return Quota.of(pool, loop)

    first = asyncio.run(find())
    second = asyncio.run(find())
    assert first is not second
    # That of the closed loop is forgotten.
    assert list(pool.quotas.values()) == [second]


def test_the_quota_of_a_pool_shrinks_with_what_is_left(small: Callable[..., Pool]) -> None:
    pool = small(mbufs=100, clusters=50)
    loop = asyncio.new_event_loop()
    quota = Quota.of(pool, loop)
    before = quota.quota()
    assert before == pool.vm.realmem // DIVISOR
    held = [pool.getcl() for _ in range(25)]
    assert quota.quota() <= before // 2
    held += [pool.getcl() for _ in range(25)]
    assert quota.quota() == MIN_QUOTA
    pool.free_bulk(held)
    loop.close()
