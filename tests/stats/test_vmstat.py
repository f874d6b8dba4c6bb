from collections.abc import Callable

from mbuf.pool.stat import PoolStat
from mbuf.stats import vmstat

Make = Callable[..., PoolStat]


def test_prints_a_fresh_system_after_its_first_packet(snapshot: Make) -> None:
    stat = snapshot(
        mbuf={"limit": 3355443, "free": 1},
        clust={"limit": 524288, "used": 254, "allocs": 254},
        pack={"used": 1, "free": 253, "allocs": 1},
        jumbop={"limit": 262144},
        jumbo9={"limit": 77672},
        jumbo16={"limit": 43690},
    )
    assert vmstat.text(stat) == (
        "ITEM                   SIZE  LIMIT     USED     FREE      REQ     FAILSLEEP XDOMAIN\n"
        "\n"
        "mbuf_packet:            256,      0,       1,     253,       1,   0,   0,   0\n"
        "mbuf:                   256, 3355443,       0,       1,       0,   0,   0,   0\n"
        "mbuf_cluster:          2048, 524288,     254,       0,     254,   0,   0,   0\n"
        "mbuf_jumbo_page:       4096, 262144,       0,       0,       0,   0,   0,   0\n"
        "mbuf_jumbo_9k:         9216,  77672,       0,       0,       0,   0,   0,   0\n"
        "mbuf_jumbo_16k:       16384,  43690,       0,       0,       0,   0,   0,   0\n"
    )


def test_wide_numbers_move_the_columns_after_them(snapshot: Make) -> None:
    """The mbufs of a router with 64 GB, and clusters with a different number in each column."""
    stat = snapshot(
        mbuf={"limit": 26137965, "used": 3657, "free": 4699, "allocs": 4372990387},
        clust={"limit": 1, "used": 2, "free": 3, "allocs": 4, "fails": 5, "sleeps": 6, "xdomain": 7},
    )
    rows = vmstat.text(stat).splitlines()
    assert rows[3] == "mbuf:                   256, 26137965,    3657,    4699,4372990387,   0,   0,   0"
    assert rows[4] == "mbuf_cluster:          2048,      1,       2,       3,       4,   5,   6,   7"


def test_json_has_the_names_of_libxo(snapshot: Make) -> None:
    stat = snapshot(
        clust={"limit": 1, "used": 2, "free": 3, "allocs": 4, "fails": 5, "sleeps": 6, "xdomain": 7},
    )
    objects = vmstat.json(stat)
    zones = objects["memory-zone-statistics"]["zone"]
    assert list(objects) == ["memory-zone-statistics"]
    assert list(objects["memory-zone-statistics"]) == ["zone"]
    assert [zone["name"] for zone in zones] == [
        "mbuf_packet",
        "mbuf",
        "mbuf_cluster",
        "mbuf_jumbo_page",
        "mbuf_jumbo_9k",
        "mbuf_jumbo_16k",
    ]
    assert zones[2] == {
        "name": "mbuf_cluster",
        "size": 2048,
        "limit": 1,
        "used": 2,
        "free": 3,
        "requests": 4,
        "fail": 5,
        "sleep": 6,
        "xdomain": 7,
    }
