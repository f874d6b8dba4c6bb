# cython: nonecheck=True
"""The backend of the packet zone: it pairs an mbuf of the keg of mbufs with a cluster of the cluster zone.

A packet keeps its cluster while it is cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT
from mbuf.errors import Inval
from mbuf.packet.ext import Storage
from mbuf.uma.backend import Backend
from mbuf.uma.item import Item, MbufItem

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
    from mbuf.uma.bucket import Bucket
    from mbuf.uma.keg import Keg
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.uma.item import is_out
    from mbuf.vm.poison import unpoison


@cython.cclass
class Packets(Backend):
    """See mb_zinit_pack and mb_zfini_pack."""

    __slots__ = ("_clusters", "_keg", "_short")

    def __init__(self, keg: Keg, clusters: Zone) -> None:
        self._keg = keg
        self._clusters = clusters
        self._short = False

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Take mbufs from the keg, and a cluster for each; without a cluster the mbuf goes back to the keg.

        Only the first request for a cluster may wait.
        """
        if bucket is None or self._keg is None:
            raise Inval("packets: give a bucket")
        n = first = bucket.cnt
        try:
            self._keg.take(bucket, count, how, deadline)
            self._short = bucket.cnt > first
            while n < bucket.cnt:
                cluster = self._clusters.alloc(M_NOWAIT if n > first else how, deadline)
                if cluster is None:
                    break
                self._pair(bucket.at(n), cluster)
                n += 1
        finally:
            # Also if a wait was interrupted, the pool was closed, or a free cluster was found written to.
            if n < bucket.cnt:
                self._give_rest(bucket, n)

    def _give_rest(self, bucket: Bucket, end: int) -> None:
        """Give the mbufs from a slot on back to their keg, beginning with the lowest slot."""
        while bucket.cnt > end:
            self._keg.give(bucket.remove(end))

    def _pair(self, item: Item, cluster: Item) -> None:
        storage = cython.cast(Storage, cluster)
        storage.init_packet()
        cython.cast(MbufItem, item).cluster = storage

    def give(self, item: Item) -> None:
        """Give the mbuf and the cluster of a packet back, each to where it was taken from."""
        cluster = None if item is None else cython.cast(Item, item.paired())
        if cluster is None:
            if item is None or is_out(item):
                raise Inval("this is no packet")
            self._keg.give(item)
            return
        cython.cast(MbufItem, item).cluster = None
        unpoison(cluster)
        try:
            self._clusters.free(cluster)
        finally:
            self._keg.give(item)

    def batch(self, count: int) -> int:
        """See `Backend`."""
        return self._keg.batch(count)

    def claim(self, claim: Any, count: int) -> None:
        """See `Backend`: a packet needs an mbuf and a cluster."""
        self._keg.claim(claim, count)
        self._clusters.backend.claim(claim, count)

    def drain(self) -> int:
        """Give back the free slabs of the keg of mbufs."""
        return self._keg.drain()

    def denied(self) -> MbufError:
        """The error of the clusters if there were mbufs, else of the keg."""
        short: Any = self._clusters if self._short else self._keg
        error: MbufError = short.denied()
        return error

    def wait_target(self, zone: Any) -> tuple[Any, Any]:
        """What was missing: clusters if there were mbufs, else mbufs."""
        return self._clusters.wait_target() if self._short else self._keg.wait_target(zone)

    @property
    def free(self) -> int:
        """Free mbufs of the keg; they count in the mbuf zone."""
        return self._keg.free

    @property
    def pages(self) -> int:
        """Pages of the keg of mbufs."""
        return self._keg.pages
