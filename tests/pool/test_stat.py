from collections.abc import Callable
from pathlib import Path

import pytest

from mbuf import NoBufs, Pool
from mbuf.const import PAGE_SIZE

Few = Callable[..., dict[str, int]]


def test_a_new_pool_has_nothing(make: Callable[..., Pool]) -> None:
    stat = make(mem=1 << 30).stat()
    assert [zone.name for zone in stat.zones] == [
        "mbuf_packet",
        "mbuf",
        "mbuf_cluster",
        "mbuf_jumbo_page",
        "mbuf_jumbo_9k",
        "mbuf_jumbo_16k",
    ]
    assert [zone.size for zone in stat.zones] == [256, 256, 2048, 4096, 9216, 16384]
    for zone in stat.zones:
        assert (zone.used, zone.free, zone.allocs, zone.frees, zone.fails, zone.sleeps, zone.held) == (0,) * 7
    assert (stat.drops, stat.tag_bytes, stat.pages_used, stat.pages_total) == (0, 0, 0, (1 << 30) // PAGE_SIZE)


def test_each_zone_is_an_attribute(make: Callable[..., Pool]) -> None:
    stat = make().stat()
    assert [stat.pack, stat.mbuf, stat.clust, stat.jumbop, stat.jumbo9, stat.jumbo16] == list(stat.zones)
    assert {"pack", "jumbo16", "drops"} <= set(dir(stat))
    with pytest.raises(AttributeError, match="there is no number or zone beans"):
        _ = stat.beans


def test_the_limits_are_in_it(make: Callable[..., Pool], few: Few) -> None:
    assert [zone.limit for zone in make(few()).stat().zones] == [0, 40, 10, 4, 2, 2]


def test_a_fresh_system_after_its_first_packet(make: Callable[..., Pool]) -> None:
    """The numbers of freebsd-13.md, 8.2."""
    pool = make(mem=8 << 30)
    m = pool.getcl()
    stat = pool.stat()
    assert (stat.pack.used, stat.pack.cached, stat.pack.free, stat.pack.allocs, stat.pack.fails) == (
        1,
        253,
        253,
        1,
        0,
    )
    assert (stat.mbuf.used, stat.mbuf.cached, stat.mbuf.free, stat.mbuf.pages) == (0, 0, 1, 17)
    assert (stat.clust.used, stat.clust.cached, stat.clust.free, stat.clust.allocs, stat.clust.pages) == (
        254,
        0,
        0,
        254,
        127,
    )
    assert (pool.zones.clust.limiter.items, stat.pages_used) == (254, 17 + 127)
    m.freem()
    stat = pool.stat()
    assert (stat.pack.used, stat.pack.cached, stat.clust.used, stat.mbuf.free) == (0, 254, 254, 1)
    n = pool.get()
    stat = pool.stat()
    assert (stat.mbuf.used, stat.mbuf.cached, stat.mbuf.pages, stat.mbuf.free) == (1, 253, 34, 253 + 2)
    n.free()


def test_drops_are_counted(make: Callable[..., Pool]) -> None:
    pool = make()
    pool.getcl()
    pool.gethdr().append(bytes(1000))
    assert pool.stat().drops == 1 + 5


@pytest.mark.parametrize("kind", [{}, {"debug": True}, {"caching": False}], ids=["plain", "debug", "uncached"])
def test_all_kinds_of_pool_count_alike(make: Callable[..., Pool], kind: dict[str, bool]) -> None:
    pool = make(**kind)
    m = pool.getcl()
    n = m.copypacket()
    o = pool.getjcl()
    assert [zone.used for zone in pool.stat().zones if zone.name != "mbuf_cluster"] == [1, 2, 1, 0, 0]
    for each in (m, n, o):
        each.freem()
    assert [zone.used for zone in pool.stat().zones if zone.name != "mbuf_cluster"] == [0, 0, 0, 0, 0]


def test_windows_that_were_denied_are_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2 * PAGE_SIZE))
    with Pool(nsfbufs=1, worker=False) as pool, pool.file(tmp_path / "file") as file, file.getm() as m:
        with pytest.raises(NoBufs, match="all 1 windows"):
            list(m)
        assert pool.stat().sfbufs_denied == 1
        assert bytes(m) == bytes(2 * PAGE_SIZE)
        assert (pool.stat().sfbufs_denied, pool.sfbufs.used) == (1, 0)


def test_refused_requests_and_what_is_in_use_are_reported_as_they_are(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=24, mbufs=100))
    packets = pool.getcl_bulk(24)
    for _ in range(5):
        with pytest.raises(NoBufs):
            pool.getcl()
    stat = pool.stat()
    assert (stat.refused, stat.packets_in_use, stat.mbufs_in_use, stat.clusters_in_use) == (5, 24, 24, 24)
    # The kernel counts every attempt, for a bucket and for an item.
    assert stat.pack.fails + stat.clust.fails > 5
    pool.free_bulk(packets)
    stat = pool.stat()
    assert (stat.clust.used, stat.clusters_in_use, stat.packets_in_use, stat.mbufs_in_use) == (24, 0, 0, 0)


def test_a_bulk_request_counts_one_refusal_and_a_second_choice_none(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=10, jumbop=1, mbufs=60))
    m = pool.getm2(10000)
    assert pool.stat().refused == 0
    with pytest.raises(NoBufs):
        pool.getm2(1 << 20)
    with pytest.raises(NoBufs):
        pool.getcl_bulk(20)
    assert pool.stat().refused == 2
    m.freem()
