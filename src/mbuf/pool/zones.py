"""The zones of a pool, as one object.

The zones in force are replaced all at once, by replacing this object (`Allocator.enforce`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import MCLBYTES, MJUMPAGESIZE
from mbuf.errors import Inval
from mbuf.kinds import CLUSTERS, MBUF, OF_SIZE, Kind
from mbuf.packet.ext import Storage
from mbuf.pool.packets import Packets
from mbuf.uma.bucket import BUCKET_MAX
from mbuf.uma.item import MbufItem
from mbuf.uma.keg import Keg
from mbuf.uma.trash import TrashKeg, TrashZone
from mbuf.uma.zone import Zone
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mbuf.uma.cpu import Cpus
    from mbuf.vm.vm import Vm

#: The packet zone's name: the one zone without a limit of its own.
PACKET = "mbuf_packet"


class Zones:
    """The zones of a pool: one for mbufs, the packet zone, and one for each kind of cluster.

    A zone of clusters is an attribute by the name that its kind has in `mbuf.kinds`: `clust`, `jumbop`, `jumbo9`,
    `jumbo16`. The packet zone `pack` pairs mbufs of the keg of `mbuf` with clusters of `clust`.
    """

    __slots__ = ("_by_size", "clust", "clusters", "jumbop", "mbuf", "pack")

    def __init__(self, mbuf: Zone, pack: Zone, **clusters: Zone) -> None:
        #: The zone of mbufs without a cluster.
        self.mbuf = mbuf
        #: The packet zone: mbufs with a cluster of 2 KiB.
        self.pack = pack
        #: Zones of clusters, in the order of `CLUSTERS`.
        self.clusters = tuple(clusters[kind.attr] for kind in CLUSTERS)
        self._by_size = dict(zip(OF_SIZE, self.clusters, strict=True))
        #: The zone of clusters of 2 KiB.
        self.clust: Zone = self._by_size[MCLBYTES]
        #: The zone of clusters of one page.
        self.jumbop: Zone = self._by_size[MJUMPAGESIZE]

    def __getattr__(self, name: str) -> Zone:
        for kind, zone in zip(CLUSTERS, self.clusters, strict=True):
            if kind.attr == name:
                found: Zone = zone
                return found
        raise AttributeError(f"there is no zone {name}")

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(kind.attr for kind in CLUSTERS)})

    def of_size(self, size: int) -> Zone:
        """The zone of clusters of `size` bytes. See m_getzone."""
        zone = self._by_size.get(integer(size, "size"))
        if zone is None:
            *sizes, last = OF_SIZE
            raise Inval(f"cluster size {size}: give {', '.join(map(str, sizes))} or {last}")
        return zone

    def all(self) -> tuple[Zone, ...]:
        """Every zone; a zone that takes items from others comes before them."""
        return (self.pack, self.mbuf, *self.clusters)


def boot(vm: Vm, most: Mapping[str, int], cpus: Cpus, caching: bool, debug: bool, sysctls: bool = True) -> Zones:
    """Make the zones. `most` has the limits by kind; a limit of 0 or less is none. See mbuf_init."""
    keg_class, zone_class = (TrashKeg, TrashZone) if debug else (Keg, Zone)

    def zone(kind: Kind, keg: Keg, entries: int | None) -> Zone:
        sysctl = kind.sysctl if sysctls else f'limits={{"{kind.attr}": ...}}'
        made = zone_class(kind.zone, kind.size, keg, cpus, sysctl, entries, caching, True, vm.clock)
        if most.get(kind.attr, 0) > 0:
            made.set_max(most[kind.attr])
        return made

    keg = keg_class(vm, MBUF.zone, MBUF.size, MBUF.align, MbufItem)
    mbuf = zone(MBUF, keg, BUCKET_MAX)
    clusters = {k.attr: zone(k, keg_class(vm, k.zone, k.size, k.align, Storage), None) for k in CLUSTERS}
    backend = Packets(keg, clusters["clust"])
    pack = zone_class(PACKET, MBUF.size, backend, cpus, "", BUCKET_MAX, caching, False, vm.clock)
    clusters["clust"].feeds = pack
    return Zones(mbuf, pack, **clusters)
