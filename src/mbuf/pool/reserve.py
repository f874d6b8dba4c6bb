"""Mbufs and clusters set aside for when memory is out: the kernel's debugnet reserve.

`reinit` allocates them from the pool's own zones and puts them into two queues (`stock`). While the reserve is in
force, these zones serve every request:

    own zones         mbuf    pack    clust (of clsize)      the other zones of clusters
                       |       |        |
    freed items        v       v        v                    unchanged
    reserve's zones   mbuf    pack    clust                  (all of them are clust)

- The allocator takes from the reserve's zones (`Allocator.enforce`). They have no caches, and their backends are the
  queues. They never wait: an empty queue raises `NoBufs`, whatever `how` says.
- Items that the own zones handed out before are diverted when they are freed (`Zone.divert`), so that they become
  part of the reserve. A packet is taken apart. A cluster of another size goes back to its own zone.
- `finish` puts the own zones in force again. Items that the reserve's zones handed out are diverted to the own zones
  when they are freed. Items in the queues stay there until `drain` or the next `reinit`.

An item can thus be freed to another zone than the one that handed it out (`Zone.receive`). As in the kernel, the
numbers of one zone then show more frees than allocations, and those of the other fewer; their sum is right.

A method that changes the reserve sets `_changing`, and raises `Busy` if it is set: a free routine, a log handler or
another thread can call a method in the middle of another. `reinit` may wait, so it checks again, after it has
allocated all it needs, that the reserve is the one it began with; only then it changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import sub
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.allocator import Allocator
    from mbuf.pool.stock import Queue
    from mbuf.pool.zones import Zones
    from mbuf.uma.cpu import Cpus
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MT_DATA, UMA_RECLAIM_DRAIN_CPU
from mbuf.errors import Busy, Inval
from mbuf.packet.source import until
from mbuf.pool import allocator
from mbuf.pool.stock import Stock
from mbuf.pool.validate import validate
from mbuf.vm.ints import INT_MAX, integer
from mbuf.vm.log_errors import log

if not cython.compiled:
    from mbuf.vm.commit import check_latch, run_releases


class Reserve:
    """`pool.reserve`: mbufs and clusters that are set aside, to send a last report when memory is out. See debugnet(4).

    `reinit` sets them aside. Between `start` and `finish`, every allocation of the pool takes from them alone, and
    what is freed is added to them.
    """

    __slots__ = ("_allocator", "_changing", "_cpus", "_own", "_stock")

    def __init__(self, source: Allocator, cpus: Cpus) -> None:
        self._allocator = source
        self._cpus = cpus
        # The pool's own zones, and what is set aside.
        self._own: Zones = source.zones
        self._stock: Stock | None = None
        # True while a method changes the reserve.
        self._changing = False

    def __reduce__(self) -> Any:
        raise TypeError("a reserve can't be copied: a pool has one")

    @property
    def own(self) -> Zones:
        """The pool's own zones, also while the reserve is in force."""
        return self._own if self.started else self._allocator.zones

    @property
    def started(self) -> bool:
        """True while the reserve is in force."""
        return self._stock is not None and self._stock.started

    @property
    def zones(self) -> Zones | None:
        """The zones of the reserve; None before `reinit`."""
        return None if self._stock is None else self._stock.zones

    @property
    def clsize(self) -> int:
        """Bytes of each cluster in the reserve; 0 before `reinit`."""
        return 0 if self._stock is None else self._stock.clsize

    @property
    def mbufs(self) -> int:
        """Mbufs in the reserve now."""
        return 0 if self._stock is None else self._stock.mbufs.free

    @property
    def clusters(self) -> int:
        """Clusters in the reserve now."""
        return 0 if self._stock is None else self._stock.clusters.free

    def reinit(
        self, nmbuf: int, nclust: int, clsize: int = MCLBYTES, how: int = M_NOWAIT, timeout: float | None = None
    ) -> None:
        """Set `nmbuf` mbufs and `nclust` clusters of `clsize` bytes aside, in place of what was set aside before.

        They count as in use in the pool's own zones. Raises `NoBufs` or `NoMemory` if there are too few, and `Busy`
        while the reserve is in force; then nothing has changed. See debugnet_mbuf_reinit, which does not report what
        it failed to allocate.
        """
        check_latch()
        counts = [integer(nmbuf, "nmbuf"), integer(nclust, "nclust")]
        size, wait = integer(clsize, "clsize"), integer(how, "how")
        validate(wait, MT_DATA, 0)
        deadline = until(wait, timeout)
        if not all(0 <= count <= INT_MAX for count in counts):
            raise Inval(f"reserve: {counts[0]} mbufs, {counts[1]} clusters: give 0 or more of each")
        try:
            self._reinit(counts, size, wait, deadline)
        finally:
            run_releases()

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
                        # Then clusters of cached packets are free.
                        drained = True
                        zones.pack.reclaim(UMA_RECLAIM_DRAIN_CPU)
                        item = zone.alloc(how, deadline)
                    if item is None:
                        item = allocator.second_try(self._allocator, zone, how, deadline)
                    items.append(item)
            # It may have waited.
            self._idle("reinit")
            if own[0].closed:
                raise Inval("reserve: this pool was closed meanwhile")
            if self._stock is not stock:
                raise Busy("reserve: another reinit or drain came while this one waited: call it again")
            self._begin("reinit")
        except BaseException:
            _free(own, fresh)
            raise
        try:
            self._exchange(stock, size, own, counts, fresh)
        finally:
            self._changing = False

    def _exchange(
        self, stock: Stock | None, size: int, own: tuple[Zone, Zone], counts: list[int], fresh: list[list[Any]]
    ) -> None:
        try:
            made = Stock(size, self._cpus, own[0])
        except BaseException:
            _free(own, fresh)
            raise
        zones = self._allocator.zones
        self._stock = made
        if stock is not None:
            # What was set aside before is used again, and the rest of it given back.
            for n, (zone, queue) in enumerate(_origins(stock, zones)):
                while (item := queue.remove()) is not None:
                    if zone is own[n] and len(fresh[n]) < counts[n]:
                        fresh[n].append(item)
                    else:
                        zone.receive(item)
        for zone, items in zip((made.zones.mbuf, made.zones.clust), fresh, strict=True):
            for item in items:
                zone.receive(item)

    def start(self) -> None:
        """Put the reserve in force. See debugnet_mbuf_start.

        Raises `Inval` before `reinit`, and `Busy` if it is in force already.
        """
        check_latch()
        if self._stock is None:
            raise Inval("reserve: nothing was set aside: call reinit first")
        self._idle("start")
        log("info", "the reserve is in force: mbufs come from it", logger="mbuf.pool")
        stock, own = self._stock, self._allocator.zones
        if stock is None or stock.started:
            raise Busy("reserve: the log's handler has changed it")
        self._begin("start")
        try:
            self._start(stock, own)
        finally:
            self._changing = False

    def _start(self, stock: Stock, own: Zones) -> None:
        for zone in (stock.zones.mbuf, stock.zones.clust):
            zone.divert(None)
        own.mbuf.divert(stock.zones.mbuf)
        own.pack.divert(stock.zones.pack)
        # Clusters of other sizes stay out of it: its zone has clusters of one size.
        own.of_size(stock.clsize).divert(stock.zones.clust)
        self._own = own
        stock.started = True
        self._allocator.enforce(stock.zones)

    def finish(self) -> None:
        """Put the pool's own zones in force again. See debugnet_mbuf_finish.

        Raises `Inval` if the reserve is not in force.
        """
        check_latch()
        if not self.started:
            raise Inval("reserve: it is not in force: call start first")
        log("info", "the reserve is not in force any more: mbufs come from the pool's own zones", logger="mbuf.pool")
        stock, own = self._stock, self._own
        if stock is None or not stock.started:
            raise Busy("reserve: the log's handler has changed it")
        self._begin("finish")
        try:
            self._finish(stock, own)
        finally:
            self._changing = False

    def _finish(self, stock: Stock, own: Zones) -> None:
        for zone in (own.mbuf, own.pack, own.of_size(stock.clsize)):
            zone.divert(None)
        # What is still out goes back to the own zones when it is freed.
        stock.zones.mbuf.divert(own.mbuf)
        stock.zones.clust.divert(own.of_size(stock.clsize))
        stock.started = False
        self._allocator.enforce(own)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Return a context in which the reserve is in force."""
        self.start()
        try:
            yield
        finally:
            self.finish()

    def drain(self) -> None:
        """Give all items of the reserve back to their zones. See debugnet_mbuf_drain.

        Raises `Busy` while the reserve is in force.
        """
        check_latch()
        self._idle("drain")
        stock = self._stock
        if stock is None:
            return
        self._begin("drain")
        try:
            for zone, queue in _origins(stock, self._allocator.zones):
                while (item := queue.remove()) is not None:
                    zone.receive(item)
            self._stock = None
        finally:
            self._changing = False
            run_releases()

    def _begin(self, verb: str) -> None:
        if self._changing:
            raise Busy(f"reserve: {verb} while another call changes it: call {verb} again after that")
        self._changing = True

    def _idle(self, verb: str) -> None:
        if self.started:
            raise Busy(f"reserve: {verb} while it is in force: call finish first")


def _free(zones: tuple[Zone, Zone], fresh: list[list[Any]]) -> None:
    """Free what a reinit that failed has allocated."""
    for zone, items in zip(zones, fresh, strict=True):
        for item in items:
            zone.free(item)


def _origins(stock: Stock, own: Zones) -> tuple[tuple[Zone, Queue], ...]:
    """Each queue, and the zone that its items go back to."""
    return (own.mbuf, stock.mbufs), (own.of_size(stock.clsize), stock.clusters)
