import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import compiled
from mbuf.uma.waitq import WaitQ

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def test_who_came_first_is_granted_first(spawn: Spawn) -> None:
    queue = WaitQ()
    first, second = queue.enqueue(), queue.enqueue()
    assert len(queue) == 2
    queue.grant()
    assert len(queue) == 1
    assert not queue.wait(second, time.monotonic())
    assert queue.wait(first, None)
    assert len(queue) == 0


def test_whose_time_is_up_leaves_the_line() -> None:
    queue = WaitQ()
    waiter = queue.enqueue()
    assert not queue.wait(waiter, time.monotonic() - 1)
    assert len(queue) == 0
    assert not queue


def test_a_grant_that_came_in_time_is_taken_though_time_is_up() -> None:
    queue = WaitQ()
    waiter = queue.enqueue()
    queue.grant()
    assert queue.wait(waiter, time.monotonic() - 1)


def test_who_quits_is_not_granted_anything() -> None:
    queue = WaitQ()
    first, second = queue.enqueue(), queue.enqueue()
    assert queue.cancel(first)
    assert not queue.cancel(first)
    queue.grant()
    assert not queue.cancel(second)
    assert queue.wait(second, None)


def test_a_thread_waits_until_it_is_granted(spawn: Spawn, eventually: Eventually) -> None:
    queue = WaitQ()
    waiter = queue.enqueue()
    other = spawn(lambda: queue.wait(waiter, None))
    assert other.is_alive()
    queue.grant()
    assert other.done() is True


def test_who_cannot_block_stands_in_the_same_line() -> None:
    queue = WaitQ()
    woken: list[str] = []
    first = queue.enqueue(lambda: woken.append("first") or True)
    waiter = queue.enqueue()
    third = queue.enqueue(lambda: woken.append("third") or True)
    assert queue.grant()
    assert woken == []
    queue.wake()
    assert (woken, first.granted, third.granted) == (["first"], True, False)
    assert queue.grant()
    assert queue.wait(waiter, None)
    assert queue.cancel(third)
    assert not queue.grant()
    assert woken == ["first"]


def test_a_grant_whose_waiter_has_left_goes_to_the_next() -> None:
    queue = WaitQ()
    gone = queue.enqueue(lambda: False)
    waiter = queue.enqueue()
    assert queue.grant()
    queue.wake()
    assert not gone.granted
    assert queue.wait(waiter, None)
    queue.enqueue(lambda: False)
    assert queue.grant()
    queue.wake()
    assert (queue.refused, len(queue)) == (1, 0)


def test_who_leaves_before_it_is_told_is_not_told() -> None:
    queue = WaitQ()
    call = queue.enqueue(lambda: pytest.fail("called"))
    queue.grant()
    assert queue.waking
    assert not queue.cancel(call)
    assert call.granted
    queue.wake()
    assert not queue.waking


def test_an_exception_comes_when_all_were_called() -> None:
    queue = WaitQ()
    woken: list[int] = []

    def fail() -> bool:
        raise KeyboardInterrupt

    queue.enqueue(fail)
    queue.enqueue(lambda: not woken.append(1))
    queue.grant()
    queue.grant()
    with pytest.raises(KeyboardInterrupt):
        queue.wake()
    assert (woken, queue.waking, queue.refused) == ([1], False, 1)


def test_a_waiter_can_only_wait_for_itself() -> None:
    queue = WaitQ()
    for wrong in (None, queue.enqueue(lambda: True)):
        with pytest.raises(TypeError):
            queue.wait(wrong, None)
    with pytest.raises(TypeError):
        queue.cancel(None)


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
def test_a_waiter_that_is_granted_and_in_the_queue_is_a_contradiction() -> None:
    queue = WaitQ()
    waiter = queue.enqueue()
    assert queue.contradiction() == ""
    waiter.granted = True
    assert queue.contradiction() == "a waiter is in the queue, and granted"
    waiter.granted = False
    assert queue.cancel(waiter)
