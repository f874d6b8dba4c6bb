import gc
import sys
from typing import Any

import pytest

from mbuf import Vm, compiled
from mbuf.const import PAGE_SIZE
from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import Memory, view_of
from mbuf.vm.page import compiled as page_compiled


def memory(size: int = PAGE_SIZE, start: int = 0, arena: Arena | None = None) -> Memory:
    run = Run(Arena(1) if arena is None else arena, 0, 7, 1)
    made = Memory()
    made.carve(run, start, size)
    return made


def test_the_leg_is_found_by_the_names_of_module_files() -> None:
    assert compiled is page_compiled
    assert compiled() == sys.modules["mbuf.vm.page"].__file__.endswith(".so")  # type: ignore[union-attr]


def test_a_memory_has_its_address() -> None:
    made = memory(100, 256)
    assert (made.size, made.offset_in_run(), made.run.page) == (100, 256, 7)


def test_a_memory_stays_where_it_is() -> None:
    made = memory(100, 256)
    with pytest.raises(IndexError, match="part of a run already"):
        made.carve(made.run, 0, PAGE_SIZE)
    assert (made.size, made.offset_in_run()) == (100, 256)


def test_what_is_written_is_read_back_and_nothing_beside_it_changes() -> None:
    arena = Arena(1)
    made = memory(16, 8, arena)
    made.write(3, b"abcdef", 1, 4)
    assert made.read(0, 16) == b"\0\0\0bcde" + bytes(9)
    assert bytes(arena.map) == bytes(11) + b"bcde" + bytes(PAGE_SIZE - 15)


@pytest.mark.parametrize("data", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("I")])
def test_any_buffer_can_be_written(data: Any) -> None:
    made = memory(4)
    made.write(0, data, 0, 4)
    assert made.read(0, 4) == b"abcd"


def test_nothing_can_be_written_of_nothing() -> None:
    made = memory(4)
    made.write(4, b"", 0, 0)
    assert made.read(0, 4) == bytes(4)


@pytest.mark.parametrize(("skip", "count"), [(0, 5), (5, 0), (4, 1), (-1, 1), (0, -1), (2, 3)])
def test_no_byte_is_written_that_is_not_in_the_data(skip: int, count: int) -> None:
    made = memory(16)
    with pytest.raises(IndexError):
        made.write(0, b"abcd", skip, count)
    assert made.read(0, 16) == bytes(16)


def test_bytes_are_copied_between_memories_and_within_one_arena() -> None:
    arena = Arena(1)
    a, b = memory(8, 0, arena), memory(8, 8, arena)
    a.write(0, b"12345678", 0, 8)
    b.copy(2, a, 4, 3)
    assert (a.read(0, 8), b.read(0, 8)) == (b"12345678", b"\0\x00567\0\0\0")


@pytest.mark.parametrize("size", [4, 6, 8, 15])
def test_a_fill_is_whole_words_and_stays_inside(size: int) -> None:
    arena = Arena(1)
    made = memory(size, 4, arena)
    made.fill(0xDEADC0DE)
    word = (0xDEADC0DE).to_bytes(4, sys.byteorder)
    assert bytes(arena.map[:32]) == (bytes(4) + word * (size // 4)).ljust(32, b"\0")
    assert made.differs(0xDEADC0DE) == -1
    assert made.differs(0xDEADC0DF) == 0


def test_the_first_word_that_differs_is_found() -> None:
    made = memory(16)
    made.fill(0xDEADC0DE)
    made.write(13, b"!", 0, 1)
    assert made.differs(0xDEADC0DE) == 12
    made.write(6, b"!", 0, 1)
    assert made.differs(0xDEADC0DE) == 4


def test_a_pane_is_a_view_of_some_bytes() -> None:
    made = memory(16)
    view = view_of(made, 4, 8, False)
    assert (view.nbytes, view.format, view.itemsize, view.ndim, view.readonly) == (8, "B", 1, 1, False)
    view[:2] = b"hi"
    assert made.read(0, 16) == b"\0\0\0\0hi" + bytes(10)
    assert bytes(view) == b"hi" + bytes(6)


def test_a_fixed_pane_is_for_reading() -> None:
    view = view_of(memory(16), 0, 8, True)
    assert view.readonly
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1


def test_an_empty_pane_is_a_view_of_nothing() -> None:
    view = view_of(memory(16), 16, 0, False)
    assert (view.nbytes, bytes(view)) == (0, b"")


def test_a_view_keeps_the_arena_when_all_else_is_gone() -> None:
    made = memory(16)
    made.write(0, b"still here", 0, 10)
    view = view_of(made, 0, 10, False)
    del made
    gc.collect()
    assert bytes(view) == b"still here"


def test_memory_of_a_vm_is_where_the_vm_says() -> None:
    vm = Vm(8 * PAGE_SIZE)
    page = vm.take(2)
    arena, offset = vm.place(page)
    made = Memory()
    made.carve(Run(arena, offset, page, 2), PAGE_SIZE, 4)
    made.write(0, b"here", 0, 4)
    assert bytes(arena.map[offset + PAGE_SIZE :][:4]) == b"here"
    vm.give([(page, 2)])


def test_only_contiguous_bytes_are_written() -> None:
    made = memory(16)
    with pytest.raises(BufferError, match="contiguous"):
        made.write(0, memoryview(b"abcdefgh")[::2], 0, 4)
    assert made.read(0, 16) == bytes(16)
