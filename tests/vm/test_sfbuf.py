"""Windows onto pages of files: a bounded number of them, counted by use."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import PAGE_SIZE, Corrupt, Inval, NoBufs, ReadOnly, compiled
from mbuf.vm.arena import Arena, Run
from mbuf.vm.page import view_of
from mbuf.vm.pagefile import PageFile
from mbuf.vm.sfbuf import NSFBUFS, SfBuf, SfBufs

Open = Callable[..., PageFile]
#: The value of all bytes of a page.
PAGES = b"abcdefgh"


@pytest.fixture
def open_file() -> Iterator[Open]:
    """Opens files of eight pages, and makes some windows."""
    made: list[PageFile] = []

    def open_file(windows: SfBufs, size: int = len(PAGES) * PAGE_SIZE) -> PageFile:
        fd = os.memfd_create("pages")
        os.write(fd, b"".join(bytes([byte]) * PAGE_SIZE for byte in PAGES)[:size])
        made.append(PageFile(fd, "pages", windows))
        return made[-1]

    yield open_file
    for file in made:
        assert file.windows.used == 0
        file.windows.forget(file)
        file.close()
    assert [file.windows.mapped for file in made] == [0] * len(made)


def counted(windows: SfBufs) -> tuple[int, int, int, int]:
    return windows.used, windows.mapped, windows.fails, windows.peak


@pytest.mark.parametrize("most", [0, -1, 1 << 31])
def test_there_is_at_least_one_window(most: int) -> None:
    with pytest.raises(Inval, match="nsfbufs"):
        SfBufs(most)
    assert SfBufs().most == NSFBUFS == 256


def test_a_page_is_seen_through_one_window_however_many_look(open_file: Open) -> None:
    windows = SfBufs(2)
    file = open_file(windows)
    seen = windows.alloc(file, 2)
    assert (seen.file is file, seen.index, seen.size) == (True, 2, PAGE_SIZE)
    assert seen.read(0, PAGE_SIZE) == b"c" * PAGE_SIZE
    assert windows.alloc(file, 2) is seen
    assert counted(windows) == (1, 1, 0, 1)
    windows.free(seen)
    assert counted(windows) == (1, 1, 0, 1)
    windows.free(seen)
    assert counted(windows) == (0, 1, 0, 1)
    # It is still mapped, and used again.
    assert windows.alloc(file, 2) is seen
    windows.free(seen)


def test_two_files_have_windows_of_their_own(open_file: Open) -> None:
    windows = SfBufs()
    one, other = open_file(windows), open_file(windows, 10)
    first, second = windows.alloc(one, 0), windows.alloc(other, 0)
    assert first is not second
    assert (first.size, second.size, windows.used) == (PAGE_SIZE, 10, 2)
    windows.free(first)
    windows.free(second)
    windows.forget(one)
    assert windows.mapped == 1


def test_a_window_is_for_reading(open_file: Open) -> None:
    windows = SfBufs()
    seen = windows.alloc(open_file(windows), 0)
    with pytest.raises(ReadOnly):
        seen.write(0, b"x", 0, 1)
    with view_of(seen, 0, 4, False) as view:
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 1
    windows.free(seen)


def test_when_all_are_in_use_there_is_none_and_that_is_counted(open_file: Open) -> None:
    windows = SfBufs(2)
    file = open_file(windows)
    first, second = windows.alloc(file, 0), windows.alloc(file, 1)
    for fails in (1, 2):
        with pytest.raises(NoBufs, match=r"all 2 windows .* Pool\(nsfbufs"):
            windows.alloc(file, 2)
        assert counted(windows) == (2, 2, fails, 2)
    windows.free(first)
    third = windows.alloc(file, 2)
    assert third.read(0, 1) == b"c"
    assert counted(windows) == (2, 2, 2, 2)
    windows.free(second)
    windows.free(third)


def test_the_least_recently_used_window_is_unmapped_first(open_file: Open) -> None:
    windows = SfBufs(3)
    file = open_file(windows)
    seen: list[Any] = [windows.alloc(file, n) for n in range(3)]
    for n in (1, 0, 2):
        windows.free(seen[n])
    windows.free(windows.alloc(file, 3))
    # Page 1 was unmapped; the others weren't.
    again = [windows.alloc(file, n) for n in (0, 2, 3)]
    assert again[:2] == [seen[0], seen[2]]
    for sf in again:
        windows.free(sf)
    fresh = windows.alloc(file, 1)
    assert fresh is not seen[1]
    windows.free(fresh)


def test_a_view_is_a_use(open_file: Open) -> None:
    windows = SfBufs(1)
    file = open_file(windows)
    seen = windows.alloc(file, 0)
    view = view_of(seen, 0, 4, True)
    windows.free(seen)
    assert counted(windows) == (1, 1, 0, 1)
    with pytest.raises(NoBufs):
        windows.alloc(file, 1)
    # The page can be read nevertheless.
    assert windows.alloc(file, 0) is seen
    windows.free(seen)
    view.release()
    del view
    assert counted(windows)[:3] == (0, 1, 1)
    windows.free(windows.alloc(file, 1))


def test_a_view_takes_up_a_window_even_when_its_file_is_forgotten(open_file: Open) -> None:
    windows = SfBufs(1)
    file, other = open_file(windows), open_file(windows)
    seen = windows.alloc(file, 0)
    view = view_of(seen, 0, 4, True)
    windows.free(seen)
    windows.forget(file)
    file.close()
    assert (windows.used, bytes(view)) == (1, b"aaaa")
    with pytest.raises(NoBufs):
        windows.alloc(other, 0)
    view.release()
    del view
    windows.free(windows.alloc(other, 0))
    assert windows.mapped == 1


@pytest.mark.parametrize("index", [-1, 8, 1 << 51])
def test_a_page_that_there_is_not_has_no_window(open_file: Open, index: int) -> None:
    windows = SfBufs(1)
    file = open_file(windows)
    with pytest.raises(IndexError, match="no page"):
        windows.alloc(file, index)
    assert counted(windows) == (0, 0, 0, 0)


def test_a_window_stays_what_it_is(open_file: Open) -> None:
    windows = SfBufs()
    file = open_file(windows)
    seen = windows.alloc(file, 0)
    with pytest.raises(IndexError, match="run already"):
        seen.carve(Run(Arena(1), 0, 0, 1), 0, 4)
    assert (seen.read(0, 1), seen.index) == (b"a", 0)
    windows.free(seen)


def test_the_end_of_a_page_that_the_file_does_not_fill_is_not_there(open_file: Open) -> None:
    windows = SfBufs()
    file = open_file(windows, PAGE_SIZE + 5)
    seen = windows.alloc(file, 1)
    assert (seen.size, seen.read(0, 5)) == (5, b"bbbbb")
    with pytest.raises(IndexError):
        seen.read(0, 6)
    windows.free(seen)


def test_what_the_system_refuses_to_map_is_not_a_memory() -> None:
    fd = os.memfd_create("pages")
    os.write(fd, b"x")
    # Open for writing only, it can't be mapped.
    shut = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    os.close(fd)
    windows = SfBufs()
    file = PageFile(shut, "shut", windows)
    with pytest.raises(MemoryError, match="shut: the system maps no more pages"):
        windows.alloc(file, 0)
    assert (windows.used, windows.mapped) == (0, 0)
    file.close()


def test_a_window_freed_once_too_often_is_corrupt(open_file: Open) -> None:
    windows, others = SfBufs(), SfBufs()
    seen = windows.alloc(open_file(windows), 0)
    # A pool can't free a window of another.
    with pytest.raises(Corrupt, match="^a window was freed more often than allocated$"):
        others.free(seen)
    windows.free(seen)
    with pytest.raises(Corrupt, match="^a window was freed more often than allocated$"):
        windows.free(seen)
    assert counted(windows) == (0, 1, 0, 1)
    windows.audit()


@pytest.mark.skipif(compiled(), reason="compiled, only C calls this")
def test_a_window_is_mapped_once(open_file: Open) -> None:
    windows = SfBufs()
    file = open_file(windows)
    seen = windows.alloc(file, 0)
    with pytest.raises(IndexError, match="^this window has a page already$"):
        seen.map(file, 1)
    assert (seen.index, seen.read(0, 1)) == (0, b"a")
    windows.free(seen)


@pytest.mark.skipif(compiled(), reason="compiled, no other thread runs while a page is mapped")
def test_a_window_whose_place_was_taken_while_it_was_mapped_takes_that_of_another(
    open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = SfBufs(1)
    file = open_file(windows)
    real, mapped = SfBuf.map, []

    def map_late(sf: SfBuf, file: PageFile, index: int) -> None:
        real(sf, file, index)
        mapped.append(index)
        if index == 0:
            windows.free(windows.alloc(file, 5))

    monkeypatch.setattr(SfBuf, "map", map_late)
    seen = windows.alloc(file, 0)
    assert (seen.read(0, 1), mapped) == (b"a", [0, 5])
    assert counted(windows) == (1, 1, 0, 1)
    windows.audit()
    windows.free(seen)
