"""A token bucket: from what time on the next packet may be sent at a rate.

The number of tokens isn't stored. The bucket stores the departure time of the next packet, `departure`, from which the
tokens follow for any time `now`, in bytes:

    tokens = (now - departure) * rate / 1 s           at most `burst`; negative: a debt

A packet may be sent from `departure` on, when the debt is paid; what it consumes beyond the tokens is the new debt.
To consume a packet's bytes is to add the time that they take at the rate. To cap the tokens at `burst` is to move
`departure` forward, so that it is never longer ago than the time that `burst` bytes take. (This is the virtual
scheduling form of the leaky bucket, GCRA, in ITU-T I.371. Linux calls the time an earliest departure time.)

So from any time on, no more than rate * t + burst bytes, and one packet, are sent in t seconds. All numbers are ints.
The part of a nanosecond that a division leaves is kept, in units of 1 ns / rate, so that the rate is exact for any
number of packets. There is no clock: the caller passes the time in nanoseconds.
"""

from __future__ import annotations

_SECOND = 1_000_000_000

#: The default burst, as the time that it takes, in nanoseconds: about as late as a timer may be.
_DEFAULT_BURST_TIME = 10_000_000


class TokenBucket:
    """A bucket for `rate` bytes per second that holds the tokens of `burst` bytes at most; empty at the time `now`.

    Without `burst`, it holds the tokens of 10 ms.
    """

    __slots__ = ("_burst", "_burst_time", "_remainder", "departure", "rate")

    def __init__(self, rate: int, burst: int | None, now: int) -> None:
        #: The earliest time to send the next packet, in nanoseconds.
        self.departure = now
        self._remainder = 0
        self._burst = burst
        self._store_rate(rate)

    def consume(self, size: int, now: int) -> None:
        """Consume the tokens of a packet of `size` bytes that is sent now."""
        self._cap(now)
        debt = size * _SECOND + self._remainder
        self.departure += debt // self.rate
        self._remainder = debt % self.rate

    def set_rate(self, rate: int, now: int) -> None:
        """Change the rate. The tokens or the debt stay the same number of bytes."""
        self._cap(now)
        self.departure = now + (self.departure - now) * self.rate // rate
        self._remainder = 0
        self._store_rate(rate)

    def _store_rate(self, rate: int) -> None:
        #: Bytes per second.
        self.rate = rate
        self._burst_time = _DEFAULT_BURST_TIME if self._burst is None else self._burst * _SECOND // rate

    def _cap(self, now: int) -> None:
        """Drop the tokens beyond the burst."""
        earliest = now - self._burst_time
        if self.departure < earliest:
            self.departure = earliest
            self._remainder = 0
