import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mbuf.const import VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.vm.psi import (
    MAX_BYTES,
    STALL_US,
    PressureFile,
    allocstalls,
    failcnt,
    full_total,
    limit_hits,
    oom_count,
    pressure_files,
    some_total,
)

PSI = "some avg10=1.23 avg60=0.00 avg300=0.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
EVENTS = "low 9\nhigh {}\nmax 2\noom 1\noom_kill 5\noom_group_kill 0\n"


@pytest.mark.parametrize(
    ("read", "text", "count"),
    [
        (some_total, PSI.format(150_000), 150_000),
        (some_total, "full total=3\nsome total=4\n", 4),
        (full_total, PSI.format(150_000), 7),
        (limit_hits, EVENTS.format(4), 7),
        (oom_count, EVENTS.format(4), 1),
        (limit_hits, "low 1\nhigh 0\n", 0),
        (failcnt, "12\n", 12),
        (allocstalls, "nr_free_pages 8\nallocstall_dma 1\nallocstall_normal 2\nallocstall_movable 3\n", 6),
        (allocstalls, "allocstall 5\n", 5),
    ],
)
def test_each_file_has_its_count(tmp_path: Path, read: Callable[[str], int], text: str, count: int) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    assert PressureFile(file, read).count() == count


@pytest.mark.parametrize("read", [some_total, full_total, limit_hits, oom_count, failcnt, allocstalls])
@pytest.mark.parametrize("text", [b"some", b"some avg10=0.00\n", b"high many\nallocstall x\n", b"\n\n", b"\xff\xfe"])
def test_a_garbled_file_counts_nothing(tmp_path: Path, read: Callable[[str], int], text: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(text)
    source = PressureFile(file, read)
    assert source.count() is None
    assert not source.has_risen()


@pytest.mark.parametrize("name", ["missing", ".", "missing/file", "fifo"])
def test_what_is_not_a_file_counts_nothing_and_does_not_block(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert PressureFile(tmp_path / name, failcnt).count() is None


def test_a_pipe_with_a_writer_counts_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    writer = os.open(tmp_path / "fifo", os.O_RDWR)
    assert PressureFile(tmp_path / "fifo", failcnt).count() is None
    os.close(writer)


def test_of_an_endless_file_the_beginning_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1 " * MAX_BYTES)
    assert PressureFile(tmp_path / "file", len).count() == MAX_BYTES
    assert PressureFile(Path("/dev/zero"), len).count() == MAX_BYTES


def test_pressure_is_a_count_that_has_risen_by_a_step(tmp_path: Path) -> None:
    file = tmp_path / "pressure"
    file.write_text(PSI.format(1000))
    source = PressureFile(file, some_total, STALL_US)
    seen = [source.has_risen()]
    for total in (1000 + STALL_US - 1, 1000 + 2 * STALL_US - 2, 1000 + 3 * STALL_US - 2, 1000 + 3 * STALL_US - 2):
        file.write_text(PSI.format(total))
        seen.append(source.has_risen())
    assert seen == [False, False, False, True, False]


def test_a_file_that_was_away_or_begins_anew_is_looked_at_for_the_first_time(tmp_path: Path) -> None:
    file = tmp_path / "failcnt"
    seen: list[bool] = []
    file.write_text("5\n")
    source = PressureFile(file, failcnt)
    for text in (None, "9\n", "10\n", "", "11\n", "3\n", "4\n"):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        seen.append(source.has_risen())
    assert seen == [False, False, True, False, False, False, True]


# Triggers.


def test_a_file_that_cannot_be_polled_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "pressure"
    file.write_text(PSI.format(1))
    before = os.listdir("/proc/self/fd")
    assert PressureFile(file, some_total).open_trigger() == -1
    assert file.read_text() == PSI.format(1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_opened_has_no_trigger(tmp_path: Path, name: str) -> None:
    assert PressureFile(tmp_path / name, some_total).open_trigger() == -1


def test_a_file_that_can_be_waited_for_gets_the_trigger(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pressure")
    fd = PressureFile(tmp_path / "pressure", some_total).open_trigger()
    assert os.read(fd, 100) == b"some 150000 1000000\0"
    os.close(fd)


def test_a_file_that_refuses_one_window_is_requested_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pressure")
    refused: list[bytes] = []
    write = os.write

    def once(fd: int, data: bytes) -> int:
        if not refused:
            refused.append(data)
            raise OSError(22, "Invalid argument")
        return write(fd, data)

    monkeypatch.setattr(os, "write", once)
    fd = PressureFile(tmp_path / "pressure", some_total).open_trigger()
    assert os.read(fd, 100) == b"some 300000 2000000\0"
    assert refused == [b"some 150000 1000000\0"]
    os.close(fd)


def test_that_all_tasks_stand_still_has_a_trigger_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pressure")
    fd = PressureFile(tmp_path / "pressure", full_total).open_trigger()
    assert os.read(fd, 100) == b"full 150000 1000000\0"
    os.close(fd)


def test_other_counts_have_no_triggers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "memory.events")
    assert PressureFile(tmp_path / "memory.events", limit_hits).open_trigger() == -1


# Which files exist.


def found(tmp_path: Path, groups: str, **files: str) -> list[str]:
    """The files that are watched on a machine with these files."""
    for path, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    made = pressure_files(str(tmp_path / "proc"), str(tmp_path / "cgroup"))
    severe = {VM_LOW_PAGES: "", VM_LOW_KMEM: "severe "}
    return [severe[source.why] + source.path.relative_to(tmp_path).as_posix() for source in made]


def test_a_machine_without_any_of_it_has_no_gauge(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/\n") == []


def test_a_machine_with_psi_needs_no_other_file(tmp_path: Path) -> None:
    files = {"proc/pressure/memory": PSI.format(0), "proc/vmstat": "allocstall 0\n"}
    assert found(tmp_path, "0::/\n", **files) == ["proc/pressure/memory", "severe proc/pressure/memory"]


def test_without_stalls_the_waits_for_reclaim_are_counted(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/\n", **{"proc/vmstat": "allocstall 0\n"}) == ["proc/vmstat"]


def test_groups_of_version_2_tell_of_stalls_and_events(tmp_path: Path) -> None:
    files = {
        "cgroup/a/b/memory.pressure": PSI.format(0),
        "cgroup/a/b/memory.events": EVENTS.format(0),
        "cgroup/a/memory.events": EVENTS.format(0),
        "cgroup/c/memory.events": EVENTS.format(0),
    }
    assert found(tmp_path, "0::/a/b\n", **files) == [
        "cgroup/a/b/memory.pressure",
        "cgroup/a/b/memory.events",
        "cgroup/a/memory.events",
        "severe cgroup/a/b/memory.pressure",
        "severe cgroup/a/b/memory.events",
        "severe cgroup/a/memory.events",
    ]


def test_groups_of_version_1_tell_how_often_they_were_full(tmp_path: Path) -> None:
    assert found(tmp_path, "4:memory:/a\n", **{"cgroup/memory/a/memory.failcnt": "0\n"}) == [
        "cgroup/memory/a/memory.failcnt"
    ]


def test_this_machine_can_be_looked_at() -> None:
    assert not any([source.count() is None for source in pressure_files()])
