from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mbuf import M_NOWAIT
from mbuf.uma.stat import ZoneStat


def test_a_zone_shows_all_its_numbers(make_zone: Any) -> None:
    zone = make_zone(limit=100)
    item = zone.alloc(M_NOWAIT, None)
    assert zone.stat() == ZoneStat(
        name="thing",
        size=256,
        limit=100,
        sysctl="kern.things",
        used=1,
        # 24 in the bucket, 5 in slabs.
        free=29,
        cached=24,
        allocs=1,
        frees=0,
        fails=0,
        sleeps=0,
        xdomain=0,
        sleepers=0,
        held=0,
        bucket_size=25,
        pages=2,
        warnings_suppressed=0,
    )
    zone.free(item)


def test_what_was_told_stays(make_zone: Any) -> None:
    zone = make_zone()
    stat = zone.stat()
    with pytest.raises(FrozenInstanceError):
        stat.used = 1
    zone.free(zone.alloc(M_NOWAIT, None))
    assert stat.allocs == 0
