"""A snapshot of a pool in numbers: what printers and reports read."""

from dataclasses import dataclass
from typing import Any

from mbuf.fielddocs import documented
from mbuf.kinds import KINDS
from mbuf.uma.stat import ZoneStat
from mbuf.vm.ints import kind_of

#: The zones' names in `PoolStat`, in the order in which `vmstat -z` lists them.
_ATTRS = ("pack", *(kind.attr for kind in KINDS))


@documented
@dataclass(frozen=True, slots=True)
class PoolStat:
    """What `netstat -m` and `vmstat -z` are printed from.

    Each zone is also an attribute by its name in `pool.zones`: `mbuf`, `pack`, `clust`, `jumbop`, `jumbo9`, `jumbo16`.
    """

    #: All zones, in the order in which `vmstat -z` lists them.
    zones: tuple[ZoneStat, ...]
    #: Mbufs that were dropped and not freed.
    drops: int
    #: Bytes of packet tags (the malloc type `mbuf_tag`).
    tag_bytes: int
    #: Pages in use, by slabs and by mbufs of unmapped pages.
    pages_used: int
    #: Pages that there are.
    pages_total: int
    #: Requests to map a page of a file that were denied, because all mappings were in use.
    sfbufs_denied: int = 0
    #: Calls of the pool that raised `NoBufs` or `NoMemory`, and requests of methods of mbufs that were denied; each
    #: counts once. A zone's `fails` counts, as in the kernel, every try: one refused `getcl` counts in the packet zone
    #: and in the zone of clusters, in each for a full bucket and then for one item.
    refused: int = 0
    #: Calls that wait for memory now, in a pool with a budget.
    waiting: int = 0
    #: Calls that have waited for memory, in a pool with a budget.
    waits: int = 0

    @property
    def packets_in_use(self) -> int:
        """Mbufs of the packet zone that are out: those that `getcl` allocates, with their clusters."""
        return self.pack.used

    @property
    def mbufs_in_use(self) -> int:
        """Mbufs that are out, with or without a cluster."""
        return self.mbuf.used + self.pack.used

    @property
    def clusters_in_use(self) -> int:
        """Clusters of 2048 bytes that are out; `clust.used` also counts those of cached packets."""
        return max(self.clust.used - self.pack.cached, 0)

    def __getattr__(self, name: str) -> ZoneStat:
        if name not in _ATTRS:
            raise AttributeError(f"there is no number or zone {name}")
        return self.zones[_ATTRS.index(name)]

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *_ATTRS]


def check_stat(stat: Any, what: str = "stat") -> None:
    """Raise TypeError if this isn't a snapshot."""
    if not isinstance(stat, PoolStat):
        raise TypeError(f"{what}: give a snapshot, pool.stat(), not {kind_of(stat)}")
