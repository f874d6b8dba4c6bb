"""The file in which a process publishes a pool's numbers: torn slots, other files, other processes."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from mbuf import Inval, Pool
from mbuf.pool import statpage
from mbuf.pool.statpage import HEADER, Header, pack_header, pack_slot, started, unpack, unpack_header

SLOT = 8192
HEAD = Header(SLOT, 1, 2, 0.5)


@pytest.fixture
def stat(pool: Pool) -> Any:
    return pool.stat()


def page(*slots: bytes) -> bytes:
    return pack_header(HEAD) + b"".join(slot.ljust(SLOT, b"\0") for slot in slots)


def test_a_page_has_what_was_written(stat: Any) -> None:
    whole = page(b"", pack_slot(1, 9.5, stat))
    assert unpack_header(whole) == HEAD
    assert unpack(whole, HEAD) == (1, 9.5, stat)


def test_the_last_update_counts(stat: Any) -> None:
    old, new = pack_slot(7, 1.0, stat), pack_slot(8, 2.0, replace(stat, drops=3))
    for slots in (old, new), (new, old):
        update = unpack(page(*slots), HEAD)
        assert update is not None
        assert (update.number, update.stat.drops) == (8, 3)


def test_a_slot_that_is_partly_written_does_not_count(stat: Any) -> None:
    old, new = pack_slot(7, 1.0, stat), pack_slot(9, 2.0, replace(stat, drops=10**15))
    for written in range(0, len(new), 97):
        update = unpack(page(new[:written] + old[written:], pack_slot(8, 1.5, stat)), HEAD)
        assert update is not None
        assert update.number == 8


def test_if_no_slot_is_whole_there_is_no_update(stat: Any) -> None:
    torn = pack_slot(7, 1.0, stat)[:-1] + b"?"
    assert unpack(page(torn, torn), HEAD) is None
    assert unpack(page()[: HEADER.size + 3], HEAD) is None


@pytest.mark.parametrize("start", [b"", b"mbuf", b"other" * 20, pack_header(HEAD._replace(slot=1 << 31))])
def test_other_bytes_are_no_page(start: bytes) -> None:
    assert unpack_header(start) is None


@pytest.mark.parametrize("text", [b"{}", b"[]", b"?", b'{"zones": [{"name": 1}]}', b'{"zones": []}'])
def test_a_page_of_another_version_is_refused(text: bytes) -> None:
    start = statpage._SLOT.pack(1, 0.0, len(text), 0)
    slot = statpage._SLOT.pack(1, 0.0, len(text), crc32(start + text)) + text
    with pytest.raises(Inval, match="another version of mbuf"):
        unpack(page(slot), HEAD)


def test_numbers_that_a_later_version_adds_are_left_out(stat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda numbers, **options: dumps(numbers | {"added": 1}, **options))
    update = unpack(page(pack_slot(1, 0.0, stat)), HEAD)
    assert update is not None
    assert update.stat == stat


def test_a_process_has_a_start_time() -> None:
    assert started(os.getpid()) > 0
    assert started(os.getpid()) == started(os.getpid())
    # No process has this pid: it is above the highest.
    assert started(1 << 30) == 0


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mbuf.12.pool", (12, "pool")),
        ("mbuf.12.a.b", (12, "a.b")),
        ("mbuf.12", None),
        ("mbuf.x.pool", None),
        ("other.12.pool", None),
    ],
)
def test_the_name_of_a_file_has_the_pid_and_the_name(name: str, parts: Any) -> None:
    assert statpage.parts_of(name) == parts
    if parts:
        assert statpage.file_name(*parts) == name


def test_only_regular_files_are_read_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mbuf.1.file").write_bytes(b"abc")
    (tmp_path / "mbuf.1.link").symlink_to(tmp_path / "mbuf.1.file")
    os.mkfifo(tmp_path / "mbuf.1.pipe")
    assert statpage.read_file(tmp_path / "mbuf.1.file", 2) == b"ab"
    for name in "mbuf.1.link", "mbuf.1.pipe":
        with pytest.raises(OSError, match=name):
            statpage.read_file(tmp_path / name, 2)


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"mbuf.{os.getpid()}.pool"
    path.write_bytes(b"abc")
    mode = list(os.stat(path))
    mode[4] = 12345
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result(mode))
    with pytest.raises(PermissionError, match="isn't of the user"):
        statpage.read_file(path, 2)
    monkeypatch.setattr(statpage, "_users", lambda _: [12345])
    assert statpage.read_file(path, 2) == b"ab"


def test_pages_are_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert list(statpage.folders()) == [Path("/dev/shm")]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert list(statpage.folders()) == [Path("/dev/shm"), tmp_path]


def test_the_page_of_a_process_that_lives_is_not_stale(tmp_path: Path) -> None:
    me = os.getpid()
    path = tmp_path / f"mbuf.{me}.pool"
    path.write_bytes(b"")
    assert not statpage.is_stale(path)
    path.write_bytes(pack_header(Header(SLOT, me, started(me), 1.0)))
    assert not statpage.is_stale(path)
    # The pid was used before.
    path.write_bytes(pack_header(Header(SLOT, me, started(me) - 1, 1.0)))
    assert statpage.is_stale(path)
    assert statpage.is_stale(tmp_path / f"mbuf.{1 << 30}.pool")
    assert not statpage.is_stale(tmp_path / "other")
