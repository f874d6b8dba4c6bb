"""Publishing a pool: the page, its thread, and what is left when a process ends."""

import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mbuf import Inval, Pool
from mbuf.stats.published import pages, read

ME = os.getpid()

PROGRAM = """
import os, signal, sys, threading
from mbuf import Pool, Vm
pool = Pool(Vm(16 << 20), worker=False)
m = pool.getcl()
page = pool.publish(folder=sys.argv[1], interval=None)
"""


def publish(pool: Pool, folder: Path, name: str = "pool") -> object:
    return pool.publish(name, None, folder)


def run(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that publishes a pool in this folder."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + code, str(folder)],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_page_has_the_numbers_of_the_last_update(pool: Pool, tmp_path: Path) -> None:
    page = pool.publish("pool", None, tmp_path)
    before = pool.stat()
    with pool.getcl():
        assert read(ME, folder=tmp_path) == before
        page.update()
        assert read(ME, folder=tmp_path) == pool.stat()
        assert read(ME, folder=tmp_path).packets_in_use == 1


def test_only_the_user_can_read_it(pool: Pool, tmp_path: Path) -> None:
    page = pool.publish("pool", None, tmp_path)
    assert stat.S_IMODE(page.path.stat().st_mode) == 0o600
    assert page.path == tmp_path / f"mbuf.{ME}.pool"


def test_by_default_it_is_in_memory_and_a_thread_updates_it(pool: Pool) -> None:
    with pool.publish(f"test-{id(pool)}", 0.1) as page:
        assert page.path.parent == Path("/dev/shm")
        with pool.getcl():
            wait_for(lambda: read(ME, f"test-{id(pool)}").packets_in_use == 1)
    wait_for(lambda: not any(thread.name.startswith("mbuf-test-") for thread in threading.enumerate()))
    assert not page.path.exists()


def test_closing_removes_it(make: Callable[..., Pool], tmp_path: Path) -> None:
    pool = make()
    page, other = pool.publish("a", None, tmp_path), pool.publish("b", None, tmp_path)
    page.close()
    page.close()
    assert page.closed
    assert not other.closed
    with pytest.raises(Inval, match="closed"):
        page.update()
    pool.close()
    assert other.closed
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Inval, match="closed"):
        pool.publish("c", None, tmp_path)


def test_a_pool_that_is_dropped_closes_its_pages(tmp_path: Path) -> None:
    pool = Pool(16 << 20, worker=False)
    pool.publish("pool", 0.1, tmp_path)
    del pool
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_complete_while_it_is_updated(pool: Pool, tmp_path: Path) -> None:
    page = pool.publish("pool", None, tmp_path)
    ended = threading.Event()

    def update() -> None:
        while not ended.is_set():
            pool.getcl().freem()
            page.update()

    thread = threading.Thread(target=update)
    thread.start()
    try:
        seen = [read(ME, folder=tmp_path).pack for _ in range(300)]
    finally:
        ended.set()
        thread.join()
    assert all(zone.allocs - zone.frees == zone.used for zone in seen)
    assert [zone.allocs for zone in seen] == sorted(zone.allocs for zone in seen)
    assert seen[-1].allocs > seen[0].allocs


@pytest.mark.parametrize("name", ["", "a/b", "../x", "é", "x" * 65, None, "a\n"])
def test_a_name_that_is_no_part_of_a_path_is_refused(pool: Pool, tmp_path: Path, name: str) -> None:
    with pytest.raises(Inval, match="publish: name"):
        publish(pool, tmp_path, name)


@pytest.mark.parametrize("interval", [0, -1, 0.05, float("nan"), float("inf")])
def test_an_interval_that_is_too_short_is_refused(pool: Pool, tmp_path: Path, interval: float) -> None:
    with pytest.raises(Inval, match="publish: interval"):
        pool.publish("pool", interval, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_pools_need_two_names(make: Callable[..., Pool], tmp_path: Path) -> None:
    first, second = make(), make(mem=8 << 20)
    publish(first, tmp_path)
    with pytest.raises(Inval, match="a pool is published under this name"):
        publish(second, tmp_path)
    publish(second, tmp_path, "second")
    assert read(ME, "second", tmp_path).pages_total == 2048
    with pytest.raises(Inval, match=r"give a name, one of pool, second"):
        read(ME, folder=tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        publish(pool, tmp_path / "none")
    monkeypatch.setattr("mbuf.pool.publish.folders", lambda: iter(()))
    with pytest.raises(Inval, match="give a folder"):
        pool.publish()


def test_if_there_is_no_memory_for_the_page_no_file_is_left(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="full"):
        publish(pool, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_thread_that_cannot_write_says_so_and_ends(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    page = pool.publish("broken", 0.1, tmp_path)
    monkeypatch.setattr(os, "pwrite", broken)
    wait_for(lambda: not any(thread.name == "mbuf-broken" for thread in threading.enumerate()))
    assert caplog.messages == [f"publishing to {page.path}, which ends now, failed"]


def test_closing_while_an_update_is_made_does_no_harm(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = pool.publish("pool", None, tmp_path)
    write = os.pwrite

    def close_first(fd: int, data: bytes, offset: int) -> int:
        page.close()
        # An update within the update is left out.
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", close_first)
    page.update()
    assert page.closed


def test_an_update_within_an_update_is_left_out(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = pool.publish("pool", None, tmp_path)
    calls = []
    write = os.pwrite

    def update_again(fd: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        page.update()
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", update_again)
    page.update()
    assert len(calls) == 1


def test_at_the_end_of_a_program_the_page_is_removed(tmp_path: Path) -> None:
    done = run(tmp_path, "print(os.listdir(sys.argv[1]))")
    assert done.stdout.startswith("['mbuf."), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_a_stale_page_that_the_next_one_removes(pool: Pool, tmp_path: Path) -> None:
    done = run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL, done.stderr
    [page] = pages(tmp_path)
    assert (page.alive, page.name, page.stat.packets_in_use) == (False, "pool", 1)
    with pytest.raises(ProcessLookupError, match=f"process {page.pid} has ended"):
        read(page.pid, folder=tmp_path)
    publish(pool, tmp_path)
    assert [page.pid for page in pages(tmp_path)] == [ME]


FORK = """
child = os.fork()
if child == 0:
    assert page.closed
    assert not any(t.name.startswith("mbuf-") for t in threading.enumerate())
    with pool.getcl(), pool.publish(folder=sys.argv[1], interval=None):
        print(sorted(name.split(".")[1] == str(os.getpid()) for name in os.listdir(sys.argv[1])))
    sys.exit()
os.waitpid(child, 0)
page.update()
print(page.closed, page.path.exists())
m.freem()
"""


def test_a_child_of_a_fork_leaves_the_page_of_its_parent_alone(tmp_path: Path) -> None:
    done = run(tmp_path, FORK)
    assert (done.stdout, done.stderr) == ("[False, True]\nFalse True\n", "")
    assert list(tmp_path.iterdir()) == []
