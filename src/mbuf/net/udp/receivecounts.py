"""The counters of the receive side of a port, and what they tell about the next message.

What the socket drops since it is full is counted in messages by the system, and each may be of many datagrams. The
message that reports a drop is taken as an example for those that were dropped before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython


@cython.cclass
class ReceiveCounts:
    """Counters with the names that they have in a `PortStat`. `expected` datagrams were in the last message."""

    __slots__ = (
        "_drops",
        "bytes_in",
        "calls_in",
        "denied",
        "discarded",
        "dropped",
        "dropped_messages",
        "expected",
        "faults",
        "packets_in",
        "shortages",
        "truncated",
    )

    def __init__(self) -> None:
        self.packets_in = self.bytes_in = self.calls_in = 0
        self.denied = self.shortages = self.dropped = self.dropped_messages = 0
        self.truncated = self.discarded = self.faults = 0
        self.expected = 1
        # How many drops of the socket the last message reported.
        self._drops = 0

    def as_dict(self) -> dict[str, int]:
        """The counters of a `PortStat`."""
        return {
            "packets_in": self.packets_in,
            "bytes_in": self.bytes_in,
            "calls_in": self.calls_in,
            "denied": self.denied,
            "short": self.shortages,
            "dropped": self.dropped,
            "dropped_messages": self.dropped_messages,
            "truncated": self.truncated,
            "discarded": self.discarded,
            "faults": self.faults,
        }

    def add_packets(self, packets: int) -> None:
        """Count the packets of a message."""
        self.packets_in += packets
        self.expected = packets

    def discard(self, packets: int, size: int, late: int) -> None:
        """Count what is freed before it was pulled: packets of `size` bytes together, and others that weren't made."""
        self.packets_in -= packets
        self.bytes_in -= size
        self.discarded += packets + late

    def add_drops(self, drops: int, datagrams: int) -> None:
        """Count what the socket has dropped: `drops` messages since it was made, says a message of `datagrams`."""
        messages = (drops - self._drops) & 0xFFFFFFFF
        self.dropped_messages += messages
        self.dropped += messages * datagrams
        self._drops = drops
