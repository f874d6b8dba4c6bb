"""Fixtures: event loops, files of captures, connected UDP sockets, and a network namespace for one test."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbuf.net.linux import SOL_UDP, UDP_GRO
from net.coalesced import Pair
from net.loops import Run, runs
from net.namespace import Unavailable, namespace


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in an event loop of each kind."""
    return runs(request.param)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes bytes to a file named `capture`, which has no suffix, and returns its path."""

    def file(content: bytes) -> Path:
        path = tmp_path / "capture"
        path.write_bytes(content)
        return path

    return file


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two UDP sockets: the first is connected to the second, for which the system joins datagrams."""
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with ours, theirs:
        theirs.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
        yield ours, theirs


@pytest.fixture
def netns() -> Iterator[None]:
    """A network namespace for one test, in which it may create interfaces; skips the test where there is none."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("there is no /dev/net/tun")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("no permission to open /dev/net/tun")
    try:
        with namespace():
            yield
    except Unavailable as reason:
        pytest.skip(str(reason))
