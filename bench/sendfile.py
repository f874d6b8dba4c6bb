"""Sending a file of 1 GiB: `sendfile(sock, chain)` compared with a loop of os.sendfile, as a ratio of one run.

Another process reads and discards the bytes. The programs run alternately, and the best run of each is compared. The
file is sparse, so that the disk isn't measured. Then the process memory that the chain of the whole file takes is
measured in a new process. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from memory import status_kib

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
    """As a server with little memory: 1 MiB of pages at a time."""
    for at in range(0, SIZE, PIECE):
        with file.getm(at, PIECE) as piece:
            assert sendfile(sock, piece) == PIECE


def seconds(send: Way, file: File, m: Mbuf) -> float:
    """Seconds until the reader has all bytes."""
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


#: The others are compared with the first.
WAYS: dict[str, Way] = {
    "a loop of os.sendfile": bare,
    "sendfile(sock, m)": chained,
    "with building and freeing m": built,
    "built, sent, freed by 1 MiB": in_pieces,
}


def memory(path: str) -> float:
    """MiB of process memory that the chain of the whole file takes."""
    return float(subprocess.run([sys.executable, __file__, path], capture_output=True, check=True, text=True).stdout)


def build(path: str) -> None:
    before = status_kib("VmRSS")
    with Pool(Vm(1 << 30)) as pool, pool.file(path) as file, file.getm() as m:
        assert len(m) == SIZE
        print((status_kib("VmRSS") - before) / 1024)


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
