"""Fuzzing of everything that reads input: each input is read or refused with an error, and nothing is lost.

Each fuzzer calls one reader. `make fuzz` runs them for MBUF_FUZZ_SECONDS together, with new inputs each time.
"""

import asyncio
import gzip
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from fuzz.mutate import FUZZERS, inputs
from mbuf import Inval, Pool, TunableWarning, Vm
from mbuf.cli.machine import parse_settings
from mbuf.cli.options import PORT, SECONDS, SIZE
from mbuf.cli.sysctl import Style, set_value
from mbuf.errors import CaptureError
from mbuf.http import FileServer
from mbuf.http.conditional import Representation, precondition_status, requested_range
from mbuf.net.capture.capture import Capture
from mbuf.net.udp.report import HEAD_LEN, MAGIC, Collector
from mbuf.pool.tunables import from_environ, read_loader_conf, read_toml
from net import captures

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*.pcap"))
HEADS = [path.read_bytes()[:2000] for path in CAPTURES]

CONF = [
    b'kern.ipc.nmbclusters="65536"\nkern.ipc.nmbufs=2m # many\n\n#vm.zone_warnings="0"\n',
    b'kern.ipc.maxmbufmem="1g"\r\nhw.igb.rxd="2048"\nkern.ipc.nmbjumbo9=0x10\n',
    'name="größer \\"x\\""\nkern.ipc.nmbjumbop = 010\n'.encode(),
]
TOML = [
    b'"kern.ipc.nmbclusters" = 65536\n[kern.ipc]\nnmbufs = "2m"\n[vm]\nzone_warnings = false\n',
    b"[tool.server.kern.ipc]\nnmbjumbo9 = 0x10\nmaxmbufmem = 1_000_000\n",
]
REQUESTS = [
    b'GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=5-9\r\nIf-Range: "x"\r\n\r\n',
    b"HEAD /folder/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b'GET http://x/%61.txt?q#f HTTP/1.1\r\nHost: x\r\nIf-None-Match: *, W/"a"\r\n\r\nGET / HTTP/1.0\r\n\r\n',
    b"POST /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]
FIELDS = [
    b"bytes=0-99\nrange",
    b"bytes=-5\nrange",
    b'W/"abc", "def"\nif-none-match',
    b"*\nif-match",
    b"Sun, 06 Nov 1994 08:49:37 GMT\nif-modified-since",
    b"Sunday, 06-Nov-94 08:49:37 GMT\nif-unmodified-since",
]
SETTINGS = [
    b"kern.ipc.nmbclusters=262144",
    b"kern.ipc.nmbufs=0x7fffffff",
    b"kern.ipc.num_snd_tags=0",
    b"vm.zone_warnings=-1",
    b"vm.lowmem_period=010",
    b"debug.vm_lowmem=3",
    b"vm.uma.mbuf.size=1",
]
REPORTS = [
    MAGIC + (7).to_bytes(8, "big") + b"\0\0\0\1" + b"all there is",
    MAGIC + (8).to_bytes(8, "big") + b"\0\0\0\2" + b"the first half",
    MAGIC + (8).to_bytes(8, "big") + b"\0\1\0\2" + b"and the second",
    MAGIC + bytes(HEAD_LEN - len(MAGIC)),
]
NUMBERS = [b"4G", b"1.5M", b"0", b"65535", b".5s", b"kern.ipc.nmbufs=4m", b"MBUF_NMBUFS=0x10", b"99999999T"]


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool in which nothing may be in use at the end."""
    with Pool(Vm(64 << 20), worker=False) as pool:
        yield pool
        assert pool.out == 0
        assert pool.stat().drops == 0


def feed(seeds: Sequence[bytes], reader: Callable[[bytes], object], refusals: tuple[type[Exception], ...]) -> None:
    """Call the reader with each input. It may raise `refusals`, with one line of text; another error is a failure."""
    for number, data in inputs(seeds):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TunableWarning)
                reader(data)
        except refusals as error:
            one_line(error)
        except Exception as error:
            raise AssertionError(f"input {number}: {data!r}") from error


def one_line(error: Exception) -> None:
    """Check that an error has one line of text. `click` escapes the text of its own errors when it prints them."""
    assert str(error)
    assert "\n" not in str(error) or isinstance(error, click.ClickException)


def test_captures(tmp_path: Path) -> None:
    file = tmp_path / "some.pcap"
    seeds = [
        *HEADS,
        captures.pcap(),
        captures.pcap(order=">", kind="nano"),
        captures.pcapng(),
        captures.pcapng(order=">"),
    ]
    seeds += [gzip.compress(seed, mtime=0) for seed in seeds[-4:]]

    def read(data: bytes) -> None:
        file.write_bytes(data)
        with Capture(file) as capture:
            for _, view, length in capture:
                assert len(view) <= max(length, len(data) << 10)

    feed(seeds, read, (CaptureError,))


def test_loader_conf(tmp_path: Path) -> None:
    file = tmp_path / "loader.conf"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        made(read_loader_conf(file))

    feed(CONF, read, (Inval,))


def test_toml(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        made(read_toml(file))
        made(read_toml(file, "tool.server"))

    feed(TOML, read, (Inval,))


def made(found: dict[str, int]) -> None:
    """Make a pool with the tunables that were read, if they are valid."""
    with Pool(Vm(16 << 20), found, worker=False):
        pass


def test_requests(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "www" / "folder").mkdir(parents=True)
    (tmp_path / "www" / "a.txt").write_bytes(b"hello\n" * 2000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        listener.setblocking(False)
        faults = asyncio.run(asked(listener, tmp_path, pool))
    assert faults == []


async def asked(listener: socket.socket, path: Path, pool: Pool) -> list[Any]:
    """Send a request to a server; returns the error that it raised."""
    loop = asyncio.get_running_loop()
    faults: list[Any] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    async with serving(FileServer(pool, path / "www", 5.0), listener):
        for number, data in inputs(REQUESTS):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, str(path / "socket"))
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)
                reply = b""
                while piece := await loop.sock_recv(sock, 65536):
                    reply += piece
            assert reply.startswith(b"HTTP/1.1 ") or not reply, (number, data, reply)
            assert not faults, (number, data)
    return faults


class serving:
    """Within it, a server runs."""

    def __init__(self, server: FileServer, listener: socket.socket) -> None:
        self.server = server
        self.task = asyncio.create_task(server.serve(listener))

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.server.close()


def test_conditions_and_ranges(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    representation = Representation(file.stat())

    def read(data: bytes) -> None:
        value, _, name = data.decode("latin-1").rpartition("\n")
        fields = {name: value}
        assert precondition_status(fields, representation) in (200, 304, 412)
        wanted = requested_range({"range": value, **fields}, representation)
        assert wanted is None or 0 <= wanted[0] <= wanted[0] + wanted[1] <= max(100, wanted[0])

    feed(FIELDS, read, ())


def test_sysctls(pool: Pool) -> None:
    def read(data: bytes) -> None:
        name, _, text = data.decode("utf-8", "surrogateescape").partition("=")
        before = dict(pool.sysctl)
        try:
            set_value(pool, name, text, Style())
        except Inval:
            # A refused setting changes nothing.
            assert dict(pool.sysctl) == before
        assert pool.sysctl["kern.ipc.nmbufs"] > 0

    feed(SETTINGS, read, (KeyError,))


def test_reports(pool: Pool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        collector = Collector(pool, ours)

        def read(data: bytes) -> None:
            theirs.send(data)
            for report in collector.receive():
                assert len(report.text) <= 64 * 2048
            assert pool.out == 0

        feed(REPORTS, read, ())
        collector.flush()


def test_numbers_and_names() -> None:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape").replace("\0", "")
        for kind in (SIZE, SECONDS, PORT):
            with refused():
                kind.convert(text, None, None)
        with refused():
            parse_settings((text,))
        name, _, value = text.partition("=")
        with refused():
            from_environ({name: value})

    feed(NUMBERS, read, ())


@contextmanager
def refused() -> Iterator[None]:
    try:
        yield
    except (Inval, click.ClickException) as error:
        one_line(error)


def test_each_fuzzer_has_its_share_of_the_time() -> None:
    tests = [name for name in globals() if name.startswith("test_")]
    # One more is in test_verbs.py.
    assert len(tests) == FUZZERS
