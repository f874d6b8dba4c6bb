"""The kernel's own pace of a socket."""

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


def asked(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 47, 8), "little")


def test_it_is_set_changed_and_put_back(tcp: socket.socket) -> None:
    pace = MaxPacing(tcp)
    assert (pace.rate, asked(tcp)) == (0, NONE)
    for rate in (1000, 1000, 5 << 32):
        assert pace.limit(rate)
        assert (pace.rate, asked(tcp)) == (rate, rate)
    pace.lift()
    pace.lift()
    assert (pace.rate, asked(tcp)) == (0, NONE)


def test_what_the_user_had_set_is_put_back(tcp: socket.socket) -> None:
    tcp.setsockopt(socket.SOL_SOCKET, 47, (777).to_bytes(8, "little"))
    pace = MaxPacing(tcp)
    pace.lift()
    assert asked(tcp) == 777
    assert pace.limit(1000)
    pace.lift()
    assert asked(tcp) == 777


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6])
def test_nothing_but_tcp_is_trusted_with_it(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        pace = MaxPacing(sock)
        assert not pace.limit(1000)
        assert (pace.rate, asked(sock)) == (0, NONE)


def test_a_closed_socket_keeps_no_pace(tcp: socket.socket) -> None:
    pace = MaxPacing(tcp)
    assert pace.limit(1000)
    tcp.close()
    assert not pace.limit(2000)
    assert pace.rate == 0
    assert not pace.limit(3000)


class Old:
    """The socket of a kernel that takes 32 bits of a rate."""

    def __init__(self) -> None:
        self.rate = b"\xff" * 4

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        return self.rate if size else socket.IPPROTO_TCP

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        self.rate = value[:4]


def test_a_kernel_that_takes_a_part_of_the_rate_is_not_trusted_with_it() -> None:
    old: Any = Old()
    assert not MaxPacing(old).limit(5 << 32)
    assert old.rate == b"\xff" * 4
