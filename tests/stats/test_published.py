"""Reading pages of other processes; tests/pool/test_publish.py has what the writer does."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mbuf import Pool
from mbuf.pool.statpage import Header, pack_header, pack_slot, started
from mbuf.stats import published
from mbuf.stats.published import pages, read

ME = os.getpid()


def test_a_page_says_who_wrote_it_and_when(pool: Pool, tmp_path: Path) -> None:
    begin = time.time()
    with pool.publish("rx", 60, tmp_path) as page:
        [found] = pages(tmp_path)
    assert (found.pid, found.name, found.alive, found.interval) == (ME, "rx", True, 60)
    assert found.path == page.path
    assert begin <= found.time <= time.time()


def test_without_a_page_the_error_says_what_to_call(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"with pool.publish\(\)"):
        read(ME, folder=tmp_path)
    pool.publish("rx", None, tmp_path)
    with pytest.raises(FileNotFoundError, match="no pool as 'tx'"):
        read(ME, "tx", tmp_path)
    with pytest.raises(TypeError, match="pid: give a whole number, not '"):
        read(str(ME))  # type: ignore[arg-type]


def test_other_files_in_the_folder_are_left_out(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "mbuf.x.y").write_bytes(b"")
    (tmp_path / f"mbuf.{ME}.empty").write_bytes(b"")
    (tmp_path / f"mbuf.{ME}.dir").mkdir()
    pool.publish("rx", None, tmp_path)
    assert [page.name for page in pages(tmp_path)] == ["rx"]


def test_a_page_that_is_being_changed_is_read_again(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"mbuf.{ME}.pool"
    torn = pack_header(Header(8192, ME, started(ME), 1.0)) + bytes(16384)
    path.write_bytes(torn)
    tries: list[float] = []

    def complete(seconds: float) -> None:
        tries.append(seconds)
        path.write_bytes(torn[:-16384] + pack_slot(1, 0.0, pool.stat()))

    monkeypatch.setattr("mbuf.stats.published.time.sleep", complete)
    assert read(ME, folder=tmp_path) == pool.stat()
    assert len(tries) == 1


def test_a_page_that_never_is_complete_is_an_error(
    make: Callable[..., Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "_PAUSE", 0)
    (tmp_path / f"mbuf.{ME}.pool").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="never complete"):
        read(ME, folder=tmp_path)
