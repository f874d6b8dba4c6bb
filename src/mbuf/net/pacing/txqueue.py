"""Transmit queues, one for each send tag, and the choice of the packet that is sent next.

    unpaced     [m] [m] [m]        packets without a tag, or with an unlimited one
    tag a       [m] [m]            token bucket, departure time 10 ms
    tag b       [m]                token bucket, departure time 12 ms

A paced queue is eligible from its departure time on (see `tokenbucket`), or `lead` earlier. The unpaced queue is always
eligible if it has packets. `dequeue` chooses

 * among eligible paced queues, the one with the earliest departure time: it has waited longest;
 * between that and the unpaced queue, each in turn: neither can starve the other.

Paced queues that have packets are in a heap, ordered by departure time, then by the order in which they were added. So
the cost of a packet is the logarithm of the number of such queues.

The departure time of a queue changes when a packet of it is sent, because the packet consumes tokens. So `dequeue`
removes the queue from the heap, and `complete` puts it back, once the packet is sent or dropped and its tokens are
consumed. In between it can't be chosen again, and its packets keep their order. One packet is in flight at a time. If
departure times change otherwise, by another rate, `reorder` sorts the heap again.

A packet that another user of it has freed is skipped; a queue without packets leaves the heap.

There is no clock: the caller passes the time in nanoseconds. How packets are sent isn't known here.
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
    """A queue of at most `maxlen` packets, and its token bucket; without one, it is unpaced."""

    __slots__ = ("bucket", "bytes", "packets", "scheduled", "sent")

    def __init__(self, maxlen: int, bucket: TokenBucket | None = None) -> None:
        #: The packets that wait, which belong to the queue.
        self.packets = MbufQ(maxlen)
        self.bucket = bucket
        #: True while it is among the queues to choose from, or has a packet in flight.
        self.scheduled = False
        #: The number of packets sent, and their bytes.
        self.sent = 0
        self.bytes = 0

    @property
    def departure(self) -> int:
        """The earliest time to send the next packet, in nanoseconds."""
        return 0 if self.bucket is None else self.bucket.departure


class TxQueues:
    """The transmit queues of a socket. `enqueue` a packet; `dequeue` the next one to send; `complete` it."""

    __slots__ = ("_heap", "_in_flight", "_numbers", "_unpaced_next", "lead", "unpaced")

    def __init__(self, maxlen: int) -> None:
        #: The queue of packets that need no tokens.
        self.unpaced = TxQueue(maxlen)
        #: Nanoseconds by which paced packets may be sent before their departure time.
        self.lead = 0
        self._unpaced_next = True
        # The queue whose packet is in flight.
        self._in_flight: TxQueue | None = None
        # Departure time, number, queue.
        self._heap: list[tuple[int, int, TxQueue]] = []
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._heap) or bool(self.unpaced.packets)

    def __len__(self) -> int:
        """Return the number of packets that wait in all queues."""
        return sum(len(queue.packets) for queue in self._all())

    def enqueue(self, queue: TxQueue, m: Mbuf) -> None:
        """Add a packet at the end of a queue; it belongs to the queue then. Raises what `MbufQ.enqueue` raises."""
        queue.packets.enqueue(m)
        if not queue.scheduled:
            self._schedule(queue)

    def dequeue(self, now: int) -> tuple[TxQueue, Mbuf] | None:
        """Take the next packet and its queue, which isn't chosen again until `complete`; None if none may be sent now.

        The packet belongs to the caller.
        """
        while (queue := self._choose(now)) is not None:
            m = queue.packets.dequeue()
            if m is not None:
                self._in_flight = queue
                return queue, m
            queue.scheduled = False
        return None

    def complete(self, queue: TxQueue) -> None:
        """The packet in flight was sent or dropped, and its tokens are consumed: its queue can be chosen again."""
        self._in_flight = None
        queue.scheduled = False
        if queue.packets:
            self._schedule(queue)

    def due(self, now: int) -> int | None:
        """Return when the next packet may be sent, in nanoseconds; None if there is none."""
        if self.unpaced.packets:
            return now
        return self._heap[0][0] - self.lead if self._heap else None

    def reorder(self) -> None:
        """Sort the queues again, after departure times have changed."""
        self._heap = [(queue.departure, number, queue) for _, number, queue in self._heap]
        heapq.heapify(self._heap)

    def drain(self) -> int:
        """Free all packets that wait; return their number. See mbufq_drain."""
        freed = 0
        queues = self._all()
        self._in_flight = None
        self._heap = []
        for queue in queues:
            freed += len(queue.packets)
            queue.packets.drain()
            queue.scheduled = False
        return freed

    def _all(self) -> list[TxQueue]:
        in_flight = [] if self._in_flight is None or self._in_flight is self.unpaced else [self._in_flight]
        return [self.unpaced, *in_flight, *(queue for _, _, queue in self._heap)]

    def _schedule(self, queue: TxQueue) -> None:
        queue.scheduled = True
        if queue is not self.unpaced:
            heapq.heappush(self._heap, (queue.departure, next(self._numbers), queue))

    def _choose(self, now: int) -> TxQueue | None:
        paced = bool(self._heap) and self._heap[0][0] - self.lead <= now
        if self.unpaced.packets and (self._unpaced_next or not paced):
            self._unpaced_next = False
            return self.unpaced
        self._unpaced_next = True
        return heapq.heappop(self._heap)[2] if paced else None
