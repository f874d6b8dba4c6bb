"""The receive rings of a network card, with a cluster for each descriptor.

They work as those of a FreeBSD driver under iflib(9). A ring has a fixed number of descriptors (slots). Each holds an
mbuf with a cluster, into which the card writes the next frame; a frame longer than a cluster takes several slots. The
mbuf of a received frame goes up the stack, and the driver puts a new one into its slot at once. If the pool denies
that, the slot stays empty until the next frame of the ring: a frame that finds too few filled slots is dropped.
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
"""Bytes of a frame that aren't in the MTU: Ethernet header 14, VLAN tag 4, check sequence 4."""


def cluster_for(mtu: int) -> int:
    """Return the size of the rings' clusters: at most a page. See iflib_get_mbuf_size_for."""
    return MCLBYTES if mtu + FRAMING <= MCLBYTES else MJUMPAGESIZE


class RxRings:
    """`queues` rings of `descriptors` slots, each for an mbuf with a cluster of `cluster` bytes.

    All slots are empty at first: call `refill` for each ring before the first frame, and `free_all` at the end. After
    each frame, also after one that was dropped, the ring fills its empty slots until the pool denies one.
    """

    __slots__ = ("_get", "_rings", "cluster", "denials", "descriptors", "empty", "last_denial")

    def __init__(self, pool: Pool, queues: int, descriptors: int, cluster: int) -> None:
        if queues < 1 or descriptors < 1:
            raise Inval(f"{queues} queues of {descriptors} descriptors: give 1 or more of both")
        self._get = pool.getcl if cluster == MCLBYTES else partial(pool.getjcl, size=cluster)
        self._rings = tuple(MbufQ() for _ in range(queues))
        self.cluster = cluster
        self.descriptors = descriptors
        #: Slots without an mbuf, of all rings.
        self.empty = queues * descriptors
        #: How often the pool denied an mbuf, and its last error.
        self.denials = 0
        self.last_denial: NoBufs | NoMemory | None = None

    @property
    def slots(self) -> int:
        """The number of slots of all rings."""
        return len(self._rings) * self.descriptors

    def refill(self, queue: int) -> bool:
        """Fill the empty slots of a ring; return False if the pool denies one."""
        ring = cython.cast(MbufQ, self._rings[queue])
        while ring.length() < self.descriptors:
            if not self._fill_slot(ring):
                return False
            self.empty -= 1
        return True

    def _fill_slot(self, ring: MbufQ) -> bool:
        """Put a new mbuf into the next empty slot of a ring; return False if the pool denies it."""
        try:
            ring.enqueue(self._get())
        except (NoBufs, NoMemory) as error:
            self.denials += 1
            self.last_denial = error
            return False
        return True

    def free_all(self) -> None:
        """Free the mbufs of all slots."""
        for ring in self._rings:
            while (m := ring.dequeue()) is not None:
                m.freem()
                self.empty += 1

    def slots_for(self, length: int) -> int:
        """Return how many slots a frame of `length` bytes takes."""
        return -(-length // self.cluster) or 1

    def receive(self, queue: int, data: memoryview, start: int, captured: int, length: int) -> Mbuf | None:
        """Return the packet of a frame that had `length` bytes on the wire, or None if it is dropped.

        Its first `captured` bytes are in the capture, from `start` of `data`; they are copied, once. The packet belongs
        to the caller.
        """
        ring = cython.cast(MbufQ, self._rings[queue])
        if self.empty or length > self.cluster:
            return self._receive_slow(ring, queue, data[start : start + captured], length)
        m: Mbuf = cython.cast(Mbuf, ring.dequeue())
        if not self._fill_slot(ring):
            self.empty += 1
        m.fill(data, start, captured)
        return m

    def _receive_slow(self, ring: MbufQ, queue: int, data: memoryview, length: int) -> Mbuf | None:
        """Receive a frame that takes several slots, or that comes while there are empty slots."""
        count = self.slots_for(length)
        m = self._take(ring, data, count) if count <= ring.length() else None
        if ring.length() < self.descriptors:
            self.refill(queue)
        return m

    def _take(self, ring: MbufQ, data: memoryview, count: int) -> Mbuf:
        """Take the mbufs of `count` slots, fill them in turn, and link them to one packet."""
        self.empty += count
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
        # Each mbuf of a ring has a packet header; only the first one of a packet may keep it.
        head.demote()
        return head
