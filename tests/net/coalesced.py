"""A pair of connected UDP sockets, and messages of many datagrams from one to the other."""

import os
import socket

from mbuf import Mbuf
from mbuf.net.linux import SOL_UDP, UDP_SEGMENT
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.udpport import UdpPort

Pair = tuple[socket.socket, socket.socket]


def send_coalesced(sock: socket.socket, size: int, count: int, rest: int = 0) -> list[bytes]:
    """Send datagrams as one message, which stays one on loopback; what they were."""
    data = [os.urandom(size) for _ in range(count)] + [os.urandom(rest)] * (rest > 0)
    sock.sendmsg([b"".join(data)], [(SOL_UDP, UDP_SEGMENT, size.to_bytes(2, "little"))])
    return data


def pulled(rx: UdpReceiver | UdpPort, n: int = 1000) -> list[Mbuf]:
    """All packets that have arrived."""
    got: list[Mbuf] = []
    while some := rx.pull(n):
        assert len(some) <= n
        got += some
    return got
