import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf.const import VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.vm.pressure import INTERVAL, Pressure
from mbuf.vm.psi import STALL_US, PressureFile, failcnt, full_total, pressure_files, some_total

Spawn = Callable[[Callable[[], object]], Any]
OFTEN = 0.001


class SocketPressureFile(PressureFile):
    """A pressure file whose trigger is one end of a connection; urgent bytes at the other end are pressure."""

    def __init__(self, path: Path, fd: int) -> None:
        super().__init__(path, failcnt)
        self.fd = fd

    def open_trigger(self) -> int:
        return self.fd


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, int]]:
    """One end of a connection, and the descriptor of the other, which the test closes."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        yield ours, theirs.detach()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_default_is_a_look_a_second() -> None:
    assert INTERVAL == 1


def test_a_count_that_rises_ends_the_wait(tmp_path: Path, spawn: Spawn) -> None:
    file = tmp_path / "failcnt"
    file.write_text("0\n")
    pressure = Pressure([PressureFile(file, failcnt)], OFTEN)
    waiter = spawn(pressure.wait)
    file.write_text("1\n")
    assert waiter.done()
    assert pressure.source == f"poll {file}"
    pressure.close()


def test_a_count_that_rose_between_two_waits_is_seen(tmp_path: Path) -> None:
    (tmp_path / "failcnt").write_text("0\n")
    pressure = Pressure([PressureFile(tmp_path / "failcnt", failcnt)], OFTEN)
    for count in ("1\n", "2\n"):
        (tmp_path / "failcnt").write_text(count)
        assert pressure.wait()
    pressure.close()


def test_every_gauge_is_looked_at_each_time(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("0\n")
    pressure = Pressure([PressureFile(tmp_path / name, failcnt) for name in "ab"], OFTEN)
    for name in "ab":
        (tmp_path / name).write_text("1\n")
    assert pressure.wait()
    pressure.stop()
    assert not pressure.wait()
    pressure.close()


def test_it_says_why_and_shows_a_file_once(tmp_path: Path) -> None:
    file = tmp_path / "pressure"

    def stall(some: int, full: int) -> None:
        file.write_text(f"some total={some}\nfull total={full}\n")

    stall(0, 0)
    pressure = Pressure(
        [PressureFile(file, some_total, STALL_US), PressureFile(file, full_total, STALL_US, VM_LOW_KMEM)], OFTEN
    )
    assert pressure.source == f"poll {file}"
    stall(STALL_US, 0)
    assert pressure.wait() == VM_LOW_PAGES
    stall(2 * STALL_US, STALL_US)
    assert pressure.wait() == VM_LOW_PAGES | VM_LOW_KMEM
    stall(2 * STALL_US, 2 * STALL_US)
    assert pressure.wait() == VM_LOW_KMEM
    pressure.close()


def test_stop_ends_the_wait_now_and_from_now_on(tmp_path: Path, spawn: Spawn) -> None:
    (tmp_path / "failcnt").write_text("0\n")
    for watched in ([], [PressureFile(tmp_path / "failcnt", failcnt)]):
        pressure = Pressure(watched)
        waiter = spawn(pressure.wait)
        assert not pressure.stopped
        pressure.stop()
        assert not waiter.done()
        assert not pressure.wait()
        pressure.stop()
        assert pressure.stopped
        pressure.close()


def test_closed_it_holds_no_descriptor_and_may_be_stopped_and_closed(line: tuple[socket.socket, int]) -> None:
    before = descriptors()
    pressure = Pressure([SocketPressureFile(Path("there"), line[1])])
    assert descriptors() == before + 2
    pressure.close()
    assert (descriptors(), pressure.closed, pressure.stopped) == (before - 1, True, True)
    pressure.stop()
    pressure.close()


def test_without_gauges_nothing_tells() -> None:
    pressure = Pressure([])
    assert pressure.source == ""
    pressure.close()


def test_what_linux_shows_ends_the_wait_and_is_reported_once(line: tuple[socket.socket, int], spawn: Spawn) -> None:
    ours, fd = line
    pressure = Pressure([SocketPressureFile(Path("/proc/there"), fd)])
    assert pressure.source == "trigger /proc/there"
    ours.send(b"!", socket.MSG_OOB)
    assert pressure.wait()
    # The byte is still unread, but it is reported only once.
    waiter = spawn(pressure.wait)
    pressure.stop()
    assert not waiter.done()
    pressure.close()


def test_a_trigger_whose_file_goes_is_looked_at_from_then_on(
    tmp_path: Path, line: tuple[socket.socket, int], spawn: Spawn, eventually: Callable[[Callable[[], object]], None]
) -> None:
    ours, fd = line
    file = tmp_path / "memory.pressure"
    pressure = Pressure([SocketPressureFile(file, fd)], OFTEN)
    waiter = spawn(pressure.wait)
    before = descriptors()
    # The connection is reset, which is an error for the waiter.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ours.close()
    eventually(lambda: pressure.source == f"poll {file}")
    eventually(lambda: descriptors() == before - 2)
    file.write_text("0\n")
    looks = [0]
    eventually(lambda: looks.append(0) or len(looks) > 5)
    file.write_text("1\n")
    eventually(lambda: file.write_text(f"{len(looks)}\n") and (looks.append(0) or not waiter.is_alive()))
    assert waiter.done()
    pressure.close()


def test_what_cannot_be_waited_for_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = descriptors()
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(PermissionError):
        Pressure([SocketPressureFile(tmp_path, fd)])
    assert descriptors() == before


def test_stop_and_close_come_from_any_thread_at_once(spawn: Spawn) -> None:
    for _ in range(50):
        pressure = Pressure([])
        gate = threading.Barrier(3)

        def end(do: Callable[[], None], gate: threading.Barrier = gate) -> None:
            gate.wait(20)
            do()

        enders = [spawn(lambda do=do: end(do)) for do in (pressure.stop, pressure.stop, pressure.close)]
        for ender in enders:
            ender.done()
        assert pressure.closed


def test_this_machine_says_how_it_is_watched() -> None:
    before = descriptors()
    watched = pressure_files()
    pressure = Pressure(watched)
    assert len(pressure.source.split(", ")) >= (len({file.path for file in watched}) or 1)
    pressure.close()
    assert descriptors() == before
