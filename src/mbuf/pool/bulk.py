# cython: boundscheck=False, wraparound=False
"""Many mbufs in one call, got or let go.

All of them are got, or none. Never touches bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_FREED, M_NOWAIT, M_PKTHDR, MCLBYTES, MJUMPAGESIZE, MT_DATA
from mbuf.errors import Inval
from mbuf.packet.mbuf import Mbuf, handle, packet
from mbuf.packet.source import until
from mbuf.pool.alloc import Allocator
from mbuf.pool.ask import check
from mbuf.vm.number import clip


class Bulk(Allocator):
    """The calls that allocate and free many."""

    __slots__ = ()

    def get_row(self, n: int, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """A chain of `n` mbufs, 1 or more, as `get` gives them: all of them, or an exception and none."""
        check(clip(how), clip(type), 0)
        count = clip(n)
        if count < 1:
            raise Inval(f"get_row: n {n}: give 1 or more")
        return self._row(count, how, type, until(how, timeout))

    def _row(self, count: int, how: int, type: int, deadline: float | None) -> Mbuf:
        zone = self.zones.mbuf
        first: Mbuf = cython.cast(Mbuf, None)
        try:
            for _ in range(count):
                if self.probes.on:
                    m = self.asked(how, type, 0, deadline)
                else:
                    item = zone.alloc(how, deadline)
                    if item is None:
                        raise self.denied(zone)
                    m = handle(item, type, 0)
                m._next = first
                first = m
        except BaseException:
            if first is not None:
                first.freem()
            raise
        return first

    def getcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """`n` times `getcl` in one call: all of them, or an exception and none."""
        check(clip(how), clip(type), clip(flags))
        return self._packets(_number("getcl_bulk", n), how, type, flags, until(how, timeout))

    def _packets(self, count: int, how: int, type: int, flags: int, deadline: float | None) -> list[Mbuf]:
        """`count` packets, or none."""
        zone = self.zones.pack
        packets: list[Mbuf] = []
        try:
            for _ in range(count):
                if self.probes.on:
                    packets.append(self.asked_cl(how, type, flags, deadline))
                    continue
                item = zone.alloc(how, deadline)
                if item is None:
                    raise self.denied(zone)
                packets.append(packet(item, type, flags))
        except BaseException:
            self.free_bulk(packets)
            raise
        return packets

    def getjcl_bulk(
        self,
        n: int,
        how: int = M_NOWAIT,
        type: int = MT_DATA,
        flags: int = M_PKTHDR,
        size: int = MJUMPAGESIZE,
        timeout: float | None = None,
    ) -> list[Mbuf]:
        """`n` times `getjcl` in one call: all of them, or an exception and none."""
        check(clip(how), clip(type), clip(flags))
        count = _number("getjcl_bulk", n)
        deadline = until(how, timeout)
        zone = self.zones.of_size(clip(size))
        if size == MCLBYTES:
            return self._packets(count, how, type, flags, deadline)
        packets: list[Mbuf] = []
        try:
            for _ in range(count):
                packets.append(self._jumbo(zone, how, type, flags, deadline))
        except BaseException:
            self.free_bulk(packets)
            raise
        return packets

    def free_bulk(self, packets: list[Mbuf]) -> None:
        """Free every packet of a list, which is empty afterwards.

        On an exception, what is left in the list has not been freed.
        """
        if not isinstance(packets, list):
            raise TypeError("free_bulk: give a list, which it takes over and empties")
        for thing in packets:
            if not isinstance(thing, Mbuf):
                raise Inval(f"free_bulk: a list of mbufs is wanted, but there is a {type(thing).__name__} in it")
        n = 0
        try:
            for m in packets:
                if m is None:
                    # A routine that a packet's end has called has put it there.
                    raise Inval("free_bulk: the list was changed while its packets were freed")
                if m._next is None and not self.probes.on:
                    m.undress()
                    n += 1
                    continue
                try:
                    m.freem()
                finally:
                    n += m.bits & M_FREED != 0
        finally:
            if n == len(packets):
                packets.clear()
            else:
                del packets[:n]


def _number(verb: str, n: int) -> int:
    count = clip(n)
    if count < 0:
        raise Inval(f"{verb}: n {n}: give 0 or more")
    return count
