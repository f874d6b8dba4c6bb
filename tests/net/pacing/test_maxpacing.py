"""The kernel's rate limit of a socket."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mbuf.net.pacing.maxpacing import MaxPacing

NONE = (1 << 64) - 1


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


def max_pacing_rate(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 47, 8), "little")


def test_the_rate_is_set_changed_and_restored(tcp: socket.socket) -> None:
    pacing = MaxPacing(tcp)
    assert (pacing.rate, max_pacing_rate(tcp)) == (0, NONE)
    for rate in (1000, 1000, 5 << 32):
        assert pacing.set_rate(rate)
        assert (pacing.rate, max_pacing_rate(tcp)) == (rate, rate)
    pacing.restore()
    pacing.restore()
    assert (pacing.rate, max_pacing_rate(tcp)) == (0, NONE)


def test_a_rate_set_by_the_program_is_restored(tcp: socket.socket) -> None:
    tcp.setsockopt(socket.SOL_SOCKET, 47, (777).to_bytes(8, "little"))
    pacing = MaxPacing(tcp)
    pacing.restore()
    assert max_pacing_rate(tcp) == 777
    assert pacing.set_rate(1000)
    pacing.restore()
    assert max_pacing_rate(tcp) == 777


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6])
def test_the_kernel_paces_tcp_only(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        pacing = MaxPacing(sock)
        assert not pacing.set_rate(1000)
        assert (pacing.rate, max_pacing_rate(sock)) == (0, NONE)


def test_a_closed_socket_is_not_paced(tcp: socket.socket) -> None:
    pacing = MaxPacing(tcp)
    assert pacing.set_rate(1000)
    tcp.close()
    assert not pacing.set_rate(2000)
    assert pacing.rate == 0
    assert not pacing.set_rate(3000)


class OldSocket:
    """A socket of a kernel that takes only 32 bits of the rate."""

    def __init__(self) -> None:
        self.rate = b"\xff" * 4

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        return self.rate if size else socket.IPPROTO_TCP

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self.rate = value[:4]


def test_a_kernel_that_takes_32_bits_is_not_used() -> None:
    old: Any = OldSocket()
    assert not MaxPacing(old).set_rate(5 << 32)
    assert old.rate == b"\xff" * 4
