"""Prints a pool's statistics as `netstat -m` does on FreeBSD 13 (amd64).

Takes a snapshot (`pool.stat()`) and returns text or numbers; never sees a pool or a zone. The numbers are sums and
differences of the zones' counters, as unsigned 64-bit integers, as in the program. The counters of a busy pool are not
read at one moment, so a difference may be negative: then a very large number is printed, as the program would.
"""

from string import Formatter

from mbuf.kinds import JUMBOS, KINDS
from mbuf.pool.stat import PoolStat, check_stat


def _jumbos_in_use() -> str:
    """The template of a line for each size of jumbo cluster."""
    return "".join(
        f"{{{name}-count}}/{{{name}-cache}}/{{{name}-total}}/{{{name}-{limit}}} {size}{note} jumbo clusters in use "
        "(current/cache/total/max)\n"
        for name, _, limit, size, note in (kind.netstat for kind in JUMBOS)
    )


def _jumbo_requests(counter: str, outcome: str) -> str:
    """The template of the line with the requests for jumbo clusters that were delayed or denied, by size."""
    names = "/".join(f"{{{kind.netstat.refusals}-{counter}}}" for kind in JUMBOS)
    return f"{names} requests for jumbo clusters {outcome} ({'/'.join(kind.netstat.size for kind in JUMBOS)})\n"


# The program prints "delayed" before "denied" for jumbo clusters, and the other way round for the others.
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
    + _jumbo_requests("sleeps", "delayed")
    + _jumbo_requests("failures", "denied")
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
# The names of libxo's output, which has the order of the text.
_NAMES = tuple(dict.fromkeys(name for _, name, _, _ in Formatter().parse(_TEXT) if name))
_SENDFILE = tuple(name for name in _NAMES if name.startswith(("sendfile-", "sfbufs-")))


def text(stat: PoolStat) -> str:
    """Return what `netstat -m` prints, each line with a newline.

    `stat` is a snapshot, from `pool.stat()`. Sizes are in KiB, rounded down. The counters of sendfile(2) are 0;
    those of sfbufs count windows on pages that were denied.
    """
    return _TEXT.format_map(json(stat)["mbuf-statistics"])


def json(stat: PoolStat) -> dict[str, dict[str, int]]:
    """Return what `netstat --libxo json -m` prints, as dictionaries with its names and structure.

    `stat` is a snapshot, from `pool.stat()`. The names `bytes-*` are in KiB, as there.
    """
    check_stat(stat)
    # The counters of sendfile(2) are the system's, not a pool's; only windows on pages (sf_bufs) belong to the pool.
    numbers = (
        dict.fromkeys(_SENDFILE, 0)
        | {"sfbufs-alloc-failed": stat.sfbufs_denied}
        | _items(stat)
        | _bytes(stat)
        | _requests(stat)
    )
    return {"mbuf-statistics": {name: _u64(numbers[name]) for name in _NAMES}}


def _items(stat: PoolStat) -> dict[str, int]:
    """Items in use and cached. The cluster of a cached packet is used in its zone, but counts as cached."""
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
    """KiB in use and cached, each rounded down after summing."""
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


def _requests(stat: PoolStat) -> dict[str, int]:
    """Requests that were denied and delayed, by zone."""
    names = ("packet", *(kind.netstat.refusals for kind in KINDS))
    numbers = {}
    for name, zone in zip(names, stat.zones, strict=True):
        numbers[f"{name}-failures"] = zone.fails
        numbers[f"{name}-sleeps"] = zone.sleeps
    return numbers


def _u64(number: int) -> int:
    """The number as an unsigned 64-bit integer."""
    return number % 2**64
