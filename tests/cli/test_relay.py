import asyncio
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mbuf import Limits
from mbuf.cli import relay as relay_module
from mbuf.cli.relay import RelayOptions, Throughput, limits, si, totals
from mbuf.net.relay.stat import RelayStat
from mbuf.net.relay.streamrelay import StreamRelay

COMMAND = (sys.executable, "-c", "from mbuf.cli.entry import run; run()", "relay")


@contextmanager
def relaying(*args: str, most: int | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a relay with at most so many file descriptors: its process, and the address where it listens."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    with subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limit
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("relaying "), process.communicate()
            yield process, line.split()[1]
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: signal.Signals) -> list[str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def port(address: str) -> tuple[str, int]:
    return "127.0.0.1", int(address.rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_datagrams_are_relayed_until_a_signal_comes(number: signal.Signals) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)
        client.settimeout(60)
        dest = f"udp://127.0.0.1:{server.getsockname()[1]}"
        with relaying("udp://127.0.0.1:0", dest, "--memory", "1M") as (process, address):
            client.connect(port(address))
            client.send(b"ask")
            data, peer = server.recvfrom(100)
            server.sendto(b"answer", peer)
            assert (data, client.recv(100)) == (b"ask", b"answer")
            lines = ended(process, number)
    assert re.fullmatch(r"9 bytes in 2 packets of 1 client, with \S+ [KM]iB at most; 0 denied, 0 dropped", lines[-2]), (
        lines
    )
    assert lines[-1] == "0 mbufs leaked"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_streams_are_relayed_until_a_signal_comes(tmp_path: Path, number: signal.Signals) -> None:
    data = os.urandom(500_000)
    near = f"{tmp_path}/near"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as client:
        dest = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with relaying(f"unix:{near}", dest, "--memory", "1M") as (process, address):
            assert address == f"unix:{near}"
            client.connect(near)
            other, _ = server.accept()
            with other:
                sender = threading.Thread(target=client.sendall, args=(data,))
                sender.start()
                found = bytearray()
                while len(found) < len(data):
                    found += other.recv(1 << 16)
                sender.join()
                assert found == data
                lines = ended(process, number)
                assert other.recv(1) == b""
    assert lines[-2].startswith("488.3 KiB in ")
    assert re.search(r" reads of 1 client, with \S+ [KM]iB at most; 0 denied, 0 dropped$", lines[-2])
    assert not os.path.exists(near)


def test_with_few_file_descriptors_some_clients_wait_and_all_are_served() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:

        def serve() -> None:
            for _ in range(60):
                with server.accept()[0] as one:
                    one.sendall(one.recv(1))
                    one.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        dest = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with relaying("tcp://127.0.0.1:0", dest, most=32) as (process, address):
            clients = [socket.create_connection(port(address), 60) for _ in range(60)]
            for client in clients:
                client.sendall(b"x")
            for client in clients:
                assert client.recv(1) == b"x"
                client.close()
            lines = ended(process, signal.SIGINT)
    assert " of 60 clients" in lines[-2]


def test_the_status_is_printed_at_the_interval() -> None:
    with relaying("tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--interval", "0.1") as (process, _):
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip() for _ in range(2)]
        ended(process, signal.SIGINT)
    assert lines == ["0 reads/s 0 bit/s  0 bytes of 16.0 MiB  0 denied 0 dropped  0 open"] * 2


def test_a_relay_runs_without_a_status_if_standard_output_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    intervals: list[float | None] = []

    def run(options: RelayOptions, write: Callable[[str], object], show_status: Callable[[str], object]) -> None:
        write("relaying")
        intervals.append(options.interval)

    monkeypatch.setattr(relay_module, "run", run)
    monkeypatch.setattr(sys, "stdout", None)
    relay_module.relay.main(["udp://127.0.0.1:0", "udp://127.0.0.1:9"], standalone_mode=False)
    assert intervals == [None]


def test_on_a_terminal_the_status_line_changes() -> None:
    reader, writer = os.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [*COMMAND, "tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--interval", "0.1"]
    with subprocess.Popen(command, stdout=writer, stderr=writer, env=env) as process:
        os.close(writer)
        output = b""
        while output.count(b"open") < 2 and select.select([reader], [], [], 60)[0]:
            output += os.read(reader, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        output += os.read(reader, 4096)
    os.close(reader)
    lines = output.decode().split("\r\n")
    assert lines[0].endswith("; Ctrl-C ends it")
    # All statuses are on one line, and the totals replace the last one.
    status, totals = lines[1:3]
    assert status.count("0 reads/s") >= 2
    assert "0 bytes in 0 reads of 0 clients" in status + totals
    assert "0 mbufs leaked" in lines[2] + lines[3]


def test_an_exception_in_a_callback_ends_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = ValueError("no such thing")

    class Faulty(StreamRelay):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            asyncio.get_running_loop().call_soon(self.fail)

        def fail(self) -> None:
            raise fault

    monkeypatch.setattr(relay_module, "StreamRelay", Faulty)
    lines: list[str] = []
    options = RelayOptions("tcp://127.0.0.1:0", "tcp://127.0.0.1:9", 1 << 20, 10, 10.0, None)
    with pytest.raises(RuntimeError, match="the relay ended because of an exception") as caught:
        relay_module.run(options, lines.append, lines.append)
    assert caught.value.__cause__ is fault
    assert lines[-1] == "0 mbufs leaked"


REFUSED = [
    (["udp://127.0.0.1:0", "tcp://127.0.0.1:9"], "give udp:// for both, or tcp:// or unix: for both"),
    (["tcp://127.0.0.1:0", "unix:"], "unix:: give a path of 1 to 107 bytes"),
    (["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"], "tcp://127.0.0.1:0: give the port to send to"),
    (["127.0.0.1:1", "tcp://127.0.0.1:9"], "127.0.0.1:1: give udp://HOST:PORT, tcp://HOST:PORT or unix:PATH"),
    (["unix:/none/such", "tcp://127.0.0.1:9"], "unix:/none/such: No such file or directory"),
    (["tcp://127.0.0.1:0"], "Missing argument 'DEST': see mbuf relay --help"),
    (["tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--memory", "1K"], "--memory 1K: give 128K to 1048576T"),
    (
        ["tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--clients", "0"],
        "--clients 0: give a whole number from 1 to 1048576",
    ),
    (
        ["tcp://127.0.0.1:0", "tcp://127.0.0.1:9", "--interval", "x"],
        "--interval x: give a number, with or without a unit (S)",
    ),
]


@pytest.mark.parametrize(("args", "line"), REFUSED)
def test_a_wrong_argument_is_one_line_and_code_2(args: list[str], line: str) -> None:
    done = subprocess.run([*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert line in done.stderr
    assert done.stderr.startswith("mbuf: ")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 "),
        (999, "999 "),
        (999.6, "1 k"),
        (163_210, "163 k"),
        (1_812_345, "1.81 M"),
        (20.3e9, "20.3 G"),
        (7e15, "7e+03 T"),
    ],
)
def test_rates_have_three_digits_and_an_si_prefix(number: float, text: str) -> None:
    assert si(number) == text


def test_the_status_has_the_rates_since_the_last_one() -> None:
    now = [0.0]
    throughput = Throughput(RelayStat(100, 1000, 0, 0, 1, 1), "packets", lambda: now[0])
    now[0] = 2.0
    line = throughput.status(RelayStat(3_000_100, 4_200_001_000, 5, 6, 7, 3), 3 << 20, 16 << 20)
    assert line == "1.5 M packets/s 16.8 Gbit/s  3.0 MiB of 16.0 MiB  5 denied 6 dropped  3 open"
    now[0] = 3.0
    line = throughput.status(RelayStat(3_000_100, 4_200_001_000, 5, 6, 7, 3), 0, 16 << 20)
    assert line.startswith("0 packets/s 0 bit/s  0 bytes of")


def test_totals_have_failures_only_if_there_are_some() -> None:
    stat = RelayStat(2, 9, 1, 3, 1, 0, refused=4, aborted=5)
    assert totals(stat, "reads", 4096) == (
        "9 bytes in 2 reads of 1 client, with 4.0 KiB at most; 1 denied, 3 dropped; "
        "4 refused by DEST; 5 aborted because others had no memory"
    )


@pytest.mark.parametrize("memory", [1 << 17, 1 << 20, 1 << 24, 1 << 34])
def test_each_kind_of_buffer_may_have_all_of_the_memory(memory: int) -> None:
    planned = Limits.plan(memory, limits(memory))
    assert planned.nmbclusters * 2048 >= memory
    assert planned.nmbjumbo16 * 16384 >= memory
    assert planned.nmbufs * 256 >= memory
