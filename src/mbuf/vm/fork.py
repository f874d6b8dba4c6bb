"""Locks and `os.fork`.

A child of `os.fork` has one thread, the one that called it, and a copy of all memory. A lock that another thread held
would never be released in the child, and the data that it protects could be incomplete. So a fork acquires all locks
given to `guard` before the process is copied, and releases them in both processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod, WeakValueDictionary

from mbuf.vm.unraisable import run


class Fork:
    """Guarded locks, and methods to call in a child. One for the process; it has weak references only.

    A fork acquires all locks or none: if one is busy, it releases the others before it waits. So it can't deadlock,
    whatever order other threads acquire them in. A thread that forks while it holds a lock holds it in both processes.
    """

    __slots__ = ("_held", "_locks", "_methods")

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._methods: tuple[WeakMethod[Callable[[], object]], ...] = ()
        # The locks that the running fork has acquired.
        self._held: list[Any] = []

    def guard(self, lock: Any) -> None:
        """Make every fork wait until no other thread holds this reentrant lock."""
        self._locks[id(lock)] = lock

    def call_in_child(self, method: Callable[[], object]) -> None:
        """Call a bound method in every child of this process, after the locks are released there."""
        self._methods = (*(known for known in self._methods if known() is not None), WeakMethod(method))

    def before(self) -> None:
        """Acquire the locks."""
        while (busy := self._acquire()) is not None:
            # Its holder may need one of the others.
            busy.acquire()
            busy.release()

    def _acquire(self) -> Any:
        """Acquire all locks and return None, or acquire none and return the one that is busy."""
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
