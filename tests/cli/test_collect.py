"""`mbuf collect`, run as a process."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from mbuf import Pool, Vm
from mbuf.cli.main import main
from mbuf.net.udp.report import MAGIC, send


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(Vm(4 << 20), worker=False) as pool:
        pool.reserve.reinit(1, 1)
        yield pool
        pool.reserve.drain()


class Collect:
    """A running `mbuf collect`, at any free port."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "mbuf", "collect", "127.0.0.1:0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        found = re.fullmatch(r"collecting reports at 127\.0\.0\.1:(\d+)\n", self.process.stderr.readline())
        assert found is not None
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(("127.0.0.1", int(found[1])))

    def end(self) -> tuple[str, str, int]:
        out, err = self.process.communicate(timeout=60)
        sender = "{}:{}".format(*self.sock.getsockname())
        self.sock.close()
        return out.replace(sender, "SENDER"), err, self.process.returncode


def test_reports_are_printed_with_their_sender(pool: Pool) -> None:
    collect = Collect("--count", "2")
    send(pool, "one line", collect.sock)
    send(pool, "two\nlines\n", collect.sock)
    out, err, code = collect.end()
    assert out == "--- report from SENDER\none line\n--- report from SENDER\ntwo\nlines\n"
    assert (err, code) == ("2 reports, 0 invalid datagrams, 0 dropped\n", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_prints_incomplete_reports_and_ends_it(pool: Pool, number: signal.Signals) -> None:
    collect = Collect()
    collect.sock.send(MAGIC + bytes(8) + b"\0\0\0\2" + b"half")
    collect.sock.send(b"what?")
    send(pool, "whole", collect.sock)
    assert collect.process.stdout is not None
    head = [collect.process.stdout.readline() for _ in range(2)]
    assert head[1] == "whole\n"
    os.kill(collect.process.pid, number)
    out, err, code = collect.end()
    assert out == "--- report from SENDER, 1 part missing\nhalf\n[a part is missing]\n"
    assert (err, code) == ("2 reports, 1 invalid datagram, 0 dropped\n", 0)


def test_it_ends_after_the_given_seconds() -> None:
    result = CliRunner().invoke(main, ["collect", "127.0.0.1:0", "--seconds", "0"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("0 reports, 0 invalid datagrams, 0 dropped\n")


def test_the_address_may_be_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    result = CliRunner().invoke(main, ["collect", "[::1]:0", "--seconds", "0"])
    assert result.exit_code == 0 or "ssign requested address" in result.stderr
    assert "[::1]:" in result.stderr


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("", "give HOST:PORT, or [HOST]:PORT if the host is an IPv6 address"),
        ("udp://127.0.0.1:5140", "give HOST:PORT, or [HOST]:PORT if the host is an IPv6 address"),
        ("127.0.0.1:x", "give a port from 0 to 65535"),
    ],
)
def test_a_malformed_address_is_an_error_of_one_line(address: str, advice: str) -> None:
    result = CliRunner().invoke(main, ["collect", address])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"mbuf: {address}: {advice}\n"


@pytest.mark.parametrize("address", ["203.0.113.7:5140", "a..b:1"])
def test_an_address_of_another_host_is_an_error_of_one_line(address: str) -> None:
    result = CliRunner().invoke(main, ["collect", address])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mbuf: {address}: ")
    assert result.stderr.count("\n") == 1
