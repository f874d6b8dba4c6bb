"""The statistics of a zone, as a snapshot. Printers and reports see only snapshots, never a zone."""

from dataclasses import dataclass

from mbuf.fielddocs import documented


@documented
@dataclass(frozen=True, slots=True)
class ZoneStat:
    """The numbers of `vm.zone_stats` for a zone, as libmemstat names them."""

    #: The zone's name, as in `vmstat -z`.
    name: str
    #: Bytes of one item, as requested.
    size: int
    #: Most items; 0 for no limit.
    limit: int
    #: The sysctl that sets the limit; empty if there is none.
    sysctl: str
    #: Items handed out: allocs less frees.
    used: int
    #: Free items in the caches and the depot, and, for the primary zone of a keg, in its slabs.
    free: int
    #: Free items in the caches and the depot; the limit counts these and `used`.
    cached: int
    #: Items allocated since the zone was made.
    allocs: int
    #: Items freed since the zone was made.
    frees: int
    #: Requests that failed.
    fails: int
    #: Requests that waited at the limit.
    sleeps: int
    #: Frees of memory of another NUMA domain: always 0; it exists because the tools print it.
    xdomain: int
    #: Threads and tasks that wait at the limit now.
    sleepers: int
    #: Freed items whose bytes still have views; they count as used.
    held: int
    #: Items of a new bucket now.
    bucket_size: int
    #: Pages of the keg's slabs (a secondary zone shows its primary's).
    pages: int
    #: Limit warnings that were suppressed: too soon after the last one, or turned off.
    warnings_suppressed: int
