"""Checks that all records of a pool agree with each other: pages, items, buckets, counts, waiters and mappings.

Each structure checks itself: a zone its caches, depot and limit, a keg its slabs, and likewise the mappings of
files, the reserve, and the map of pages. This module compares what several of them record of the same thing:

    pages of the map            =  pages of all slabs  +  single pages
    items taken from a keg      =  those that its zones have handed out  +  those that they cache
    clusters handed out        >=  those of cached packets

It reads everything and changes nothing. An allocation in progress, in another thread or further up the stack, may
look like a contradiction. Python's garbage collector does not know mbufs, so a reference cycle through an mbuf is
never collected; such cycles are searched for on request only, since that reads every object of the program.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from mbuf.errors import Corrupt, MbufError
from mbuf.fielddocs import documented
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.tag import Tag
from mbuf.uma.audit import audit_budget, audit_keg, audit_zone

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool
    from mbuf.uma.zone import Zone

#: Objects to follow from an mbuf before a search for a circle is given up.
_MAX_STEPS = 20_000


@documented
@dataclass(frozen=True, slots=True)
class ZoneAudit:
    """Where the items of a zone are."""

    #: The zone's name.
    name: str
    #: Items that are out.
    out: int
    #: Free items in caches and in the depot.
    cached: int
    #: Free items in slabs; those of a keg that two zones share count in the first.
    free: int
    #: Items freed while a view of their bytes existed: they are out until the last view is released.
    held: int
    #: Items that count against the limit.
    charged: int
    #: Threads and tasks that wait at the limit.
    waiting: int


@documented
@dataclass(frozen=True, slots=True)
class PoolAudit:
    """What an audit finds in a pool whose records agree."""

    #: All zones, in the order of `pool.zones.all()`.
    zones: tuple[ZoneAudit, ...]
    #: Pages in slabs.
    slab_pages: int
    #: Single pages that are out.
    single_pages: int
    #: Pages of the Vm that are in use, also by other pools.
    vm_pages: int
    #: Pages that would be free if the items that are out were in as few slabs as possible.
    pinned: int
    #: Mappings of pages of files that are in use.
    windows: int
    #: Pages of files that are mapped, in use or not.
    mapped: int
    #: Mbufs and clusters in the reserve.
    reserved: tuple[int, int]
    #: Tags that are out.
    tags: int
    #: Send tags that are out.
    send_tags: int
    #: One line for each mbuf that refers to itself through an object of the program; None without `cycles`.
    cycles: tuple[str, ...] | None


def audit(pool: Pool, cycles: bool = False) -> PoolAudit:
    """Raise `Corrupt`, which names the first contradiction, or return where everything is. See `Pool.audit`."""
    own = pool.own
    for zone in own.all():
        audit_zone(zone)
    budget = pool.pages.keg.budget
    if budget is not None:
        audit_budget(budget)
    runs: list[tuple[int, int]] = list(audit_keg(pool.pages.keg))
    single = sum(count for _, count in runs)
    slabs = pinned = 0
    kegs: list[Any] = [zone.backend for zone in (own.mbuf, *own.clusters)]
    for keg in kegs:
        found = audit_keg(keg)
        runs += found
        held = sum(count for _, count in found)
        if held != keg.pages:
            raise Corrupt(f"keg {keg.name}: {keg.pages} pages count, and its slabs have {held}")
        slabs += held
        zones = [zone for zone in own.all() if zone.backend is keg]
        if keg is own.mbuf.backend:
            zones.append(own.pack)
        pinned += _pinned(keg, zones)
    _packets(own.pack, own.clust)
    pool.sfbufs.audit()
    reserved = _reserve(pool)
    _pages(pool, runs)
    return PoolAudit(
        zones=tuple(_zone(zone) for zone in own.all()),
        slab_pages=slabs,
        single_pages=single,
        vm_pages=pool.vm.used,
        pinned=pinned,
        windows=pool.sfbufs.used,
        mapped=pool.sfbufs.mapped,
        reserved=reserved,
        tags=pool.tags.count,
        send_tags=pool.snd_tags.count,
        cycles=tuple(_cycles(pool)) if cycles else None,
    )


def _zone(zone: Zone) -> ZoneAudit:
    stat = zone.stat()
    return ZoneAudit(
        name=stat.name,
        out=zone.balance,
        cached=zone.cached,
        free=stat.free - stat.cached,
        held=zone.held,
        charged=zone.limiter.items,
        waiting=stat.sleepers,
    )


def _pinned(keg: Any, zones: list[Zone]) -> int:
    """Compare the items taken from a keg with those of its zones; return the pages that scattered items keep."""
    cut = keg.slabs * keg.layout.items - keg.free
    known = sum(zone.balance + zone.cached for zone in zones)
    # What is on its way may be cut already, or not yet.
    if not known <= cut <= known + sum(zone.limiter.in_transit for zone in zones):
        raise Corrupt(f"keg {keg.name}: {cut} items are cut from it, and its zones know of {known}")
    out = sum(zone.balance for zone in zones)
    return int((keg.slabs - -(-out // keg.layout.items)) * keg.layout.pages)


def _packets(pack: Zone, clust: Zone) -> None:
    """Check that each cached packet has a cluster that the cluster zone has handed out."""
    paired = pack.cached
    if clust.balance < paired:
        raise Corrupt(f"{paired} packets are cached, each with a cluster, and {clust.balance} clusters are out")


def _reserve(pool: Pool) -> tuple[int, int]:
    """Check the queues of the reserve; return how many mbufs and clusters they have."""
    zones = pool.reserve.zones
    if zones is None:
        return 0, 0
    mbufs: Any = zones.mbuf.backend
    clusters: Any = zones.clust.backend
    mbufs.audit()
    clusters.audit()
    return mbufs.free, clusters.free


def _pages(pool: Pool, runs: list[tuple[int, int]]) -> None:
    """Compare the map of pages with the pages that are held. Other pools can hold pages of the same Vm."""
    held = sum(count for _, count in runs)
    used = pool.vm.used
    if held > used:
        raise Corrupt(f"{held} pages are held, and {used} handed out")
    pool.vm.audit(runs if held == used else None)
    after = 0
    for page, count in sorted(runs):
        if page < after:
            raise Corrupt(f"page {page} is held twice")
        after = page + count


# Circles.


def _cycles(pool: Pool) -> Iterator[str]:
    """A line for each mbuf that refers to itself through an object of the program."""
    for m in _held_mbufs(pool):
        path = _path_back(m)
        if path:
            yield f"mbuf at {id(m):#x} holds itself through {path}"


def _held_mbufs(pool: Pool) -> list[Mbuf]:
    """Live mbufs that an object known to the garbage collector refers to."""
    found: dict[int, Mbuf] = {}
    for thing in gc.get_objects():
        if isinstance(thing, FrameType):
            continue
        for held in gc.get_referents(thing):
            for each in _inside(held):
                if isinstance(each, Mbuf) and thing is not found:
                    found[id(each)] = each
    return list(found.values())


def _inside(thing: Any) -> Any:
    """The elements of a dictionary or tuple that the garbage collector does not track; else the object itself."""
    if not gc.is_tracked(thing):
        if type(thing) is dict:
            return list(thing.values())
        if type(thing) is tuple:
            return thing
    return (thing,)


def _holds(m: Mbuf) -> Iterator[tuple[str, Any]]:
    """The objects that an mbuf refers to, each with a name."""
    try:
        yield "next", m.next
        yield "nextpkt", m.nextpkt
        ext = m.ext
        if ext is not None:
            yield from (("external memory", ext.obj), ("arg1", ext.arg1), ("arg2", ext.arg2))
        yield from _header_holds(m)
    except MbufError:
        return


def _header_holds(m: Mbuf) -> Iterator[tuple[str, Any]]:
    try:
        hdr, tags = m.pkthdr, m.tags
    except MbufError:
        return
    yield "rcvif", hdr.rcvif
    for tag in tags:
        yield "the value of a tag", tag.value


def _path_back(m: Mbuf) -> str:
    """The name of the reference through which an mbuf refers to itself; empty if there is none."""
    todo: list[tuple[Any, str]] = [(held, name) for name, held in _holds(m)]
    seen: set[int] = set()
    while todo and len(seen) < _MAX_STEPS:
        thing, name = todo.pop()
        if thing is m:
            return name
        if thing is None or id(thing) in seen or isinstance(thing, ModuleType | FrameType | type):
            continue
        seen.add(id(thing))
        if isinstance(thing, Mbuf):
            todo += [(held, name) for _, held in _holds(thing)]
        elif isinstance(thing, PktHdr):
            todo.append((thing.rcvif, name))
        elif isinstance(thing, Tag):
            todo.append((thing.value, name))
        else:
            todo += [(held, name) for held in gc.get_referents(thing) if not _is_globals(held)]
    return ""


def _is_globals(thing: Any) -> bool:
    """True for the namespace of a module, which leads to everything."""
    return isinstance(thing, dict) and "__name__" in thing and "__builtins__" in thing
