"""The time of a replay: that of the captures, without their oddities.

Counts nanoseconds of capture time from 0 on; knows nothing of packets.
"""

SECOND = 1_000_000_000

MOST_GAP = 10 * SECOND
"""The longest silence that is replayed: captures have gaps of years (a clock that was set, files joined)."""

_MOST_GAP = MOST_GAP
_NEVER = 1 << 62


class CaptureClock:
    """Goes on from packet to packet, from capture to capture, and never back.

    A gap is cut to `MOST_GAP`. While timestamps go back by up to that, time stands still until they have
    caught up; if they go back further, it goes on from there. The first packet of a capture follows the last
    one at once.
    """

    __slots__ = ("_latest", "now")

    def __init__(self) -> None:
        self.now = 0
        self._latest = _NEVER

    def restart(self) -> None:
        """Another capture begins."""
        self._latest = _NEVER

    def advance(self, when: int) -> int:
        """The time at which a packet of timestamp `when` comes."""
        gap = when - self._latest
        if 0 < gap < _MOST_GAP:
            self._latest = when
            self.now += gap
        elif gap >= _MOST_GAP:
            self._latest = when
            self.now += _MOST_GAP
        elif gap < -_MOST_GAP:
            self._latest = when
        return self.now
