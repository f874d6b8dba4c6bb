"""Mbufs and clusters laid by for bad times: the kernel's debugnet reserve.

Puts zones of its own in force that know nothing but what was laid by. Never waits while they are; gives all
back in the end. Never touches bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from operator import sub
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
    from mbuf.pool.allocator import Allocator
    from mbuf.uma.cpu import Cpus
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MSIZE, MT_DATA, UMA_RECLAIM_DRAIN_CPU
from mbuf.errors import Busy, Inval, NoBufs
from mbuf.packet.ext import Storage
from mbuf.packet.source import until
from mbuf.pool import allocator
from mbuf.pool.validate import validate
from mbuf.pool.zones import Zones
from mbuf.uma.item import Backend, Item
from mbuf.uma.zone import Zone
from mbuf.vm.number import INT_MAX, clip

if not cython.compiled:
    from mbuf.vm.commit import check_latch, settle

_log = logging.getLogger("mbuf")


class Queue(Backend):
    """Items that wait for their turn. See dn_buf_import and dn_buf_release."""

    __slots__ = ("items", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.items: list[Any] = []

    def take(self, count: int, how: int, deadline: float | None) -> list[Any]:
        """The first in line."""
        taken = self.items[:count]
        del self.items[:count]
        return taken

    def give(self, items: list[Any]) -> None:
        """To the end of the line."""
        self.items += items

    def drain(self) -> int:
        """Nothing here has pages to give back."""
        return 0

    def denied(self) -> MbufError:
        """There is no more than was laid by."""
        return NoBufs(f"the reserve has no {self.what} left: lay more by with pool.reserve.reinit")

    @property
    def free(self) -> int:
        """Those in line."""
        return len(self.items)

    @property
    def pages(self) -> int:
        """The zones that they come from count those."""
        return 0


class Pairs(Backend):
    """Packets put together of both queues. See dn_pack_import and dn_pack_release."""

    __slots__ = ("_clust", "_own", "mbuf")

    def __init__(self, mbuf: Zone, clust: Zone, own: Zone) -> None:
        self.mbuf = mbuf
        self._clust = clust
        #: To whom the mbufs will be given in the end.
        self._own = own

    def take(self, count: int, how: int, deadline: float | None) -> list[Any]:
        """As many pairs as there are."""
        pairs: list[Any] = []
        while len(pairs) < count:
            item = self.mbuf.alloc(M_NOWAIT, None)
            if item is None:
                break
            cluster = self._clust.alloc(M_NOWAIT, None)
            if cluster is None:
                self.mbuf.free(item)
                break
            pair(item, cluster)
            pairs.append(item)
        return pairs

    def give(self, items: list[Any]) -> None:
        """Part packets of the pool's own, which were freed while the reserve is in force."""
        for item in items:
            cluster = part(item)
            # It was no packet's mbuf that this zone counted, and will be one that it gets.
            self._own.limiter.uncharge(-1)
            self.mbuf.receive(item)
            self._clust.receive(cluster)

    def drain(self) -> int:
        """Nothing here has pages to give back."""
        return 0

    def denied(self) -> MbufError:
        """It was the clusters if there are mbufs."""
        short = self._clust if self.mbuf.backend.free else self.mbuf
        return short.denied()

    @property
    def free(self) -> int:
        """Counted where they are."""
        return 0

    @property
    def pages(self) -> int:
        """The zones that they come from count those."""
        return 0


class PairZone(Zone):
    """Packets that come back in two: as a cluster, and as an mbuf, to the zone of those."""

    __slots__ = ("mbuf",)
    mbuf: Zone

    def alloc(self, how: int, deadline: float | None) -> Item | None:
        """As `Zone.alloc`; the item is at home with the mbufs."""
        item = Zone.alloc(self, how, deadline)
        if item is not None:
            item.home = self.mbuf
        return item


def pair(item: Item, cluster: Item) -> None:
    """An mbuf and a cluster, that will be freed one by one: no EXT_PACKET."""
    storage = cython.cast(Storage, cluster)
    storage.own()
    item.mate = storage


def part(item: Item) -> Item:
    """The cluster of a packet, which is none any more."""
    cluster: Item = item.mate
    item.mate = None
    return cluster


class Stock:
    """What was laid by: queues of mbufs and of clusters of `clsize` bytes, and the zones that give them."""

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
            zone.source, zone.probes = own.source, own.probes
        self.zones = Zones(mbuf, pack, clust, clust, clust, clust)
        #: True while its zones are in force.
        self.started = False


class Reserve:
    """`pool.reserve`: what is left when nothing else is.

    `reinit` lays mbufs and clusters by; between `start` and `finish` every allocation of the pool comes from
    them alone, and what is freed goes to them, so that a last report can be sent. See debugnet(4).
    """

    __slots__ = ("_allocator", "_cpus", "_own", "_stock")

    def __init__(self, source: Allocator, cpus: Cpus) -> None:
        self._allocator = source
        self._cpus = cpus
        # The pool's own zones, and what is laid by.
        self._own: Zones = source.zones
        self._stock: Stock | None = None

    @property
    def own(self) -> Zones:
        """The pool's own zones, whichever are in force."""
        return self._own if self.started else self._allocator.zones

    @property
    def started(self) -> bool:
        """True while its zones are in force."""
        return self._stock is not None and self._stock.started

    @property
    def zones(self) -> Zones | None:
        """Its zones; None before `reinit`."""
        return None if self._stock is None else self._stock.zones

    @property
    def clsize(self) -> int:
        """Bytes of each cluster laid by; 0 before `reinit`."""
        return 0 if self._stock is None else self._stock.clsize

    @property
    def mbufs(self) -> int:
        """Mbufs in it at this moment."""
        return 0 if self._stock is None else self._stock.mbufs.free

    @property
    def clusters(self) -> int:
        """Clusters in it at this moment."""
        return 0 if self._stock is None else self._stock.clusters.free

    def reinit(
        self, nmbuf: int, nclust: int, clsize: int = MCLBYTES, how: int = M_NOWAIT, timeout: float | None = None
    ) -> None:
        """Lay `nmbuf` mbufs and `nclust` clusters of `clsize` bytes by; what was before is given back.

        They count as in use. Raises `NoBufs` when they can't be had, `Busy` while the reserve is in force, and
        then nothing has changed. See debugnet_mbuf_reinit.
        """
        check_latch()
        counts = [clip(nmbuf), clip(nclust)]
        size, wait = clip(clsize), clip(how)
        validate(wait, MT_DATA, 0)
        deadline = until(wait, timeout)
        if not all(0 <= count <= INT_MAX for count in counts):
            raise Inval(f"reserve: {counts[0]} mbufs, {counts[1]} clusters: give 0 or more of each")
        try:
            self._reinit(counts, size, wait, deadline)
        finally:
            settle()

    def _reinit(self, counts: list[int], size: int, how: int, deadline: float | None) -> None:
        self._idle("reinit")
        zones, stock = self._allocator.zones, self._stock
        own = (zones.mbuf, zones.of_size(size))
        kept = [self.mbufs, self.clusters if self.clsize == size else 0]
        fresh: list[list[Any]] = [[], []]
        drained = False
        try:
            for zone, count, items in zip(own, map(sub, counts, kept), fresh, strict=True):
                while len(items) < count:
                    item = zone.alloc(how, deadline)
                    if item is None and not drained:
                        # Clusters of cached packets do as well.
                        drained = True
                        zones.pack.reclaim(UMA_RECLAIM_DRAIN_CPU)
                        item = zone.alloc(how, deadline)
                    if item is None:
                        raise allocator.refusal(self._allocator, zone)
                    items.append(item)
            # It may have waited.
            self._idle("reinit")
            if self._stock is not stock:
                raise Busy("reserve: another reinit or drain came while this one waited: call it again")
            made = Stock(size, self._cpus, own[0])
        except BaseException:
            for zone, items in zip(own, fresh, strict=True):
                for item in items:
                    zone.free(item)
            raise
        self._stock = made
        if stock is not None:
            # What was laid by before serves again; what is too much of it goes back.
            for n, (zone, queue) in enumerate(_origins(stock, zones)):
                for item in queue.take(queue.free, M_NOWAIT, None):
                    if zone is own[n] and len(fresh[n]) < counts[n]:
                        fresh[n].append(item)
                    else:
                        zone.receive(item)
        for zone, items in zip((made.zones.mbuf, made.zones.clust), fresh, strict=True):
            for item in items:
                zone.receive(item)

    def start(self) -> None:
        """Put the reserve's zones in force. See debugnet_mbuf_start."""
        check_latch()
        if self._stock is None:
            raise Inval("reserve: nothing was laid by: call reinit first")
        self._idle("start")
        _log.info("debugnet: overwriting mbuf zone pointers")
        stock, own = self._stock, self._allocator.zones
        if stock is None or stock.started:
            raise Busy("reserve: the log's handler has changed it")
        for zone in (stock.zones.mbuf, stock.zones.clust):
            zone.divert(None)
        own.mbuf.divert(stock.zones.mbuf)
        own.pack.divert(stock.zones.pack)
        # One of another size would be too small for whoever gets it next, or a waste.
        own.of_size(stock.clsize).divert(stock.zones.clust)
        self._own = own
        stock.started = True
        self._allocator.enforce(stock.zones)

    def finish(self) -> None:
        """Put the pool's own zones in force again. See debugnet_mbuf_finish."""
        check_latch()
        if not self.started:
            raise Inval("reserve: it is not in force: call start first")
        _log.info("debugnet: restoring mbuf zone pointers")
        stock, own = self._stock, self._own
        if stock is None or not stock.started:
            raise Busy("reserve: the log's handler has changed it")
        for zone in (own.mbuf, own.pack, own.of_size(stock.clsize)):
            zone.divert(None)
        # What is still out goes to where it came from in the beginning.
        stock.zones.mbuf.divert(own.mbuf)
        stock.zones.clust.divert(own.of_size(stock.clsize))
        stock.started = False
        self._allocator.enforce(own)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it, the reserve is in force."""
        self.start()
        try:
            yield
        finally:
            self.finish()

    def drain(self) -> None:
        """Give all back that is laid by; there is no reserve then. See debugnet_mbuf_drain."""
        check_latch()
        self._idle("drain")
        stock, self._stock = self._stock, None
        try:
            if stock is not None:
                for zone, queue in _origins(stock, self._allocator.zones):
                    for item in queue.take(queue.free, M_NOWAIT, None):
                        zone.receive(item)
        finally:
            settle()

    def _idle(self, verb: str) -> None:
        if self.started:
            raise Busy(f"reserve: {verb} while it is in force: call finish first")


def _origins(stock: Stock, own: Zones) -> tuple[tuple[Zone, Queue], ...]:
    """Where what was laid by belongs."""
    return (own.mbuf, stock.mbufs), (own.of_size(stock.clsize), stock.clusters)
