"""A pool as `netstat -m` prints it on FreeBSD 13 (amd64).

Sees one snapshot and returns text or plain numbers; never sees a pool or a zone.
Counts are unsigned 64-bit, as the tool's: a snapshot that contradicts itself prints absurdly large numbers.
"""

from string import Formatter

from mbuf.kinds import JUMBOS, KINDS
from mbuf.pool.stat import PoolStat


def _jumbos_in_use() -> str:
    """A line for each size of jumbo cluster."""
    return "".join(
        f"{{{name}-count}}/{{{name}-cache}}/{{{name}-total}}/{{{name}-{limit}}} {size}{note} jumbo clusters in use "
        "(current/cache/total/max)\n"
        for name, _, limit, size, note in (kind.netstat for kind in JUMBOS)
    )


def _jumbos_refused(what: str, word: str) -> str:
    """A line with the requests of all sizes of jumbo clusters that were delayed or denied."""
    names = "/".join(f"{{{kind.netstat.refusals}-{what}}}" for kind in JUMBOS)
    return f"{names} requests for jumbo clusters {word} ({'/'.join(kind.netstat.size for kind in JUMBOS)})\n"


# Jumbo clusters are first delayed, then denied: the tool's own order.
_TEXT = (
    """\
{mbuf-current}/{mbuf-cache}/{mbuf-total} mbufs in use (current/cache/total)
{cluster-current}/{cluster-cache}/{cluster-total}/{cluster-max} mbuf clusters in use (current/cache/total/max)
{packet-count}/{packet-free} mbuf+clusters out of packet secondary zone in use (current/cache)
"""
    + _jumbos_in_use()
    + """\
{bytes-in-use}K/{bytes-in-cache}K/{bytes-total}K bytes allocated to network (current/cache/total)
{mbuf-failures}/{cluster-failures}/{packet-failures} requests for mbufs denied (mbufs/clusters/mbuf+clusters)
{mbuf-sleeps}/{cluster-sleeps}/{packet-sleeps} requests for mbufs delayed (mbufs/clusters/mbuf+clusters)
"""
    + _jumbos_refused("sleeps", "delayed")
    + _jumbos_refused("failures", "denied")
    + """\
{sendfile-syscalls} sendfile syscalls
{sendfile-no-io} sendfile syscalls completed without I/O request
{sendfile-io-count} requests for I/O initiated by sendfile
{sendfile-pages-sent} pages read by sendfile as part of a request
{sendfile-pages-valid} pages were valid at time of a sendfile request
{sendfile-pages-bogus} pages were valid and substituted to bogus page
{sendfile-requested-readahead} pages were requested for read ahead by applications
{sendfile-readahead} pages were read ahead by sendfile
{sendfile-busy-encounters} times sendfile encountered an already busy page
{sfbufs-alloc-failed} requests for sfbufs denied
{sfbufs-alloc-wait} requests for sfbufs delayed
"""
)
# libxo's names, in its order: that of the text.
_NAMES = tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(_TEXT) if name))
_SENDFILE = tuple(name for name in _NAMES if name.startswith(("sendfile-", "sfbufs-")))


def text(stat: PoolStat) -> str:
    """The lines of `netstat -m`, each with its newline."""
    return _TEXT.format_map(json(stat)["mbuf-statistics"])


def json(stat: PoolStat) -> dict[str, dict[str, int]]:
    """What `netstat --libxo json -m` shows."""
    # What sendfile(2) counts is the system's affair; the windows onto pages are the pool's.
    numbers = (
        dict.fromkeys(_SENDFILE, 0)
        | {"sfbufs-alloc-failed": stat.sfbufs_denied}
        | _items(stat)
        | _bytes(stat)
        | _refusals(stat)
    )
    return {"mbuf-statistics": {name: _u64(numbers[name]) for name in _NAMES}}


def _items(stat: PoolStat) -> dict[str, int]:
    """Items in use and cached: a cluster of a cached packet is cached too."""
    mbuf, clust, pack = stat.mbuf, stat.clust, stat.pack
    numbers = {
        "mbuf-current": mbuf.used + pack.used,
        "mbuf-cache": mbuf.free + pack.free,
        "mbuf-total": mbuf.used + pack.used + mbuf.free + pack.free,
        "cluster-current": clust.used - pack.free,
        "cluster-cache": clust.free + pack.free,
        "cluster-total": clust.used + clust.free,
        "cluster-max": clust.limit,
        "packet-count": pack.used,
        "packet-free": pack.free,
        "jumbo-page-size": stat.jumbop.size // 1024,
    }
    for kind in JUMBOS:
        zone, name = getattr(stat, kind.attr), kind.netstat.items
        numbers |= {
            f"{name}-count": zone.used,
            f"{name}-cache": zone.free,
            f"{name}-total": zone.used + zone.free,
            f"{name}-{kind.netstat.limit}": zone.limit,
        }
    return numbers


def _bytes(stat: PoolStat) -> dict[str, int]:
    """KiB in use and cached, each cut off only after summing."""
    mbuf, clust, pack = stat.mbuf, stat.clust, stat.pack
    jumbos = [getattr(stat, kind.attr) for kind in JUMBOS]
    used = mbuf.used * mbuf.size + pack.used * pack.size + (clust.used - pack.free) * clust.size + stat.tag_bytes
    used += sum(zone.used * zone.size for zone in jumbos)
    free = (mbuf.free + pack.free) * mbuf.size + (clust.free + pack.free) * clust.size
    free += sum(zone.free * zone.size for zone in jumbos)
    return {
        "bytes-in-use": _u64(used) // 1024,
        "bytes-in-cache": _u64(free) // 1024,
        "bytes-total": _u64(used + free) // 1024,
    }


def _refusals(stat: PoolStat) -> dict[str, int]:
    """Requests denied and delayed, by zone."""
    names = ("packet", *(kind.netstat.refusals for kind in KINDS))
    numbers = {}
    for name, zone in zip(names, stat.zones, strict=True):
        numbers[f"{name}-failures"] = zone.fails
        numbers[f"{name}-sleeps"] = zone.sleeps
    return numbers


def _u64(number: int) -> int:
    """The number as the tool's unsigned 64 bits hold it."""
    return number % 2**64
