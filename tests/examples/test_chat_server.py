"""examples/chat_server.py in a process of its own, on both loops, with 1,000 clients."""

import contextlib
import resource
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.program import UVLOOP

EXAMPLE = Path(__file__).parents[2] / "examples/chat_server.py"

CLIENTS = 1000
LINES = 300


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """The address of the running program."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    command = [sys.executable, *(["-c", UVLOOP] if request.param == "uvloop" else []), str(EXAMPLE), "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}, text=True
    ) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield host, int(port)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, -signal.SIGINT, 130)


def test_a_line_goes_to_all_clients(server: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(server, 30)) for _ in range(3)]
        files = [stack.enter_context(client.makefile("rwb", buffering=0)) for client in clients]
        names = ["{}:{}".format(*client.getsockname()).encode() for client in clients]
        # A client that gets its own line is known to the server.
        for name, file in zip(names, files, strict=True):
            file.write(b"in\n")
            while file.readline() != name + b"> in\n":
                pass
        files[0].write(b"hello\r\n")
        for file in files:
            while file.readline() != names[0] + b"> hello\n":
                pass
        files[0].write(b"/quit\n")
        assert files[0].read() == b""
        files[1].write(b"x" * 2000 + b"\n")
        assert files[1].read() == b""


def test_clients_that_read_lose_no_line_because_others_do_not(server: tuple[str, int]) -> None:
    """Of 1,000 clients, 500 read nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 3 * CLIENTS
    if hard != resource.RLIM_INFINITY and hard < most:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        got: dict[socket.socket, bytearray] = {}
        for n in range(CLIENTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(server)
            if n % 2:
                client.setblocking(False)
                selector.register(client, selectors.EVENT_READ)
                got[client] = bytearray()
        talker = stack.enter_context(socket.create_connection(server))

        def read_until(line: bytes) -> None:
            while not all(line in data[-600:] and data.endswith(b"\n") for data in got.values()):
                for key, _ in selector.select(60):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    assert data
                    got[key.fileobj] += data  # type: ignore[index]

        for n in range(LINES):
            talker.sendall(b"%03d" % n + b"x" * 497 + b"\n")
            read_until(b"> %03d" % n)
        for data in got.values():
            assert [line.partition(b"> ")[2][:3] for line in data.splitlines()] == [b"%03d" % n for n in range(LINES)]
