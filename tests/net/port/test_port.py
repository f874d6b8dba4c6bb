"""Every port tells in one line where its packets go, also half made and closed."""

import socket
from pathlib import Path
from typing import Any

import pytest

from mbuf import Pool
from mbuf.net.capture.captureport import CaptureWriter
from mbuf.net.port.lossy import Lossy
from mbuf.net.port.queueport import QueuePort
from mbuf.net.port.tee import Tee
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort


def test_a_port_of_a_socket_tells_its_address(pool: Pool) -> None:
    for kind in (UdpPort, SocketPort):
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = kind(pool, sock)
            text = f"<{kind.__name__} {sock.getsockname()}"
            assert repr(port) == f"{text}>"
            port.close()
            assert repr(port) == f"{text}, closed>"
        assert repr(port) == f"<{kind.__name__} of a closed socket, closed>"
    assert pool.out == 0


def test_a_wrapper_tells_the_inner_port() -> None:
    port = Tee(Lossy(QueuePort(), 1), QueuePort())
    assert repr(port) == "<Tee around <Lossy around <QueuePort>>>"
    port.close()
    assert repr(port) == "<Tee around <Lossy around <QueuePort, closed>, closed>, closed>"


@pytest.mark.parametrize("kind", [UdpPort, SocketPort, StreamPort, QueuePort, Tee, Lossy, CaptureWriter])
def test_a_port_that_was_never_made_has_its_name(kind: Any) -> None:
    assert repr(kind.__new__(kind)) == f"<{kind.__name__}>"


def test_a_capture_writer_has_no_address(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "x.pcap") as port:
        assert repr(port) == "<CaptureWriter>"
