"""`vm.zone_stats`, parsed as libmemstat does."""

import struct
from collections.abc import Callable
from typing import Any

from mbuf import Pool
from mbuf.pool.zonestats import CPU, STREAM, ZONE

GIB = 1 << 30
ORDER = ["mbuf_jumbo_16k", "mbuf_jumbo_9k", "mbuf_jumbo_page", "mbuf_cluster", "mbuf", "mbuf_packet"]


def read(pool: Pool) -> dict[str, dict[str, Any]]:
    """The fields of the stream, which must end where its header says."""
    data = pool.sysctl["vm.zone_stats"]
    version, cpus, count, pad = struct.unpack_from("<4I", data)
    assert (version, cpus, count, pad) == (1, pool.cpus.count, 6, 0)
    at, found = 16, {}
    for _ in range(count):
        name = data[at : at + 32].rstrip(b"\0").decode()
        ints = ["align", "size", "rsize", "maxpages", "limit", "pages", "keg_free", "zone_free", "bucketsize", "flags"]
        longs = ["allocs", "frees", "fails", "sleeps", "xdomain", "reserved"]
        zone = dict(zip(ints, struct.unpack_from("<10I", data, at + 32), strict=True))
        zone |= dict(zip(longs, struct.unpack_from("<6Q", data, at + 72), strict=True))
        at += 120
        zone["cpus"] = [struct.unpack_from("<8Q", data, at + 64 * cpu) for cpu in range(cpus)]
        at += 64 * cpus
        found[name] = zone
    assert at == len(data)
    return found


def test_the_structures_are_as_large_as_the_kernels() -> None:
    assert (STREAM.size, ZONE.size, CPU.size) == (16, 120, 64)


def test_zones_come_last_made_first_and_a_kegs_second_after_its_first(make: Callable[..., Pool]) -> None:
    assert list(read(make(mem=GIB))) == ORDER


def test_what_a_zone_is_made_of(make: Callable[..., Pool]) -> None:
    zones = read(make(mem=GIB))
    column = [[zones[name][field] for name in ORDER] for field in ("align", "size", "rsize", "limit", "flags")]
    assert column == [
        [7, 7, 7, 7, 255, 255],
        [16384, 9216, 4096, 2048, 256, 256],
        [16384, 9216, 4096, 2048, 256, 256],
        [5461, 9709, 32768, 65536, 419430, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert [zones[name]["maxpages"] for name in ORDER] == [5461 * 4, 9709 * 3, 32768, 32768, 27962, 0]


def test_each_cpu_counts_for_itself(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB, ncpu=3)
    with pool.cpu(0):
        kept = [pool.get() for _ in range(5)]
    with pool.cpu(2):
        kept[0].free()
    mbuf = read(pool)["mbuf"]
    assert [(allocs, frees) for allocs, frees, *_ in mbuf["cpus"]] == [(5, 0), (0, 0), (0, 1)]
    assert [free for _, _, free, *_ in mbuf["cpus"]] == [254 - 5, 0, 1]
    assert (mbuf["allocs"], mbuf["frees"]) == (0, 0)
    pool.free_bulk(kept[1:])


def test_the_sums_are_those_that_the_pool_tells(make: Callable[..., Pool]) -> None:
    for caching in (True, False):
        pool = make({"kern.ipc.nmbclusters": 700}, mem=GIB, caching=caching)
        pool.free_bulk(pool.getcl_bulk(600))
        stats = {zone.name: zone for zone in pool.stat().zones}
        for name, zone in read(pool).items():
            allocs = zone["allocs"] + sum(cpu[0] for cpu in zone["cpus"])
            frees = zone["frees"] + sum(cpu[1] for cpu in zone["cpus"])
            cached = zone["zone_free"] + sum(cpu[2] for cpu in zone["cpus"])
            stat = stats[name]
            assert (allocs, frees, cached) == (stat.allocs, stat.frees, stat.cached), name
            # A keg's second zone doesn't count what its first does.
            assert cached + (0 if zone["flags"] else zone["keg_free"]) == stat.free
        pool.drain()


def test_pages_are_reckoned_from_what_the_limit_is_charged(make: Callable[..., Pool]) -> None:
    pool = make({"kern.ipc.nmbjumbo9": -1}, mem=GIB, caching=False, strict=False)
    kept = [*pool.getcl_bulk(5), pool.getjcl(size=9216), pool.getjcl(size=16384)]
    zones = read(pool)
    assert [zones[name]["pages"] for name in ORDER] == [4, 0, 0, 2, 0, 0]
    pool.free_bulk(kept)
