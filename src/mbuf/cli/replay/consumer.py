"""The application: when it reads each packet from its socket buffer.

`Hold` is --hold: each packet waits for the same time. `Drain` is --drain-rate: one thread reads packets at a fixed
rate, in order. Both also calculate how many mbufs more would wait now if no packet had been dropped; from that comes
the advice on how far to raise a limit. Times are nanoseconds.
"""

from collections import deque

_STEPS = 1024
"""Times of dropped packets are rounded up to this fraction of the waiting time, so that few entries hold them all."""


class Consumer:
    """When packets are read; they are read in the order in which they came."""

    def due(self, now: int, mbufs: int = 1) -> int:
        """Return when a packet that comes now, of so many mbufs, has been read."""
        raise NotImplementedError

    def miss(self, now: int, mbufs: int) -> None:
        """Count a dropped packet of so many mbufs."""
        raise NotImplementedError

    def missed(self, now: int) -> int:
        """Return how many mbufs more would wait now if no packet had been dropped: at least the exact number."""
        raise NotImplementedError


class Hold(Consumer):
    """Each packet waits for `span`."""

    def __init__(self, span: int) -> None:
        self._span = span
        self._step = span // _STEPS or 1
        # When dropped packets would have been read, and their mbufs, earliest first.
        self._missed: deque[tuple[int, int]] = deque()
        self._count = 0

    def due(self, now: int, mbufs: int = 1) -> int:
        """See Consumer."""
        return now + self._span

    def miss(self, now: int, mbufs: int) -> None:
        """See Consumer."""
        due = -(-(now + self._span) // self._step) * self._step
        self._count += mbufs
        if self._missed and self._missed[-1][0] == due:
            mbufs += self._missed.pop()[1]
        self._missed.append((due, mbufs))

    def missed(self, now: int) -> int:
        """See Consumer."""
        while self._missed and self._missed[0][0] <= now:
            self._count -= self._missed.popleft()[1]
        return self._count


class Drain(Consumer):
    """One thread reads a packet in each `interval`, while there are any."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._busy_until = 0
        # The time that reading the dropped packets would have taken, less the time in which the thread was idle.
        self._backlog = 0
        # Mbufs of the largest packet: the size of each dropped one isn't kept.
        self._largest = 1

    def due(self, now: int, mbufs: int = 1) -> int:
        """See Consumer."""
        if mbufs > self._largest:
            self._largest = mbufs
        if now > self._busy_until:
            self._idle(now)
        self._busy_until += self._interval
        return self._busy_until

    def miss(self, now: int, mbufs: int) -> None:
        """See Consumer."""
        if now > self._busy_until:
            self._idle(now)
        self._backlog += self._interval
        self._largest = max(self._largest, mbufs)

    def missed(self, now: int) -> int:
        """See Consumer."""
        backlog = self._backlog - max(now - self._busy_until, 0)
        return max(-(-backlog // self._interval), 0) * self._largest

    def _idle(self, now: int) -> None:
        """All packets had been read before now."""
        self._backlog = max(self._backlog - (now - self._busy_until), 0)
        self._busy_until = now
