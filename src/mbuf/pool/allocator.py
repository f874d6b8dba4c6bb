"""mbuf(9)'s allocation calls: they take items from the zones in force and make mbufs of them.

Arguments are checked numbers here. A call that fails gives back what it took; only counters of failures change. A
probe fires once the mbuf is complete. No bytes are read or written.

A call may wait, and may run drains and listeners of probes, which can free or change what the call was given. So it
checks its arguments again after that.

When a zone denies a request, other CPUs may cache what its limit is short of. If the pool has several CPUs and the
request may not wait, their caches are drained and the zone is asked once more (`_from_others`); then the request is
refused (`refusal`). In a pool with a budget, a request that may wait does so in `waiting`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import (
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    MCLBYTES,
    MHLEN,
    MJUMPAGESIZE,
    MLEN,
    UMA_RECLAIM_DRAIN,
    UMA_RECLAIM_DRAIN_CPU,
)
from mbuf.errors import Inval, MbufError, NoBufs, NoMemory, at_limit
from mbuf.kinds import CLUSTER
from mbuf.packet.cluster import Cluster
from mbuf.packet.ext import Storage
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.nofree import NoFree
from mbuf.packet.segment import LIVE
from mbuf.packet.source import Source
from mbuf.pool import extpg, waiting
from mbuf.pool.validate import at_least
from mbuf.uma.trash import TrashZone
from mbuf.vm.warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.pool.zones import Zones
    from mbuf.uma.item import Item
    from mbuf.uma.pages import Pages
    from mbuf.uma.zone import Zone
    from mbuf.vm.sfbuf import SfBufs
else:
    from mbuf.shadow import cython


class Allocator(Source):
    """The source of mbufs for the methods of a pool and, as their `Source`, for the methods of mbufs.

    A pool has one. It does not refer to the pool, so a pool that is dropped closes, and its mbufs stay valid.
    """

    __slots__ = ("budget", "drops", "nofree", "pages", "probes", "refused", "several", "sfbufs", "zones")

    def __init__(
        self, zones: Zones, pages: Pages, sfbufs: SfBufs, max_linkhdr: int = 16, max_protohdr: int = 60
    ) -> None:
        Source.__init__(self, max_linkhdr, max_protohdr)
        self.supply(pages, sfbufs)
        self.enforce(zones)
        #: The memory that the zones share; None in a pool with FreeBSD's limits.
        self.budget: Any = None
        #: The probes that fire when mbufs are allocated and freed.
        self.probes = zones.mbuf.probes
        #: True if there are several CPUs, or a budget with limits: an item may be in a cache that this CPU doesn't use.
        self.several = zones.mbuf.cpus.count > 1
        #: What takes mbufs with M_NOFREE back.
        self.nofree = NoFree()
        self.nofree.probes = self.probes
        #: Mbufs that were dropped and not freed; requests that were refused.
        self.drops = 0
        self.refused = 0

    def enforce(self, zones: Zones) -> None:
        """Put zones in force: every allocation from now on takes from them."""
        if zones is None or None in zones.all():
            raise TypeError("enforce: give zones, as a pool has them")
        self.zones = zones

    def supply(self, pages: Pages, sfbufs: SfBufs) -> None:
        """Take single pages, and mappings of pages of files, from these from now on."""
        if pages is None:
            raise TypeError("supply: give a supply of pages")
        self.pages = pages
        self.sfbufs = sfbufs

    # As a source.

    def get(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """See `Source`."""
        ready(self)
        return get(self, how, type, flags, deadline)

    def get_row(self, n: int, how: int, type: int, deadline: float | None) -> Mbuf:
        """See `Source`."""
        return row(self, n, how, type, deadline)

    def getcl(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """See `Source`."""
        ready(self)
        return getcl(self, how, type, flags, deadline)

    def alloc_ext_pgs(self, how: int, free: Callable[[Mbuf], object] | None, arg1: Any, deadline: float | None) -> Mbuf:
        """See `Source`."""
        return extpg.alloc_ext_pgs(self, self.pages, how, free, arg1, deadline)

    def alloc_ext_plus_pages(self, size: int, how: int, deadline: float | None) -> Mbuf:
        """See `Source`."""
        return extpg.alloc_ext_plus_pages(self, self.pages, size, how, deadline)

    def dropped(self, item: Item) -> None:
        """Count an mbuf that was dropped, not freed; in a debug pool, warn and name the place of its allocation."""
        if item is None:
            raise Inval("dropped: there is no item")
        self.drops += 1
        zone = item.zone
        if isinstance(zone, TrashZone):
            warn(f"an mbuf from {zone.site(item)} was dropped, not freed", ResourceWarning)


if not cython.compiled:
    from mbuf.packet.chain import attach, free_chain, link, release_now
    from mbuf.packet.cluster import cluster
    from mbuf.packet.mbuf import stand_in, wrap_item, wrap_packet
    from mbuf.packet.segment import check_mutable
    from mbuf.uma.item import free_item
    from mbuf.uma.zone import cached_item
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases

    def ready(a: Allocator) -> None:
        """Refuse anything but an allocator whose `__init__` has run."""
        if a is None or getattr(a, "zones", None) is None:
            _unmade()


def _unmade() -> None:
    raise Inval("this pool was never made: call Pool(...), and in a subclass super().__init__(...) first")


# One mbuf.


def get(a: Allocator, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """An mbuf without a cluster. See m_get and m_gethdr."""
    # That of a pool is whole: no more to check.
    if a is None:
        _unmade()
    if a.probes.on:
        return _get_probed(a, how, type, flags, deadline)
    item = cached_item(a.zones.mbuf)
    if item is None:
        item = _item(a, a.zones.mbuf, how, deadline)
    return wrap_item(item, type, flags)


def getcl(a: Allocator, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """An mbuf with a cluster of 2048 bytes, from the packet zone. See m_getcl."""
    # That of a pool is whole: no more to check.
    if a is None:
        _unmade()
    if a.probes.on:
        return _getcl_probed(a, how, type, flags, deadline)
    item = cached_item(a.zones.pack)
    if item is None:
        item = _item(a, a.zones.pack, how, deadline)
    return wrap_packet(item, type, flags)


def getjcl(a: Allocator, how: int, type: int, flags: int, size: int, deadline: float | None) -> Mbuf:
    """An mbuf with a cluster of that size. See m_getjcl."""
    ready(a)
    if is_packet(size):
        return getcl(a, how, type, flags, deadline)
    return jumbo(a, a.zones.of_size(size), how, type, flags, deadline)


def is_packet(size: int) -> bool:
    """True if mbufs with clusters of that size come from the packet zone, with their cluster."""
    return size == MCLBYTES


def jumbo(a: Allocator, zone: Zone, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """An mbuf with a cluster of that zone; fires its probe."""
    ready(a)
    if zone is None:
        raise TypeError("jumbo: give a zone")
    m = _with_cluster(a, zone, how, type, flags, deadline)
    if a.probes.on:
        fire(a, "m-getjcl", m, how, type, flags, zone.size, m)
    return m


def get2(a: Allocator, size: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """The smallest mbuf that holds `size` bytes. See m_get2."""
    ready(a)
    if size > MJUMPAGESIZE:
        raise Inval(f"get2: one mbuf holds at most {MJUMPAGESIZE} bytes, not {size}: use getm2 or getjcl")
    if size <= MHLEN or (size <= MLEN and not flags & M_PKTHDR):
        return fire_init(a, _plain(a, how, type, flags, deadline), how, type, flags)
    if size <= MCLBYTES:
        return fire_init(a, wrap_packet(_item(a, a.zones.pack, how, deadline), type, flags), how, type, flags)
    return _with_cluster(a, a.zones.jumbop, how, type, flags, deadline)


def wait_for_get2(a: Allocator, size: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`get2` of more than a packet holds, in a pool with a budget: waits for memory for both, mbuf and cluster."""

    def ask(how: int) -> Mbuf:
        return get2(a, size, how, type, flags, deadline)

    got: Mbuf = waiting.call(a, ((a.zones.mbuf, 1), (a.zones.jumbop, 1)), ask, deadline)
    return got


def row(a: Allocator, count: int, how: int, type: int, deadline: float | None) -> Mbuf:
    """A chain of `count` mbufs, or an exception and no mbuf."""
    ready(a)
    at_least(1, count, "get_row")
    first: Mbuf = cython.cast(Mbuf, None)
    try:
        for _ in range(count):
            item = None if a.probes.on else cached_item(a.zones.mbuf)
            m = get(a, how, type, 0, deadline) if item is None else wrap_item(item, type, 0)
            if first is not None:
                link(m, first)
            first = m
    except BaseException:
        free_chain(first)
        run_releases()
        raise
    return first


# Clusters for existing mbufs.


def clget(a: Allocator, m: Mbuf, how: int, deadline: float | None) -> Mbuf:
    """Attach a cluster of 2048 bytes. See m_clget."""
    ready(a)
    attachable(m)
    zone = a.zones.clust
    item = zone.alloc(how, deadline)
    if item is None and how == M_NOWAIT:
        a.zones.pack.reclaim(UMA_RECLAIM_DRAIN)
        item = zone.alloc(how, None)
        if item is None and a.several:
            item = _from_others(zone)
    elif item is None and a.budget is not None:
        item = waiting.item(a, zone, deadline)
    if item is not None:
        _attach(m, item)
    if a.probes.on:
        a.probes.fire("m-clget", m, how)
    if item is None:
        raise refusal(a, zone)
    return m


def cljget(a: Allocator, m: Mbuf | None, size: int, how: int, deadline: float | None) -> Mbuf | Cluster:
    """Attach a cluster of that size; without an mbuf, return the cluster. See m_cljget."""
    ready(a)
    if m is not None:
        attachable(m)
    zone = a.zones.of_size(size)
    got: Any = None
    try:
        item = _item(a, zone, how, deadline)
        if m is None:
            got = cluster(cython.cast(Storage, item))
        else:
            _attach(m, item)
            got = m
    finally:
        if a.probes.on:
            a.probes.fire("m-cljget", m, how, zone.size, got)
    result: Mbuf | Cluster = got
    return result


def attachable(m: Mbuf) -> None:
    """Refuse an mbuf that has external storage or was freed, and None."""
    if m is None:
        raise Inval("clget: give an mbuf to attach a cluster to")
    check_mutable(m)
    if m.bits & M_EXT:
        raise Inval("this mbuf has external storage already")


# Steps of these.


def fire_init(a: Allocator, m: Mbuf, how: int, type: int, flags: int) -> Mbuf:
    """Fire m-init for a new mbuf, and return it."""
    if a.probes.on:
        fire(a, "m-init", m, m, how, type, flags, 0)
    return m


def fire(a: Allocator, name: str, m: Mbuf | None, *args: Any) -> None:
    """Fire a probe of an allocation. If a listener ends the program, free the mbuf, which no caller has yet.

    Listeners get a stand-in for the mbuf, which they can only read, and only until they return: the method that asked
    for the mbuf goes on with it, and no other code can have changed it.
    """
    seen = cython.cast(Mbuf, None)
    try:
        shown: list[Any] = list(args)
        if m is not None:
            mine: Mbuf = cython.cast(Mbuf, m)
            seen = stand_in(mine.item, mine.buf, mine.off, mine.kind, mine.bits)
            shown[args.index(m)] = seen
        a.probes.fire(name, *shown)
    except BaseException:
        free_chain(m)
        run_releases()
        raise
    finally:
        if seen is not None:
            seen.alive = 0


def _plain(a: Allocator, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """An mbuf without a cluster; fires no probe."""
    return wrap_item(_item(a, a.zones.mbuf, how, deadline), type, flags)


def _get_probed(a: Allocator, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`get` with probes, which fire also when there is no mbuf."""
    m = cython.cast(Mbuf, None)
    try:
        m = fire_init(a, _plain(a, how, type, flags, deadline), how, type, flags)
    finally:
        fire(a, "m-gethdr" if flags & M_PKTHDR else "m-get", m, how, type, m)
    return m


def _getcl_probed(a: Allocator, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`getcl` with probes, which fire also when there is no mbuf."""
    m = cython.cast(Mbuf, None)
    try:
        m = fire_init(a, wrap_packet(_item(a, a.zones.pack, how, deadline), type, flags), how, type, flags)
    finally:
        fire(a, "m-getcl", m, how, type, flags, m)
    return m


def _item(a: Allocator, zone: Zone, how: int, deadline: float | None) -> Item:
    item = zone.alloc(how, deadline)
    if item is None:
        item = second_try(a, zone, how, deadline)
    return item


def _with_cluster(a: Allocator, zone: Zone, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """An mbuf with a cluster of that zone.

    Without a cluster the mbuf is freed without a probe, as in the kernel.
    """
    m = fire_init(a, _plain(a, how, type, flags, deadline), how, type, flags)
    try:
        item = _item(a, zone, how, deadline)
    except BaseException:
        enter_commit()
        release_now(m)
        leave_commit()
        raise
    _attach(m, item)
    return m


def _attach(m: Mbuf, item: Item) -> None:
    """Attach a cluster to an mbuf; if that was freed or got storage meanwhile, give the cluster back and raise."""
    storage = cython.cast(Storage, item)
    enter_commit()
    fits = m.alive == LIVE and not m.bits & M_EXT
    if fits:
        storage.init_cluster()
        attach(m, storage)
    else:
        free_item(storage)
    leave_commit()
    if not fits:
        attachable(m)


# After a zone has denied a request.


def second_try(a: Allocator, zone: Zone, how: int, deadline: float | None) -> Item:
    """An item of a zone that has denied a request, if one can be freed or waited for; else raises the refusal."""
    if zone is None:
        raise TypeError("second_try: give a zone")
    item: Any = None
    if how == M_NOWAIT:
        item = _from_others(zone) if a.several else None
    elif a.budget is not None:
        item = waiting.item(a, zone, deadline)
    if item is None:
        raise refusal(a, zone)
    return item  # type: ignore[no-any-return]


def _from_others(zone: Zone) -> Item | None:
    """Drain the caches of all CPUs of the zone that is at its limit, and ask the zone once more."""
    denier: Zone = zone.wait_target()[0]
    zones = (denier,) if denier.feeds is None else (denier.feeds, denier)
    cached = 0
    for each in zones:
        cached += each.cached
    if not denier.limiter.reached or not cached:
        return None
    for each in zones:
        each.reclaim(UMA_RECLAIM_DRAIN_CPU)
    return zone.alloc(M_NOWAIT, None)


def refusal(a: Allocator, zone: Zone) -> MbufError:
    """Count a request that a zone has denied, and return the error to raise."""
    ready(a)
    if zone is None:
        raise TypeError("refusal: give a zone")
    a.refused += 1
    error = zone.denied()
    if isinstance(error, NoBufs) and error.zone == CLUSTER.zone and a.zones.pack.cached:
        # In the numbers of the cluster zone, clusters of cached packets are in use.
        packed = a.zones.pack.cached
        error = at_limit(error.zone, error.limit, error.used - packed, error.cached + packed, error.sysctl, packed)
    # Of a limit, its zone has warned already. A zone of a test may have none.
    limiter: Any = getattr(zone, "limiter", None) if isinstance(error, NoMemory) else None
    if limiter is not None:
        limiter.warnings.no_memory(error, limiter.clock())
    run_releases()
    return error
