"""Address space, in pages."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from mbuf import Vm, compiled
from mbuf.const import PAGE_SIZE, TRACEMALLOC_DOMAIN
from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import Memory, view_of


def test_an_arena_is_zeros_until_it_is_written() -> None:
    arena = Arena(2)
    assert arena.pages == 2
    assert len(arena.map) == 2 * PAGE_SIZE
    assert bytes(arena.map) == bytes(2 * PAGE_SIZE)


def test_discarded_pages_are_zeros_and_their_neighbours_are_not() -> None:
    arena = Arena(3)
    arena.map[:] = b"x" * 3 * PAGE_SIZE
    arena.discard(1, 1)
    assert bytes(arena.map) == b"x" * PAGE_SIZE + bytes(PAGE_SIZE) + b"x" * PAGE_SIZE


def test_a_run_has_its_pages() -> None:
    run = Run(Arena(4), 4096, 17, 3)
    assert (run.page, run.count) == (17, 3)


def test_a_mapping_is_held_in_place_for_as_long_as_something_is_in_it() -> None:
    arena = Arena(1)
    made = Memory()
    made.carve(Run(arena, 0, 0, 1), 0, 4)
    view = view_of(made, 0, 4, False)
    with pytest.raises(BufferError):
        arena.map.close()
    mapping = arena.map
    del arena, made
    gc.collect()
    with pytest.raises(BufferError):
        mapping.close()
    view.release()


def test_pages_beyond_the_arena_are_not_discarded() -> None:
    arena = Arena(2)
    arena.map[:] = b"x" * 2 * PAGE_SIZE
    for page, count in ((-1, 1), (0, 0), (0, 3), (2, 1)):
        arena.discard(page, count)
    assert bytes(arena.map) == b"x" * 2 * PAGE_SIZE


@pytest.mark.skipif(compiled(), reason="compiled, the system is asked in C")
def test_pages_that_the_system_does_not_take_back_are_zeros_all_the_same() -> None:
    class Locked(bytearray):
        def madvise(self, *_: object) -> None:
            raise OSError

    arena = Arena(2)
    arena.map = Locked(b"x" * 2 * PAGE_SIZE)
    arena.discard(0, 1)
    assert arena.map == bytes(PAGE_SIZE) + b"x" * PAGE_SIZE


@pytest.mark.parametrize(("offset", "count"), [(-1, 1), (0, -1), (0, 3), (PAGE_SIZE, 2)])
def test_a_run_is_inside_its_arena(offset: int, count: int) -> None:
    with pytest.raises(IndexError, match="of an arena of 2 pages"):
        Run(Arena(2), offset, 0, count)


@pytest.fixture
def traced() -> Iterator[Callable[[], list[int]]]:
    """The sizes of the pages that tracemalloc knows, by line of this file; it is tracing until the end of the test."""
    here = tracemalloc.Filter(True, __file__, all_frames=True)

    def sizes() -> list[int]:
        pages = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, TRACEMALLOC_DOMAIN)])
        return [trace.size for trace in pages.filter_traces([here]).traces]

    tracemalloc.start(10)
    yield sizes
    tracemalloc.stop()


def test_pages_that_are_handed_out_are_traced(traced: Callable[[], list[int]]) -> None:
    vm = Vm(1 << 20)
    first, second = vm.take(3), vm.take(1)
    assert traced() == [PAGE_SIZE] * 4
    # Not as they were taken.
    vm.give([(first, 1), (second, 1)])
    assert traced() == [PAGE_SIZE] * 2
    vm.give([(first + 1, 2)])
    assert traced() == []


def test_pages_from_before_the_start_of_tracing_are_unknown(traced: Callable[[], list[int]]) -> None:
    tracemalloc.stop()
    vm = Vm(1 << 20)
    early = vm.take(2)
    tracemalloc.start(10)
    late = vm.take(1)
    assert traced() == [PAGE_SIZE]
    vm.give([(early, 2)])
    assert traced() == [PAGE_SIZE]
    tracemalloc.stop()
    vm.give([(late, 1)])
    tracemalloc.start(10)
    assert traced() == []


@pytest.mark.skipif(not compiled(), reason="uncompiled, the mapping of an arena isn't watched")
def test_pages_of_an_arena_that_is_gone_are_not_traced(traced: Callable[[], list[int]]) -> None:
    vm = Vm(1 << 20)
    vm.take(5)
    assert len(traced()) == 5
    del vm
    assert traced() == []
