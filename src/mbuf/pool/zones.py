"""The zones of the subsystem, which stand and fall together.

Which zones are in force is a choice of the pool: replacing this object replaces them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import MCLBYTES, MJUM9BYTES, MJUM16BYTES, MJUMPAGESIZE
from mbuf.errors import Inval
from mbuf.packet.ext import Storage
from mbuf.pool.limits import CLUSTERS, MBUF, Kind, Limits
from mbuf.pool.packets import Packets
from mbuf.uma.bucket import BUCKET_MAX
from mbuf.uma.item import MbufItem
from mbuf.uma.keg import Keg
from mbuf.uma.trash import TrashKeg, TrashZone
from mbuf.uma.zone import Zone
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from mbuf.uma.cpu import Cpus
    from mbuf.vm.vm import Vm

#: The packet zone's name: the one zone without a limit of its own.
PACKET = "mbuf_packet"


class Zones:
    """Six zones: `mbuf`, `pack` that pairs mbufs of its keg with clusters, one for each size of cluster."""

    __slots__ = ("clust", "jumbo16", "jumbo9", "jumbop", "mbuf", "pack")

    def __init__(self, mbuf: Zone, pack: Zone, clust: Zone, jumbop: Zone, jumbo9: Zone, jumbo16: Zone) -> None:
        self.mbuf = mbuf
        self.pack = pack
        self.clust = clust
        self.jumbop = jumbop
        self.jumbo9 = jumbo9
        self.jumbo16 = jumbo16

    def of_size(self, size: int) -> Zone:
        """The zone of clusters of `size` bytes. See m_getzone."""
        near = clip(size)
        if near == MCLBYTES:
            return self.clust
        if near == MJUMPAGESIZE:
            return self.jumbop
        if near == MJUM9BYTES:
            return self.jumbo9
        if near == MJUM16BYTES:
            return self.jumbo16
        raise Inval(f"cluster size {size}: give 2048, 4096, 9216 or 16384")

    def all(self) -> tuple[Zone, ...]:
        """Every zone, those that draw from others first."""
        return (self.pack, self.mbuf, self.clust, self.jumbop, self.jumbo9, self.jumbo16)


def boot(vm: Vm, limits: Limits, cpus: Cpus, caching: bool, debug: bool) -> Zones:
    """Make the zones. See mbuf_init."""
    keg_class, zone_class = (TrashKeg, TrashZone) if debug else (Keg, Zone)

    def zone(kind: Kind, keg: Keg, entries: int | None) -> Zone:
        made = zone_class(kind.zone, kind.size, keg, cpus, kind.sysctl, entries, caching, True, vm.clock)
        if limits.of(kind) > 0:
            made.set_max(limits.of(kind))
        return made

    keg = keg_class(vm, MBUF.zone, MBUF.size, MBUF.align, MbufItem)
    mbuf = zone(MBUF, keg, BUCKET_MAX)
    clusters = {k.attr: zone(k, keg_class(vm, k.zone, k.size, k.align, Storage), None) for k in CLUSTERS}
    backend = Packets(keg, clusters["clust"])
    pack = zone_class(PACKET, MBUF.size, backend, cpus, "", BUCKET_MAX, caching, False, vm.clock)
    clusters["clust"].feeds = pack
    return Zones(mbuf, pack, **clusters)
