"""A token bucket: how much may go at a rate, and from when on the next may go.

Knows bytes and nanoseconds, and no clock: whoever asks says what time it is. Exact: no part of a nanosecond is
lost between two packets.
"""

from __future__ import annotations

_SECOND = 1_000_000_000

#: Nanoseconds whose tokens a bucket holds unless told otherwise: by about so much a timer may be late.
_LATE = 10_000_000


class TokenBucket:
    """Tokens for `rate` bytes a second, of which it holds `burst` at most; it is made empty.

    A packet may go while nothing is owed, and owes what it takes beyond the tokens that are there. So from any time
    on, no more goes in t seconds than rate * t + burst bytes, and one packet.
    """

    __slots__ = ("_burst", "_hold", "_part", "at", "rate")

    def __init__(self, rate: int, burst: int | None, now: int) -> None:
        #: The time, in nanoseconds, from which on the next packet may go.
        self.at = now
        self._part = 0
        self._burst = burst
        self._turn(rate)

    def take(self, size: int, now: int) -> None:
        """A packet of so many bytes goes now."""
        self._spill(now)
        owed = size * _SECOND + self._part
        self.at += owed // self.rate
        self._part = owed % self.rate

    def modify(self, rate: int, now: int) -> None:
        """From now on, have another rate: so many bytes a second. What is owed, or there to be taken, stays."""
        self._spill(now)
        self.at = now + (self.at - now) * self.rate // rate
        self._part = 0
        self._turn(rate)

    def _turn(self, rate: int) -> None:
        self.rate = rate
        self._hold = _LATE if self._burst is None else self._burst * _SECOND // rate

    def _spill(self, now: int) -> None:
        """Hold no more tokens than fit in."""
        full = now - self._hold
        if self.at < full:
            self.at = full
            self._part = 0
