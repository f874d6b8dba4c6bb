"""Prints a pool's zones as `vmstat -z` does on FreeBSD 13.0.

Takes a snapshot (`pool.stat()`) and returns text or numbers; never sees a pool or a zone.
"""

from mbuf.pool.stat import PoolStat, check_stat
from mbuf.uma.stat import ZoneStat

# As in FreeBSD 13.0: no space between FAIL and SLEEP, and an empty line. Later releases differ in both.
_HEADER = "ITEM                   SIZE  LIMIT     USED     FREE      REQ     FAILSLEEP XDOMAIN\n\n"
_ROW = "{label:<20} {size:6}, {limit:6},{used:8},{free:8},{requests:8},{fail:4},{sleep:4},{xdomain:4}\n"


def text(stat: PoolStat) -> str:
    """Return what `vmstat -z` prints: the header, an empty line, and a line for each zone, each with a newline.

    `stat` is a snapshot, from `pool.stat()`. SIZE is in bytes; the other columns count items, requests and failures.
    """
    zones = json(stat)["memory-zone-statistics"]["zone"]
    return _HEADER + "".join(_ROW.format(label=f"{zone['name']}:", **zone) for zone in zones)


def json(stat: PoolStat) -> dict[str, dict[str, list[dict[str, str | int]]]]:
    """Return what `vmstat --libxo json -z` prints, as dictionaries with its names and structure.

    `stat` is a snapshot, from `pool.stat()`.
    """
    check_stat(stat)
    return {"memory-zone-statistics": {"zone": [_zone(zone) for zone in stat.zones]}}


def _zone(zone: ZoneStat) -> dict[str, str | int]:
    """The fields of a zone, by the names of libxo's output."""
    return {
        "name": zone.name,
        "size": zone.size,
        "limit": zone.limit,
        "used": zone.used,
        "free": zone.free,
        "requests": zone.allocs,
        "fail": zone.fails,
        "sleep": zone.sleeps,
        "xdomain": zone.xdomain,
    }
