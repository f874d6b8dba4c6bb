"""A pool's zones as `vmstat -z` prints them on FreeBSD 13.0.

Sees one snapshot and returns text or plain numbers; never sees a pool or a zone.
"""

from mbuf.pool.stat import PoolStat
from mbuf.uma.stat import ZoneStat

# The blank between FAIL and SLEEP is missing in the tool too; later ones have it, and no empty line.
_HEAD = "ITEM                   SIZE  LIMIT     USED     FREE      REQ     FAILSLEEP XDOMAIN\n\n"
_ROW = "{label:<20} {size:6}, {limit:6},{used:8},{free:8},{requests:8},{fail:4},{sleep:4},{xdomain:4}\n"


def text(stat: PoolStat) -> str:
    """The table of `vmstat -z`, each line with its newline."""
    zones = json(stat)["memory-zone-statistics"]["zone"]
    return _HEAD + "".join(_ROW.format(label=f"{zone['name']}:", **zone) for zone in zones)


def json(stat: PoolStat) -> dict[str, dict[str, list[dict[str, str | int]]]]:
    """What `vmstat --libxo json -z` shows."""
    return {"memory-zone-statistics": {"zone": [_zone(zone) for zone in stat.zones]}}


def _zone(zone: ZoneStat) -> dict[str, str | int]:
    """A row, by libxo's names."""
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
