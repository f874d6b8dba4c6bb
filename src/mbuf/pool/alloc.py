"""Every way to get an mbuf: mbuf(9)'s allocation calls.

Takes items from the zones in force and dresses them. Whatever fails gives back what it had got; the
zones' counts of failures are all that changes. Never touches bytes.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from mbuf.const import (
    M_EOR,
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    MCLBYTES,
    MHLEN,
    MINCLSIZE,
    MJUMPAGESIZE,
    MLEN,
    MT_DATA,
    UMA_RECLAIM_DRAIN,
)
from mbuf.errors import Inval, MbufError, NoBufs, NoMemory
from mbuf.packet.cluster import Cluster, cluster
from mbuf.packet.ext import Storage
from mbuf.packet.mbuf import Mbuf, handle, packet
from mbuf.packet.source import Source, until
from mbuf.pool.ask import check
from mbuf.uma.trash import TrashZone
from mbuf.vm.number import clip

if TYPE_CHECKING:
    import cython

    from mbuf.pool.zones import Zones
    from mbuf.uma.item import Item
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython


#: The defaults as objects: to find that an argument is the default takes no more than a look.
NOWAIT: int = M_NOWAIT
DATA: int = MT_DATA
PKTHDR: int = M_PKTHDR


class Allocator(Source):
    """The calls that allocate.

    `how` is M_NOWAIT (raise `NoBufs` when a limit is reached, `NoMemory` when pages are out) or M_WAITOK
    (wait, for at most `timeout` seconds); `type` an MT_ number; `flags` those of M_COPYFLAGS. An argument
    that can't be right raises `Inval`. The mbuf is the caller's.
    """

    __slots__ = ("_drops", "zones")

    def __init__(self, zones: Zones, max_linkhdr: int = 16, max_protohdr: int = 60) -> None:
        Source.__init__(self, max_linkhdr, max_protohdr)
        self.zones = zones
        #: Mbufs that were dropped instead of freed.
        self._drops = 0

    def get(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf that holds up to 224 bytes in itself. See m_get."""
        if how is NOWAIT and type is DATA:
            return self._plain(M_NOWAIT, MT_DATA, 0, None)
        check(clip(how), clip(type), 0)
        return self._plain(how, type, 0, until(how, timeout))

    def gethdr(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf with a packet header, and room for 168 bytes in itself. See m_gethdr."""
        if how is NOWAIT and type is DATA:
            return self._plain(M_NOWAIT, MT_DATA, M_PKTHDR, None)
        check(clip(how), clip(type), 0)
        return self._plain(how, type, M_PKTHDR, until(how, timeout))

    def getcl(
        self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None
    ) -> Mbuf:
        """An mbuf with a cluster of 2048 bytes, by default the first of a packet. See m_getcl."""
        if how is NOWAIT and type is DATA and flags is PKTHDR:
            return self._packet(M_NOWAIT, MT_DATA, M_PKTHDR, None)
        check(clip(how), clip(type), clip(flags))
        return self._packet(how, type, flags, until(how, timeout))

    def getjcl(
        self,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> Mbuf:
        """An mbuf with a cluster of 2048, 4096, 9216 or 16384 bytes. See m_getjcl."""
        check(clip(how), clip(type), clip(flags))
        zone = self.zones.of_size(clip(size))
        if size == MCLBYTES:
            return self._packet(how, type, flags, until(how, timeout))
        return self._with_cluster(zone, how, type, flags, until(how, timeout))

    def get2(
        self,
        size: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """The smallest mbuf, with or without a cluster, that holds `size` bytes, at most 4096. See m_get2."""
        check(clip(how), clip(type), clip(flags))
        deadline = until(how, timeout)
        count = clip(size)
        if count > MJUMPAGESIZE:
            raise Inval(f"get2: one mbuf holds at most {MJUMPAGESIZE} bytes, not {size}: use getm2 or getjcl")
        if count <= MHLEN or (count <= MLEN and not flags & M_PKTHDR):
            return self._plain(how, type, flags, deadline)
        if count <= MCLBYTES:
            return self._packet(how, type, flags, deadline)
        return self._with_cluster(self.zones.jumbop, how, type, flags, deadline)

    def getm2(
        self,
        len: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        m: Mbuf | None = None,
        timeout: float | None = None,
    ) -> Mbuf:
        """A chain that holds `len` bytes, of mbufs as large as fit; appended to `m` if that is given.

        Returns the head. Of the flags, M_PKTHDR (for a new chain) and M_EOR (moved to the new tail) count.
        See m_getm2.
        """
        check(clip(how), clip(type), clip(flags))
        count = clip(len)
        if count < 0 or (count == 0 and (m is None or flags & M_EOR)):
            raise Inval(f"getm2: len {len}: ask for at least 1 byte")
        deadline = until(how, timeout)
        if m is None:
            first = self._chain(count, how, type, flags & M_PKTHDR, deadline)
            _end_record(first, flags)
            return first
        _live(m)
        _extend(m, self._chain(count, how, type, 0, deadline), flags)
        return m

    def _chain(self, count: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """Mbufs that hold `count` bytes, or none at all."""
        first: Mbuf = cython.cast(Mbuf, None)
        last = cython.cast(Mbuf, None)
        try:
            while count > 0:
                m: Mbuf = self._largest(count, how, type, flags, deadline)
                count -= m.capacity()
                flags = 0
                if last is None:
                    first = m
                else:
                    last._next = m
                last = m
        except BaseException:
            if first is not None:
                first.freem()
            raise
        return first

    def _largest(self, count: int, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """The next mbuf of a chain that is to hold `count` bytes more."""
        if count > MCLBYTES:
            try:
                # Pages in a row are worth a try, never a wait.
                return self._with_cluster(self.zones.jumbop, M_NOWAIT, type, flags, None)
            except (NoBufs, NoMemory):
                pass
        if count >= MINCLSIZE:
            return self._packet(how, type, flags, deadline)
        return self._plain(how, type, flags, deadline)

    def clget(self, m: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Attach a cluster of 2048 bytes to an mbuf without one; what the mbuf held is gone. See m_clget.

        At the limit, clusters of cached packets are set free for a second try. Returns `m`.
        """
        check(clip(how), MT_DATA, 0)
        _attachable(m)
        zone = self.zones.clust
        item = zone.alloc(how, until(how, timeout))
        if item is None and how == M_NOWAIT:
            self.zones.pack.reclaim(UMA_RECLAIM_DRAIN)
            item = zone.alloc(how, None)
        if item is None:
            raise self.denied(zone)
        return self._attach(m, item)

    def cljget(
        self, m: Mbuf | None, how: int = M_NOWAIT, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf | Cluster:
        """Attach a cluster of 2048, 4096, 9216 or 16384 bytes to an mbuf without one; returns `m`.

        Without an mbuf, returns the cluster itself, which is then the caller's. See m_cljget.
        """
        if m is None:
            return self.cluster(size, how, timeout)
        check(clip(how), MT_DATA, 0)
        _attachable(m)
        return self._attach(m, self._cluster(self.zones.of_size(clip(size)), how, until(how, timeout)))

    def cluster(self, size: int, how: int, timeout: float | None) -> Cluster:
        """A raw cluster."""
        check(clip(how), MT_DATA, 0)
        item = self._cluster(self.zones.of_size(clip(size)), how, until(how, timeout))
        return cluster(cython.cast(Storage, item))

    def freem(self, m: Mbuf | None) -> None:
        """Free a packet, or nothing if there is None. See m_freem."""
        if m is not None:
            m.freem()

    # One item, dressed.

    def _plain(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        zone = self.zones.mbuf
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return handle(item, type, flags)

    def _packet(self, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        zone = self.zones.pack
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return packet(item, type, flags)

    def _with_cluster(self, zone: Zone, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        m: Mbuf = self._plain(how, type, flags, deadline)
        try:
            item = self._cluster(zone, how, deadline)
        except BaseException:
            m.free()
            raise
        return self._attach(m, item)

    def _cluster(self, zone: Zone, how: int, deadline: float | None) -> Item:
        item = zone.alloc(how, deadline)
        if item is None:
            raise self.denied(zone)
        return item

    def _attach(self, m: Mbuf, item: Item) -> Mbuf:
        storage = cython.cast(Storage, item)
        storage.own()
        m.attach(storage)
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


def _live(m: Mbuf) -> None:
    """Refuse an mbuf that was freed; compiled, what is no mbuf too."""
    m.live()


def _extend(m: Mbuf, extra: Mbuf, flags: int) -> None:
    """Link new mbufs, if any, to the end of a chain, whose record doesn't end before them."""
    tail = m.tail()
    tail._next = extra
    tail.bits &= ~M_EOR
    _end_record(extra, flags)


def _end_record(m: Mbuf, flags: int) -> None:
    """The last mbuf of a new chain may end a record."""
    if flags & M_EOR:
        tail = m.tail()
        tail.bits |= M_EOR


def _attachable(m: Mbuf) -> None:
    if m is None:
        raise Inval("clget: give an mbuf to attach a cluster to")
    m.live()
    if m.bits & M_EXT:
        raise Inval("this mbuf has external storage already")
