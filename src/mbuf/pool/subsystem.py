"""What a pool is made of: memory, limits, zones, the allocator, the reserve, events.

`Pool` shows it to the user. What lives longer than the pool, or is made once for it (its sysctl tree), refers to
this. Nothing in here refers to the pool, so that a pool closes when the last reference to it is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE
from mbuf.kinds import CLUSTER, KINDS, MBUF
from mbuf.packet.sndtag import SndTags
from mbuf.packet.source import set_source
from mbuf.pool.allocator import Allocator
from mbuf.pool.limits import USE_EXT_PGS, ZONE_WARNINGS, Limits, Memory
from mbuf.pool.probes import MbufProbes
from mbuf.pool.reclaim import MEMORY, Reclaim
from mbuf.pool.reserve import Reserve
from mbuf.pool.shortage import Shortage
from mbuf.pool.tunable_checks import switch
from mbuf.pool.zones import boot
from mbuf.uma.budget import Budget
from mbuf.uma.cpu import Cpus
from mbuf.uma.limit import Warnings, nothing
from mbuf.uma.pages import Pages
from mbuf.uma.refill import forked
from mbuf.uma.trash import TrashZone
from mbuf.vm.event import Event
from mbuf.vm.fork import FORK
from mbuf.vm.sfbuf import SfBufs

if TYPE_CHECKING:
    from mbuf.pool.publish import StatPage
    from mbuf.pool.sizing import Sizing
    from mbuf.pool.stat import PoolStat
    from mbuf.pool.zones import Zones
    from mbuf.vm.vm import Vm


#: One mbuf may be cached for so many pages of a budget.
_CACHED_MBUFS = 16


@cache
def pool_stat_class() -> type[PoolStat]:
    """The class `PoolStat`, which the first pool loads: see `ext_class`."""
    from mbuf.pool.stat import PoolStat

    return PoolStat


class Subsystem:
    """All parts of a pool, connected. See mbuf_init."""

    __slots__ = (
        "__weakref__",
        "_closed",
        "alive",
        "allocator",
        "budget",
        "changes",
        "cpus",
        "debug",
        "limits",
        "mb_use_ext_pgs",
        "memory",
        "published",
        "quotas",
        "reclaim",
        "own",
        "reserve",
        "snd_tags",
        "vm",
        "warnings",
    )

    def __init__(
        self,
        vm: Vm,
        sizing: Sizing,
        tunables: Mapping[str, int | str],
        ncpu: int,
        debug: bool,
        caching: bool,
        worker: bool,
        max_linkhdr: int,
        max_protohdr: int,
        nsfbufs: int,
    ) -> None:
        self.vm = vm
        self.memory: Memory = sizing.memory
        self.limits: Limits = sizing.limits
        self.debug = debug
        self.cpus = Cpus(ncpu)
        windows = SfBufs(nsfbufs)
        most = sizing.most if sizing.budget else {kind.attr: sizing.limits.of(kind) for kind in KINDS}
        zones = boot(vm, most, self.cpus, caching, debug, not sizing.budget)
        probes = MbufProbes()
        for zone in zones.all():
            zone.probes = probes
        #: The pool's own zones, also while the reserve, or a test, has others in force.
        self.own: Zones = zones
        self.allocator: Allocator = Allocator(zones, Pages(vm), windows, max_linkhdr, max_protohdr)
        #: The memory that all zones share; None in a pool with FreeBSD's limits.
        self.budget: Budget | None = _budget(vm, self.allocator, sizing.reserved) if sizing.budget else None
        self.reserve = Reserve(self.allocator, self.cpus)
        self.snd_tags = SndTags()
        #: Invoked after a sysctl has raised a limit. See nmbclusters_change.
        self.changes = MappingProxyType({kind.sysctl: Event() for kind in (CLUSTER, MBUF)})
        #: Whether and how often zones at their limit are logged.
        self.warnings = Warnings()
        self.warnings.on = switch(tunables, ZONE_WARNINGS, 1)
        #: The value of kern.ipc.mb_use_ext_pgs, for code that sends files; as in the kernel, no allocation reads it.
        self.mb_use_ext_pgs = switch(tunables, USE_EXT_PGS, 0) != 0
        self.reclaim = Reclaim(vm, zones, by_hand=not worker, shared=sizing.budget)
        set_source(self.allocator.nofree, self.allocator)
        for zone in zones.all():
            zone.limiter.warnings = self.warnings
            set_source(zone, self.allocator)
            zone.limiter.on_limit = self.reclaim.trigger_for(zone.name)
        #: What the connections of each event loop share. See `mbuf.net.quota.Quota.of`.
        self.quotas: dict[Any, Any] = {}
        if self.budget is not None:
            self.budget.on_shortage = self.reclaim.trigger_for(MEMORY)
        #: The pages in which other processes read the pool's numbers.
        self.published: tuple[StatPage, ...] = ()
        #: True until closing has begun.
        self.alive = True
        self._closed = False
        FORK.call_in_child(self._forked)

    @property
    def out(self) -> int:
        """Mbufs that are out, with or without a cluster."""
        own = self.own
        # The sum: through the reserve, the mbuf of a packet may have been freed to the mbuf zone.
        return own.mbuf.balance + own.pack.balance

    @property
    def held_bytes(self) -> int:
        """Bytes of the pages that the zones have, and of unmapped pages that are out."""
        pages = sum(zone.backend.pages for zone in self.own.all() if zone.primary) + self.allocator.pages.keg.pages
        return pages * PAGE_SIZE

    def sites(self) -> Counter[str]:
        """How many mbufs of each place of allocation are out; empty unless the pool was made with `debug`."""
        zones = (self.own.mbuf, self.own.pack)
        return sum((zone.sites() for zone in zones if isinstance(zone, TrashZone)), Counter())

    def stat(self) -> PoolStat:
        """A snapshot of all numbers."""
        own, allocator = self.own, self.allocator
        return pool_stat_class()(
            zones=tuple([zone.stat() for zone in own.all()]),
            drops=allocator.drops,
            tag_bytes=allocator.tags.bytes,
            pages_used=self.vm.used,
            pages_total=self.vm.pages,
            sfbufs_denied=allocator.sfbufs.fails,
            refused=allocator.refused,
            waiting=0 if self.budget is None else self.budget.waiting,
            waits=0 if self.budget is None else self.budget.waits,
        )

    def _forked(self) -> None:
        """In the child of a fork: the other threads, which waited or ran drains, do not exist here."""
        self.reclaim.forked()
        for page in self.published:
            page.forked()
        self.published = ()
        in_force = self.allocator.zones.all() if self.reserve.started else ()
        for zone in {*self.own.all(), *in_force}:
            forked(zone)
            zone.backend.forked()
        self.allocator.pages.keg.forked()
        if self.budget is not None:
            self.budget.forked()

    def close(self) -> bool:
        """Allocate nothing from now on, and give all free memory back; false if that was done before.

        If it is interrupted, the next call finishes it.
        """
        if self._closed:
            return False
        self.alive = False
        for page in self.published:
            page.close()
        if self.reserve.started:
            self.reserve.finish()
        self.reserve.drain()
        self.reclaim.close()
        for zone in self.own.all():
            zone.close()
        self.allocator.pages.close()
        if self.budget is not None:
            self.budget.close()
        set_source(self.allocator.nofree, None)
        self.allocator.probes.silence()
        self._closed = True
        return True


def _budget(vm: Vm, allocator: Allocator, reserved: Mapping[str, int]) -> Budget:
    """Have all kegs of a pool share its memory, of which some bytes are reserved for some kinds."""
    zones, pages = allocator.zones, allocator.pages
    shortage = Shortage(zones, pages)
    budget = shortage.budget = Budget(vm, shortage, nothing)
    budget.zones = zones.all()
    kegs = {kind.attr: getattr(zones, kind.attr).backend for kind in KINDS}
    for keg in (*kegs.values(), pages.keg):
        keg.join(budget)
        for name, size in reserved.items():
            # A cluster is of no use without an mbuf.
            if keg in (kegs[name], kegs[MBUF.attr]):
                keg.favoured = True
            else:
                keg.kept += -(-size // PAGE_SIZE)
    if not zones.mbuf.limit:
        # Cached mbufs are scattered over slabs, and keep their pages when they are used with clusters of other kinds.
        zones.mbuf.depot.set_maxcache(max(vm.pages // _CACHED_MBUFS, 1), zones.mbuf.cpus.count)
    if any(zone.limit for zone in zones.all()):
        allocator.several = True
    allocator.budget = budget
    return budget
