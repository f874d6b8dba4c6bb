"""Makes snapshots to print."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from mbuf.pool.stat import PoolStat
from mbuf.uma.stat import ZoneStat

ZONES = {
    "pack": ("mbuf_packet", 256),
    "mbuf": ("mbuf", 256),
    "clust": ("mbuf_cluster", 2048),
    "jumbop": ("mbuf_jumbo_page", 4096),
    "jumbo9": ("mbuf_jumbo_9k", 9216),
    "jumbo16": ("mbuf_jumbo_16k", 16384),
}


@pytest.fixture
def snapshot() -> Callable[..., PoolStat]:
    """Makes a snapshot with these numbers for each zone; all others are 0."""

    def make(tag_bytes: int = 0, **zones: dict[str, int]) -> PoolStat:
        stats = [
            ZoneStat(**zeros(ZoneStat) | {"name": name, "size": size, "sysctl": ""} | zones.get(zone, {}))
            for zone, (name, size) in ZONES.items()
        ]
        return PoolStat(**zeros(PoolStat) | {"zones": tuple(stats), "tag_bytes": tag_bytes})

    return make


def zeros(kind: type[PoolStat] | type[ZoneStat]) -> dict[str, Any]:
    return dict.fromkeys((field.name for field in fields(kind)), 0)
