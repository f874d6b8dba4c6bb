"""Packets and captures to replay, and machines to replay them on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mbuf import Pool, Vm
from mbuf.cli.replay.clock import CaptureClock
from mbuf.cli.replay.engine import Replay, Settings
from mbuf.net.capture.pcap import Packet
from net import captures

MS = 1_000_000
EPOCH = 1_700_000_000 * 1000 * MS


def packets(*times: int, data: bytes = b"x" * 60, length: int | None = None) -> list[Packet]:
    """Packets with these timestamps, in milliseconds after `EPOCH`."""
    length = len(data) if length is None else length
    return [(EPOCH + time * MS, memoryview(data), length) for time in times]


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """A function that makes pools. At the end, none of their mbufs may be in use, and none may have been dropped."""
    with ExitStack() as stack:
        made = []

        def make(ncpu: int = 1, physmem: int = 1 << 30, **limits: int) -> Pool:
            tunables = {f"kern.ipc.{name}": value for name, value in limits.items()}
            made.append(stack.enter_context(Pool(Vm(physmem), tunables, ncpu, worker=False)))
            return made[-1]

        yield make
        for one in made:
            assert one.out == 0
            assert one.stat().drops == 0
            assert one.stat().pages_used == 0 or one.stat().clust.used == one.stat().pack.cached


@pytest.fixture
def machine(pool: Callable[..., Pool]) -> Iterator[Callable[..., Replay]]:
    """A function that makes machines with full rings; they are finished at the end."""
    with ExitStack() as stack:

        def make(settings: Settings, physmem: int = 1 << 30, **limits: int) -> Replay:
            replay = Replay(pool(settings.ncpu, physmem, **limits), settings, CaptureClock())
            stack.callback(replay.finish)
            assert replay.fill_rings()
            return replay

        yield make


@pytest.fixture
def capture(tmp_path: Path) -> Callable[..., str]:
    """A function that writes a capture of 60-byte packets with these timestamps in milliseconds, followed by `tail`."""

    def write(*times: int, name: str = "some.pcap", tail: bytes = b"") -> str:
        path = tmp_path / name
        path.write_bytes(captures.pcap([(when, bytes(data), n) for when, data, n in packets(*times)]) + tail)
        return str(path)

    return write
