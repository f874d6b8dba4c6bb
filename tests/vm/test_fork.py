import gc
import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mbuf.vm.fork import Fork
from mbuf.vm.lock import Lock

Spawn = Callable[[Callable[[], object]], Any]


def is_free(lock: Any) -> bool:
    """True when another thread could acquire it now."""
    got: list[bool] = []

    def ask() -> None:
        got.append(lock.acquire(False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return got[0]


def test_all_locks_are_held_while_the_process_is_copied() -> None:
    fork = Fork()
    locks = [threading.RLock() for _ in range(3)]
    for lock in locks:
        fork.guard(lock)
    fork.before()
    assert not any(is_free(lock) for lock in locks)
    fork.release()
    assert all(is_free(lock) for lock in locks)


def test_a_thread_that_has_one_may_still_take_another(spawn: Spawn) -> None:
    fork = Fork()
    first, second = threading.RLock(), threading.RLock()
    fork.guard(first)
    fork.guard(second)
    inside, tried = threading.Event(), threading.Event()

    def nested() -> None:
        with second:
            inside.set()
            tried.wait(20)
            with first:
                pass

    worker = spawn(nested)
    inside.wait(20)
    forker = spawn(lambda: (tried.set(), fork.before(), fork.release()))
    worker.done()
    forker.done()
    assert is_free(first)
    assert is_free(second)


def test_locks_and_methods_are_remembered_weakly() -> None:
    fork = Fork()

    class Waiting:
        def forget(self) -> None:
            raise AssertionError("it is gone")

    lock, waiting = threading.RLock(), Waiting()
    fork.guard(lock)
    fork.call_in_child(waiting.forget)
    del lock, waiting
    gc.collect()
    fork.before()
    assert fork._held == []
    fork.child()
    fork.call_in_child(threading.Event().set)
    assert len(fork._methods) == 1


def test_in_a_child_methods_are_called_when_the_locks_are_free() -> None:
    fork = Fork()
    lock = threading.RLock()
    fork.guard(lock)
    seen: list[bool] = []

    class Waiting:
        def forget(self) -> None:
            seen.append(is_free(lock))

    waiting = Waiting()
    fork.call_in_child(waiting.forget)
    fork.before()
    fork.child()
    assert seen == [True]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_that_another_thread_holds_is_free_in_the_child(spawn: Spawn) -> None:
    lock = Lock()
    inside, go = threading.Event(), threading.Event()
    state = [0, 0]

    def change() -> None:
        with lock:
            state[0] = 1
            inside.set()
            go.wait(0.05)
            state[1] = 1

    worker = spawn(change)
    inside.wait(20)
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            with lock:
                code = int(state != [1, 1])
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    worker.done()


def test_a_lock_that_goes_while_the_others_are_acquired_is_left_out() -> None:
    fork = Fork()
    lock = threading.RLock()
    references = [lambda: None, lambda: lock]
    fork._locks = SimpleNamespace(valuerefs=lambda: references)  # type: ignore[assignment]
    fork.before()
    assert fork._held == [lock]
    assert not is_free(lock)
    fork.release()
    assert is_free(lock)
