"""Chains of pages of files."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chains import lens, sample
from faults import FaultInjector, call_with_refusal
from mbuf import M_WAITOK, PAGE_SIZE, Freed, Inval, Mbuf, NoBufs, NoMemory, Pool
from system import is_open

BAD = (-1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(sample(10000))
    return path


@pytest.fixture(autouse=True)
def _no_descriptor_is_left(make: Callable[..., Pool]) -> Any:
    """As many descriptors are open at the end as at the beginning."""
    before = os.listdir("/proc/self/fd")
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("way", ["path", "text", "bytes", "descriptor"])
def test_a_file_is_opened_by_what_names_it(pool: Pool, path: Path, way: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    names: dict[str, Any] = {"path": path, "text": str(path), "bytes": bytes(path), "descriptor": fd}
    file = pool.file(names[way])
    os.close(fd)
    name = f"descriptor {fd}" if way == "descriptor" else str(path)
    assert (file.name, file.size, file.users) == (name, 10000, 0)
    assert repr(file) == f"<File {name!r} of 10000 bytes, 0 mbufs have pages of it>"
    m = file.getm()
    assert (bytes(m), file.users) == (sample(10000), 1)
    m.freem()
    assert file.users == 0
    file.close()


@pytest.mark.parametrize(
    ("off", "len", "size"),
    [(0, None, 10000), (9999, None, 1), (10000, None, 0), (0, 0, 0), (5000, 10, 10), (10000, 0, 0)],
)
def test_any_part_of_it_is_a_chain(pool: Pool, path: Path, off: int, len: int | None, size: int) -> None:
    with pool.file(path) as file:
        m = file.getm(off, len)
    assert (bytes(m), m.length()) == (sample(10000)[off : off + size], size)
    m.freem()


@pytest.mark.parametrize(
    ("off", "len"), [(0, 10001), (10001, None), (10000, 1), (1, 10000), *((bad, None) for bad in BAD)]
)
def test_bytes_that_the_file_has_not_are_refused(pool: Pool, path: Path, off: int, len: int | None) -> None:
    with pool.file(path) as file:
        with pytest.raises(Inval, match="it has 10000"):
            file.getm(off, len)
        if len is None:
            with pytest.raises(Inval):
                file.getm(0, off)
        assert (file.users, pool.out) == (0, 0)


@pytest.mark.parametrize("how", [0, 3, -1, 2**64])
def test_how_is_one_of_two(pool: Pool, path: Path, how: int) -> None:
    with pool.file(path) as file, pytest.raises(Inval, match="how"):
        file.getm(0, None, how)
    with pool.file(path) as file, pytest.raises(Inval, match=r"timeout 1: .* give how=M_WAITOK"):
        file.getm(timeout=1)
    assert pool.out == 0


def test_an_empty_file_is_an_mbuf_of_no_page(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pool.file(tmp_path / "empty") as file:
        m = file.getm()
        assert (m.epg.npgs, m.len, bytes(m), file.users) == (0, 0, b"", 1)
        m.free()


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "pipe", "socket"])
def test_what_has_no_pages_is_refused_at_once(pool: Pool, tmp_path: Path, kind: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ends = os.pipe()
    names: dict[str, Any] = {"directory": tmp_path, "fifo": fifo, "device": "/dev/zero", "pipe": ends[0]}
    if kind == "socket":
        with pytest.raises(OSError, match=r"No such device|unix"):
            _socket(pool, tmp_path / "unix")
    else:
        with pytest.raises(Inval, match="no regular file"):
            pool.file(names[kind])
    # A descriptor stays the caller's.
    for fd in ends:
        os.close(fd)


def _socket(pool: Pool, path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        pool.file(path)


def test_what_cannot_be_opened_is_the_systems_to_tell(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pool.file(tmp_path / "none")
    for fd in (10**6, -1):
        with pytest.raises(OSError, match="Bad file descriptor"):
            pool.file(fd)
    for bad in (None, 1.5, [], object()):
        with pytest.raises(TypeError):
            pool.file(bad)
    with pytest.raises(ValueError, match="null"):
        pool.file("a\0b")


def test_what_is_open_for_writing_only_is_refused(pool: Pool, path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    with pytest.raises(Inval, match="writing only"):
        pool.file(fd)
    os.close(fd)


# Closing.


@pytest.mark.parametrize("first", ["file", "chain"])
def test_the_descriptor_is_open_as_long_as_it_is_used(pool: Pool, path: Path, first: str) -> None:
    file = pool.file(path)
    m = file.getm()
    n = m.copym(100, 100)
    fd = m.ext.obj.fd
    if first == "file":
        file.close()
        m.freem()
        assert (is_open(fd), bytes(n)) == (True, sample(10000)[100:200])
        n.freem()
    else:
        pool.free_bulk([m, n])
        assert is_open(fd)
        file.close()
    assert not is_open(fd)


def test_a_file_that_was_closed_gives_nothing_more(pool: Pool, path: Path) -> None:
    file = pool.file(path)
    m = file.getm(0, 10)
    file.close()
    file.close()
    with pytest.raises(Freed, match="was closed"):
        file.getm()
    assert (pool.out, bytes(m)) == (1, sample(10))
    m.freem()


def test_a_file_that_was_deleted_is_still_there(pool: Pool, path: Path) -> None:
    file = pool.file(path)
    path.unlink()
    m = file.getm(5000)
    file.close()
    assert bytes(m) == sample(10000)[5000:]
    m.freem()


def test_dropped_all_of_it_is_closed(make: Callable[..., Pool], path: Path) -> None:
    pool = make()
    m: Any = pool.file(path).getm()
    fd = m.ext.obj.fd
    assert is_open(fd)
    del m
    gc.collect()
    assert (is_open(fd), pool.stat().drops) == (False, 1)


def test_what_was_taken_from_a_file_outlives_its_pool(path: Path) -> None:
    pool = Pool(worker=False)
    m = pool.file(path).getm()
    with pytest.warns(ResourceWarning, match="1 mbufs still out"):
        pool.close()
    assert bytes(m) == sample(10000)
    m.freem()


@pytest.mark.parametrize("rest", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("keywords", [{}, {"how": M_WAITOK, "timeout": 0}])
def test_nothing_is_left_of_what_fails(
    make: Callable[..., Pool], tmp_path: Path, rest: bool, keywords: dict[str, Any]
) -> None:
    pool = make(debug=True)
    (tmp_path / "long").write_bytes(bytes(50000))
    faults = FaultInjector(pool)
    with pool.file(tmp_path / "long") as file:
        for k in range(1, 10):
            m, failed = call_with_refusal(faults, k, rest, lambda: file.getm(**keywords))
            if not failed:
                m.freem()
                break
            assert (pool.out, file.users, pool.stat().drops) == (0, 0, 0)
    assert k == 4


# The bytes of each mbuf.


def test_an_mbuf_has_as_many_bytes_as_are_requested(pool: Pool, path: Path) -> None:
    path.write_bytes(bytes(range(250)) * 200)
    with pool.file(path) as file:
        for off, most in ((0, 16384), (100, 16384), (4095, 16384), (3, 4096), (0, 49999)):
            chain = file.getm(off, maxseg=min(most, 20480))
            assert bytes(chain) == path.read_bytes()[off:]
            if most < 20480:
                full, rest = divmod(50000 - off, most)
                assert lens(chain) == [most] * full + [rest]
            chain.freem()
        with file.getm() as chain:
            assert lens(chain) == [20480, 20480, 9040]
        with file.getm(0, 5, maxseg=2) as chain:
            assert lens(chain) == [2, 2, 1]


@pytest.mark.parametrize("maxseg", [0, -1, 20481, 1 << 70])
def test_more_than_an_mbuf_holds_or_nothing_is_refused(pool: Pool, path: Path, maxseg: int) -> None:
    with pool.file(path) as file, pytest.raises(Inval, match="maxseg"):
        file.getm(maxseg=maxseg)


# Large files.


@pytest.mark.parametrize("size", [(1 << 32) + 10, (1 << 40) + 4095, (1 << 43) + 1])
def test_offsets_go_beyond_four_gigabytes(pool: Pool, tmp_path: Path, size: int) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as f:
        f.seek(size - 5)
        f.write(b"12345")
    with pool.file(path) as file:
        assert file.size == size
        m = file.getm(size - 5000)
        assert (bytes(m), m.epg.pages[-1]) == (bytes(4995) + b"12345", (size - 1) // PAGE_SIZE)
        m.unmapped_to_ext()
        assert bytes(m) == bytes(4995) + b"12345"
        m.freem()


def test_offsets_go_as_far_as_a_file_does(pool: Pool) -> None:
    fd = os.memfd_create("vast")
    os.ftruncate(fd, 2**63 - 1)
    with pool.file(fd) as file:
        m = file.getm(2**63 - 2 * PAGE_SIZE + 7, 100)
        assert (lens(m), m.epg.pages) == ([100], (2**63 // PAGE_SIZE - 2,))
        assert bytes(m) == bytes(100)
        m.freem()
        # Linux doesn't map the very last page.
        m = file.getm(2**63 - 1 - 100)
        assert lens(m) == [100]
        with pytest.raises(NoMemory, match="the system maps no more pages"):
            bytes(m)
        assert pool.sfbufs.used == 0
        m.freem()
    os.close(fd)


def test_a_file_is_larger_than_all_mbufs(make: Callable[..., Pool], few: Callable[..., dict[str, int]]) -> None:
    pool = make(few(mbufs=40))
    fd = os.memfd_create("vast")
    os.ftruncate(fd, 1 << 50)
    with pool.file(fd) as file:
        with pytest.raises(NoBufs):
            file.getm()
        assert (pool.out, file.users) == (0, 0)
        m = file.getm(1 << 49, 20480 * 10)
        assert (len(m), pool.out) == (204800, 10)
        m.freem()
    os.close(fd)


# Files that are truncated while they are used.

CUT = """
import os, sys
from mbuf import Inval, Pool
pool = Pool(worker=False)
fd = os.memfd_create("cut")
os.write(fd, bytes(30000))
m = pool.gethdr().cat(pool.file(fd).getm())
m.fixhdr()
{before}
os.ftruncate(fd, {size})
try:
    {verb}
except Inval as error:
    assert "has become shorter" in str(error), error
    print("told")
m.freem()
assert pool.out == 0
assert pool.sfbufs.used == 0
"""
VERBS = {
    "bytes": "bytes(m)",
    "iter": "[bytes(view) for view in m]",
    "copydata": "m.copydata(29000, 10)",
    "copyinto": "m.copyinto(bytearray(30000))",
    "apply": "m.apply(0, 30000, lambda view: 0)",
    "find": "m.find(b'x')",
    "rfind": "m.rfind(b'x')",
    "compare": "m == bytes(m)",
    "equals": "m.equals(m)",
    "index": "m[28000]",
    "in_cksum": "m.in_cksum()",
    "unpack": "m.unpack('!I', 28000)",
    "hexdump": "m.hexdump()",
    "dup": "m.dup()",
    "defrag": "m.defrag()",
    "collapse": "m.collapse(1)",
    "unshare": "m.unshare()",
    "fragment": "m.fragment(100)",
    "pullup": "m.pullup(100)",
    "pulldown": "m.pulldown(20400, 200)",
    "unmapped_to_ext": "m.unmapped_to_ext()",
    "page": "m.last().page(2)",
}
#: Verbs that always refuse unmapped pages.
REFUSED = ("collapse", "pullup", "pulldown")


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize("seen", [False, True], ids=["not seen", "seen before"])
def test_a_file_that_is_cut_off_is_an_error_and_never_a_crash(size: int, seen: bool) -> None:
    verbs = "\n".join(f"    {name!r}: lambda: {verb}," for name, verb in VERBS.items())
    code = CUT.format(
        before=f"VERBS = {{\n{verbs}\n}}\nREFUSED = {REFUSED}\ntold = []" + "\nbytes(m)" * seen,
        size=size,
        verb=(
            "for name, verb in VERBS.items():\n"
            "        try:\n            verb()\n"
            "        except Inval as error:\n            told.append(name)\n"
            "            assert 'shorter' in str(error) or name in REFUSED, (name, error)\n"
            "    print(*told)"
        ),
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=_env())
    assert done.returncode != -signal.SIGBUS
    assert (done.returncode, done.stderr) == (0, "")
    # Only 100 bytes were left, before those that it reads.
    assert done.stdout.split() == list(VERBS)


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_chain_of_a_file_has_no_header_till_one_is_put_in_front(pool: Pool, path: Path) -> None:
    with pool.file(path) as file:
        m: Mbuf = pool.gethdr().cat(file.getm())
    m.fixhdr()
    assert (m.pkthdr.len, m.sanity()) == (10000, True)
    m.freem()
