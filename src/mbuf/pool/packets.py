"""Where packets come from: an mbuf of the keg, paired with a cluster of the cluster zone.

The backend of the packet zone. A packet that is cached keeps its cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT
from mbuf.errors import Inval
from mbuf.packet.ext import Storage
from mbuf.uma.item import Backend, Item

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
    from mbuf.uma.keg import Keg
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython


class Packets(Backend):
    """See mb_zinit_pack and mb_zfini_pack."""

    __slots__ = ("_clusters", "_keg", "_short")

    def __init__(self, keg: Keg, clusters: Zone) -> None:
        self._keg = keg
        self._clusters = clusters
        self._short = False

    def take(self, count: int, how: int, deadline: float | None) -> list[Item]:
        """Mbufs of the keg as far as there are clusters for them. Only the first may wait for its cluster."""
        items = self._keg.take(count, how, deadline)
        self._short = bool(items)
        paired = 0
        try:
            for item in items:
                cluster = self._clusters.alloc(M_NOWAIT if paired else how, deadline)
                if cluster is None:
                    break
                self._pair(item, cluster)
                paired += 1
        except BaseException:
            # A wait was interrupted, the pool closed, or a free cluster was written to.
            self.give(items[:paired])
            self._keg.give(items[paired:])
            raise
        if paired < len(items):
            self._keg.give(items[paired:])
        return items[:paired]

    def _pair(self, item: Item, cluster: Item) -> None:
        storage = cython.cast(Storage, cluster)
        storage.pair()
        item.mate = storage

    def give(self, items: list[Item]) -> None:
        """Part the pairs; each half goes where it came from."""
        if None in items:
            raise Inval("None is no packet")
        for item in items:
            cluster: Item = item.mate
            item.mate = None
            self._clusters.free(cluster)
        self._keg.give(items)

    def drain(self) -> int:
        """Free slabs of the shared keg go."""
        return self._keg.drain()

    def denied(self) -> MbufError:
        """It was the clusters if there were mbufs."""
        return self._clusters.denied() if self._short else self._keg.denied()

    def obstacle(self, zone: Any) -> tuple[Any, Any]:
        """It was the clusters if there were mbufs."""
        return self._clusters.obstacle() if self._short else self._keg.obstacle(zone)

    @property
    def free(self) -> int:
        """The keg's primary zone counts these."""
        return self._keg.free

    @property
    def pages(self) -> int:
        """Pages of the shared keg."""
        return self._keg.pages
