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
    from mbuf.pool.pool import Pool
    from mbuf.pool.stock import Queue
    from mbuf.pool.zones import Zones
    from mbuf.uma.zone import Zone

from mbuf.const import M_NOWAIT, MCLBYTES, UMA_RECLAIM_DRAIN_CPU
from mbuf.errors import Busy, Inval
from mbuf.packet.source import until
from mbuf.pool.stock import Stock
from mbuf.vm.number import INT_MAX, clip

_log = logging.getLogger("mbuf")


class Reserve:
    """`pool.reserve`: what is left when nothing else is.

    `reinit` lays mbufs and clusters by; between `start` and `finish` every allocation of the pool comes from
    them alone, and what is freed goes to them, so that a last report can be sent. See debugnet(4).
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def started(self) -> bool:
        """True while its zones are in force."""
        return self._pool.saved is not None

    @property
    def zones(self) -> Zones | None:
        """Its zones; None before `reinit`."""
        stock = self._pool.stock
        return None if stock is None else stock.zones

    @property
    def clsize(self) -> int:
        """Bytes of each cluster laid by; 0 before `reinit`."""
        stock = self._pool.stock
        return 0 if stock is None else stock.clsize

    @property
    def mbufs(self) -> int:
        """Mbufs in it at this moment."""
        stock = self._pool.stock
        return 0 if stock is None else stock.mbufs.free

    @property
    def clusters(self) -> int:
        """Clusters in it at this moment."""
        stock = self._pool.stock
        return 0 if stock is None else stock.clusters.free

    def reinit(
        self, nmbuf: int, nclust: int, clsize: int = MCLBYTES, how: int = M_NOWAIT, timeout: float | None = None
    ) -> None:
        """Lay `nmbuf` mbufs and `nclust` clusters of `clsize` bytes by; what was before is given back.

        They count as in use. Raises `NoBufs` when they can't be had, `Busy` while the reserve is in force, and
        then nothing has changed. See debugnet_mbuf_reinit.
        """
        counts = [clip(nmbuf), clip(nclust)]
        if not all(0 <= count <= INT_MAX for count in counts):
            raise Inval(f"reserve: {nmbuf} mbufs, {nclust} clusters: give 0 or more of each")
        self._idle("reinit")
        pool, stock = self._pool, self._pool.stock
        size = clip(clsize)
        own = (pool.zones.mbuf, pool.zones.of_size(size))
        kept = [self.mbufs, self.clusters if self.clsize == size else 0]
        deadline = until(how, timeout)
        fresh: list[list[Any]] = [[], []]
        wrung = False
        try:
            for zone, count, items in zip(own, map(sub, counts, kept), fresh, strict=True):
                while len(items) < count:
                    item = zone.alloc(clip(how), deadline)
                    if item is None and not wrung:
                        # Clusters of cached packets do as well.
                        wrung = True
                        pool.zones.pack.reclaim(UMA_RECLAIM_DRAIN_CPU)
                        item = zone.alloc(clip(how), deadline)
                    if item is None:
                        raise zone.denied()
                    items.append(item)
        except BaseException:
            for zone, items in zip(own, fresh, strict=True):
                for item in items:
                    zone.free(item)
            raise
        pool.stock = Stock(size, pool.cpus, own[0])
        if stock is not None:
            # What was laid by before serves again; what is too much of it goes back.
            for n, (zone, queue) in enumerate(_origins(stock, pool)):
                while (item := queue.remove()) is not None:
                    if zone is own[n] and len(fresh[n]) < counts[n]:
                        fresh[n].append(item)
                    else:
                        zone.receive(item)
        for zone, items in zip((pool.stock.zones.mbuf, pool.stock.zones.clust), fresh, strict=True):
            for item in items:
                zone.receive(item)

    def start(self) -> None:
        """Put the reserve's zones in force. See debugnet_mbuf_start."""
        pool = self._pool
        if pool.stock is None:
            raise Inval("reserve: nothing was laid by: call reinit first")
        self._idle("start")
        _log.info("debugnet: overwriting mbuf zone pointers")
        own, zones = pool.zones, pool.stock.zones
        for zone in (zones.mbuf, zones.clust):
            zone.divert(None)
        own.mbuf.divert(zones.mbuf)
        own.pack.divert(zones.pack)
        # One of another size would be too small for whoever gets it next, or a waste.
        own.of_size(pool.stock.clsize).divert(zones.clust)
        pool.saved = own
        pool.enforce(zones)

    def finish(self) -> None:
        """Put the pool's own zones in force again. See debugnet_mbuf_finish."""
        pool = self._pool
        own, stock = pool.saved, pool.stock
        if own is None or stock is None:
            raise Inval("reserve: it is not in force: call start first")
        _log.info("debugnet: restoring mbuf zone pointers")
        for zone in (own.mbuf, own.pack, own.of_size(stock.clsize)):
            zone.divert(None)
        # What is still out goes to where it came from in the beginning.
        stock.zones.mbuf.divert(own.mbuf)
        stock.zones.clust.divert(own.of_size(stock.clsize))
        pool.saved = None
        pool.enforce(own)

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
        self._idle("drain")
        pool = self._pool
        stock, pool.stock = pool.stock, None
        if stock is not None:
            for zone, queue in _origins(stock, pool):
                while (item := queue.remove()) is not None:
                    zone.receive(item)

    def _idle(self, verb: str) -> None:
        if self.started:
            raise Busy(f"reserve: {verb} while it is in force: call finish first")


def _origins(stock: Stock, pool: Pool) -> tuple[tuple[Zone, Queue], ...]:
    """Where what was laid by belongs."""
    return (pool.zones.mbuf, stock.mbufs), (pool.zones.of_size(stock.clsize), stock.clusters)
