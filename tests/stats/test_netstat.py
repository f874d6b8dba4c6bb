from collections.abc import Callable
from dataclasses import replace

import pytest

from mbuf.pool.stat import PoolStat
from mbuf.stats import netstat

Make = Callable[..., PoolStat]

NO_SENDFILE = """\
0 sendfile syscalls
0 sendfile syscalls completed without I/O request
0 requests for I/O initiated by sendfile
0 pages read by sendfile as part of a request
0 pages were valid at time of a sendfile request
0 pages were valid and substituted to bogus page
0 pages were requested for read ahead by applications
0 pages were read ahead by sendfile
0 times sendfile encountered an already busy page
0 requests for sfbufs denied
0 requests for sfbufs delayed
"""

LINES = """\
{mbufs} mbufs in use (current/cache/total)
{clusters} mbuf clusters in use (current/cache/total/max)
{packets} mbuf+clusters out of packet secondary zone in use (current/cache)
{4k} 4k (page size) jumbo clusters in use (current/cache/total/max)
{9k} 9k jumbo clusters in use (current/cache/total/max)
{16k} 16k jumbo clusters in use (current/cache/total/max)
{K bytes} bytes allocated to network (current/cache/total)
{denied} requests for mbufs denied (mbufs/clusters/mbuf+clusters)
0/0/0 requests for mbufs delayed (mbufs/clusters/mbuf+clusters)
0/0/0 requests for jumbo clusters delayed (4k/9k/16k)
0/0/0 requests for jumbo clusters denied (4k/9k/16k)
"""

# The zones of a system with 8 GiB and one CPU after its first m_getcl, without the packet zone.
FRESH = {
    "mbuf": {"limit": 3355443, "free": 1},
    "clust": {"limit": 524288, "used": 254, "allocs": 254},
    "jumbop": {"limit": 262144},
    "jumbo9": {"limit": 77672},
    "jumbo16": {"limit": 43690},
}

# What `netstat -m` printed on real machines, by column. "tag bytes" isn't printed: it is what the bytes have more than
# the items explain.
COLUMNS = ("mbufs", "clusters", "packets", "4k", "9k", "16k", "K bytes", "denied", "tag bytes")
NONE = "0/0/0/0"
SAMPLES = {
    "bambi, exhausted": (
        "54475/8420/62895",
        "39489/7531/47020/262144",
        "39489/5996",
        "12800/0/12800/12800",
        "0/0/0/6400",
        "0/0/0/3200",
        "143806K/17167K/160973K",
        "0/3091007/3085670",
        "10240",
    ),
    "bit_1": (
        "266/859/1125",
        "257/371/628/262144",
        "257/368",
        "0/44/44/131072",
        "0/0/0/65536",
        "0/0/0/32768",
        "580K/1132K/1713K",
        "0/0/0",
        "0",
    ),
    "adeep": (
        "20715/2850/23565",
        "12286/776/13062/16777216",
        "12286/770",
        "0/104/104/16777216",
        "8191/2216/10407/16777216",
        "0/0/0/16777216",
        "103477K/22624K/126101K",
        "0/0/0",
        "7680",
    ),
    "netmd": (
        "18780/3495/22275",
        "18454/1546/20000/1000000",
        "18454/1533",
        "0/36/36/32768",
        "0/0/0/9709",
        "0/0/0/5461",
        "41603K/4109K/45712K",
        "0/0/0",
        "0",
    ),
    "FreeBSD 6, no jumbo zones": (
        "445/695/1140",
        "407/255/662/65536",
        "407/237",
        NONE,
        NONE,
        NONE,
        "925K/683K/1609K",
        "16064849/9164254/9384500",
        "0",
    ),
    "ns1": (
        "257/1018/1275",
        "256/506/762/109049",
        "256/506",
        "0/508/508/54524",
        "0/0/0/16155",
        "0/0/0/9087",
        "576K/3298K/3874K",
        "0/0/0",
        "0",
    ),
    "Junos": (
        "588/2142/2730",
        "516/714/1230/124756",
        "513/499",
        "0/2/2/62377",
        "0/0/0/18482",
        "0/0/0/10396",
        "1179K/1971K/3150K",
        "0/0/0",
        "0",
    ),
    "webmail1": (
        "1292/3268/4560",
        "1279/1777/3056/126994",
        "1279/1757",
        "0/84/84/63496",
        "0/0/0/18813",
        "0/0/0/10582",
        "2881K/4707K/7588K",
        "0/0/0",
        "0",
    ),
    "stress2": (
        "1233/597/1830",
        "1232/196/1428/8896",
        "1232/74",
        NONE,
        NONE,
        NONE,
        "2772K/541K/3313K",
        "508/7778/5734",
        "0",
    ),
}


def numbers(columns: str) -> list[int]:
    return [int(number) for number in columns.split("/")]


def zones_of(sample: dict[str, str]) -> dict[str, dict[str, int]]:
    """Return the counters of the zones that give a sample's columns."""
    mbufs, clusters, packets = (numbers(sample[column]) for column in COLUMNS[:3])
    zones = {
        "mbuf": {"used": mbufs[0] - packets[0], "free": mbufs[1] - packets[1]},
        "clust": {"used": clusters[0] + packets[1], "free": clusters[1] - packets[1], "limit": clusters[3]},
        "pack": {"used": packets[0], "free": packets[1]},
    }
    for zone, column in (("jumbop", "4k"), ("jumbo9", "9k"), ("jumbo16", "16k")):
        used, free, _, limit = numbers(sample[column])
        zones[zone] = {"used": used, "free": free, "limit": limit}
    for zone, fails in zip(("mbuf", "clust", "pack"), numbers(sample["denied"]), strict=True):
        zones[zone]["fails"] = fails
    return zones


def lines_of(sample: dict[str, str]) -> str:
    return LINES.format_map(sample) + NO_SENDFILE


@pytest.mark.parametrize("row", SAMPLES.values(), ids=SAMPLES)
def test_prints_what_real_machines_printed(snapshot: Make, row: tuple[str, ...]) -> None:
    sample = dict(zip(COLUMNS, row, strict=True))
    stat = snapshot(tag_bytes=int(sample["tag bytes"]), **zones_of(sample))
    assert netstat.text(stat) == lines_of(sample)


@pytest.mark.parametrize(
    ("pack", "columns"),
    [
        (
            {"used": 1, "free": 253, "allocs": 1},
            ("1/254/255", "1/253/254/524288", "1/253", "2K/569K/571K"),
        ),
        (
            {"used": 0, "free": 254, "allocs": 1, "frees": 1},
            ("0/255/255", "0/254/254/524288", "0/254", "0K/571K/571K"),
        ),
    ],
    ids=["first m_getcl", "m_freem"],
)
def test_prints_a_fresh_system(snapshot: Make, pack: dict[str, int], columns: tuple[str, ...]) -> None:
    jumbos = {"4k": "0/0/0/262144", "9k": "0/0/0/77672", "16k": "0/0/0/43690"}
    changing = dict(zip(("mbufs", "clusters", "packets", "K bytes"), columns, strict=True))
    stat = snapshot(**FRESH, pack=pack)
    assert netstat.text(stat) == lines_of(changing | jumbos | {"denied": "0/0/0"})


def test_denied_and_delayed_requests_are_printed_by_zone_jumbo_clusters_delayed_first(snapshot: Make) -> None:
    kinds = ("mbuf", "clust", "pack", "jumbop", "jumbo9", "jumbo16")
    stat = snapshot(**{kind: {"fails": n, "sleeps": 10 + n} for n, kind in enumerate(kinds, 1)})
    assert netstat.text(stat).splitlines()[7:11] == [
        "1/2/3 requests for mbufs denied (mbufs/clusters/mbuf+clusters)",
        "11/12/13 requests for mbufs delayed (mbufs/clusters/mbuf+clusters)",
        "14/15/16 requests for jumbo clusters delayed (4k/9k/16k)",
        "4/5/6 requests for jumbo clusters denied (4k/9k/16k)",
    ]


def test_json_has_the_names_and_the_order_of_libxo(snapshot: Make) -> None:
    objects = netstat.json(snapshot(**FRESH, pack={"used": 1, "free": 253, "allocs": 1}))
    assert list(objects) == ["mbuf-statistics"]
    assert list(objects["mbuf-statistics"].items()) == [
        ("mbuf-current", 1),
        ("mbuf-cache", 254),
        ("mbuf-total", 255),
        ("cluster-current", 1),
        ("cluster-cache", 253),
        ("cluster-total", 254),
        ("cluster-max", 524288),
        ("packet-count", 1),
        ("packet-free", 253),
        ("jumbo-count", 0),
        ("jumbo-cache", 0),
        ("jumbo-total", 0),
        ("jumbo-max", 262144),
        ("jumbo-page-size", 4),
        ("jumbo9-count", 0),
        ("jumbo9-cache", 0),
        ("jumbo9-total", 0),
        ("jumbo9-max", 77672),
        ("jumbo16-count", 0),
        ("jumbo16-cache", 0),
        ("jumbo16-total", 0),
        ("jumbo16-limit", 43690),
        ("bytes-in-use", 2),
        ("bytes-in-cache", 569),
        ("bytes-total", 571),
        ("mbuf-failures", 0),
        ("cluster-failures", 0),
        ("packet-failures", 0),
        ("mbuf-sleeps", 0),
        ("cluster-sleeps", 0),
        ("packet-sleeps", 0),
        ("jumbop-sleeps", 0),
        ("jumbo9-sleeps", 0),
        ("jumbo16-sleeps", 0),
        ("jumbop-failures", 0),
        ("jumbo9-failures", 0),
        ("jumbo16-failures", 0),
        ("sendfile-syscalls", 0),
        ("sendfile-no-io", 0),
        ("sendfile-io-count", 0),
        ("sendfile-pages-sent", 0),
        ("sendfile-pages-valid", 0),
        ("sendfile-pages-bogus", 0),
        ("sendfile-requested-readahead", 0),
        ("sendfile-readahead", 0),
        ("sendfile-busy-encounters", 0),
        ("sfbufs-alloc-failed", 0),
        ("sfbufs-alloc-wait", 0),
    ]


def test_bytes_are_rounded_down_to_kib_after_summing(snapshot: Make) -> None:
    stat = snapshot(mbuf={"used": 3, "free": 3})
    assert "0K/0K/1K bytes allocated to network" in netstat.text(stat)


def test_denied_windows_are_printed(snapshot: Make) -> None:
    stat = replace(snapshot(), sfbufs_denied=3)
    assert "\n3 requests for sfbufs denied\n" in netstat.text(stat)


def test_a_negative_difference_wraps_as_in_c(snapshot: Make) -> None:
    """More cached packets than clusters: on a busy machine the counters are not read at one moment."""
    numbers = netstat.json(snapshot(pack={"free": 5}))["mbuf-statistics"]
    assert numbers["cluster-current"] == 2**64 - 5
    assert numbers["cluster-cache"] == 5
    assert numbers["bytes-in-use"] == (2**64 - 5 * 2048) // 1024
    assert numbers["bytes-in-cache"] == 5 * (256 + 2048) // 1024
    # The sum wraps again, and is right: the bytes of five mbufs.
    assert numbers["bytes-total"] == 5 * 256 // 1024
