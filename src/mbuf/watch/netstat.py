"""A pool as `netstat -m` prints it on FreeBSD 13 (amd64).

Sees one snapshot and returns text or plain numbers; never sees a pool or a zone.
Counts are unsigned 64-bit, as the tool's: a snapshot that contradicts itself prints absurdly large numbers.
"""

from string import Formatter

from mbuf.pool.stat import PoolStat

# Jumbo clusters are first delayed, then denied: the tool's own order.
_TEXT = """\
{mbuf-current}/{mbuf-cache}/{mbuf-total} mbufs in use (current/cache/total)
{cluster-current}/{cluster-cache}/{cluster-total}/{cluster-max} mbuf clusters in use (current/cache/total/max)
{packet-count}/{packet-free} mbuf+clusters out of packet secondary zone in use (current/cache)
{jumbo-count}/{jumbo-cache}/{jumbo-total}/{jumbo-max} {jumbo-page-size}k (page size) jumbo clusters in use \
(current/cache/total/max)
{jumbo9-count}/{jumbo9-cache}/{jumbo9-total}/{jumbo9-max} 9k jumbo clusters in use (current/cache/total/max)
{jumbo16-count}/{jumbo16-cache}/{jumbo16-total}/{jumbo16-limit} 16k jumbo clusters in use \
(current/cache/total/max)
{bytes-in-use}K/{bytes-in-cache}K/{bytes-total}K bytes allocated to network (current/cache/total)
{mbuf-failures}/{cluster-failures}/{packet-failures} requests for mbufs denied (mbufs/clusters/mbuf+clusters)
{mbuf-sleeps}/{cluster-sleeps}/{packet-sleeps} requests for mbufs delayed (mbufs/clusters/mbuf+clusters)
{jumbop-sleeps}/{jumbo9-sleeps}/{jumbo16-sleeps} requests for jumbo clusters delayed \
({jumbo-page-size}k/9k/16k)
{jumbop-failures}/{jumbo9-failures}/{jumbo16-failures} requests for jumbo clusters denied \
({jumbo-page-size}k/9k/16k)
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
    # The last one's limit has another name than its fellows'.
    jumbos = (
        ("jumbo", "max", stat.jumbop),
        ("jumbo9", "max", stat.jumbo9),
        ("jumbo16", "limit", stat.jumbo16),
    )
    for kind, limit, zone in jumbos:
        numbers |= {
            f"{kind}-count": zone.used,
            f"{kind}-cache": zone.free,
            f"{kind}-total": zone.used + zone.free,
            f"{kind}-{limit}": zone.limit,
        }
    return numbers


def _bytes(stat: PoolStat) -> dict[str, int]:
    """KiB in use and cached, each cut off only after summing."""
    mbuf, clust, pack = stat.mbuf, stat.clust, stat.pack
    jumbos = (stat.jumbop, stat.jumbo9, stat.jumbo16)
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
    kinds = ("packet", "mbuf", "cluster", "jumbop", "jumbo9", "jumbo16")
    numbers = {}
    for kind, zone in zip(kinds, stat.zones, strict=True):
        numbers[f"{kind}-failures"] = zone.fails
        numbers[f"{kind}-sleeps"] = zone.sleeps
    return numbers


def _u64(number: int) -> int:
    """The number as the tool's unsigned 64 bits hold it."""
    return number % 2**64
