from collections.abc import Callable

import pytest

from cli.conftest import MS, packets
from mbuf import Pool, TunableWarning
from mbuf.cli.replay.advice import SysctlChange, Verdict, verdict_of
from mbuf.cli.replay.clock import CaptureClock
from mbuf.cli.replay.engine import Replay, Settings
from mbuf.cli.replay.highwater import START, Moment
from mbuf.net.capture.pcap import IterableRecords

LIMITS = {"nmbclusters": 300, "nmbjumbop": 10, "nmbjumbo9": 10, "nmbjumbo16": 10}


def played(pool: Pool, settings: Settings, count: int, length: int = 60) -> tuple[Verdict, int]:
    """Replay so many packets, one each millisecond; the verdict, and how many were dropped."""
    replay = Replay(pool, settings, CaptureClock())
    if replay.fill_rings():
        replay.play(IterableRecords(packets(*range(count), length=length)))
    outcome = replay.outcome()
    replay.finish()
    return verdict_of(outcome, settings.ncpu), outcome.dropped


def test_far_below_the_limit_is_enough(pool: Callable[..., Pool]) -> None:
    verdict, _ = played(pool(nmbclusters=1000), Settings(descriptors=100, hold=0.01), 1000)
    assert (verdict.kind, verdict.zone, verdict.at, verdict.changes) == ("enough", "mbuf_cluster", None, ())
    assert verdict.text == (
        "No limit was reached. The nearest is kern.ipc.nmbclusters: at most 110 of 1000 (11.0 %) were in "
        "use. With the cache of the CPU, 500 were charged, and the CPU can use all of them."
    )


def test_with_several_cpus_cached_items_count(pool: Callable[..., Pool]) -> None:
    settings = Settings(descriptors=100, ncpu=2, hold=0.01)
    verdict, _ = played(pool(ncpu=2, nmbclusters=300), settings, 1000)
    assert verdict.kind == "near"
    assert verdict.text == (
        "No limit was reached. The nearest is kern.ipc.nmbclusters: at most 110 of 300 (36.7 %) were in "
        "use. With the caches of all CPUs, 259 (86.3 %) were charged. This is near the limit: the next burst "
        "may reach it."
    )


@pytest.mark.parametrize(("descriptors", "kind"), [(789, "enough"), (790, "near")])
def test_80_percent_is_near(pool: Callable[..., Pool], descriptors: int, kind: str) -> None:
    verdict, _ = played(pool(nmbclusters=1000), Settings(descriptors=descriptors, hold=0.0095), 100)
    assert verdict.kind == kind


def test_a_machine_without_limits_reaches_none(pool: Callable[..., Pool]) -> None:
    unlimited = dict.fromkeys(("nmbclusters", "nmbufs", "nmbjumbop", "nmbjumbo9", "nmbjumbo16"), -1)
    with pytest.warns(TunableWarning, match="that means no limit"):
        machine = pool(**unlimited)
    verdict, _ = played(machine, Settings(), 9)
    assert (verdict.kind, verdict.text) == ("enough", "No limit was reached: this machine has none.")


def test_the_verdict_on_a_reached_limit_has_the_value_that_is_enough(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(**LIMITS), Settings(descriptors=100, hold=10), 500)
    assert dropped == 200
    assert (verdict.kind, verdict.zone, verdict.at) == ("limit", "mbuf_cluster", Moment(201, 200 * MS))
    # 100 + 500 + 4 buckets of 254, and a quarter on top, is 2020.
    assert verdict.changes == (SysctlChange("kern.ipc.nmbclusters", 300, 2048),)
    assert verdict.text == (
        "kern.ipc.nmbclusters was reached first, at packet 201, after 0.200 s of capture time: 300 of "
        "300 were in use and 0 in caches. The allocator denied 300 requests, and 200 of 500 packets (40.0 %) were "
        "dropped, from packet 301 on. Raise it to 2048: 100 for the rings, up to 500 for packets in socket "
        "buffers if none is dropped, 1016 for the caches of the CPUs, and a quarter of the sum as headroom."
    )


def test_requests_may_be_denied_without_drops(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(**LIMITS), Settings(descriptors=100, hold=10), 250)
    assert dropped == 0
    assert "The allocator denied 50 requests, but no packet was dropped." in verdict.text


@pytest.mark.parametrize(
    "settings",
    [
        Settings(descriptors=100, hold=10),
        Settings(descriptors=100, drain_rate=50),
        Settings(descriptors=100, mtu=9000, hold=10),
        Settings(queues=4, descriptors=50, ncpu=4, hold=1),
    ],
)
@pytest.mark.parametrize("length", [60, 5000])
def test_with_the_new_limit_no_packet_is_dropped(pool: Callable[..., Pool], settings: Settings, length: int) -> None:
    limits = LIMITS | {"nmbjumbop": 300, "nmbclusters": 300 if settings.ncpu == 1 else 1100}
    verdict, dropped = played(pool(settings.ncpu, **limits), settings, 2000, length)
    assert verdict.kind == "limit"
    assert dropped
    limits |= {change.sysctl.removeprefix("kern.ipc."): change.to for change in verdict.changes}
    verdict, dropped = played(pool(settings.ncpu, **limits), settings, 2000, length)
    assert (verdict.kind in ("enough", "near"), dropped) == (True, 0)


def test_mbufs_are_raised_first_if_clusters_would_outnumber_them(pool: Callable[..., Pool]) -> None:
    p = pool(physmem=4 << 20)
    verdict, _ = played(p, Settings(), 0)
    assert verdict.at == START
    assert "Only 256 of 1024 descriptors got a cluster, so no packet was received." in verdict.text
    # 128 + 37 + 21 are the other limits.
    assert verdict.changes == (
        SysctlChange("kern.ipc.nmbufs", 1638, 4096),
        SysctlChange("kern.ipc.nmbclusters", 256, 3072),
    )
    assert "But first raise kern.ipc.nmbufs from 1638 to 4096" in verdict.text
    assert "So many need 6.8 MiB, too much for a machine with 4.0 MiB" in verdict.text
    for change in verdict.changes:
        p.sysctl[change.sysctl] = change.to
    assert str(verdict.changes[0]) == "sysctl kern.ipc.nmbufs=4096"


def test_mbufs_themselves_may_be_the_limit(pool: Callable[..., Pool]) -> None:
    p = pool(maxmbufmem=2 << 20)
    p.sysctl["kern.ipc.nmbjumbop"] = 5000
    verdict, dropped = played(p, Settings(descriptors=100, mtu=9000, hold=10), 2000)
    assert (verdict.kind, verdict.zone, dropped) == ("limit", "mbuf", 2000 - 1638)
    # 100 + 2000 + 4 buckets of 254, and a quarter on top, is 3895.
    assert verdict.changes == (SysctlChange("kern.ipc.nmbufs", 1638, 4096),)


def test_if_memory_runs_out_no_sysctl_helps(pool: Callable[..., Pool]) -> None:
    p = pool(physmem=1 << 20, nmbclusters=10_000)
    verdict, dropped = played(p, Settings(descriptors=100, hold=10), 1000)
    assert (verdict.kind, verdict.zone, verdict.changes) == ("memory", "", ())
    assert dropped > 0
    assert verdict.text.startswith("Memory ran out at packet ")
    assert verdict.text.endswith(
        "No sysctl helps: up to 1100 mbufs with clusters were needed at a time, 2.4 MiB of memory, "
        "and the machine has 1.0 MiB in all."
    )


def test_without_memory_no_descriptor_gets_a_cluster(pool: Callable[..., Pool]) -> None:
    verdict, _ = played(pool(physmem=0), Settings(), 0)
    assert verdict.text.startswith("Memory ran out before the first packet, before any limit was reached. Only 0")


def test_frames_longer_than_a_ring_are_dropped_without_a_limit_being_reached(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(nmbclusters=1000), Settings(descriptors=4), 3, 9000)
    assert (verdict.kind, dropped) == ("enough", 3)
    assert verdict.text.endswith(
        "But some packets (3) were dropped: they are longer than all clusters of a ring together, so the rings need "
        "more descriptors."
    )
