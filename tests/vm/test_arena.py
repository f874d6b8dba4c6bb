"""Address space, in pages."""

import gc

import pytest

from mbuf import compiled
from mbuf.const import PAGE_SIZE
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
