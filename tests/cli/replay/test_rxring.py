from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mbuf import M_PKTHDR, Inval, Mbuf, NoBufs, NoMemory, Pool
from mbuf.cli.replay.rxring import RxRings, cluster_for


def receive(rx: RxRings, data: memoryview, length: int) -> Mbuf | None:
    return rx.receive(0, data, 0, len(data), length)


@contextmanager
def rings(pool: Pool, queues: int = 1, descriptors: int = 8, cluster: int = 2048) -> Iterator[RxRings]:
    made = RxRings(pool, queues, descriptors, cluster)
    try:
        yield made
    finally:
        made.free_all()
        assert made.empty == made.slots


@pytest.mark.parametrize(("mtu", "size"), [(68, 2048), (1500, 2048), (2026, 2048), (2027, 4096), (9000, 4096)])
def test_a_cluster_holds_a_frame_but_is_never_larger_than_a_page(mtu: int, size: int) -> None:
    assert cluster_for(mtu) == size


@pytest.mark.parametrize(("queues", "descriptors"), [(0, 1), (1, 0), (-1, -1)])
def test_without_a_ring_or_a_slot_is_an_error(pool: Callable[..., Pool], queues: int, descriptors: int) -> None:
    with pytest.raises(Inval, match="1 or more of both"):
        RxRings(pool(), queues, descriptors, 2048)


@pytest.mark.parametrize("cluster", [2048, 4096])
def test_refill_takes_an_mbuf_with_a_cluster_for_each_slot(pool: Callable[..., Pool], cluster: int) -> None:
    p = pool()
    with rings(p, 2, 8, cluster) as rx:
        assert (rx.slots, rx.empty) == (16, 16)
        assert rx.refill(0)
        assert (rx.empty, p.out) == (8, 8)
        assert rx.refill(1)
        assert (rx.empty, p.out) == (0, 16)
        stat = p.stat()
        assert (stat.pack.used, stat.jumbop.used) == ((16, 0) if cluster == 2048 else (0, 16))


@pytest.mark.parametrize("size", [0, 1, 2047, 2048])
def test_a_frame_is_copied_once_and_its_slot_filled_again(pool: Callable[..., Pool], size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    p = pool()
    with rings(p) as rx:
        rx.refill(0)
        m = receive(rx, memoryview(data), size)
        assert m is not None
        assert (bytes(m), m.pkthdr.len, m.len, m.next) == (data, size, size, None)
        assert (rx.empty, p.out) == (0, 9)
        m.freem()


@pytest.mark.parametrize(
    ("cluster", "size", "lens"),
    [
        (2048, 2049, [2048, 1]),
        (2048, 5000, [2048, 2048, 904]),
        (4096, 5000, [4096, 904]),
        (4096, 4096, [4096]),
        (2048, 16384, [2048] * 8),
    ],
)
def test_a_long_frame_fills_clusters_in_turn(
    pool: Callable[..., Pool], cluster: int, size: int, lens: list[int]
) -> None:
    data = bytes(n % 251 for n in range(size))
    p = pool()
    with rings(p, cluster=cluster) as rx:
        rx.refill(0)
        m = head = receive(rx, memoryview(data), size)
        assert head is not None
        found = []
        while m is not None:
            found.append(m.len)
            assert bool(m.flags & M_PKTHDR) == (m is head)
            m = m.next
        assert (found, bytes(head), head.pkthdr.len) == (lens, data, size)
        assert (rx.empty, p.out, rx.slots_for(size)) == (0, 8 + len(lens), len(lens))
        head.freem()


def test_a_truncated_frame_takes_the_slots_of_its_whole_length(pool: Callable[..., Pool]) -> None:
    p = pool()
    with rings(p) as rx:
        rx.refill(0)
        m = receive(rx, memoryview(b"x" * 96), 5000)
        assert m is not None
        assert (len(m), m.pkthdr.len, p.out) == (96, 96, 8 + 3)
        m.freem()


def test_a_frame_longer_than_the_ring_is_dropped_and_takes_nothing(pool: Callable[..., Pool]) -> None:
    p = pool()
    with rings(p) as rx:
        rx.refill(0)
        assert receive(rx, memoryview(b"x"), 8 * 2048 + 1) is None
        assert receive(rx, memoryview(b"x"), (1 << 32) - 1) is None
        assert (rx.empty, rx.denials, p.out) == (0, 0, 8)


def test_a_slot_stays_empty_until_the_pool_has_memory(pool: Callable[..., Pool]) -> None:
    p = pool(nmbclusters=9)
    frame = memoryview(b"frame")
    with rings(p) as rx:
        rx.refill(0)
        held = [receive(rx, frame, 5) for _ in range(9)]
        assert None not in held
        assert (rx.empty, rx.denials, p.out) == (8, 8, 9)
        assert isinstance(rx.last_denial, NoBufs)
        assert rx.last_denial.sysctl == "kern.ipc.nmbclusters"
        assert receive(rx, frame, 5) is None
        assert (rx.empty, rx.denials) == (8, 9)
        for m in held[:3]:
            p.freem(m)
        # No descriptor is armed when it comes; then three are.
        assert receive(rx, frame, 5) is None
        assert (rx.empty, rx.denials) == (5, 10)
        m = receive(rx, frame, 5)
        assert m is not None
        p.free_bulk([m, *(m for m in held[3:] if m)])


def test_running_out_of_memory_is_a_denial(pool: Callable[..., Pool]) -> None:
    p = pool(physmem=64 * 4096, nmbclusters=1000)
    with rings(p, descriptors=100) as rx:
        assert not rx.refill(0)
        assert rx.denials == 1
        assert isinstance(rx.last_denial, NoMemory)
        assert 0 < rx.slots - rx.empty == p.out < 100
