"""A lock that a thread can't deadlock on with itself.

Finalizers and signal handlers run anywhere, also in the middle of the allocator. What they free is put
by until the section that they interrupted is over; what they ask for they are refused.
Sections are short and call nobody who may wait.
"""

import threading
from collections.abc import Callable
from typing import Any

from mbuf.errors import Busy
from mbuf.vm.fork import FORK


class Lock:
    """Entered by one thread at a time, and by none twice."""

    __slots__ = ("_inside", "_late", "_lock", "waits")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        FORK.guard(self._lock)
        self._inside = False
        self._late: list[tuple[Callable[[Any], Any], Any]] = []
        #: How often a thread found another one inside.
        self.waits = 0

    def enter(self) -> bool:
        """Wait for other threads, then true; false when it is this thread that is inside already."""
        if not self._lock.acquire(False):
            self.waits += 1
            self._lock.acquire()
        if self._inside:
            self._lock.release()
            return False
        self._inside = True
        return True

    def leave(self) -> None:
        """Let others in, after whatever was put by."""
        self._inside = False
        self._lock.release()
        while self._late:
            try:
                fn, argument = self._late.pop(0)
            except IndexError:
                # Another thread, leaving too, has seen to the last of it.
                return
            fn(argument)

    def defer(self, fn: Callable[[Any], Any], argument: object) -> None:
        """Call `fn(argument)` when this thread, which is inside, has left."""
        self._late.append((fn, argument))

    def __enter__(self) -> None:
        if not self.enter():
            raise Busy("the allocator was called by a finalizer or signal handler that interrupted it")

    def __exit__(self, *_: object) -> None:
        self.leave()
