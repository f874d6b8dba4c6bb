"""Who waits, in order of arrival.

All waiting of the package is here. A waiter joins under the lock of whatever it waits for, then waits
outside every lock; a grant hands it what it waits for, so that nobody who comes later gets in between.
"""

import threading
import time
from collections import deque

#: Held until the grant. Not a semaphore: a signal handler may grant what its own thread waits for.
Waiter = threading.Lock


class WaitQ:
    """First come, first served."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def join(self) -> Waiter:
        """Stand in line."""
        waiter = Waiter()
        waiter.acquire()
        self._queue.append(waiter)
        return waiter

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Wait for the grant; false, and out of the line, when the deadline comes first.

        Who is interrupted by an exception is to `quit`, and to look after a grant that came all the same.
        """
        if deadline is None:
            return waiter.acquire()
        seconds = min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)
        # A grant that came while giving up is a grant all the same.
        return waiter.acquire(timeout=seconds) or not self.quit(waiter)

    def quit(self, waiter: Waiter) -> bool:
        """Leave the line; false when the grant has come already."""
        try:
            self._queue.remove(waiter)
        except ValueError:
            return False
        return True

    def grant(self) -> bool:
        """Hand what the first in line waits for to it; false when nobody waits."""
        try:
            waiter = self._queue.popleft()
        except IndexError:
            return False
        waiter.release()
        return True
