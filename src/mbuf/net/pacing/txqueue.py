"""Lines of packets, and whose turn it is.

Of those that need tokens, whoever has waited longest beyond their time; and in turn with them, those that need none.
Knows the time that it is told, and nothing of how packets go.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from mbuf.packet.queue import MbufQ

if TYPE_CHECKING:
    from mbuf.net.pacing.tokenbucket import TokenBucket
    from mbuf.packet.mbuf import Mbuf


class TxQueue:
    """Packets that wait, and the tokens that they need; without a bucket, they need none."""

    __slots__ = ("bucket", "bytes", "queue", "sent", "waiting")

    def __init__(self, maxlen: int, bucket: TokenBucket | None = None) -> None:
        self.queue = MbufQ(maxlen)
        self.bucket = bucket
        #: True while it has its place among others, or a packet on the way.
        self.waiting = False
        #: Packets that went, and their bytes.
        self.sent = 0
        self.bytes = 0

    @property
    def at(self) -> int:
        """When its next packet may go."""
        return 0 if self.bucket is None else self.bucket.at


class TxQueues:
    """Those with packets: `put` one in, take the `next` whose turn it is, and say `gone` when it is."""

    __slots__ = ("_free_next", "_numbers", "_out", "_timed", "ahead", "free")

    def __init__(self, maxlen: int) -> None:
        #: Of those that need no tokens.
        self.free = TxQueue(maxlen)
        #: Nanoseconds by which the others may go before their time.
        self.ahead = 0
        self._free_next = True
        #: The one whose packet is on the way.
        self._out: TxQueue | None = None
        #: A heap of the others: when the first of a line may go, in which order they came, and the line.
        self._timed: list[tuple[int, int, TxQueue]] = []
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._timed) or bool(self.free.queue)

    def __len__(self) -> int:
        """How many packets wait in all."""
        return sum(len(line.queue) for line in self._all())

    def put(self, line: TxQueue, m: Mbuf) -> None:
        """Put a packet last; it is the line's. Raises what `MbufQ.enqueue` does."""
        line.queue.enqueue(m)
        if not line.waiting:
            self._join(line)

    def next(self, now: int) -> tuple[TxQueue, Mbuf] | None:
        """Take the packet whose turn it is, and its line out of turn until it is `gone`; None if none may go yet."""
        while (line := self._turn(now)) is not None:
            m = line.queue.dequeue()
            if m is not None:
                self._out = line
                return line, m
            line.waiting = False
        return None

    def gone(self, line: TxQueue) -> None:
        """The packet that was the next of this line is gone, and what it takes is paid: the line's turn comes again."""
        self._out = None
        line.waiting = False
        if line.queue:
            self._join(line)

    def due(self, now: int) -> int | None:
        """When the next may go, None if there is none."""
        if self.free.queue:
            return now
        return self._timed[0][0] - self.ahead if self._timed else None

    def again(self) -> None:
        """Times have changed: look at them all again."""
        self._timed = [(line.at, n, line) for _, n, line in self._timed]
        heapq.heapify(self._timed)

    def drain(self) -> int:
        """Free all that wait; how many those were."""
        freed = 0
        lines = self._all()
        self._out = None
        self._timed = []
        for line in lines:
            freed += len(line.queue)
            line.queue.drain()
            line.waiting = False
        return freed

    def _all(self) -> list[TxQueue]:
        out = [] if self._out is None or self._out is self.free else [self._out]
        return [self.free, *out, *(line for _, _, line in self._timed)]

    def _join(self, line: TxQueue) -> None:
        line.waiting = True
        if line is not self.free:
            heapq.heappush(self._timed, (line.at, next(self._numbers), line))

    def _turn(self, now: int) -> TxQueue | None:
        timed = bool(self._timed) and self._timed[0][0] - self.ahead <= now
        if self.free.queue and (self._free_next or not timed):
            self._free_next = False
            return self.free
        self._free_next = True
        return heapq.heappop(self._timed)[2] if timed else None
