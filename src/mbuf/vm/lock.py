"""A lock that finalizers and signal handlers can meet without a deadlock.

They may interrupt the thread that holds the lock. `enter` then returns false: the caller defers its work until the lock
is released (`defer`), or fails with `Busy` (`with`). Code under the lock is short and never waits.
"""

import threading
from collections.abc import Callable
from typing import Any

from mbuf.errors import Busy
from mbuf.vm.fork import FORK


class Lock:
    """A mutex that its own thread can't enter twice."""

    __slots__ = ("_inside", "_deferred", "_lock", "waits")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        FORK.guard(self._lock)
        self._inside = False
        self._deferred: list[tuple[Callable[[Any], Any], Any]] = []
        #: How often a thread had to wait.
        self.waits = 0

    def enter(self) -> bool:
        """Acquire the lock, and return true; false if this thread holds it already."""
        if not self._lock.acquire(False):
            self.waits += 1
            self._lock.acquire()
        if self._inside:
            self._lock.release()
            return False
        self._inside = True
        return True

    def leave(self) -> None:
        """Release the lock, then call the deferred functions."""
        self._inside = False
        self._lock.release()
        while self._deferred:
            try:
                fn, argument = self._deferred.pop(0)
            except IndexError:
                # Another thread that left at the same time has called the last one.
                return
            fn(argument)

    def defer(self, fn: Callable[[Any], Any], argument: object) -> None:
        """Call `fn(argument)` after this thread, which holds the lock, has released it."""
        self._deferred.append((fn, argument))

    def __enter__(self) -> None:
        if not self.enter():
            raise Busy("called by a finalizer or signal handler that interrupted this lock's holder: call again later")

    def __exit__(self, *_: object) -> None:
        self.leave()
