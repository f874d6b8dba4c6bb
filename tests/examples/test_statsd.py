"""examples/statsd.py in a process of its own, on both loops."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.program import UVLOOP

parser = pytest.importorskip("prometheus_client.openmetrics.parser")

EXAMPLE = Path(__file__).parents[2] / "examples/statsd.py"


class Example:
    """The running program."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        host, port, page_host, page_port = process.stdout.readline().split()
        self.udp = (host, int(port))
        self.url = f"http://{page_host}:{page_port}/metrics"
        self.sock = socket.socket(type=socket.SOCK_DGRAM)

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.sock.sendto(datagram, self.udp)

    def samples(self) -> dict[tuple[str, ...], float]:
        """What Prometheus reads."""
        with urllib.request.urlopen(self.url, timeout=30) as page:
            assert page.headers["Content-Type"].startswith("application/openmetrics-text")
            text = page.read().decode()
        families: Any = list(parser.text_string_to_metric_families(text))
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    def after(self, packets: int) -> dict[tuple[str, ...], float]:
        """The samples once so many packets were received."""
        deadline = time.monotonic() + 60
        while True:
            samples = self.samples()
            if samples["mbuf_port_received_packets_total", "statsd"] >= packets:
                return samples
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(params=["asyncio", "uvloop"])
def example(request: pytest.FixtureRequest) -> Iterator[Example]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    start = ["-c", UVLOOP, str(EXAMPLE)] if request.param == "uvloop" else [str(EXAMPLE)]
    process = subprocess.Popen(
        [sys.executable, *start, "127.0.0.1:0", "127.0.0.1:0"],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            running = Example(process)
            with running.sock:
                yield running
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text("utf-8").splitlines()) < 80


def test_lines_are_added_up(example: Example) -> None:
    example.send(
        b"orders.placed:1|c", b"orders.placed:2|c\nqueue:5|g\nqueue:-2|g", b"db:250|ms\ndb:750|ms", b"hits:1|c|@0.1\n"
    )
    numbers = example.after(4)
    assert numbers["statsd_total", "orders.placed"] == 3
    assert numbers["statsd_total", "hits"] == 10
    assert numbers["statsd_gauge", "queue"] == 3
    assert numbers["statsd_seconds_total", "db"] == 1
    assert numbers["statsd_timings_total", "db"] == 2
    assert numbers[("statsd_refused_lines_total",)] == 0
    assert numbers["mbuf_pool_memory_limit_bytes",] == 16 << 20


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"x",
            b"x:1",
            b"x:|c",
            b"x:1|q",
            b":1|c",
            b'x"y:1|c',
            b"x:nan|c",
            b"x:inf|g",
            b"x:1e9|c",
            b"x:-1|c",
            b"\xff:1|c",
        ),
        *(
            b"x:1|c|@0.0",
            b"x:1|c|@2",
            b"x:1|c|",
            b"x{}:1|c",
            b"a" * 201 + b":1|c",
            "é:1|c".encode(),
            b"x:" + b"9" * 99 + b"|c",
        ),
    ],
)
def test_junk_is_counted(example: Example, line: bytes) -> None:
    example.send(line + b"\ngood:1|c")
    numbers = example.after(1)
    assert numbers[("statsd_refused_lines_total",)] == 1
    assert [key for key in numbers if key[0].startswith("statsd") and len(key) > 1] == [("statsd_total", "good")]


def test_every_packet_is_freed(example: Example) -> None:
    # Fewer than the queue of the socket holds.
    example.send(*[b"n:1|c"] * 100)
    numbers = example.after(100)
    assert numbers["statsd_total", "n"] == 100
    assert numbers["mbuf_pool_dropped_mbufs_total",] == 0


def test_other_pages_are_not_found(example: Example) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(example.url.replace("metrics", "other"), timeout=30)
