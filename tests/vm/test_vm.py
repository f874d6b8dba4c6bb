import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbuf import VM_LOW_KMEM, VM_LOW_PAGES, Corrupt, Inval, NoMemory, Vm
from mbuf.const import PAGE_SIZE
from mbuf.vm.vm import ARENA_PAGES, LOWMEM_PERIOD, host_memory
from system import resident_bytes


def pages(count: int) -> Vm:
    return Vm(realmem=count * PAGE_SIZE)


# The budget.


@pytest.mark.parametrize(("realmem", "count"), [(0, 0), (4095, 0), (4096, 1), (8191, 1), (1 << 30, 262144)])
def test_the_budget_is_whole_pages_and_the_bytes_are_kept(realmem: int, count: int) -> None:
    vm = Vm(realmem)
    assert (vm.pages, vm.free, vm.used, vm.realmem) == (count, count, 0, realmem)


@pytest.mark.parametrize("realmem", [1.5, 0.0, "64m", None, True, [1]])
def test_a_budget_that_is_not_a_whole_number_is_refused(realmem: Any) -> None:
    with pytest.raises(TypeError, match="give the bytes of memory to manage, a whole number"):
        Vm(realmem)


@pytest.mark.parametrize("realmem", [-1, 1 << 62, 1 << 64])
def test_a_budget_that_cannot_be_is_refused(realmem: int) -> None:
    with pytest.raises(Inval, match=f"realmem {realmem}"):
        Vm(realmem)


def test_no_page_is_handed_out_twice_nor_beyond_the_budget() -> None:
    vm = pages(7)
    taken = [vm.take(1) for _ in range(8)]
    assert taken == [0, 1, 2, 3, 4, 5, 6, -1]
    assert (vm.used, vm.free, vm.fails, vm.fragmented) == (7, 0, 1, 0)
    assert str(vm.denied(1)) == "out of pages: 7 of 7 in use (Vm(realmem=...) sets the budget)"
    vm.give([(page, 1) for page in taken[:7]])
    assert vm.used == 0


def test_nothing_is_to_be_had_of_an_empty_budget() -> None:
    vm = pages(0)
    assert vm.take(1) == -1
    assert vm.largest_run() == 0
    error = vm.denied(1)
    assert isinstance(error, NoMemory)
    assert isinstance(error, MemoryError)
    assert str(error) == "out of pages: 0 of 0 in use (Vm(realmem=...) sets the budget)"


def test_single_pages_come_from_the_low_end_and_runs_from_the_high() -> None:
    vm = pages(16)
    assert [vm.take(1), vm.take(4), vm.take(3), vm.take(1)] == [0, 12, 9, 1]
    vm.give([(0, 2), (9, 7)])


def test_free_pages_that_are_no_run_are_reported_apart_from_none() -> None:
    vm = pages(8)
    taken = [vm.take(1) for _ in range(8)]
    vm.give([(page, 1) for page in taken[::2]])
    assert vm.free == 4
    assert vm.largest_run() == 1
    assert vm.take(3) == -1
    assert (vm.fails, vm.fragmented) == (1, 1)
    assert str(vm.denied(3)) == (
        "out of runs of 3 contiguous pages: 4 of 8 pages are free, "
        "but no more than 1 contiguous: use smaller clusters, or raise Vm(realmem=...)"
    )
    assert vm.take(5) == -1
    assert (vm.fails, vm.fragmented) == (2, 1)
    assert str(vm.denied(5)) == "out of pages: 4 of 8 in use (Vm(realmem=...) sets the budget)"
    vm.give([(page, 1) for page in taken[1::2]])
    assert vm.largest_run() == 8
    assert vm.take(8) == 0
    vm.give([(0, 8)])


def test_runs_given_back_in_any_order_join() -> None:
    vm = pages(8)
    for _ in range(8):
        vm.take(1)
    vm.give([(5, 1), (0, 2), (3, 2), (7, 1), (2, 1), (6, 1)])
    assert (vm.used, vm.largest_run()) == (0, 8)


def test_a_run_never_spans_two_arenas() -> None:
    vm = pages(ARENA_PAGES + 2)
    assert vm.largest_run() == ARENA_PAGES
    first = vm.take(ARENA_PAGES - 1)
    assert first == 1
    assert vm.take(3) == -1
    assert (vm.fails, vm.fragmented) == (1, 1)
    assert vm.largest_run() == 2
    last = vm.take(2)
    assert last == ARENA_PAGES
    assert vm.take(1) == 0
    assert vm.free == 0
    # Adjacent numbers, but in two arenas.
    vm.give([(ARENA_PAGES - 1, 1), (ARENA_PAGES, 1)])
    assert vm.largest_run() == 1
    assert vm.take(2) == -1
    vm.give([(0, ARENA_PAGES - 1), (ARENA_PAGES + 1, 1)])
    assert vm.used == 0


def test_a_full_arena_is_searched_again_once_it_has_a_free_page() -> None:
    vm = pages(2 * ARENA_PAGES)
    assert vm.take(ARENA_PAGES) == 0
    assert vm.take(1) == ARENA_PAGES
    vm.give([(17, 1)])
    assert vm.take(1) == 17
    vm.give([(0, ARENA_PAGES), (ARENA_PAGES, 1)])


def test_no_run_is_longer_than_an_arena() -> None:
    vm = pages(3 * ARENA_PAGES)
    assert vm.take(ARENA_PAGES + 1) == -1
    assert vm.fragmented == 1


def test_giving_pages_back_is_an_event() -> None:
    vm = pages(4)
    events: list[int] = []
    vm.freed.register(lambda: events.append(vm.used))
    first, second = vm.take(1), vm.take(2)
    vm.give([(first, 1)])
    vm.give([(second, 2)])
    assert events == [2, 0]


@pytest.mark.parametrize("run", [(0, 1), (1, 2), (2, 3), (-1, 1), (1, 0), (1 << 40, 1)])
def test_pages_that_are_not_handed_out_can_not_be_given_back(run: tuple[int, int]) -> None:
    vm = pages(4)
    assert [vm.take(1), vm.take(1)] == [0, 1]
    vm.give([(0, 1)])
    with pytest.raises(Corrupt, match="not handed out"):
        vm.give([run])
    vm.audit([(1, 1)])
    vm.give([(1, 1)])
    vm.audit([])


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([], "2 pages are handed out, and 0 are held"),
        ([(0, 1), (0, 2)], "page 0 is held twice"),
        ([(0, 3)], "3 pages from 0 on are held, and not handed out"),
    ],
)
def test_an_audit_names_pages_with_another_owner(runs: list[tuple[int, int]], says: str) -> None:
    vm = pages(4)
    assert [vm.take(1), vm.take(1)] == [0, 1]
    with pytest.raises(Corrupt, match=says):
        vm.audit(runs)
    vm.audit([(0, 1), (1, 1)])
    vm.give([(0, 2)])


@pytest.mark.parametrize("count", [0, -1])
def test_who_asks_for_pages_asks_for_one_or_more(count: int) -> None:
    with pytest.raises(Inval, match="ask for 1 or more"):
        pages(4).take(count)


@pytest.mark.parametrize("realmem", [1.5, "1", None])
def test_a_budget_is_a_number_of_bytes(realmem: Any) -> None:
    with pytest.raises(TypeError):
        Vm(realmem)


def test_where_the_system_maps_no_more_there_is_not_a_page() -> None:
    vm = Vm(1 << 61)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_SIZE
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 28), hard))
    try:
        taken = []
        while (page := vm.take(ARENA_PAGES)) >= 0:
            taken.append(page)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert (vm.fails, vm.fragmented) == (1, 1)
    vm.audit([(page, ARENA_PAGES) for page in taken])
    vm.give([(page, ARENA_PAGES) for page in taken])
    vm.audit([])


# Memory.


def test_pages_given_back_are_the_operating_systems_and_read_as_zeros() -> None:
    count = 2048
    vm = pages(count)
    page = vm.take(count)
    arena, offset = vm.place(page)
    size = count * PAGE_SIZE
    before = resident_bytes()
    for at in range(offset, offset + size, PAGE_SIZE):
        arena.map[at] = 0xAA
    assert resident_bytes() - before > size // 2
    vm.give([(page, count)])
    assert resident_bytes() - before < size // 2
    page = vm.take(count)
    arena, offset = vm.place(page)
    assert arena.map[offset : offset + size].count(0) == size
    vm.give([(page, count)])


def test_pages_beside_those_given_back_keep_their_bytes() -> None:
    vm = pages(3)
    taken = [vm.take(1) for _ in range(3)]
    places = [vm.place(page) for page in taken]
    for arena, offset in places:
        arena.map[offset : offset + PAGE_SIZE] = b"x" * PAGE_SIZE
    vm.give([(taken[1], 1)])
    assert [arena.map[at : at + PAGE_SIZE] == b"x" * PAGE_SIZE for arena, at in places] == [True, False, True]
    vm.give([(taken[0], 1), (taken[2], 1)])


# Low memory.


def test_low_memory_is_reported_at_most_once_in_a_period(clock: Any) -> None:
    vm = Vm(0, clock=clock)
    events: list[int] = []
    vm.lowmem.register(events.append)
    assert vm.low()
    clock.now += LOWMEM_PERIOD - 0.001
    assert not vm.low()
    clock.now += 0.001
    assert vm.low()
    assert events == [VM_LOW_PAGES] * 2


def test_low_memory_is_logged(clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    vm = Vm(0, clock=clock)
    with caplog.at_level("INFO", "mbuf"):
        assert [vm.low(), vm.low(), vm.low(VM_LOW_KMEM)] == [True, False, True]
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert caplog.messages == [
        "memory is low: drains run, and caches are trimmed",
        "memory is severely low: drains run, and caches are emptied",
    ]


def test_severely_low_memory_is_reported_at_most_once_a_second(clock: Any) -> None:
    vm = Vm(0, clock=clock)
    events: list[int] = []
    vm.lowmem.register(events.append)
    calls = [vm.low(), vm.low(VM_LOW_KMEM), vm.low(VM_LOW_KMEM)]
    clock.now += 0.999
    calls.append(vm.low(VM_LOW_KMEM))
    clock.now += 0.001
    calls += [vm.low(VM_LOW_KMEM), vm.low()]
    assert calls == [True, True, False, False, True, False]
    assert events == [VM_LOW_PAGES, VM_LOW_KMEM, VM_LOW_KMEM]


def test_caches_are_drained_last_even_if_another_listener_failed(clock: Any) -> None:
    vm = Vm(0, clock=clock)
    order: list[str] = []
    vm.reclaim.register(lambda why: order.append(f"caches {why}"))
    vm.lowmem.register(lambda why: order.append(f"others {why}") or 1 // 0)
    for why in (VM_LOW_PAGES, VM_LOW_KMEM):
        with pytest.raises(ZeroDivisionError):
            vm.low(why)
    assert order == ["others 2", "caches 2", "others 1", "caches 1"]


def test_memory_is_low_for_one_of_two_reasons() -> None:
    vm = Vm(0)
    for why in (0, 3, -1, 1 << 70):
        with pytest.raises(Inval, match=f"low memory {why}: give VM_LOW_PAGES or VM_LOW_KMEM"):
            vm.low(why)


def test_the_period_is_the_kernels() -> None:
    assert LOWMEM_PERIOD == 10


def test_the_period_of_low_memory_can_be_set(clock: Any) -> None:
    vm = Vm(1 << 20, clock=clock)
    assert vm.lowmem_period == LOWMEM_PERIOD
    vm.lowmem_period = 1
    calls = []
    for later in (0, 0.9, 0.1):
        clock.now += later
        calls.append(vm.low())
    assert calls == [True, False, True]


def test_a_listener_that_fails_counts_as_called(clock: Any) -> None:
    vm = Vm(0, clock=clock)
    vm.lowmem.register(lambda why: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        vm.low()
    assert not vm.low()


# The machine's memory.

Tree = Callable[..., int]


@pytest.fixture
def host(tmp_path: Path) -> Tree:
    """The memory found on a machine of 8 GiB with these files."""

    def host(groups: str | None = None, **limits: str) -> int:
        proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text("MemTotal:        8388608 kB\nMemFree:          123456 kB\n")
        if groups is not None:
            (proc / "self/cgroup").write_text(groups)
        for path, text in limits.items():
            (cgroup / path).parent.mkdir(parents=True, exist_ok=True)
            (cgroup / path).write_text(text)
        return host_memory(str(proc), str(cgroup))

    return host


GIB = 1 << 30


def test_without_control_groups_it_is_the_machines(host: Tree) -> None:
    assert host() == 8 * GIB


@pytest.mark.parametrize(
    ("groups", "limits", "memory"),
    [
        ("0::/\n", {}, 8 * GIB),
        ("0::/\n", {"memory.max": "max\n"}, 8 * GIB),
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{GIB}\n"}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{GIB}\n", "a/memory.max": f"{2 * GIB}\n"}, GIB),
        ("0::/a/b\n", {"memory.max": f"{3 * GIB}\n"}, 3 * GIB),
        ("0::/a\n", {"a/memory.max": f"{16 * GIB}\n"}, 8 * GIB),
        ("0::/a\n", {"b/memory.max": f"{GIB}\n"}, 8 * GIB),
        ("0::/a\n", {"a/memory.max": ""}, 8 * GIB),
    ],
    ids=[
        "none",
        "max",
        "root",
        "own",
        "parent",
        "nested",
        "above all",
        "more than there is",
        "other",
        "empty",
    ],
)
def test_a_group_of_version_2_limits_it(host: Tree, groups: str, limits: dict[str, str], memory: int) -> None:
    assert host(groups, **limits) == memory


V1 = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n1:name=systemd:/y\n"


@pytest.mark.parametrize(
    ("groups", "limits", "memory"),
    [
        (V1, {"memory/docker/1/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1, {"memory/docker/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1, {"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1, {"memory/docker/1/memory.limit_in_bytes": "9223372036854771712\n"}, 8 * GIB),
        (V1, {"docker/1/memory.max": f"{GIB}\n"}, 8 * GIB),
        ("3:hugetlb,memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        (V1 + "0::/u\n", {"u/memory.max": f"{GIB}\n"}, GIB),
    ],
    ids=["own", "parent", "root", "unlimited", "file of version 2", "shared hierarchy", "both versions"],
)
def test_a_group_of_version_1_limits_it(host: Tree, groups: str, limits: dict[str, str], memory: int) -> None:
    assert host(groups, **limits) == memory


def test_the_host_has_memory() -> None:
    vm = Vm.host()
    assert vm.realmem == host_memory() > 0
    assert vm.used == 0


def test_the_most_pages_that_were_out_are_remembered() -> None:
    vm = Vm(10 * PAGE_SIZE)
    pages = [vm.take(1) for _ in range(3)]
    vm.give([(page, 1) for page in pages])
    assert (vm.used, vm.peak) == (0, 3)


def test_a_vm_tells_its_memory() -> None:
    vm = Vm(64 << 20)
    vm.take(3)
    assert repr(vm) == "<Vm of 64 MiB, 12 KiB used>"
    assert repr(Vm(1000 << 20)) == "<Vm of 1000 MiB, 0 bytes used>"
    assert repr(Vm(3 << 39)) == "<Vm of 1.5 TiB, 0 bytes used>"
    assert repr(Vm(0)) == "<Vm of 0 bytes, 0 bytes used>"
    assert repr(Vm.__new__(Vm)).startswith("<Vm")
