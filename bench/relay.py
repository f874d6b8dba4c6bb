"""Ten seconds of relaying UDP over loopback with `mbuf relay`, then with plain sockets; prints a table.

A generator sends datagrams of 1,400 bytes without end, and a sink counts what arrives. Both are processes of their own
that use GSO and GRO, so that the relay is the slowest part. `make demo` ends with this program.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SIZE = 1400
SECONDS = 5.0
SECTION = "import signal, socket, struct, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"

#: Sends to a port for so many seconds, and prints how many datagrams that were.
GENERATOR = (
    SECTION
    + f"""
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.connect(("127.0.0.1", int(sys.argv[1])))
data, sent = bytes({SIZE} * 46), 0
cut = [(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, 103, struct.pack("H", {SIZE}))]
each = 46
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        sock.sendmsg([data], cut)
        sent += each
    except ConnectionRefusedError:
        pass
    except OSError:
        # This kernel has no GSO.
        data, cut, each = bytes({SIZE}), [], 1
print(sent)
"""
)

#: Counts what comes to a socket that it inherits, until a second has passed without anything.
SINK = (
    SECTION
    + """
sock = socket.socket(fileno=int(sys.argv[1]))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
try:
    sock.setsockopt(17, 104, 1)
except OSError:
    pass
room, count = bytearray(1 << 16), 0
sock.settimeout(30)
try:
    while True:
        count += sock.recv_into(room)
        sock.settimeout(1)
except TimeoutError:
    print(count)
"""
)

#: The usual loop, until a signal arrives.
PLAIN = """
import signal, socket, sys
source = socket.socket(fileno=int(sys.argv[1]))
source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
target = socket.socket(type=socket.SOCK_DGRAM)
target.connect(("127.0.0.1", int(sys.argv[2])))
room = bytearray(65536)
view = memoryview(room)
print("ready", flush=True)
try:
    while True:
        target.send(view[:source.recv_into(room)])
except KeyboardInterrupt:
    pass
"""


class Row(NamedTuple):
    """What one relay has done with its datagrams."""

    sent: int
    arrived: int
    #: The maximum of resident memory in KiB.
    memory: int


def run(program: str, *args: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *args], stdout=subprocess.PIPE, text=True, pass_fds=fds)


def bound() -> socket.socket:
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def port(sock: socket.socket) -> str:
    return str(sock.getsockname()[1])


@contextmanager
def plain(to: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A relay of plain sockets, and its port."""
    with bound() as sock, run(PLAIN, str(sock.fileno()), to, fds=(sock.fileno(),)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, port(sock)
        process.send_signal(signal.SIGINT)


@contextmanager
def ours(to: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`mbuf relay`, and its port."""
    command = [str(Path(sys.executable).with_name("mbuf")), "relay", "udp://127.0.0.1:0", f"udp://127.0.0.1:{to}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, line.split()[1].rpartition(":")[2]
        process.send_signal(signal.SIGINT)


def measured(kind: str) -> Row:
    """Run one relay."""
    with bound() as target:
        sink = run(SINK, str(target.fileno()), fds=(target.fileno(),))
        with (plain if kind == "plain" else ours)(port(target)) as (process, at):
            generator = run(GENERATOR, at, str(SECONDS))
            sent, _ = generator.communicate()
            status = Path(f"/proc/{process.pid}/status").read_text("ascii")
            memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
            arrived, _ = sink.communicate()
    return Row(int(sent), int(arrived) // SIZE, memory)


def main() -> None:
    cpus = len(os.sched_getaffinity(0))
    print(
        f"a relay of UDP datagrams of {SIZE} bytes for {SECONDS:.0f} s each, generator and sink beside it, {cpus} CPUs"
    )
    print(f"{'':<16}{'packets/s':>12}{'Gbit/s':>9}{'lost':>9}{'process memory':>17}")
    begin = time.monotonic()
    rows = {}
    for kind, name in (("mbuf", "mbuf relay"), ("plain", "plain sockets")):
        rows[kind] = row = measured(kind)
        rate = row.arrived / SECONDS
        lost = 1 - row.arrived / row.sent
        print(f"{name:<16}{rate:>12,.0f}{8 * SIZE * rate / 1e9:>9.2f}{lost:>9.1%}{row.memory / 1024:>13.1f} MiB")
        sys.stdout.flush()
    ratio = rows["mbuf"].arrived / max(rows["plain"].arrived, 1)
    print(f"mbuf relay carried {ratio:.1f} times as many ({time.monotonic() - begin:.0f} s)")


if __name__ == "__main__":
    main()
