# cython: nonecheck=True
"""The items in the reserve, and the zones that hand them out: see `Reserve`.

The items are in two queues, linked through `Item.link`; each step is a commit. A packet is made of an item of each
queue when it is allocated, and taken apart when it is freed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
    from mbuf.uma.bucket import Bucket
    from mbuf.uma.cpu import Cpus
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MSIZE
from mbuf.errors import Corrupt, Inval, NoBufs
from mbuf.kinds import CLUSTERS
from mbuf.packet.ext import Storage
from mbuf.packet.source import set_source
from mbuf.pool.zones import Zones
from mbuf.uma.backend import Backend
from mbuf.uma.item import Item, MbufItem
from mbuf.uma.zone import Zone

if not cython.compiled:
    from mbuf.uma.item import is_out, mark_free, mark_out
    from mbuf.vm.commit import enter_commit, leave_commit


@cython.cclass
class Queue(Backend):
    """Items in the reserve, linked to each other; the first in is the first out. See dn_buf_import and
    dn_buf_release.
    """

    __slots__ = ("_count", "_first", "_last", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self._count = 0
        self._first: Any = None
        self._last: Any = None

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Move up to `count` items, from the first on, into a bucket."""
        if bucket is None or count > bucket.entries - bucket.cnt:
            raise Inval(f"reserve: there is no bucket with room for {count} items")
        enter_commit()
        try:
            while count > 0 and self._first is not None:
                bucket.push(self._pop())
                count -= 1
        finally:
            leave_commit()

    def _pop(self) -> Item:
        """In a commit: remove the first item. There is one."""
        item: Item = self._first
        self._first = cython.cast(Item, item.link)
        item.link = None
        if self._first is None:
            self._last = None
        self._count -= 1
        return item

    def remove(self) -> Item | None:
        """Remove the first item and return it as handed out; None if there is none."""
        enter_commit()
        try:
            if self._first is None:
                return None
            item = self._pop()
            mark_out(item)
            return item
        finally:
            leave_commit()

    def give(self, item: Item) -> None:
        """Append an item."""
        if item is None or is_out(item) or item.link is not None or item is self._last:
            raise Inval("reserve: this item is in use, or in the queue already")
        enter_commit()
        try:
            if self._last is None:
                self._first = item
            else:
                self._last.link = item
            self._last = item
            self._count += 1
        finally:
            leave_commit()

    def drain(self) -> int:
        """Has no pages to give back: returns 0."""
        return 0

    def denied(self) -> MbufError:
        """The error for an empty queue."""
        return NoBufs(f"the reserve has no {self.what} left: set more aside with pool.reserve.reinit")

    def audit(self) -> None:
        """Raise `Corrupt`, naming the first contradiction."""
        count = 0
        item = self._first
        while item is not None and count <= self._count:
            if is_out(item):
                raise Corrupt(f"reserve: a {self.what} is in the queue, and handed out")
            count += 1
            item = cython.cast(Item, item.link)
        if count != self._count:
            raise Corrupt(f"reserve: the {self.what} queue counts {self._count} items, and has {count}")

    @property
    def free(self) -> int:
        """Items in the queue."""
        return self._count

    @property
    def pages(self) -> int:
        """0: the pages count in the zones that the items were taken from."""
        return 0


@cython.cclass
class Pairs(Backend):
    """Packets made of the items of both queues. See dn_pack_import and dn_pack_release."""

    __slots__ = ("_clust", "_own", "mbuf")

    def __init__(self, mbuf: Zone, clust: Zone, own: Zone) -> None:
        self.mbuf = mbuf
        self._clust = clust
        #: The pool's own zone of mbufs, to which the mbufs go back in the end.
        self._own = own

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Make up to `count` packets."""
        if bucket is None or count > bucket.entries - bucket.cnt:
            raise Inval(f"reserve: there is no bucket with room for {count} items")
        most = bucket.cnt + count
        while bucket.cnt < most:
            item = self.mbuf.alloc(M_NOWAIT, None)
            if item is None:
                break
            try:
                cluster = self._clust.alloc(M_NOWAIT, None)
            except BaseException:
                self.mbuf.free(item)
                raise
            if cluster is None:
                self.mbuf.free(item)
                break
            pair(item, cluster)
            mark_free(item)
            bucket.push(item)

    def give(self, item: Item) -> None:
        """Take a packet of the pool's own packet zone apart, which was freed while the reserve is in force."""
        if item is None or item.paired() is None:
            raise Inval("this is no packet")
        mark_out(item)
        cluster = part(item)
        # `_own` did not count the mbuf of this packet, and will get it back in the end.
        self._own.adopt()
        try:
            self.mbuf.receive(item)
        finally:
            if cluster.size == self._clust.size:
                self._clust.receive(cluster)
            else:
                # The queue has clusters of one size only.
                zone = cluster.zone
                zone.free(cluster)

    def drain(self) -> int:
        """Has no pages to give back: returns 0."""
        return 0

    def denied(self) -> MbufError:
        """The error of the clusters if there are mbufs, else of the mbufs."""
        short: Any = self._clust if self.mbuf.backend.free else self.mbuf
        error: MbufError = short.denied()
        return error

    @property
    def free(self) -> int:
        """0: the items count in the queues."""
        return 0

    @property
    def pages(self) -> int:
        """0: the pages count in the zones that the items were taken from."""
        return 0


class PairZone(Zone):
    """The packet zone of the reserve. A packet of it is freed as a cluster and an mbuf, to the zones of those."""

    __slots__ = ("mbuf",)
    mbuf: Zone

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """As `Zone.alloc`; the item belongs to the zone of mbufs."""
        item: Item | None = Zone.alloc(self, how, deadline)
        if item is not None:
            item.zone = self.mbuf
        return item


def pair(item: Item, cluster: Item) -> None:
    """Pair an mbuf with a cluster. They will be freed one by one, so the storage's type is not EXT_PACKET."""
    storage = cython.cast(Storage, cluster)
    storage.init_cluster()
    cython.cast(MbufItem, item).cluster = storage


def part(item: Item) -> Item:
    """Take the cluster from a packet, and return it."""
    packet = cython.cast(MbufItem, item)
    cluster: Item = packet.cluster
    packet.cluster = None
    return cluster


class Stock:
    """The items in the reserve: queues of mbufs and of clusters of `clsize` bytes, and the zones that hand them out."""

    __slots__ = ("clsize", "clusters", "mbufs", "started", "zones")

    def __init__(self, clsize: int, cpus: Cpus, own: Zone) -> None:
        self.clsize = clsize
        self.mbufs = Queue("mbuf")
        self.clusters = Queue("cluster")
        mbuf = Zone("debugnet_mbuf", MSIZE, self.mbufs, cpus, caching=False)
        clust = Zone("debugnet_mbuf_cluster", clsize, self.clusters, cpus, caching=False)
        pack = PairZone("debugnet_mbuf_packet", MCLBYTES, Pairs(mbuf, clust, own), cpus, caching=False)
        pack.mbuf = mbuf
        for zone in (mbuf, clust, pack):
            set_source(zone, own.source)
            zone.probes = own.probes
        self.zones = Zones(mbuf, pack, **{kind.attr: clust for kind in CLUSTERS})
        #: True while its zones are in force.
        self.started = False
