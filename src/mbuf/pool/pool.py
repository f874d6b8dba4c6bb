"""The subsystem, as an instance: limits, zones, events, from beginning to end.

Changes limits and which zones are in force. Never touches bytes; there is no default pool.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from sys import is_finalizing
from types import MappingProxyType

from mbuf.errors import TunableWarning
from mbuf.pool.audit import PoolAudit, audit
from mbuf.pool.awaited import Awaited
from mbuf.pool.drains import Drains
from mbuf.pool.limits import USE_EXT_PGS, ZONE_WARNINGS, Limits
from mbuf.pool.lowmem import MemoryWatch
from mbuf.pool.paged import Paged
from mbuf.pool.probes import MbufProbes
from mbuf.pool.reclaim import Reclaim
from mbuf.pool.remarks import remarks, switch
from mbuf.pool.reserve import Reserve
from mbuf.pool.stat import PoolStat
from mbuf.pool.stock import Stock
from mbuf.pool.sysctl import Sysctl
from mbuf.pool.zones import Zones, boot
from mbuf.uma.cpu import Cpus
from mbuf.uma.limit import Warnings
from mbuf.uma.pages import Pages
from mbuf.uma.trash import TrashZone
from mbuf.vm.event import Event
from mbuf.vm.page import compiled
from mbuf.vm.sfbuf import NSFBUFS, SfBufs
from mbuf.vm.vm import Vm


class Pool(Awaited):
    """Network buffers, as many as its limits allow, and no more.

    `Pool()` has the memory of this machine (or of its control group) and the kernel's default limits.
    `vm` sets the memory, `tunables` any of kern.ipc.nmbclusters, nmbufs, ... (numbers, or texts as in
    loader.conf): those that contradict each other are refused, and odd ones warned of, but with `strict=False`
    they do what they do to the kernel. `ncpu` is the number of caches. `debug` checks for writes to freed
    memory and remembers who asked for what; `caching=False` keeps nothing in caches, as the kernel when it is
    short of pages. With `worker=False` drains run only when `reclaim.run()` is called. `max_linkhdr` and
    `max_protohdr` are the bytes of the largest headers that packets get, for which verbs leave room and gather
    bytes; `nsfbufs` is how many pages of files may be mapped at once.

    Close it with `close`, or use it in a `with` statement. Any thread may use it.
    """

    __slots__ = (
        "alive",
        "changes",
        "cpus",
        "debug",
        "limits",
        "mb_use_ext_pgs",
        "reclaim",
        "saved",
        "stock",
        "vm",
        "warnings",
        "_source",
    )

    def __init__(
        self,
        vm: Vm | None = None,
        tunables: Mapping[str, int | str] = MappingProxyType({}),
        ncpu: int = 1,
        debug: bool = False,
        caching: bool = True,
        worker: bool = True,
        max_linkhdr: int = 16,
        max_protohdr: int = 60,
        nsfbufs: int = NSFBUFS,
        strict: bool = True,
    ) -> None:
        vm = Vm.host() if vm is None else vm
        self.debug: bool = debug
        self.limits: Limits = Limits.plan(vm.realmem, tunables)
        for said in remarks(tunables, vm.realmem, self.limits) if strict else ():
            warnings.warn(said, TunableWarning, stacklevel=1 if compiled() else 2)
        self.cpus = Cpus(ncpu)
        zones = boot(vm, self.limits, self.cpus, caching, debug)
        probes = MbufProbes()
        for zone in zones.all():
            zone.probes = probes
        pages = Pages(vm)
        Awaited.__init__(self, zones, pages, SfBufs(nsfbufs), max_linkhdr, max_protohdr)
        self.vm = vm
        # What mbufs ask for more. They don't refer to the pool itself, so that it closes when it is dropped.
        self._source = Paged(zones, pages, max_linkhdr, max_protohdr)
        self._source.tags = self.tags
        self._loose.source, self._loose.probes = self._source, probes
        self.reclaim = Reclaim(vm, self.zones, by_hand=not worker)
        #: Invoked after a sysctl has raised a limit. See nmbclusters_change.
        self.changes = MappingProxyType({"kern.ipc.nmbclusters": Event(), "kern.ipc.nmbufs": Event()})
        #: Whether and how often zones at their limit are logged.
        self.warnings = Warnings()
        self.warnings.on = switch(tunables, ZONE_WARNINGS, 1)
        for zone in self.zones.all():
            zone.limiter.warnings = self.warnings
            zone.source = self._source
            zone.limiter.ring = self.reclaim.bell(zone.name)
        #: A switch for those who send files: nothing here reads it, nor does the kernel's allocator.
        self.mb_use_ext_pgs = switch(tunables, USE_EXT_PGS, 0) != 0
        #: What the reserve holds, and the pool's own zones while those of the reserve are in force.
        self.stock: Stock | None = None
        self.saved: Zones | None = None
        self.alive = True

    @property
    def own(self) -> Zones:
        """The pool's zones, whichever are in force."""
        zones: Zones = self.zones if self.saved is None else self.saved
        return zones

    def enforce(self, zones: Zones) -> None:
        """Have everything allocated from these zones."""
        self.zones = self._source.zones = zones

    @property
    def reserve(self) -> Reserve:
        """Mbufs and clusters laid by for bad times. See debugnet_mbuf_reinit."""
        return Reserve(self)

    @property
    def closed(self) -> bool:
        """True when nothing is handed out any more."""
        return not self.alive

    @property
    def sysctl(self) -> Sysctl:
        """Limits and numbers by the kernel's names: `pool.sysctl["kern.ipc.nmbclusters"]`."""
        return Sysctl(self)

    @property
    def drains(self) -> Drains:
        """What is called when a limit is hit or memory is low: `pool.drains.register(fn, name)`. See pr_drain."""
        return self.reclaim.drains

    def watch_memory(self) -> MemoryWatch:
        """Within it, drains run and caches are trimmed when Linux says that memory is short.

        In a `with` statement from a thread of its own, in an `async with` by the event loop.
        """
        return MemoryWatch(self.vm)

    @contextmanager
    def cpu(self, number: int) -> Iterator[None]:
        """Within it, the calling thread uses the caches of CPU `number`."""
        before = self.cpus.move(number)
        try:
            yield
        finally:
            self.cpus.move(before)

    def drain(self) -> None:
        """Give all free items back to the operating system, those in the caches of all CPUs too."""
        self.reclaim.drain()

    def stat(self) -> PoolStat:
        """All numbers of all zones, for printers and reports."""
        zones = self.own
        return PoolStat(
            mbuf=zones.mbuf.stat(),
            clust=zones.clust.stat(),
            pack=zones.pack.stat(),
            jumbop=zones.jumbop.stat(),
            jumbo9=zones.jumbo9.stat(),
            jumbo16=zones.jumbo16.stat(),
            drops=self._source._drops,
            tag_bytes=self.tags.bytes,
            pages_used=self.vm.used,
            pages_total=self.vm.pages,
            sfbufs_denied=self.sfbufs.fails,
        )

    @property
    def out(self) -> int:
        """Mbufs handed out, with or without cluster."""
        # Together: the mbuf of a packet may have come back as one, through the reserve.
        return self.own.mbuf.balance + self.own.pack.balance

    def audit(self, cycles: bool = False) -> PoolAudit:
        """Compare all that the pool knows of its memory; raises `Corrupt`, naming the first contradiction.

        Call it while no other call of the pool is under way. Returns where everything is. With `cycles`, mbufs are
        looked for that hold themselves through a tag's value, an interface or lent memory: nobody collects those.
        That takes a while.
        """
        return audit(self, cycles)

    def sites(self) -> Counter[str]:
        """Where the mbufs that are out were asked for, and how many there; known in a debug pool only."""
        zones = (self.own.mbuf, self.own.pack)
        return sum((zone.sites() for zone in zones if isinstance(zone, TrashZone)), Counter())

    def close(self) -> int:
        """Hand out no more, and give all free memory back; returns how many mbufs are still out.

        Those stay what they are until they are freed. If there are any, a `ResourceWarning` says so.
        """
        if self.closed:
            return self.out
        self.alive = False
        if self.reserve.started:
            self.reserve.finish()
        self.reserve.drain()
        self.reclaim.close()
        for zone in self.zones.all():
            zone.close()
        self.pages.close()
        self._loose.source = None
        self.probes.silence()
        if self.out:
            places = "".join(f"\n  {count} from {site}" for site, count in self.sites().most_common(10))
            warnings.warn(f"pool closed with {self.out} mbufs still out{places}", ResourceWarning, stacklevel=2)
        return self.out

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Items that are cached refer to their zone, and it to them.
        # One that was never whole has nothing to close, and the end of the program closes all.
        if getattr(self, "alive", False) and is_finalizing is not None and not is_finalizing():
            self.close()
