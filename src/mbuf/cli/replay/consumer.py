"""When programs read their packets out of the socket buffers.

Two ways: each packet waits its time, or one reader takes so many a second. Both also reckon what would wait
if no packet had been dropped. Times are nanoseconds; sees of a packet when it came, and its mbufs' number.
"""

from collections import deque

_GRAINS = 1024
"""Packets missed are put together by time, in so many parts of a wait: memory stays flat, the error small."""


class Consumer:
    """When packets are read, in the order of their coming."""

    def due(self, now: int, mbufs: int = 1) -> int:
        """When a packet of so many mbufs that comes now will have been read."""
        raise NotImplementedError

    def miss(self, now: int, mbufs: int) -> None:
        """A packet of so many mbufs was dropped."""
        raise NotImplementedError

    def missed(self, now: int) -> int:
        """How many mbufs more would wait now if none had been dropped; never less than that."""
        raise NotImplementedError


class Hold(Consumer):
    """Every packet waits `span`."""

    def __init__(self, span: int) -> None:
        self._span = span
        self._grain = span // _GRAINS or 1
        self._missed: deque[tuple[int, int]] = deque()
        self._count = 0

    def due(self, now: int, mbufs: int = 1) -> int:
        """See Reader."""
        return now + self._span

    def miss(self, now: int, mbufs: int) -> None:
        """See Reader."""
        due = -(-(now + self._span) // self._grain) * self._grain
        self._count += mbufs
        if self._missed and self._missed[-1][0] == due:
            mbufs += self._missed.pop()[1]
        self._missed.append((due, mbufs))

    def missed(self, now: int) -> int:
        """See Reader."""
        while self._missed and self._missed[0][0] <= now:
            self._count -= self._missed.popleft()[1]
        return self._count


class Drain(Consumer):
    """One reader takes a packet every `interval`, as long as there are any."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._busy_until = 0
        # The work that the dropped packets would have been, less what the reader had time for.
        self._owed = 0
        self._largest = 1

    def due(self, now: int, mbufs: int = 1) -> int:
        """See Reader."""
        if mbufs > self._largest:
            self._largest = mbufs
        if now > self._busy_until:
            self._idle(now)
        self._busy_until += self._interval
        return self._busy_until

    def miss(self, now: int, mbufs: int) -> None:
        """See Reader."""
        if now > self._busy_until:
            self._idle(now)
        self._owed += self._interval
        self._largest = max(self._largest, mbufs)

    def missed(self, now: int) -> int:
        """See Reader."""
        owed = self._owed - max(now - self._busy_until, 0)
        return max(-(-owed // self._interval), 0) * self._largest

    def _idle(self, now: int) -> None:
        """Nothing was left to read until now."""
        self._owed = max(self._owed - (now - self._busy_until), 0)
        self._busy_until = now
