"""A pool in numbers, at one moment."""

from dataclasses import dataclass

from mbuf.kinds import KINDS
from mbuf.uma.stat import ZoneStat

#: The zones' names in `PoolStat`, in the order in which `vmstat -z` lists them.
_ATTRS = ("pack", *(kind.attr for kind in KINDS))


@dataclass(frozen=True, slots=True)
class PoolStat:
    """What `netstat -m` and `vmstat -z` are printed from.

    Each zone is also an attribute by its name in `pool.zones`: `mbuf`, `pack`, `clust`, `jumbop`, `jumbo9`, `jumbo16`.
    """

    #: All zones, in the order in which `vmstat -z` lists them.
    zones: tuple[ZoneStat, ...]
    #: Mbufs that were dropped instead of freed.
    drops: int
    #: Bytes of packet tags (the malloc type `mbuf_tag`).
    tag_bytes: int
    #: Pages handed out to slabs, and to mbufs of unmapped pages, of `pages_total`.
    pages_used: int
    pages_total: int
    #: Windows onto pages of files that were wanted when all were in use.
    sfbufs_denied: int = 0
    #: Requests that got nothing: each call of the pool, or of an mbuf's verb for another mbuf, once. (A zone's `fails`
    #: counts, as the kernel does, every try: one refused `getcl` counts there for the packets and for the clusters,
    #: each once for the bucketful and once for the item.)
    refused: int = 0

    @property
    def packets_in_use(self) -> int:
        """Mbufs of the packet zone that are handed out: those that `getcl` gives, with their cluster."""
        return self.pack.used

    @property
    def mbufs_in_use(self) -> int:
        """Mbufs handed out, with or without a cluster."""
        return self.mbuf.used + self.pack.used

    @property
    def clusters_in_use(self) -> int:
        """Clusters of 2048 bytes handed out; `clust.used` counts those that cached packets keep as well."""
        return max(self.clust.used - self.pack.cached, 0)

    def __getattr__(self, name: str) -> ZoneStat:
        if name not in _ATTRS:
            raise AttributeError(f"there is no number or zone {name}")
        return self.zones[_ATTRS.index(name)]

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *_ATTRS]
