"""A zone in numbers, at one moment.

Printers and reports see only this; they never see a zone.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ZoneStat:
    """What `vm.zone_stats` tells of a zone, and what libmemstat makes of it."""

    #: The zone's name, as in `vmstat -z`.
    name: str
    #: Bytes of one item, as asked for.
    size: int
    #: Most items, 0 for no limit.
    limit: int
    #: The sysctl that sets the limit, empty where there is none.
    sysctl: str
    #: Items handed out: allocs less frees.
    used: int
    #: Free items in caches and bucket lists, and, in a keg's primary zone, in its slabs.
    free: int
    #: Free items in caches and bucket lists alone; with `used`, what the limit is charged for.
    cached: int
    #: Items allocated since the zone was made.
    allocs: int
    #: Items freed since the zone was made.
    frees: int
    #: Requests denied.
    fails: int
    #: Requests that waited at the limit.
    sleeps: int
    #: Frees of memory of another NUMA domain: always 0 here, kept because the tools print it.
    xdomain: int
    #: Threads waiting at the limit now.
    sleepers: int
    #: Items freed while somebody still looks at their bytes; they count as used.
    held: int
    #: Most items a bucket holds now.
    bucket_size: int
    #: Pages of the keg's slabs (a secondary zone shows its primary's).
    pages: int
    #: Limit warnings that were kept back: too soon after another, or none were wanted.
    warnings_suppressed: int
