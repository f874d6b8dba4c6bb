"""What a fork must not cut in two: the work of other threads under a lock.

A child of `os.fork` has one thread, the one that called it, and a copy of all memory. A lock that another thread
held stays held in the child for good, over data that are changed by half. So all locks given to `guard` are acquired
before the process is copied, and released in both processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, WeakValueDictionary

from mbuf.vm.unraisable import run


class Fork:
    """Guarded locks, and what is called in a child; one for the process. It remembers both weakly.

    The locks are acquired all or none: while one is busy, the others are released, so that the order in which
    threads take them doesn't matter. A thread that forks inside a guarded section is inside it in both processes.
    """

    __slots__ = ("_held", "_locks", "_methods")

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._methods: tuple[WeakMethod[Callable[[], object]], ...] = ()
        # What the running fork has acquired.
        self._held: list[Any] = []

    def guard(self, lock: Any) -> None:
        """Have every fork wait until no other thread holds this lock, which is a reentrant one."""
        self._locks[id(lock)] = lock

    def in_child(self, method: Callable[[], object]) -> None:
        """Call a bound method in every child of this process, when the locks are released there."""
        self._methods = (*(known for known in self._methods if known() is not None), WeakMethod(method))

    def before(self) -> None:
        """Acquire the locks."""
        while (busy := self._acquire()) is not None:
            # Whoever holds it may be waiting for another one.
            busy.acquire()
            busy.release()

    def _acquire(self) -> Any:
        """Acquire all locks; or none, and return the one that is busy."""
        held: list[Any] = []
        for lock in [reference() for reference in self._locks.valuerefs()]:
            if lock is None:
                continue
            if not lock.acquire(False):
                _release(held)
                return lock
            held.append(lock)
        self._held = held
        return None

    def release(self) -> None:
        """Release the locks, in the parent."""
        held, self._held = self._held, []
        _release(held)

    def child(self) -> None:
        """Release the locks, and call the methods, in the child."""
        self.release()
        for reference in self._methods:
            method = reference()
            if method is not None:
                run(method)


def _release(held: list[Any]) -> None:
    while held:
        held.pop().release()


FORK = Fork()
os.register_at_fork(before=FORK.before, after_in_parent=FORK.release, after_in_child=FORK.child)
