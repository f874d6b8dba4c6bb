"""A file of 1 GiB through a socket: `sendfile(sock, chain)` against a bare loop of os.sendfile, as a ratio of one run.

A process of its own reads and throws away; the ways take turns, the best of each counts. The file is sparse: what
is measured is not the disk. Then the process memory above the interpreter's with the chain of all of it built,
measured in a fresh process. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mbuf import Mbuf, Pool, Vm, compiled
from mbuf.net.stream.sendfile import sendfile
from mbuf.pool.file import File

Way = Callable[[socket.socket, File, Mbuf], None]

SIZE = 1 << 30
PIECE = 1 << 20
RUNS = 7
READER = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while s.recv(1 << 30, socket.MSG_TRUNC):
    pass
"""


def bare(sock: socket.socket, file: File, m: Mbuf) -> None:
    with open(file.name, "rb") as plain:
        at = 0
        while at < SIZE:
            at += os.sendfile(sock.fileno(), plain.fileno(), at, SIZE - at)


def chained(sock: socket.socket, file: File, m: Mbuf) -> None:
    assert sendfile(sock, m) == SIZE


def built(sock: socket.socket, file: File, m: Mbuf) -> None:
    with file.getm() as whole:
        assert sendfile(sock, whole) == SIZE


def in_pieces(sock: socket.socket, file: File, m: Mbuf) -> None:
    """As a server does it, which has little memory: 1 MiB of pages at a time."""
    for at in range(0, SIZE, PIECE):
        with file.getm(at, PIECE) as piece:
            assert sendfile(sock, piece) == PIECE


def seconds(send: Way, file: File, m: Mbuf) -> float:
    """Until the reader has it all."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen([sys.executable, "-c", READER, str(listener.getsockname()[1])]),
        listener.accept()[0] as sock,
    ):
        begin = time.perf_counter()
        send(sock, file, m)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
        return time.perf_counter() - begin


#: The first is what the others are compared to.
WAYS: dict[str, Way] = {
    "a loop of os.sendfile": bare,
    "sendfile(sock, m)": chained,
    "with building and freeing m": built,
    "built, sent, freed by 1 MiB": in_pieces,
}


def memory(path: str) -> float:
    """MiB above the interpreter's, the package imported, with the chain of the whole file."""
    return float(subprocess.run([sys.executable, __file__, path], capture_output=True, check=True, text=True).stdout)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def build(path: str) -> None:
    before = resident()
    with Pool(Vm(1 << 30)) as pool, pool.file(path) as file, file.getm() as m:
        assert len(m) == SIZE
        print((resident() - before) / (1 << 20))


def main() -> None:
    if sys.argv[1:]:
        build(sys.argv[1])
        return
    print(f"{'compiled' if compiled() else 'uncompiled'}, 1 GiB over loopback, best of {RUNS}")
    with tempfile.NamedTemporaryFile() as plain, Pool(Vm(1 << 30)) as pool:
        os.truncate(plain.name, SIZE)
        with pool.file(plain.name) as file, file.getm() as m:
            runs = [[seconds(send, file, m) for send in WAYS.values()] for _ in range(RUNS)]
        best = [min(times) for times in zip(*runs, strict=True)]
        for name, time_taken in zip(WAYS, best, strict=True):
            print(f"{name:<38} {SIZE / (1 << 30) / time_taken:6.2f} GiB/s  ratio {best[0] / time_taken:.2f}")
        print(f"{'memory for the chain of 1 GiB':<38} {memory(plain.name):6.1f} MiB")


if __name__ == "__main__":
    main()
