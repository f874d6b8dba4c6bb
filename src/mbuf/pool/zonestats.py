"""`vm.zone_stats`: the numbers of all zones, as the bytes that libmemstat reads.

A header is followed, for each zone, by its numbers and those of each CPU's cache, little-endian. See
uma_stream_header, uma_type_header and uma_percpu_stat in uma.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbuf.pool.sysctl_uma import PoolZone

VERSION = 1
#: Flag of a zone that takes items from the keg of another.
SECONDARY = 1

#: version, CPUs, zones; padding.
STREAM = Struct("<IIII")
#: name; align, size, rsize, maxpages, limit, pages, free in the keg, listed, bucket size (the kernel leaves it 0),
#: flags; allocs and frees past all caches, fails, sleeps, xdomain; reserved.
ZONE = Struct("<32s10I6Q")
#: allocs, frees, free items; reserved.
CPU = Struct("<8Q")

_UINT = (1 << 32) - 1


def stream(zones: list[PoolZone]) -> bytes:
    """The numbers of zones, in the order given. See sysctl_vm_zone_stats."""
    cpus = zones[0].pool.cpus.count
    return STREAM.pack(VERSION, cpus, len(zones), 0) + b"".join(part for z in zones for part in _zone(z))


def _zone(z: PoolZone) -> Iterator[bytes]:
    zone, layout = z.zone, z.keg.layout
    (allocs, frees, listed), *cpus = zone.cache_counts()
    # The kernel computes the pages of a zone from the count of its limit; without a limit they are 0.
    items = zone.limiter.items if zone.limit else 0
    numbers = (
        z.kind.align,
        zone.size,
        layout.rsize,
        zone.limit // layout.items * layout.pages,
        zone.limit,
        items // layout.items * layout.pages,
        z.keg.free,
        listed,
        0,
        0 if zone.primary else SECONDARY,
    )
    stat = zone.stat()
    yield ZONE.pack(
        zone.name.encode("ascii"),
        *(number & _UINT for number in numbers),
        allocs,
        frees,
        stat.fails,
        stat.sleeps,
        stat.xdomain,
        0,
    )
    for cpu in cpus:
        yield CPU.pack(*cpu, 0, 0, 0, 0, 0)
