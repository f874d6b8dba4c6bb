"""A pair of connected UDP sockets, and messages of many datagrams from one to the other."""

import os
import socket

from mbuf import Mbuf, Pool
from mbuf.net.linux import SOL_UDP, UDP_SEGMENT
from mbuf.net.udp.receiver import UdpReceiver

Pair = tuple[socket.socket, socket.socket]


def send_coalesced(sock: socket.socket, size: int, count: int, rest: int = 0) -> list[bytes]:
    """Send datagrams as one message, which stays one on loopback; what they were."""
    data = [os.urandom(size) for _ in range(count)] + [os.urandom(rest)] * (rest > 0)
    sock.sendmsg([b"".join(data)], [(SOL_UDP, UDP_SEGMENT, size.to_bytes(2, "little"))])
    return data


def pulled(rx: UdpReceiver, n: int = 1000) -> list[Mbuf]:
    got: list[Mbuf] = []
    while some := rx.pull(n):
        got += some
    return got


def contents(pool: Pool, got: list[Mbuf]) -> list[bytes]:
    assert all(m.sanity() and m.pkthdr.len == len(m) for m in got)
    found = [bytes(m) for m in got]
    pool.free_bulk(got)
    return found
