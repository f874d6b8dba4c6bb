"""Every way to get an mbuf: mbuf(9)'s allocation calls.

Checks what was asked for, and has it dressed. Whatever fails gives back what it had got; the zones' counts of
failures are all that changes. Never touches bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.cluster import Cluster, cluster
from mbuf.packet.ext import Storage
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.source import until
from mbuf.pool.ask import check
from mbuf.pool.dress import Dresser
from mbuf.vm.number import clip

if TYPE_CHECKING:
    import cython

    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython


#: The defaults as objects: to find that an argument is the default takes no more than a look.
NOWAIT: int = M_NOWAIT
DATA: int = MT_DATA
PKTHDR: int = M_PKTHDR


class Allocator(Dresser):
    """The calls that allocate.

    `how` is M_NOWAIT (raise `NoBufs` when a limit is reached, `NoMemory` when pages are out) or M_WAITOK
    (wait, for at most `timeout` seconds); `type` an MT_ number; `flags` those of M_COPYFLAGS. An argument
    that can't be right raises `Inval`. The mbuf is the caller's.
    """

    __slots__ = ()

    def get(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf that holds up to 224 bytes in itself. See m_get."""
        if how is NOWAIT and type is DATA and not self.probes.on:
            return self.plain(M_NOWAIT, MT_DATA, 0, None)
        check(clip(how), clip(type), 0)
        return self.asked(how, type, 0, until(how, timeout))

    def gethdr(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf with a packet header, and room for 168 bytes in itself. See m_gethdr."""
        if how is NOWAIT and type is DATA and not self.probes.on:
            return self.plain(M_NOWAIT, MT_DATA, M_PKTHDR, None)
        check(clip(how), clip(type), 0)
        return self.asked(how, type, M_PKTHDR, until(how, timeout))

    def getcl(
        self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None
    ) -> Mbuf:
        """An mbuf with a cluster of 2048 bytes, by default the first of a packet. See m_getcl."""
        if how is NOWAIT and type is DATA and flags is PKTHDR and not self.probes.on:
            return self.paired(M_NOWAIT, MT_DATA, M_PKTHDR, None)
        check(clip(how), clip(type), clip(flags))
        return self.asked_cl(how, type, flags, until(how, timeout))

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
        zone = self.zones.of_size(size)
        if size == MCLBYTES:
            return self.asked_cl(how, type, flags, until(how, timeout))
        return self._jumbo(zone, how, type, flags, until(how, timeout))

    def _jumbo(self, zone: Zone, how: int, type: int, flags: int, deadline: float | None) -> Mbuf:
        """An mbuf with a cluster of that zone, and probes are told."""
        m: Mbuf = self.with_cluster(zone, how, type, flags, deadline)
        if self.probes.on:
            self.fire("m-getjcl", m, how, type, flags, zone.size, m)
        return m

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
            return self.begun(self.plain(how, type, flags, deadline), how, type, flags)
        if count <= MCLBYTES:
            return self.begun(self.paired(how, type, flags, deadline), how, type, flags)
        return self.with_cluster(self.zones.jumbop, how, type, flags, deadline)

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
                return self._jumbo(self.zones.jumbop, M_NOWAIT, type, flags, None)
            except (NoBufs, NoMemory):
                pass
        if count >= MINCLSIZE:
            return self.asked_cl(how, type, flags, deadline)
        return self.asked(how, type, flags, deadline)

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
        if item is not None:
            self.fit(m, item)
        if self.probes.on:
            self.probes.fire("m-clget", m, how)
        if item is None:
            raise self.denied(zone)
        return m

    def cljget(
        self, m: Mbuf | None, how: int = M_NOWAIT, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf | Cluster:
        """Attach a cluster of 2048, 4096, 9216 or 16384 bytes to an mbuf without one; returns `m`.

        Without an mbuf, returns the cluster itself, which is then the caller's. See m_cljget.
        """
        check(clip(how), MT_DATA, 0)
        if m is not None:
            _attachable(m)
        got: Mbuf | Cluster = self._cluster(m, self.zones.of_size(size), how, until(how, timeout))
        return got

    def cluster(self, size: int, how: int, timeout: float | None) -> Cluster:
        """A raw cluster."""
        check(clip(how), MT_DATA, 0)
        got: Cluster = self._cluster(None, self.zones.of_size(size), how, until(how, timeout))
        return got

    def _cluster(self, m: Mbuf | None, zone: Zone, how: int, deadline: float | None) -> Any:
        """A cluster for an mbuf, or a raw one, and probes are told."""
        got = None
        try:
            item = self.raw(zone, how, deadline)
            got = cluster(cython.cast(Storage, item)) if m is None else self.fit(m, item)
        finally:
            if self.probes.on:
                self.probes.fire("m-cljget", m, how, zone.size, got)
        return got

    def freem(self, m: Mbuf | None) -> None:
        """Free a packet, or nothing if there is None. See m_freem."""
        if m is not None:
            m.freem()
        elif self.probes.on:
            self.probes.fire("m-freem", None)


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
