"""A UDP socket as a port.

Turns on what the kernel has to help, tells what it got, and puts the socket back as it was in the end. The socket
itself stays its owner's.
"""

from __future__ import annotations

import socket
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.net.linux import LONGEST, SO_MEMINFO, SO_RXQ_OVFL, SO_TIMESTAMPNS, SOL_UDP, UDP_GRO, UDP_SEGMENT
from mbuf.net.port.port import Port, PortStat
from mbuf.net.udp.peer import Peer
from mbuf.net.udp.posted import ARMED
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.sender import UdpSender
from mbuf.vm.ints import clip
from mbuf.vm.page import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool


class UdpPort(Port):
    """Packets through a UDP socket, IPv4 or IPv6, connected or not.

    It never waits, whether the socket blocks or not: wait for the socket. `gro` and `gso` let the kernel join datagrams
    of one peer and cut what is sent; each is a packet of its own here nevertheless. What came joined shares clusters,
    so that nobody may write to it, unless each is to have one of its own (`writable`). A datagram longer than `size`
    is thrown away and counted: with a smaller one less memory is armed, unless datagrams come joined. At most `armed`
    bytes are, or one message's. With `stamps`, `m.pkthdr.rcv_tstmp` is when a packet came, in nanoseconds since the
    epoch (M_TSTMP). With `drops`, `PH_loc` is the number of packets that the socket had dropped until then; it costs
    some where they don't come joined, and `stat()` tells how many were dropped without it too.

    Connected when the port is made, the socket sends all to its peer. Else a packet has the `Peer` that it came from as
    its `m.pkthdr.rcvif`, and is sent to the one that it has there; or all are sent to the address `to`.

    Close the port before the socket. One thread may pull while another pushes.
    """

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        to: Any = None,
        gro: bool = True,
        gso: bool = True,
        stamps: bool = False,
        size: int = LONGEST,
        writable: bool = False,
        armed: int = ARMED,
        drops: bool = True,
    ) -> None:
        most = clip(size)
        if not 0 < most <= LONGEST:
            raise Inval(f"size {size}: give the bytes of the longest datagram, 1 to {LONGEST}")
        self.sock = sock
        connected = check(sock)
        if to is not None and connected:
            raise Inval("to: the socket is connected, and sends to its peer alone")
        peer = to if to is None or isinstance(to, Peer) else Peer(to)
        self._before: list[tuple[int, int, int]] = []
        joined = gro and self._turn(SOL_UDP, UDP_GRO)
        self._stamped = stamps and self._turn(socket.SOL_SOCKET, SO_TIMESTAMPNS)
        self._told = drops and self._turn(socket.SOL_SOCKET, SO_RXQ_OVFL)
        self._dropped = 0
        self._since = _lost(sock)
        try:
            self._rx = UdpReceiver(pool, sock, most, joined, not connected, None, writable, clip(armed))
            self._tx = UdpSender(pool, sock, gso and _cuts(sock), connected, peer)
        except BaseException:
            self._restore()
            raise
        self._closed = False

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        """How it works at this moment.

        `receive`: "gro", "recvmmsg" or "recvmsg"; `send`: "gso", "gso to N" bytes where longer datagrams can't be cut
        on the way they take, "sendmmsg" or "sendmsg"; `stamps` and `drops`: "yes" or "no".
        """
        longest = self._tx.gso
        many = compiled()
        cut = "gso" if longest >= LONGEST else f"gso to {longest}"
        return MappingProxyType(
            {
                "receive": "gro" if self._rx.gro else "recvmmsg" if many else "recvmsg",
                "send": cut if longest else "sendmmsg" if many else "sendmsg",
                "stamps": "yes" if self._stamped else "no",
                "drops": "yes" if self._told else "no",
            }
        )

    def pull(self, n: int) -> list[Mbuf]:
        return self._rx.pull(n)

    @property
    def ready(self) -> int:
        return self._rx.ready()

    def rest(self) -> None:
        if not self._closed:
            self._rx.rest()

    def push(self, packets: list[Mbuf]) -> int:
        return self._tx.push(packets)

    def stat(self) -> PortStat:
        packets_in, bytes_in, calls_in, denied, short, dropped, truncated, faults = self._rx.counts()
        packets_out, bytes_out, calls_out, errors = self._tx.counts()
        if self._since is not None and (lost := _lost(self.sock)) is not None:
            # The socket knows of those too that no packet came after.
            self._dropped = (lost - self._since) & 0xFFFFFFFF
        return PortStat(
            packets_in=packets_in,
            bytes_in=bytes_in,
            packets_out=packets_out,
            bytes_out=bytes_out,
            denied=denied,
            short=short,
            dropped=max(dropped, self._dropped),
            truncated=truncated,
            errors=errors,
            faults=faults,
            calls_in=calls_in,
            calls_out=calls_out,
        )

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        """Free what is armed, and what came and wasn't pulled; the socket stays open, with the options it had."""
        if self._closed:
            return
        self._rx.close()
        self._closed = self._tx.closed = True
        self._restore()

    def _turn(self, level: int, option: int) -> bool:
        """Turn an option on, if the system has it."""
        try:
            before = self.sock.getsockopt(level, option)
            self.sock.setsockopt(level, option, 1)
        except OSError:
            return False
        self._before.append((level, option, before))
        return True

    def _restore(self) -> None:
        if self.sock.fileno() >= 0:
            for level, option, before in self._before:
                self.sock.setsockopt(level, option, before)
        self._before.clear()


def check(sock: socket.socket) -> bool:
    """Refuse what is no UDP socket; whether it is connected."""
    if not isinstance(sock, socket.socket):
        raise Inval(f"{sock!r} is no socket.socket")
    if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise Inval(f"a UDP socket is wanted, of IPv4 or IPv6, not {sock!r}")
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _lost(sock: socket.socket) -> int | None:
    """How many datagrams the socket has dropped, modulo 2**32; None if it doesn't say."""
    try:
        return int(struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8])
    except (OSError, struct.error):
        return None


def _cuts(sock: socket.socket) -> bool:
    """Whether the system cuts what this socket sends."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
