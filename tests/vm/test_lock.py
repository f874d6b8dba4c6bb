from collections.abc import Callable
from typing import Any

import pytest

from mbuf.errors import Busy
from mbuf.vm.lock import Lock

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def test_a_thread_enters_but_once() -> None:
    lock = Lock()
    assert lock.enter()
    assert not lock.enter()
    lock.leave()
    assert lock.enter()
    lock.leave()


def test_entering_twice_in_a_with_statement_is_busy_and_leaves_the_lock_usable() -> None:
    lock = Lock()
    with lock:
        with pytest.raises(Busy, match="finalizer or signal handler"), lock:
            pass
        assert not lock.enter()
    with lock:
        pass


def test_what_is_put_by_happens_after_leaving_in_order() -> None:
    lock = Lock()
    done: list[int] = []
    with lock:
        lock.defer(done.append, 1)
        lock.defer(done.append, 2)
        assert done == []
    assert done == [1, 2]


def test_what_is_put_by_may_enter_itself_and_put_by_more() -> None:
    lock = Lock()
    done: list[int] = []

    def again(n: int) -> None:
        with lock:
            done.append(n)
            if n:
                lock.defer(again, n - 1)

    with lock:
        lock.defer(again, 3)
    assert done == [3, 2, 1, 0]


def test_an_exception_inside_lets_others_in() -> None:
    lock = Lock()

    def fail() -> None:
        with lock:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert lock.enter()
    lock.leave()


def test_what_fails_after_leaving_fails_there_and_the_rest_happens_later() -> None:
    lock = Lock()
    done: list[int] = []
    assert lock.enter()
    lock.defer([].remove, 1)
    lock.defer(done.append, 2)
    with pytest.raises(ValueError, match="not in list"):
        lock.leave()
    with lock:
        pass
    assert done == [2]


def test_another_thread_waits_and_is_counted(spawn: Spawn, eventually: Eventually) -> None:
    lock = Lock()
    assert lock.enter()
    other = spawn(lambda: (lock.enter(), lock.leave()))
    eventually(lambda: lock.waits == 1)
    assert other.is_alive()
    lock.leave()
    assert other.done() == (True, None)
    assert lock.waits == 1


def test_a_free_lock_is_acquired_at_once() -> None:
    lock = Lock()
    for _ in range(3):
        with lock:
            assert not lock.enter()
    assert lock.waits == 0


def test_a_deferred_function_that_another_thread_took_is_not_called_again() -> None:
    class Taken(list[Any]):
        """A list that was not empty just now; another thread has taken the last one since."""

        def __bool__(self) -> bool:
            return True

    lock = Lock()
    lock._deferred = Taken()
    with lock:
        pass
    assert lock.enter()
    lock.leave()
    assert lock._deferred == []
