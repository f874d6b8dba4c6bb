"""A network card's receive side: rings of descriptors, armed with clusters.

Works as a FreeBSD driver on iflib does, with frames that somebody hands in instead of a card. Asks its pool
alone; when that refuses, a slot of a ring stays empty, and a frame that finds no armed descriptor is dropped.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import MCLBYTES, MJUMPAGESIZE
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.queue import MbufQ
from mbuf.pool.pool import Pool

FRAMING = 22
"""Bytes of a frame around its packet: Ethernet header 14, VLAN tag 4, check sequence 4."""


def cluster_for(mtu: int) -> int:
    """The size of cluster that rings are armed with: never more than a page. See iflib_get_mbuf_size_for."""
    return MCLBYTES if mtu + FRAMING <= MCLBYTES else MJUMPAGESIZE


class RxRings:
    """`queues` rings of `descriptors` slots, each for an mbuf with a cluster of `cluster` bytes.

    Made empty: `arm` them before the first frame, `disarm` them in the end, which frees what they hold.
    `short` slots are empty at any time; a ring tries to fill its empty slots after every frame that comes to
    it, even one that it dropped, until the pool refuses.
    """

    __slots__ = ("_get", "_rings", "cluster", "denials", "descriptors", "refused", "short")

    def __init__(self, pool: Pool, queues: int, descriptors: int, cluster: int) -> None:
        if queues < 1 or descriptors < 1:
            raise Inval(f"{queues} queues of {descriptors} descriptors: give 1 or more of both")
        self._get = pool.getcl if cluster == MCLBYTES else partial(pool.getjcl, size=cluster)
        self._rings = tuple(MbufQ() for _ in range(queues))
        self.cluster = cluster
        self.descriptors = descriptors
        #: Slots without an mbuf, of all rings.
        self.short = queues * descriptors
        #: How often the pool refused, and its latest answer.
        self.denials = 0
        self.refused: NoBufs | NoMemory | None = None

    @property
    def slots(self) -> int:
        """Descriptors of all rings."""
        return len(self._rings) * self.descriptors

    def arm(self, queue: int) -> bool:
        """Fill the empty slots of a ring; False if the pool refuses before all are full."""
        ring = cython.cast(MbufQ, self._rings[queue])
        while ring.length() < self.descriptors:
            if not self._refill(ring):
                return False
            self.short -= 1
        return True

    def _refill(self, ring: MbufQ) -> bool:
        """Fill one slot of a ring; False if the pool refuses."""
        try:
            ring.enqueue(self._get())
        except (NoBufs, NoMemory) as refused:
            self.denials += 1
            self.refused = refused
            return False
        return True

    def disarm(self) -> None:
        """Free what the rings hold."""
        for ring in self._rings:
            while (m := ring.dequeue()) is not None:
                m.freem()
                self.short += 1

    def needs(self, length: int) -> int:
        """Descriptors that a frame of `length` bytes takes."""
        return -(-length // self.cluster) or 1

    def receive(self, queue: int, data: memoryview, start: int, captured: int, length: int) -> Mbuf | None:
        """The packet of a frame with `length` bytes on the wire, or None if it was dropped.

        Copies the `captured` bytes from `start` of data, once, as the card would; that may be less than the
        frame, never more. The packet is the caller's.
        """
        ring = cython.cast(MbufQ, self._rings[queue])
        if self.short or length > self.cluster:
            return self._receive_slow(ring, queue, data[start : start + captured], length)
        m: Mbuf = cython.cast(Mbuf, ring.dequeue())
        if not self._refill(ring):
            self.short += 1
        m.fill(data, start, captured)
        return m

    def _receive_slow(self, ring: MbufQ, queue: int, data: memoryview, length: int) -> Mbuf | None:
        """A frame that takes several descriptors, or that comes while slots are empty."""
        count = self.needs(length)
        m = self._take(ring, data, count) if count <= ring.length() else None
        if ring.length() < self.descriptors:
            self.arm(queue)
        return m

    def _take(self, ring: MbufQ, data: memoryview, count: int) -> Mbuf:
        """Fill `count` clusters in turn, and link them to one packet."""
        self.short += count
        head: Mbuf = cython.cast(Mbuf, ring.dequeue())
        last = head
        head.append(data[: self.cluster])
        for n in range(1, count):
            m = cython.cast(Mbuf, ring.dequeue())
            last.next = m
            piece = data[n * self.cluster : (n + 1) * self.cluster]
            if piece:
                head.append(piece)
            last = m
        # A card's buffers all came with headers.
        head.demote()
        return head
