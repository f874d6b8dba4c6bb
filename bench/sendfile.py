"""A file of 1 GiB through a socket: `sendfile(sock, chain)` against a bare loop of os.sendfile, as a ratio of one run.

A process of its own reads and throws away; both ways take turns, the best of each counts. The file is sparse: what
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

from mbuf import Pool, Vm, compiled
from mbuf.net.sendfile import sendfile

SIZE = 1 << 30
RUNS = 7
READER = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while s.recv(1 << 30, socket.MSG_TRUNC):
    pass
"""


def bare(sock: socket.socket, path: str) -> None:
    with open(path, "rb") as file:
        at = 0
        while at < SIZE:
            at += os.sendfile(sock.fileno(), file.fileno(), at, SIZE - at)


def chained(sock: socket.socket, path: str) -> None:
    with Pool(Vm(1 << 30)) as pool, pool.file(path) as file, file.getm() as m:
        assert sendfile(sock, m) == SIZE


def rate(send: Callable[[socket.socket, str], None], path: str) -> float:
    """GiB a second, from before the file is opened to when the reader has it all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with subprocess.Popen([sys.executable, "-c", READER, str(listener.getsockname()[1])]):
            sock, _ = listener.accept()
            with sock:
                begin = time.perf_counter()
                send(sock, path)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)
                return SIZE / (1 << 30) / (time.perf_counter() - begin)


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
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, SIZE)
        runs = [(rate(bare, file.name), rate(chained, file.name)) for _ in range(RUNS)]
        plain, ours = (max(rates) for rates in zip(*runs, strict=True))
        print(f"{'compiled' if compiled() else 'uncompiled'}, 1 GiB over loopback, best of {RUNS}")
        print(f"os.sendfile {plain:6.2f} GiB/s")
        print(f"sendfile(m) {ours:6.2f} GiB/s, its pool, chain and freeing too")
        print(f"ratio       {ours / plain:6.2f}")
        print(f"memory      {memory(file.name):6.1f} MiB for the chain of 1 GiB")


if __name__ == "__main__":
    main()
