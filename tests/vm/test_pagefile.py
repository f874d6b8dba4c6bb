"""Pages of files: who owns the descriptor, and when it is closed."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbuf import PAGE_SIZE, Corrupt, Freed, Inval
from mbuf.vm.pagefile import PageFile
from mbuf.vm.sfbuf import SfBufs
from system import is_open

Make = Callable[..., PageFile]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes files with some bytes; at the end all descriptors must be closed."""
    fds: list[int] = []

    def make(data: bytes = b"", windows: SfBufs | None = None) -> PageFile:
        path = tmp_path / "file"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        fds.append(fd)
        return PageFile(fd, "file", SfBufs() if windows is None else windows)

    yield make
    gc.collect()
    assert not [fd for fd in fds if is_open(fd)]


@pytest.mark.parametrize(("size", "pages"), [(0, 0), (1, 1), (4096, 1), (4097, 2), (40960, 10)])
def test_the_last_page_may_be_filled_in_part(make: Make, size: int, pages: int) -> None:
    file = make(bytes(size))
    assert (file.size, file.pages, file.users, file.closed) == (size, pages, 0, False)
    file.close()


def test_the_descriptor_is_closed_when_the_file_is_closed_and_unused(make: Make) -> None:
    file = make(b"x")
    fd = file.fd
    file.take()
    file.take()
    file.close()
    file.close()
    assert (file.closed, is_open(fd)) == (True, True)
    file.drop()
    assert is_open(fd)
    file.drop()
    assert not is_open(fd)
    assert file.fd == -1


def test_it_stays_while_the_file_is_open(make: Make) -> None:
    file = make(b"x")
    fd = file.fd
    for _ in range(3):
        file.take()
        file.drop()
        assert is_open(fd)
    file.close()
    assert not is_open(fd)


def test_a_file_that_is_dropped_is_closed(make: Make) -> None:
    file = make(b"x")
    fd = file.fd
    del file
    gc.collect()
    assert not is_open(fd)


def test_a_closed_file_gives_nothing_more(make: Make) -> None:
    file = make(b"x")
    file.take()
    file.close()
    with pytest.raises(Freed, match="file was closed"):
        file.take()
    # A user of the file may still share it.
    file.share()
    assert file.users == 2
    file.drop()
    file.drop()


def test_a_window_is_a_use_of_the_windows_and_not_of_the_file(make: Make) -> None:
    windows = SfBufs()
    file = make(b"abc", windows)
    seen = file.window(0)
    assert (seen.read(0, 3), seen.size, file.users, windows.used) == (b"abc", 3, 0, 1)
    windows.free(seen)
    assert (windows.used, windows.mapped) == (0, 1)
    file.take()
    file.drop()
    assert windows.mapped == 0
    file.close()


def test_what_was_cut_off_is_told_before_it_is_touched(make: Make, tmp_path: Path) -> None:
    file = make(bytes(PAGE_SIZE + 10))
    os.truncate(tmp_path / "file", PAGE_SIZE + 9)
    with pytest.raises(Inval, match="has become shorter: 4105 bytes, where there were 4106"):
        file.window(1)
    file.windows.free(file.window(0))
    os.truncate(tmp_path / "file", 0)
    with pytest.raises(Inval, match="0 bytes"):
        file.window(0)
    # Bytes that are appended later aren't visible.
    os.truncate(tmp_path / "file", 3 * PAGE_SIZE)
    assert (file.size, file.pages) == (PAGE_SIZE + 10, 2)
    file.windows.free(file.window(1))
    with pytest.raises(IndexError):
        file.window(2)
    file.windows.forget(file)
    file.close()


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_only_a_regular_file_has_pages(kind: str, tmp_path: Path) -> None:
    end = None
    if kind == "pipe":
        fd, end = os.pipe()
    else:
        fd = os.open(tmp_path if kind == "directory" else os.devnull, os.O_RDONLY)
    with pytest.raises(Inval, match=f"{kind} is no regular file"):
        PageFile(fd, kind, SfBufs())
    # After an error the descriptor still belongs to the caller.
    gc.collect()
    os.close(fd)
    if end is not None:
        os.close(end)


def test_a_file_that_is_dropped_once_too_often_is_corrupt(make: Make) -> None:
    file = make(b"x")
    file.take()
    file.drop()
    with pytest.raises(Corrupt, match="^file: dropped more often than taken$"):
        file.drop()
    assert (file.users, is_open(file.fd)) == (0, True)
    file.close()


def test_a_file_whose_descriptor_is_closed_maps_no_page(make: Make) -> None:
    windows = SfBufs()
    file = make(b"x", windows)
    file.close()
    with pytest.raises(Freed, match="^file: the pages were freed while they were read$"):
        file.window(0)
    assert (file.users, windows.mapped) == (0, 0)


def test_the_descriptor_of_a_file_is_closed_once(make: Make) -> None:
    file = make(b"x")
    fd = file.fd
    file.close()
    # The number of the descriptor is used again from now on.
    os.dup2(1, fd)
    file.share()
    file.drop()
    assert (file.fd, file.users, is_open(fd)) == (-1, 0, True)
    os.close(fd)
