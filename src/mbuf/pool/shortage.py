"""What a pool with a budget tells about its memory: who holds it, and how much of a kind can still be had.

Reads counts and changes nothing. Clusters and mbufs that caches hold count as free: they are taken back before a
request is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import MCLBYTES, MSIZE, PAGE_SIZE
from mbuf.errors import Inval, PoolFull
from mbuf.kinds import JUMBOS, MBUF
from mbuf.pool.sizing import BY_NAME, most_pairs
from mbuf.pool.suggest import unknown
from mbuf.uma.audit import after_taking_back
from mbuf.uma.slab import layout
from mbuf.vm.arena import ARENA_PAGES

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool
    from mbuf.pool.subsystem import Subsystem
    from mbuf.pool.zones import Zones
    from mbuf.uma.budget import Budget
    from mbuf.uma.pages import Pages
    from mbuf.uma.zone import Zone
    from mbuf.vm.vm import Vm

#: What an item of each kind is called.
_PACKETS, _MBUFS, _CLUSTERS, _PAGES = "packets with 2 KiB", "mbufs", "clusters of 2 KiB", "single pages"
_JUMBO = tuple([f"clusters of {kind.size // 1024} KiB" for kind in JUMBOS])

_MBUFS_IN_A_PAGE = layout(MBUF.size, MBUF.align).items


class Shortage:
    """Makes the error for a request that found no memory. See `Budget.error`."""

    __slots__ = ("budget", "pages", "zones")

    def __init__(self, zones: Zones, pages: Pages) -> None:
        self.zones = zones
        self.pages = pages
        self.budget: Budget | None = None

    def __call__(self, run: int, needed: int = 0) -> PoolFull:
        """The error for a request of runs of pages; `needed` are its pages, if they are more than there are."""
        budget: Any = self.budget
        vm = budget.vm
        holders = held(self.zones, self.pages)
        return PoolFull(vm.realmem, vm.free * PAGE_SIZE, run, budget.waiting, needed * PAGE_SIZE, holders)


def held(zones: Zones, pages: Pages) -> tuple[tuple[str, int, int], ...]:
    """Who holds the memory: what, how many, and the bytes of one; the largest part first."""
    packets = zones.pack.used
    found = [
        (_PACKETS, packets, MSIZE + MCLBYTES),
        (_MBUFS, zones.mbuf.used, MSIZE),
        (_CLUSTERS, zones.clust.used - packets - zones.pack.cached, MCLBYTES),
        (_PAGES, pages.used, PAGE_SIZE),
    ]
    for name, zone in zip(_JUMBO, zones.clusters[1:], strict=True):
        found.append((name, zone.used, zone.size))
    return tuple(sorted([each for each in found if each[1] > 0], key=lambda each: -each[1] * each[2]))


def is_half_held(pool: Pool) -> bool:
    """True if more than half of a pool's memory is held; what caches hold doesn't count."""
    size = 0
    for _, count, each in held(pool.own, pool.pages):
        size += count * each
    return 2 * size > pool.vm.realmem


def available(parts: Subsystem, name: str) -> int:
    """How many more mbufs, or mbufs with a cluster of a kind, can be had now. See `Pool.available`.

    What the zones of the request cache is used as it is. What other zones cache is taken back, which makes pages free.
    """
    if name not in BY_NAME:
        raise Inval(f"available: {unknown('kind', name, BY_NAME)}")
    kind, zones, budget = BY_NAME[name], parts.own, parts.budget
    zone: Any = getattr(zones, name)
    mbuf: Any = zones.mbuf
    if budget is not None and (budget.waiting or budget.granted):
        return 0
    own = {zone, zones.pack if zone is zones.clust else mbuf}
    kegs = tuple([each.backend for each in (mbuf, *zones.clusters)])
    others = tuple([each for each in zones.all() if each not in own]) if budget is not None else ()
    found = dict(zip(kegs, after_taking_back(others, kegs, (mbuf.backend, zone.backend)), strict=True))
    runs = [run for *_, each in found.values() for run in each] if budget is not None else []
    pages = parts.vm.free + sum([count for _, count in runs]) - max(zone.backend.kept, mbuf.backend.kept)
    if budget is None:
        # Zones import whole buckets.
        for each in zones.all():
            pages -= each.stat().bucket_size * -(-max(each.size, MCLBYTES) // PAGE_SIZE)
    pages = max(pages, 0)
    most: int = _cached(parts, zones.pack) if zone is zones.clust else 0
    if kind is MBUF:
        most += _cached(parts, mbuf) + found[mbuf.backend][1] + pages * _MBUFS_IN_A_PAGE
    else:
        mbufs = found[mbuf.backend][0] + (_cached(parts, mbuf) if mbuf in own else 0)
        clusters = found[zone.backend][0] + _cached(parts, zone)
        pairs = most_pairs(pages, layout(kind.size, kind.align), _MBUFS_IN_A_PAGE, clusters, mbufs)
        if kind.size > PAGE_SIZE:
            # Mbufs may come from their own empty slabs, which then are no run, or from a page of another run.
            empty = found[mbuf.backend][2]
            runs = [run for run in runs if run not in empty]
            pairs = _most_runs(parts.vm, runs, len(empty), zone.backend.layout.pages, clusters, mbufs, pairs)
        most += pairs
    # The limit of mbufs doesn't count those in packets.
    rooms = [_room(each, zones.pack) for each in own if each.limit]
    return max(0, min([most, *rooms]))


def _cached(parts: Subsystem, zone: Zone) -> int:
    """Cached items that the calling thread can have."""
    if parts.budget is not None:
        return zone.cached
    counts = zone.cache_counts()
    return counts[0][2] + counts[1 + parts.cpus.current()][2]


def _room(zone: Zone, pack: Zone) -> int:
    """Items that a zone's limit allows; those that are cached, also in packets, can be handed out."""
    cached = zone.cached + (pack.cached if zone.feeds is pack else 0)
    room: int = zone.limit - zone.limiter.items + cached
    return room


def _most_runs(
    vm: Vm, freed: list[tuple[int, int]], empty: int, length: int, clusters: int, mbufs: int, most: int
) -> int:
    """How many of at most `most` clusters of `length` contiguous pages, with an mbuf each, free pages give.

    First the pages that are free now are used, and then the runs `freed`. Runs come from the high end. The mbufs take
    single pages from the low end, which may break a run, or `empty` pages elsewhere.
    """
    now = bytes(vm.map.snapshot())
    several = len(now) > ARENA_PAGES
    # The bits of all pages but the freed ones.
    kept = bytearray(b"\xff" * len(now))
    for page, count in freed:
        kept[page : page + count] = bytes(count)
    mask = int.from_bytes(kept, "little")

    def fits(n: int) -> bool:
        left, singles = _take_singles(now, -(-max(n - mbufs, 0) // _MBUFS_IN_A_PAGE))
        left, found = _take_runs(left, length)
        left = (int.from_bytes(left, "little") & mask).to_bytes(len(left), "little")
        left, singles = _take_singles(left, singles)
        if singles > empty:
            return False
        found += _take_runs(left, length)[1]
        # The order in which several areas are searched, or in which imported mbufs are used, can cost a run.
        return n <= clusters + found - several - (n > mbufs > 0)

    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _take_singles(pages: bytes, count: int) -> tuple[bytes, int]:
    """Mark the first free pages as used; return the pages, and how many are missing. A free page is a 0."""
    missing = max(count - pages.count(0), 0)
    # All that is before page `high` becomes used.
    low, high = 0, len(pages) if count else 0
    while high - low > 1 and not missing:
        middle = (low + high) // 2
        low, high = (low, middle) if pages.count(0, 0, middle) >= count else (middle, high)
    return b"\1" * high + pages[high:], missing


def _take_runs(pages: bytes, length: int) -> tuple[bytes, int]:
    """Mark as many runs of free pages as there are as used, from the high end; return the pages, and their number."""
    found = 0
    areas = []
    for first in range(0, len(pages), ARENA_PAGES):
        # Backwards, so that the first runs that are found have the highest pages.
        area = pages[first : first + ARENA_PAGES][::-1]
        found += area.count(bytes(length))
        areas.append(area.replace(bytes(length), b"\1" * length)[::-1])
    return b"".join(areas), found
