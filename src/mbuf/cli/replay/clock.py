"""The clock of a replay: the time of the captures, without long pauses and without steps back.

It counts nanoseconds from 0.
"""

SECOND = 1_000_000_000

MAX_GAP = 10 * SECOND
"""Longer pauses are cut to this. Some captures have pauses of years: a clock was set, or files were joined."""

_MAX_GAP = MAX_GAP
_NEVER = 1 << 62


class CaptureClock:
    """The time `now`, which `advance` moves to each packet.

    A pause longer than `MAX_GAP` is cut to it. If a timestamp goes back by up to `MAX_GAP`, the time stops until the
    timestamps are later again than the latest one; if it goes back further, the clock continues from it. After
    `restart`, the first packet of the next capture comes at the time of the last packet.
    """

    __slots__ = ("_latest", "now")

    def __init__(self) -> None:
        self.now = 0
        self._latest = _NEVER

    def restart(self) -> None:
        """Prepare for the timestamps of another capture."""
        self._latest = _NEVER

    def advance(self, when: int) -> int:
        """Advance to the packet with the timestamp `when`, and return the time."""
        gap = when - self._latest
        if 0 < gap < _MAX_GAP:
            self._latest = when
            self.now += gap
        elif gap >= _MAX_GAP:
            self._latest = when
            self.now += _MAX_GAP
        elif gap < -_MAX_GAP:
            self._latest = when
        return self.now
