"""Who waits, in order of arrival.

All waiting of the package is here. A waiter joins under the lock of whatever it waits for, then waits
outside every lock; a grant hands it what it waits for, so that nobody who comes later gets in between.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

#: Held until the grant. Not a semaphore: a signal handler may grant what its own thread waits for.
Waiter = threading.Lock


class Call:
    """Stands in line for somebody who can't block: `wake` is called with the grant, by whichever thread gives it.

    It must return at once, and say whether somebody still waits: if not, the next in line has the grant.
    """

    __slots__ = ("_wake", "granted")

    def __init__(self, wake: Callable[[], bool]) -> None:
        self._wake = wake
        self.granted = False

    def release(self) -> bool:
        """Give what is waited for; false when nobody waits."""
        self.granted = True
        if not self._wake():
            self.granted = False
        return self.granted


class WaitQ:
    """First come, first served."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Waiter | Call] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def join(self) -> Waiter:
        """Stand in line."""
        waiter = Waiter()
        waiter.acquire()
        self._queue.append(waiter)
        return waiter

    def enlist(self, wake: Callable[[], bool]) -> Call:
        """Stand in the same line, without waiting: `wake` is called with the grant."""
        call = Call(wake)
        self._queue.append(call)
        return call

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Wait for the grant; false, and out of the line, when the deadline comes first.

        Who is interrupted by an exception is to `quit`, and to look after a grant that came all the same.
        """
        if deadline is None:
            return waiter.acquire()
        seconds = min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)
        # A grant that came while giving up is a grant all the same.
        return waiter.acquire(timeout=seconds) or not self.quit(waiter)

    def quit(self, waiter: Waiter | Call) -> bool:
        """Leave the line; false when the grant has come already."""
        try:
            self._queue.remove(waiter)
        except ValueError:
            return False
        return True

    def grant(self) -> bool:
        """Hand what the first in line waits for to it; false when nobody waits."""
        while True:
            try:
                waiter = self._queue.popleft()
            except IndexError:
                return False
            if waiter.release() is not False:
                return True
