"""The `vm.uma` and `vm.zone` names of the sysctl tree: numbers of the pool's zones.

There is one memory domain. All of them are read only, except whether zones at their limit log that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from mbuf.const import PAGE_SIZE
from mbuf.kinds import KINDS, MBUF, Kind
from mbuf.pool.limits import ZONE_WARNINGS, wrap
from mbuf.pool.oid import Node
from mbuf.pool.zones import PACKET
from mbuf.pool.zonestats import stream
from mbuf.uma.slab import OFFPAGE_HEADER, OFFPAGE_HEADER_DEBUG

if TYPE_CHECKING:
    from mbuf.pool.subsystem import Subsystem
    from mbuf.uma.keg import Keg
    from mbuf.uma.zone import Zone


class PoolZone(NamedTuple):
    """A zone of a pool, and the keg that its items are cut from."""

    pool: Subsystem
    attr: str
    kind: Kind

    @property
    def zone(self) -> Zone:
        """The pool's own zone, also while the reserve is in force."""
        zone: Zone = getattr(self.pool.own, self.attr)
        return zone

    @property
    def keg(self) -> Keg:
        """The keg; packets are from the keg of mbufs."""
        keg: Keg = getattr(self.pool.own, self.kind.attr).backend
        return keg


# UMA_ZFLAG_* and UMA_ZONE_*, those that a zone of mbufs or clusters may have.
_FLAGS = (
    (0x40000000, "TRASH"),
    (0x02000000, "LIMIT"),
    (0x01000000, "CTORDTOR"),
    (0x00800000, "VTOSLAB"),
    (0x00200000, "OFFPAGE"),
    (0x00010000, "FIRSTTOUCH"),
    (0x00000200, "SECONDARY"),
)


def _flags(z: PoolZone) -> str:
    """The flags of a zone on a kernel with NUMA (FIRSTTOUCH); all of these zones have a constructor."""
    has = {"CTORDTOR", "FIRSTTOUCH"}
    if z.pool.debug and z.zone.primary:
        has.add("TRASH")
    if z.zone.limit:
        has.add("LIMIT")
    if not z.keg.layout.inline:
        has |= {"VTOSLAB", "OFFPAGE"}
    if not z.zone.primary:
        has.add("SECONDARY")
    bits = sum(bit for bit, name in _FLAGS if name in has)
    return f"{bits:#x}<{','.join(name for _, name in _FLAGS if name in has)}>"


def _efficiency(z: PoolZone) -> int:
    """Per cent of a slab, and of its header if that is elsewhere, that are items."""
    layout = z.keg.layout
    header = OFFPAGE_HEADER_DEBUG if z.pool.debug else OFFPAGE_HEADER
    return 100 * layout.items * layout.rsize // (layout.pages * PAGE_SIZE + (0 if layout.inline else header))


_ZONE: tuple[tuple[str, str, str, Callable[[PoolZone], Any]], ...] = (
    ("size", "uint32_t", "Allocation size", lambda z: z.zone.size),
    ("flags", "string", "Allocator configuration flags", _flags),
    ("bucket_size", "uint16_t", "Desired per-cpu cache size", lambda z: z.zone.depot.bucket_size),
    ("bucket_size_max", "uint16_t", "Maximum allowed per-cpu cache size", lambda z: z.zone.depot.bucket_max),
    ("keg.name", "string", "Keg name", lambda z: z.keg.name),
    ("keg.rsize", "uint32_t", "Real object size with alignment", lambda z: z.keg.layout.rsize),
    ("keg.ppera", "uint16_t", "pages per-slab allocation", lambda z: z.keg.layout.pages),
    ("keg.ipers", "uint16_t", "items available per-slab", lambda z: z.keg.layout.items),
    ("keg.align", "uint32_t", "item alignment mask", lambda z: z.kind.align),
    ("keg.reserve", "uint32_t", "number of reserved items", lambda z: 0),
    ("keg.efficiency", "integer", "Slab utilization (100 - internal fragmentation %)", _efficiency),
    ("keg.domain.0.pages", "uint32_t", "Total pages currently allocated from VM", lambda z: z.keg.pages),
    ("keg.domain.0.free_items", "uint32_t", "Items free in the slab layer", lambda z: z.keg.free),
    (
        "limit.items",
        "uint64_t",
        "Current number of allocated items if limit is set",
        lambda z: z.zone.limiter.items,
    ),
    ("limit.max_items", "uint64_t", "Maximum number of allocated and cached items", lambda z: z.zone.limit),
    ("limit.sleepers", "uint32_t", "Number of threads sleeping at limit", lambda z: len(z.zone.limiter.waiters)),
    ("limit.sleeps", "uint64_t", "Total zone limit sleeps", lambda z: z.zone.limiter.sleeps),
    (
        "limit.bucket_max",
        "uint64_t",
        "Maximum number of items in each domain's bucket cache",
        lambda z: z.zone.depot.most,
    ),
    ("domain.0.nitems", "long integer", "number of items in this domain", lambda z: z.zone.depot.nitems),
    ("domain.0.imax", "long integer", "maximum item count in this period", lambda z: z.zone.depot.work().imax),
    ("domain.0.imin", "long integer", "minimum item count in this period", lambda z: z.zone.depot.work().imin),
    ("domain.0.wss", "long integer", "Working set size", lambda z: z.zone.depot.work().wss),
    ("stats.current", "integer", "Current number of allocated items", lambda z: z.zone.used),
    ("stats.allocs", "uint64_t", "Total allocation calls", lambda z: z.zone.stat().allocs),
    ("stats.frees", "uint64_t", "Total free calls", lambda z: z.zone.stat().frees),
    ("stats.fails", "uint64_t", "Number of allocation failures", lambda z: z.zone.stat().fails),
    ("stats.xdomain", "uint64_t", "Free calls from the wrong domain", lambda z: z.zone.stat().xdomain),
)


def _kegs(pool: Subsystem) -> int:
    """Bytes of the slabs of all kegs."""
    return sum(PoolZone(pool, kind.attr, kind).keg.pages for kind in KINDS) * PAGE_SIZE


def _stream(pool: Subsystem) -> bytes:
    """The numbers of all zones, the one made last first; a keg's primary zone before its secondary zone."""
    return stream([*(PoolZone(pool, kind.attr, kind) for kind in reversed(KINDS)), PoolZone(pool, "pack", MBUF)])


def _warn(pool: Subsystem, name: str, value: int) -> None:
    pool.warnings.on = wrap(value, 32)


def _nodes() -> Iterator[tuple[str, Node]]:
    zones = (("pack", PACKET, MBUF), *((kind.attr, kind.zone, kind) for kind in KINDS))
    for attr, zone, kind in zones:
        for name, type_, description, read in _ZONE:
            yield f"vm.uma.{zone}.{name}", Node(description, type_, partial(_read, attr, kind, read))
    yield "vm.uma_kmem_limit", Node("UMA kernel memory soft limit", "unsigned long", lambda pool: pool.memory.kmem_size)
    yield "vm.uma_kmem_total", Node("UMA kernel memory usage", "unsigned long", _kegs)
    yield "vm.zone_count", Node("Number of UMA zones", "integer", lambda pool: len(zones))
    yield (
        "vm.zone_stats",
        Node("Zone Stats", "opaque", _stream, format="S,struct uma_type_header"),
    )
    yield (
        ZONE_WARNINGS,
        Node("Warn when UMA zones becomes full", "integer", lambda pool: pool.warnings.on, _warn),
    )


def _read(attr: str, kind: Kind, read: Callable[[PoolZone], Any], pool: Subsystem) -> Any:
    return read(PoolZone(pool, attr, kind))


VM_NODES: Mapping[str, Node] = MappingProxyType(dict(_nodes()))
