"""Time stamps of packets that were sent."""

import errno
import socket
import time
from typing import Any

import pytest

from mbuf import Inval, Pool
from mbuf.net.linux import SO_TIMESTAMPING
from mbuf.net.udp import sendstamps
from mbuf.net.udp.senderrors import SendError
from mbuf.net.udp.sendstamps import SendStamp, SendStamps
from mbuf.net.udp.udpport import UdpPort
from mbuf.packet.peer import Peer

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def stamps_of(port: UdpPort, count: int) -> list[SendStamp]:
    found: list[SendStamp] = []
    while len(found) < count:
        found += port.send_stamps()
    return found


@pytest.mark.parametrize("family", HOSTS, ids=("IPv4", "IPv6"))
@pytest.mark.parametrize("wanted", [True, "hardware"])
@pytest.mark.parametrize("on_error", [None, print])
def test_each_packet_has_a_stamp_with_its_number(pool: Pool, family: int, wanted: Any, on_error: Any) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as far,
        socket.socket(family, socket.SOCK_DGRAM) as near,
    ):
        far.bind((HOSTS[family], 0))
        near.connect(far.getsockname())
        with UdpPort(pool, near, send_timestamps=wanted, timestamps=wanted, on_error=on_error) as port:
            assert port.features["send_timestamps"] == ("yes" if wanted is True else "hardware")
            assert port.features["send"] in ("sendmmsg", "sendmsg")
            before = time.time_ns()
            packets = [pool.frombytes(b"%d" % n) for n in range(100)]
            assert port.push(packets) == 100
            # Those that a pull finds are kept.
            assert port.pull(1) == []
            found = stamps_of(port, 100)
            assert [stamp.number for stamp in found] == list(range(100))
            assert all(before <= stamp.time <= time.time_ns() and not stamp.hardware for stamp in found)
            assert (port.send_stamps(), port.stat().faults) == ([], 0)
        assert near.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING) == 0
        assert port.send_stamps() == []


def test_errors_in_the_same_queue_are_told_and_counted(pool: Pool) -> None:
    told: list[SendError] = []
    with socket.socket(type=socket.SOCK_DGRAM) as gone, socket.socket(type=socket.SOCK_DGRAM) as near:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
        gone.close()
        with UdpPort(pool, near, send_timestamps=True, on_error=told.append) as port:
            m = pool.frombytes(b"x")
            m.peer = nobody
            port.push([m])
            (stamp,) = stamps_of(port, 1)
            while not told:
                port.send_stamps()
            assert stamp.number == 0
            assert [(error.errno, error.peer) for error in told] == [(errno.ECONNREFUSED, Peer(nobody))]
            assert port.stat().faults == 1


def test_without_the_option_there_are_none(pool: Pool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as near:
        near.connect(("127.0.0.1", 9))
        with UdpPort(pool, near) as port:
            assert port.features["send_timestamps"] == "no"
            port.push([pool.frombytes(b"x")])
            assert port.send_stamps() == []
        with pytest.raises(Inval, match="send_timestamps 'soft': give True, False or"):
            UdpPort(pool, near, send_timestamps="soft")


def test_stamps_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendstamps, "STAMPS_MAX", 3)
    stamps = SendStamps()
    for n in range(5):
        stamps.add(n, (n).to_bytes(8, "little") + bytes(8 * 5))
    assert stamps.take() == [SendStamp(n, n * 10**9, False) for n in (2, 3, 4)]
    stamps.add(7, bytes(32) + (5).to_bytes(8, "little") + (6).to_bytes(8, "little"))
    assert stamps.take() == [SendStamp(7, 5 * 10**9 + 6, True)]
