"""The sysctls of the zones, below vm.uma, are those of UMA."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Inval, Pool

GIB = 1 << 30
ZONES = ["mbuf_packet", "mbuf", "mbuf_cluster", "mbuf_jumbo_page", "mbuf_jumbo_9k", "mbuf_jumbo_16k"]


def column(pool: Pool, name: str) -> list[Any]:
    return [pool.sysctl[f"vm.uma.{zone}.{name}"] for zone in ZONES]


def numbers(pool: Pool, branch: str) -> dict[str, Any]:
    start = f"{branch}."
    return {name.removeprefix(start): pool.sysctl[name] for name in pool.sysctl.under(branch)}


def test_what_a_zone_is_made_of(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB)
    assert column(pool, "size") == [256, 256, 2048, 4096, 9216, 16384]
    assert column(pool, "keg.name") == ["mbuf", *ZONES[1:]]
    assert column(pool, "keg.rsize") == [256, 256, 2048, 4096, 9216, 16384]
    assert column(pool, "keg.ppera") == [1, 1, 1, 1, 3, 4]
    assert column(pool, "keg.ipers") == [15, 15, 2, 1, 1, 1]
    assert column(pool, "keg.align") == [255, 255, 7, 7, 7, 7]
    assert column(pool, "keg.reserve") == [0] * 6
    assert column(pool, "keg.efficiency") == [93, 93, 98, 98, 75, 99]
    assert column(pool, "limit.max_items") == [0, 419430, 65536, 32768, 9709, 5461]
    assert column(pool, "bucket_size") == column(pool, "bucket_size_max") == [254] * 6
    assert column(pool, "limit.bucket_max") == [2**64 - 1] + [n - 508 for n in (419430, 65536, 32768, 9709, 5461)]
    assert column(make(mem=GIB, debug=True), "keg.efficiency") == [93, 93, 97, 97, 75, 99]


def test_flags_are_a_number_and_its_names(make: Callable[..., Pool]) -> None:
    limited = "0x3010000<LIMIT,CTORDTOR,FIRSTTOUCH>"
    offpage = "0x3a10000<LIMIT,CTORDTOR,VTOSLAB,OFFPAGE,FIRSTTOUCH>"
    packet = "0x1010200<CTORDTOR,FIRSTTOUCH,SECONDARY>"
    assert column(make(mem=GIB), "flags") == [packet, limited, offpage, offpage, limited, offpage]
    debug = make(mem=GIB, debug=True)
    assert debug.sysctl["vm.uma.mbuf.flags"] == "0x43010000<TRASH,LIMIT,CTORDTOR,FIRSTTOUCH>"
    assert debug.sysctl["vm.uma.mbuf_packet.flags"] == packet
    unlimited = make({"kern.ipc.nmbjumbo9": -1}, mem=GIB, strict=False)
    assert unlimited.sysctl["vm.uma.mbuf_jumbo_9k.flags"] == "0x1010000<CTORDTOR,FIRSTTOUCH>"


def test_numbers_follow_what_is_taken_and_given_back(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(mem=GIB, clock=clock)
    m = pool.getcl()
    assert numbers(pool, "vm.uma.mbuf_packet.stats") == {
        "current": 1,
        "allocs": 1,
        "frees": 0,
        "fails": 0,
        "xdomain": 0,
    }
    assert column(pool, "stats.current") == [1, 0, 254, 0, 0, 0]
    assert numbers(pool, "vm.uma.mbuf_cluster.limit") == {
        "items": 254,
        "max_items": 65536,
        "sleepers": 0,
        "sleeps": 0,
        "bucket_max": 65028,
    }
    assert numbers(pool, "vm.uma.mbuf_cluster.keg.domain.0") == {"pages": 127, "free_items": 0}
    assert numbers(pool, "vm.uma.mbuf_packet.keg.domain.0") == {"pages": 17, "free_items": 1}
    assert pool.sysctl["vm.uma_kmem_total"] == (127 + 17) * 4096
    m.free()
    assert column(pool, "stats.frees") == [1, 0, 0, 0, 0, 0]


def test_the_depot_ends_its_periods(make: Callable[..., Pool], clock: Any) -> None:
    pool = make(mem=GIB, clock=clock)
    pool.free_bulk(pool.getcl_bulk(1000))
    listed = pool.zones.pack.depot.nitems
    assert listed > 0
    assert pool.sysctl["vm.uma.mbuf_packet.domain.0.nitems"] == listed
    first = numbers(pool, "vm.uma.mbuf_packet.domain.0")
    assert (first["imin"], first["wss"]) == (0, 0)
    assert first["imax"] >= listed
    clock.now += 20
    assert numbers(pool, "vm.uma.mbuf_packet.domain.0") == {
        "nitems": listed,
        "imax": listed,
        "imin": listed,
        "wss": 4 * first["imax"] // 5,
    }


def test_while_the_reserve_is_in_force_the_pools_own_zones_are_reported(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB)
    before = column(pool, "limit.max_items")
    pool.reserve.reinit(1, 2, 2048)
    pool.reserve.start()
    assert column(pool, "limit.max_items") == before
    pool.reserve.finish()
    pool.reserve.drain()


def test_nothing_of_them_can_be_set(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB)
    for name in pool.sysctl.under("vm"):
        if name not in ("vm.zone_warnings", "vm.lowmem_period"):
            fixed = ": it can be set when the pool is made" * name.startswith("vm.kmem_size")
            with pytest.raises(Inval, match=f"{name} is read only{fixed}$"):
                pool.sysctl[name] = 1
            with pytest.raises(Inval, match=f"{name} is read only{fixed}$"):
                pool.sysctl[name] = "text"


def test_what_is_reported_of_all_zones(make: Callable[..., Pool]) -> None:
    pool = make(mem=GIB)
    assert (pool.sysctl["vm.zone_count"], pool.sysctl["vm.uma_kmem_limit"]) == (6, GIB)


def test_warnings_can_be_switched_off_and_come_as_often_as_wanted(
    make: Callable[..., Pool], few: Callable[..., dict[str, int]], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make(few(jumbop=1), clock=clock)
    taken = pool.getjcl(size=4096)

    def hit() -> int:
        with pytest.raises(MemoryError):
            pool.getjcl(size=4096)
        return len(caplog.messages)

    name = "vm.zone_warnings"
    with caplog.at_level(logging.WARNING, "mbuf"):
        pool.sysctl[name] = 0
        assert (pool.sysctl[name], hit()) == (0, 0)
        pool.sysctl[name] = 5
        assert (pool.sysctl[name], hit()) == (5, 1)
        pool.sysctl[name] = 1 << 32
        assert pool.sysctl[name] == 0
        pool.sysctl[name] = 1
        clock.now += 299
        assert hit() == 1
        pool.warnings.interval = 10
        assert hit() == 2
        kept_back = pool.stat().jumbop.warnings_suppressed
        pool.warnings.interval = 0
        assert hit() == 3
    assert {vars(record)["kernel"] for record in caplog.records} == {
        "[zone: mbuf_jumbo_page] kern.ipc.nmbjumbop limit reached"
    }
    assert pool.stat().jumbop.warnings_suppressed == kept_back > 0
    taken.free()
