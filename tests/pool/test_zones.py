from collections.abc import Callable

import pytest

from mbuf import Inval, Pool
from mbuf.const import MCLBYTES, MJUM9BYTES, MJUM16BYTES, MJUMPAGESIZE


@pytest.mark.parametrize(
    ("size", "name"),
    [(MCLBYTES, "clust"), (MJUMPAGESIZE, "jumbop"), (MJUM9BYTES, "jumbo9"), (MJUM16BYTES, "jumbo16")],
)
def test_each_size_of_cluster_has_a_zone(pool: Pool, size: int, name: str) -> None:
    assert pool.zones.of_size(size) is getattr(pool.zones, name)


@pytest.mark.parametrize("size", [0, -1, 256, 2047, 2049, 65536, 2**31, 2**32 + 2048, 2**63, 2**70, -(2**70)])
def test_no_other_size_has(pool: Pool, size: int) -> None:
    with pytest.raises(Inval, match=f"cluster size {size}"):
        pool.zones.of_size(size)


def test_those_that_draw_from_others_come_first(pool: Pool) -> None:
    zones = pool.zones
    assert zones.all() == (zones.pack, zones.mbuf, zones.clust, zones.jumbop, zones.jumbo9, zones.jumbo16)


def test_packets_draw_from_the_keg_of_mbufs_and_have_no_limit(make: Callable[..., Pool]) -> None:
    zones = make().zones
    assert (zones.pack.limit, zones.pack.primary, zones.mbuf.primary) == (0, False, True)
    assert zones.clust.feeds is zones.pack


def test_zones_of_mbufs_start_with_the_largest_buckets(make: Callable[..., Pool]) -> None:
    zones = make(mem=1 << 30).zones
    assert [zone.depot.bucket_size for zone in zones.all()] == [254] * 6
    assert [zone.depot.bucket_min for zone in zones.all()] == [254, 254, 8, 2, 1, 1]


def test_zones_cannot_be_exchanged_one_by_one(pool: Pool) -> None:
    with pytest.raises(AttributeError):
        pool.zones.colour = pool.zones.mbuf  # type: ignore[attr-defined]


def test_zones_of_clusters_are_attributes_by_name(pool: Pool) -> None:
    assert {"mbuf", "pack", "clust", "jumbop", "jumbo9", "jumbo16"} <= set(dir(pool.zones))
    with pytest.raises(AttributeError, match="there is no zone colour"):
        _ = pool.zones.colour
