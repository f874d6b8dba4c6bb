from collections.abc import Callable

import pytest

from cli.conftest import MS, packets
from mbuf import Pool, TunableWarning
from mbuf.cli.replay.advice import Raise, Verdict, judge
from mbuf.cli.replay.clock import CaptureClock
from mbuf.cli.replay.engine import Replay, Settings
from mbuf.cli.replay.highwater import START, Moment
from mbuf.net.capture.pcap import IterableRecords

LIMITS = {"nmbclusters": 300, "nmbjumbop": 10, "nmbjumbo9": 10, "nmbjumbo16": 10}


def played(pool: Pool, settings: Settings, count: int, length: int = 60) -> tuple[Verdict, int]:
    """The verdict on so many packets, one each millisecond, and how many of them were dropped."""
    replay = Replay(pool, settings, CaptureClock())
    if replay.arm():
        replay.play(IterableRecords(packets(*range(count), length=length)))
    outcome = replay.outcome()
    replay.finish()
    return judge(outcome, settings.ncpu), outcome.dropped


def test_plenty_is_enough(pool: Callable[..., Pool]) -> None:
    verdict, _ = played(pool(nmbclusters=1000), Settings(descriptors=100, hold=0.01), 1000)
    assert (verdict.kind, verdict.zone, verdict.at, verdict.raises) == ("enough", "mbuf_cluster", None, ())
    assert verdict.text == (
        "No limit was reached. The nearest is kern.ipc.nmbclusters: of its 1000, at most 110 (11.0 %) were "
        "in use; with what the CPU cached, all of which it can use itself, 500 were charged."
    )


def test_what_a_cpu_caches_is_near_for_the_others(pool: Callable[..., Pool]) -> None:
    settings = Settings(descriptors=100, ncpu=2, hold=0.01)
    verdict, _ = played(pool(ncpu=2, nmbclusters=300), settings, 1000)
    assert verdict.kind == "near"
    assert verdict.text == (
        "No limit was reached. The nearest is kern.ipc.nmbclusters: of its 300, at most 110 (36.7 %) were in "
        "use; with what CPUs cached, which others can't have, 259 (86.3 %) were charged. That is near: the "
        "next burst may reach it."
    )


@pytest.mark.parametrize(("descriptors", "kind"), [(789, "enough"), (790, "near")])
def test_four_fifths_is_near(pool: Callable[..., Pool], descriptors: int, kind: str) -> None:
    verdict, _ = played(pool(nmbclusters=1000), Settings(descriptors=descriptors, hold=0.0095), 100)
    assert verdict.kind == kind


def test_a_machine_without_limits_has_none_to_reach(pool: Callable[..., Pool]) -> None:
    unlimited = dict.fromkeys(("nmbclusters", "nmbufs", "nmbjumbop", "nmbjumbo9", "nmbjumbo16"), -1)
    with pytest.warns(TunableWarning, match="that means no limit"):
        machine = pool(**unlimited)
    verdict, _ = played(machine, Settings(), 9)
    assert (verdict.kind, verdict.text) == ("enough", "No limit was reached: there is none.")


def test_a_limit_reached_is_told_with_what_would_have_been_enough(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(**LIMITS), Settings(descriptors=100, hold=10), 500)
    assert dropped == 200
    assert (verdict.kind, verdict.zone, verdict.at) == ("limit", "mbuf_cluster", Moment(201, 200 * MS))
    # 100 + 500 + 4 buckets of 254, and a quarter on top, is 2020.
    assert verdict.raises == (Raise("kern.ipc.nmbclusters", 300, 2048),)
    assert verdict.text == (
        "kern.ipc.nmbclusters was reached first, at packet 201, after 0.200 s of capture time: of its 300, "
        "300 were in use and 0 in caches. 300 requests for a refill denied, 200 of 500 packets (40.0 %) "
        "dropped, from packet 301 on. Raise it to 2048: 100 for the rings, 500 for the fullest socket "
        "buffers had nothing been dropped, 1016 that the caches of the CPUs may keep, and a quarter on top."
    )


def test_refills_denied_need_not_lose_packets(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(**LIMITS), Settings(descriptors=100, hold=10), 250)
    assert dropped == 0
    assert "50 requests for a refill denied, but no ring ran dry: no packet was dropped." in verdict.text


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
def test_what_would_have_been_enough_is_enough(pool: Callable[..., Pool], settings: Settings, length: int) -> None:
    limits = LIMITS | {"nmbjumbop": 300, "nmbclusters": 300 if settings.ncpu == 1 else 1100}
    verdict, dropped = played(pool(settings.ncpu, **limits), settings, 2000, length)
    assert verdict.kind == "limit"
    assert dropped
    limits |= {step.sysctl.removeprefix("kern.ipc."): step.to for step in verdict.raises}
    verdict, dropped = played(pool(settings.ncpu, **limits), settings, 2000, length)
    assert (verdict.kind in ("enough", "near"), dropped) == (True, 0)


def test_mbufs_come_first_where_clusters_would_outnumber_them(pool: Callable[..., Pool]) -> None:
    p = pool(physmem=4 << 20)
    verdict, _ = played(p, Settings(), 0)
    assert verdict.at == START
    assert "Only 256 of 1024 descriptors could be armed, so no packet was received." in verdict.text
    # 128 + 37 + 21 are the other limits.
    assert verdict.raises == (
        Raise("kern.ipc.nmbufs", 1638, 4096),
        Raise("kern.ipc.nmbclusters", 256, 3072),
    )
    assert "But first raise kern.ipc.nmbufs from 1638 to 4096" in verdict.text
    assert "So many take 6.8 MiB, too much for the machine's 4.0 MiB" in verdict.text
    for step in verdict.raises:
        p.sysctl[step.sysctl] = step.to
    assert str(verdict.raises[0]) == "sysctl kern.ipc.nmbufs=4096"


def test_mbufs_themselves_may_be_the_limit(pool: Callable[..., Pool]) -> None:
    p = pool(maxmbufmem=2 << 20)
    p.sysctl["kern.ipc.nmbjumbop"] = 5000
    verdict, dropped = played(p, Settings(descriptors=100, mtu=9000, hold=10), 2000)
    assert (verdict.kind, verdict.zone, dropped) == ("limit", "mbuf", 2000 - 1638)
    # 100 + 2000 + 4 buckets of 254, and a quarter on top, is 3895.
    assert verdict.raises == (Raise("kern.ipc.nmbufs", 1638, 4096),)


def test_a_machine_without_pages_is_told_so(pool: Callable[..., Pool]) -> None:
    p = pool(physmem=1 << 20, nmbclusters=10_000)
    verdict, dropped = played(p, Settings(descriptors=100, hold=10), 1000)
    assert (verdict.kind, verdict.zone, verdict.raises) == ("memory", "", ())
    assert dropped > 0
    assert verdict.text.startswith("Memory ran out at packet ")
    assert verdict.text.endswith(
        "No sysctl helps: at the worst, 1100 mbufs with clusters were needed at once, 2.4 MiB of memory, "
        "and the machine has 1.0 MiB in all."
    )


def test_no_page_at_all_arms_nothing(pool: Callable[..., Pool]) -> None:
    verdict, _ = played(pool(physmem=0), Settings(), 0)
    assert verdict.text.startswith("Memory ran out before the first packet, before any limit was reached. Only 0")


def test_frames_beyond_a_ring_are_no_limit_of_memory(pool: Callable[..., Pool]) -> None:
    verdict, dropped = played(pool(nmbclusters=1000), Settings(descriptors=4), 3, 9000)
    assert (verdict.kind, dropped) == ("enough", 3)
    assert verdict.text.endswith(
        "Yet 3 packets dropped: longer than all clusters of a ring, so a ring needs more descriptors."
    )
