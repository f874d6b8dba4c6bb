"""A clock that only a test moves."""

from __future__ import annotations

from mbuf.errors import Inval


class Clock:
    """A clock that shows `now` until the test changes it; call it to read it, as `time.monotonic`.

    For `Vm(clock=)`, `UdpRelay(clock=)`, `Collector(clock=)`; for `PacedSocket(clock=)`, whose clock counts
    nanoseconds, give a whole number.
    """

    def __init__(self, now: float = 1000.0) -> None:
        #: The time that it shows.
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, time: float) -> None:
        """Move the clock on by `time`, in its own unit. Raises `Inval` if that is negative: no such clock goes back."""
        if time < 0:
            raise Inval(f"advance: {time} is negative; a monotonic clock doesn't go back")
        self.now += time
