"""Who waits, in order of arrival.

All waiting of the package is here. A waiter joins under the lock of whatever it waits for, then waits
outside every lock; a grant hands it what it waits for, so that nobody who comes later gets in between.
"""

import threading
import time
from collections import deque

Waiter = threading.Semaphore


class WaitQ:
    """First come, first served."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Waiter] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def join(self) -> Waiter:
        """Stand in line."""
        waiter = Waiter(0)
        self._queue.append(waiter)
        return waiter

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Wait for the grant; false, and out of the line, when the deadline comes first."""
        granted = False
        try:
            granted = waiter.acquire(
                timeout=None if deadline is None else max(deadline - time.monotonic(), 0)
            )
        finally:
            # A grant that came while giving up is a grant all the same.
            granted = granted or not self.quit(waiter)
        return granted

    def quit(self, waiter: Waiter) -> bool:
        """Leave the line; false when the grant has come already."""
        try:
            self._queue.remove(waiter)
        except ValueError:
            return False
        return True

    def grant(self) -> None:
        """Hand what the first in line waits for to it."""
        self._queue.popleft().release()
