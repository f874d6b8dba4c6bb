"""One item of a zone in force, dressed as an mbuf: what all calls that allocate are made of.

Whatever fails gives back what it had got; the zones' counts of failures are all that changes. Tells probes
once an mbuf is what it is to be. Never touches bytes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from mbuf.const import M_FREED, M_PKTHDR
from mbuf.errors import Inval, MbufError
from mbuf.packet.ext import Storage
from mbuf.packet.mbuf import Mbuf, handle, packet
from mbuf.packet.source import Source
from mbuf.uma.trash import TrashZone

if TYPE_CHECKING:
    import cython

    from mbuf.pool.zones import Zones
    from mbuf.uma.item import Item
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython


class Dresser(Source):
    """Takes items and dresses them.

    `plain` and `paired` tell nobody, `with_cluster` tells m-init, `asked` and `asked_cl` what was asked for too.
    """

    __slots__ = ("_drops", "probes", "zones")

    def __init__(self, zones: Zones, max_linkhdr: int = 16, max_protohdr: int = 60) -> None:
        Source.__init__(self, max_linkhdr, max_protohdr)
        self.zones = zones
        #: Who is told what is allocated and freed.
        self.probes = zones.mbuf.probes
        #: Mbufs that were dropped instead of freed.
        self._drops = 0

    def plain(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """An mbuf without a cluster."""
        zone = self.zones.mbuf
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return handle(item, type, flags)

    def paired(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """An mbuf with a cluster of 2048 bytes, from the packet zone."""
        zone = self.zones.pack
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return packet(item, type, flags)

    def begun(self, m: Mbuf, how: int, type: int, flags: int) -> Mbuf:
        """Tell m-init of an mbuf just dressed."""
        if self.probes.on:
            self.fire("m-init", m, m, how, type, flags, 0)
        return m

    def fire(self, name: str, m: Mbuf | None, *args: Any) -> None:
        """Fire a probe while an mbuf is nobody's yet: it is freed if a listener ends the program."""
        try:
            self.probes.fire(name, *args)
        except BaseException:
            mine: Mbuf = cython.cast(Mbuf, m)
            if mine is not None and not mine.bits & M_FREED:
                mine.undress()
            raise

    def with_cluster(self, zone: Zone, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """An mbuf with a cluster of that zone."""
        m = self.begun(self.plain(how, type, flags, deadline), how, type, flags)
        try:
            item = self.raw(zone, how, deadline)
        except BaseException:
            m.undress()
            raise
        return self.fit(m, item)

    def raw(self, zone: Zone, how: int, deadline: float | None) -> Item:
        """A cluster."""
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return item

    def fit(self, m: Mbuf, item: Item) -> Mbuf:
        """Give an mbuf a cluster of its own."""
        storage = cython.cast(Storage, item)
        storage.own()
        m.attach(storage)
        return m

    def asked(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """`plain`, and probes are told whether there was one. See m_get and m_gethdr."""
        if not self.probes.on:
            return self.plain(how, type, flags, deadline)
        m = cython.cast(Mbuf, None)
        try:
            m = self.begun(self.plain(how, type, flags, deadline), how, type, flags)
        finally:
            self.fire("m-gethdr" if flags & M_PKTHDR else "m-get", m, how, type, m)
        return m

    def asked_cl(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """`paired`, and probes are told whether there was one. See m_getcl."""
        if not self.probes.on:
            return self.paired(how, type, flags, deadline)
        m = cython.cast(Mbuf, None)
        try:
            m = self.begun(self.paired(how, type, flags, deadline), how, type, flags)
        finally:
            self.fire("m-getcl", m, how, type, flags, m)
        return m

    def denied(self, zone: Zone) -> MbufError:
        """The error for a request that a zone has refused."""
        return zone.denied()

    def dropped(self, item: Item) -> None:
        """Count an mbuf that was dropped; in a debug pool, warn and say where it came from."""
        if item is None:
            raise Inval("dropped: there is no item")
        self._drops += 1
        zone = item.home
        if isinstance(zone, TrashZone):
            warnings.warn(f"an mbuf from {zone.site(item)} was dropped, not freed", ResourceWarning, stacklevel=2)
