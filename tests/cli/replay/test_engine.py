import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import MS, packets
from mbuf import NoBufs, NoMemory, Pool
from mbuf.cli.replay.clock import SECOND, CaptureClock
from mbuf.cli.replay.engine import Outcome, Replay, Settings, flow_number
from mbuf.cli.replay.highwater import START, Moment, Peak
from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import IterableRecords, Packet

CAPTURES = Path(__file__).parents[3] / "captures"

Machine = Callable[..., Replay]


def play(replay: Replay, stream: Iterable[Packet], **options: Any) -> None:
    replay.play(IterableRecords(stream), **options)


def test_with_enough_clusters_all_packets_are_received(machine: Machine) -> None:
    replay = machine(Settings())
    with Capture(CAPTURES / "ip_seg.pcap") as capture:
        play(replay, capture)
    outcome = replay.outcome()
    assert (outcome.packets, outcome.dropped, outcome.denials, outcome.first_denial) == (417, 0, 0, None)
    assert outcome.when == 29_009_975_000
    assert outcome.used == outcome.needed
    assert outcome.stat.pack.used == 1024 + outcome.held
    assert outcome.stat.pack.allocs == 1024 + 417
    assert (outcome.cluster, outcome.slots, outcome.empty) == (2048, 1024, 0)


def test_counts_with_ten_clusters_are_those_calculated_by_hand(machine: Machine) -> None:
    """Eight are in the ring. After packet 3 a slot stays empty, packet 10 takes the last one, 11 to 20 are dropped."""
    replay = machine(Settings(descriptors=8, hold=0.1), nmbclusters=10)
    play(replay, packets(*range(20)))
    outcome = replay.outcome()
    assert outcome.dropped == 10
    assert outcome.first_drop == Moment(11, 10 * MS)
    assert outcome.denials == 18
    assert outcome.first_denial is not None
    assert outcome.first_denial.at == Moment(3, 2 * MS)
    assert outcome.first_denial.used == 10
    assert isinstance(outcome.first_denial.error, NoBufs)
    assert outcome.used == Peak(10, Moment(2, 1 * MS))
    assert outcome.needed == Peak(28, Moment(20, 19 * MS))
    assert (outcome.held, outcome.empty) == (10, 8)
    assert outcome.charged["mbuf_cluster"] == 10


def test_the_ring_is_filled_after_the_first_packet_that_finds_free_memory(machine: Machine) -> None:
    replay = machine(Settings(descriptors=8, hold=0.1), nmbclusters=10)
    play(replay, packets(*range(20), 200, 201))
    outcome = replay.outcome()
    assert (outcome.packets, outcome.dropped, outcome.denials) == (22, 11, 18)
    assert (outcome.held, outcome.empty, outcome.stat.pack.used) == (1, 0, 9)


def test_packets_wait_for_the_hold_time_and_no_longer(machine: Machine) -> None:
    """Ten packets, one each 10 ms, held for 35 ms: from the fourth on, four wait after each."""
    replay = machine(Settings(descriptors=4, hold=0.035))
    for n in range(10):
        play(replay, packets(n * 10))
        assert replay.outcome().held == min(n + 1, 4)
    assert replay.outcome().used == Peak(8, Moment(4, 30 * MS))


def test_a_packet_that_is_due_is_freed_before_the_next_one_is_received(machine: Machine) -> None:
    replay = machine(Settings(descriptors=4, hold=0.01))
    play(replay, packets(0, 10, 20))
    assert (replay.outcome().held, replay.outcome().used.count) == (1, 5)


def test_packets_are_read_at_the_drain_rate(machine: Machine) -> None:
    """Ten packets at the same time, read at ten per second: at 0.1 s, 0.2 s, ... 1.0 s."""
    replay = machine(Settings(descriptors=4, drain_rate=10))
    play(replay, packets(*[0] * 10))
    assert replay.outcome().held == 10
    for when, held in ((99, 11), (100, 11), (101, 12), (550, 9), (2000, 1)):
        play(replay, packets(when))
        assert replay.outcome().held == held
    assert replay.outcome().used == Peak(4 + 12, Moment(13, 101 * MS))


def test_more_packets_wait_if_traffic_is_faster(machine: Machine) -> None:
    """A hundred packets, one each 10 ms, ten times as fast: the time is 0.1 s, so after 0.1 s of hold all are there."""
    slow, fast = machine(Settings(descriptors=4)), machine(Settings(descriptors=4, speed=10))
    for replay in (slow, fast):
        play(replay, packets(*range(0, 1000, 10)))
    assert (slow.outcome().held, fast.outcome().held) == (10, 100)
    assert (slow.outcome().when, fast.outcome().when) == (990 * MS, 990 * MS)


def test_the_drain_rate_counts_seconds_of_the_faster_traffic(machine: Machine) -> None:
    replay = machine(Settings(descriptors=4, drain_rate=100, speed=10))
    play(replay, packets(*range(0, 1000, 10)))
    # Each takes 100 ms of capture time, so nine have been read by 990 ms.
    assert replay.outcome().held == 91


def test_time_continues_in_the_next_capture(machine: Machine) -> None:
    clock = CaptureClock()
    with Pool(worker=False) as pool:
        replay = Replay(pool, Settings(descriptors=4), clock)
        replay.fill_rings()
        for _ in range(3):
            clock.restart()
            play(replay, packets(0, 60))
        outcome = replay.outcome()
        replay.finish()
        assert (outcome.packets, outcome.when, outcome.held) == (6, 180 * MS, 3)
        assert pool.out == 0


def test_a_large_mtu_uses_page_size_clusters(machine: Machine) -> None:
    replay = machine(Settings(descriptors=8, mtu=9000, hold=0.1), nmbjumbop=10)
    play(replay, packets(*range(20), data=b"j" * 4000))
    outcome = replay.outcome()
    assert (outcome.cluster, outcome.dropped, outcome.used.count) == (4096, 10, 10)
    assert (outcome.stat.jumbop.used, outcome.stat.mbuf.used, outcome.stat.pack.used) == (10, 10, 0)
    assert outcome.first_denial is not None
    assert isinstance(outcome.first_denial.error, NoBufs)
    assert outcome.first_denial.error.sysctl == "kern.ipc.nmbjumbop"


def test_a_long_frame_uses_several_clusters_until_it_is_read(machine: Machine) -> None:
    replay = machine(Settings(descriptors=8, hold=0.1))
    play(replay, packets(0, 1, data=b"l" * 9000) + packets(2))
    assert replay.outcome().used == Peak(8 + 5 + 5 + 1, Moment(3, 2 * MS))
    play(replay, packets(101))
    assert replay.outcome().stat.pack.used == 8 + 1 + 1
    play(replay, packets(500))
    assert replay.outcome().stat.pack.used == 8 + 1


def test_a_frame_is_at_least_as_long_as_its_captured_bytes(machine: Machine) -> None:
    replay = machine(Settings(descriptors=8))
    play(replay, packets(0, data=b"l" * 3000, length=10))
    assert (replay.outcome().bytes, replay.outcome().used.count) == (3000, 10)


def test_a_frame_longer_than_a_ring_is_dropped_without_a_denial(machine: Machine) -> None:
    replay = machine(Settings(descriptors=8))
    play(replay, packets(0, data=b"", length=1 << 31))
    outcome = replay.outcome()
    assert (outcome.dropped, outcome.denials, outcome.first_drop) == (1, 0, Moment(1, 0))


def test_each_queue_is_served_by_its_cpu(machine: Machine) -> None:
    replay = machine(Settings(queues=4, descriptors=8, ncpu=2))
    play(replay, packets(*range(0, 40, 10)), flow=lambda data: 0)
    few = replay.outcome()
    assert (few.slots, few.used.count, few.stat.pack.used) == (32, 36, 36)
    # What CPU 0 and CPU 1 have fetched: a bucket each.
    assert few.charged["mbuf_cluster"] == few.stat.pack.used + few.stat.pack.cached == 2 * 254
    replay.finish()
    assert replay.outcome().stat.pack.used == 0


def test_at_the_limit_a_cpu_gets_what_another_one_caches(machine: Machine) -> None:
    """Each CPU fetches a bucket of 254; at the limit, the cache of the idle CPU is drained for the other one."""
    replay = machine(Settings(queues=2, descriptors=8, ncpu=2, hold=10), nmbclusters=528)
    play(replay, packets(*range(512)), flow=lambda data: 1)
    outcome = replay.outcome()
    assert (outcome.denials, outcome.empty) == (0, 0)
    play(replay, packets(*range(512, 520)), flow=lambda data: 1)
    assert replay.outcome().denials > 0


def test_rings_that_cannot_be_filled_are_a_denial_before_the_first_packet(pool: Callable[..., Pool]) -> None:
    replay = Replay(pool(nmbclusters=10), Settings(descriptors=11), CaptureClock())
    assert not replay.fill_rings()
    outcome = replay.outcome()
    assert (outcome.empty, outcome.used, outcome.needed) == (1, Peak(10, START), Peak(11, START))
    assert outcome.first_denial is not None
    assert outcome.first_denial.at == START
    replay.finish()


def test_running_out_of_memory_is_a_denial_with_its_error(pool: Callable[..., Pool]) -> None:
    replay = Replay(pool(physmem=1 << 20, nmbclusters=10_000), Settings(descriptors=100, hold=10), CaptureClock())
    assert replay.fill_rings()
    play(replay, packets(*range(1000)))
    outcome = replay.outcome()
    assert outcome.dropped > 0
    assert outcome.first_denial is not None
    assert isinstance(outcome.first_denial.error, NoMemory)
    assert outcome.needed.count == 1100
    replay.finish()


@pytest.mark.parametrize("linktype", [1, None, 0, 101, 113])
def test_a_flow_is_identified_by_addresses_and_ports(linktype: int | None) -> None:
    at = {1: 26, None: 26, 0: 16, 101: 12, 113: 28}[linktype]
    number = flow_number(linktype)
    one, same, other = bytearray(60), bytearray(60), bytearray(60)
    same[at - 1] = same[at + 12] = 1
    other[at] = 1
    assert number(memoryview(one)) == number(memoryview(same)) != number(memoryview(other))
    assert number(memoryview(b"")) == 0


@pytest.mark.parametrize("seed", range(30))
def test_counts_are_those_of_a_simple_model(machine: Machine, seed: int) -> None:
    rnd = random.Random(seed)
    descriptors, limit, hold = rnd.randint(1, 12), rnd.randint(12, 40), rnd.randint(0, 60)
    settings = Settings(descriptors=descriptors, hold=hold / SECOND)
    stream, when = [], 0
    for _ in range(400):
        when += rnd.choice((0, 0, 1, 1, 1, 2, 5, rnd.randint(0, 80)))
        stream.append((when, memoryview(b"x" * 60), rnd.choice((60, 1500, 2048, 2049, 6000))))
    replay = machine(settings, nmbclusters=limit)
    play(replay, stream)
    assert counts(replay.outcome()) == modelled(stream, descriptors, limit, hold)


def counts(outcome: Outcome) -> tuple[object, ...]:
    first = outcome.first_denial.at if outcome.first_denial else None
    return outcome.dropped, outcome.denials, outcome.first_drop, first, outcome.used, outcome.needed


def modelled(stream: list[Packet], slots: int, limit: int, hold: int) -> tuple[object, ...]:
    armed, dropped, denials = slots, 0, 0
    waiting: list[tuple[int, int]] = []
    missing: list[tuple[int, int]] = []
    first_drop = first_denial = None
    used = needed = Peak(slots, START)
    for number, (when, _, length) in enumerate(stream, 1):
        now = Moment(number, when - stream[0][0])
        waiting = [(due, n) for due, n in waiting if due > now.when]
        missing = [(due, n) for due, n in missing if due > now.when]
        count = -(-length // 2048)
        if count <= armed:
            armed -= count
            waiting.append((now.when + hold, count))
        else:
            dropped += 1
            first_drop = first_drop or now
            missing.append((now.when + hold, count))
        held = sum(n for _, n in waiting)
        room = limit - held - armed
        if room < slots - armed:
            denials += 1
            first_denial = first_denial or now
        armed += min(room, slots - armed)
        total = slots + held + sum(n for _, n in missing)
        used = max(used, Peak(armed + held, now), key=lambda peak: peak.count)
        needed = max(needed, Peak(total, now), key=lambda peak: peak.count)
    return dropped, denials, first_drop, first_denial, used, needed
