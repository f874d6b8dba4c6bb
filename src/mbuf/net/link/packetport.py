"""A network interface of the system as a port: whole frames, through a packet socket.

Beside the frames, takes what the kernel tells of them: the VLAN tag that it took out, the time, how many were
dropped. The socket is the port's own, and sees nothing before it is bound. See packet(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING

from mbuf.const import M_VLANTAG
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.link.interface import checked
from mbuf.net.link.vlan import encapsulate
from mbuf.net.linux import (
    ETH_P_ALL,
    LONGEST,
    PACKET_ADD_MEMBERSHIP,
    PACKET_AUXDATA,
    PACKET_IGNORE_OUTGOING,
    PACKET_MR_PROMISC,
    PACKET_STATISTICS,
    SO_RXQ_OVFL,
    SO_TIMESTAMPNS,
    SOL_PACKET,
)
from mbuf.net.port.port import Port, PortStat
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.sender import UdpSender
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sndtag import Interface
from mbuf.vm.ints import clip
from mbuf.vm.page import compiled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mbuf.pool.pool import Pool

#: Bytes of the longest frame: a packet, or as many joined as the kernel joins, with its Ethernet header and a tag.
FRAME = LONGEST + 18

#: Fields of a `PortStat` that the two sides count.
_IN = ("packets_in", "bytes_in", "calls_in", "denied", "short", "dropped", "truncated", "faults")
_OUT = ("packets_out", "bytes_out", "calls_out", "errors")


class PacketPort(Port):
    """All frames of an interface, as they come from its link and go to it, with their headers.

    Nothing that this system sends is pulled, unless `outgoing`; what is for others on the link is with `promiscuous`.
    `protocol` is the EtherType of the frames to be pulled, all for ETH_P_ALL, none for 0: to send only. A frame
    longer than `size` is thrown away and counted: with a smaller one less memory is armed, but the kernel joins TCP
    segments to frames that are longer than the MTU. With `stamps`, `m.pkthdr.rcv_tstmp` is when a frame came, in
    nanoseconds since the epoch (M_TSTMP). `PH_loc` is the number of frames that had been dropped until then.

    `m.pkthdr.rcvif` is `port.interface`. A frame that came with a VLAN tag is M_VLANTAG, and doesn't have it in its
    bytes: `m.pkthdr.ether_vtag` is the tag, the 16 bits of `PH_per` above it the TPID. What is pushed with M_VLANTAG
    is sent with that tag, of 802.1Q if no TPID is there.

    That an interface goes down is told once, in `faults`; it refuses what is pushed, and so does one that is gone
    (`errors`). Raises `OSError`, of its kind, where there is no privilege (root, or CAP_NET_RAW), or no such interface.
    The socket is `port.sock`. One thread may pull while another pushes.
    """

    def __init__(
        self,
        pool: Pool,
        interface: str,
        *,
        protocol: int = ETH_P_ALL,
        outgoing: bool = False,
        promiscuous: bool = False,
        stamps: bool = False,
        size: int = FRAME,
    ) -> None:
        most = clip(size)
        if not 0 < most <= FRAME:
            raise Inval(f"size {size}: give the bytes of the longest frame, 1 to {FRAME}")
        if not 0 <= clip(protocol) <= 0xFFFF:
            raise Inval(f"protocol {protocol}: give an EtherType, ETH_P_ALL (3) for all, or 0 for none")
        name = os.fsdecode(checked(interface))
        self.interface = Interface(name)
        self._closed = False
        self._dropped = 0
        self.sock = _socket()
        try:
            self._ignores = not outgoing and self._turn(SOL_PACKET, PACKET_IGNORE_OUTGOING)
            self._tags = self._turn(SOL_PACKET, PACKET_AUXDATA)
            self._stamped = stamps and self._turn(socket.SOL_SOCKET, SO_TIMESTAMPNS)
            self._turn(socket.SOL_SOCKET, SO_RXQ_OVFL)
            _bind(self.sock, name, protocol, promiscuous)
            self._rx = UdpReceiver(pool, self.sock, most, False, False, self.interface)
            self._tx = UdpSender(pool, self.sock, False, True, None)
        except BaseException:
            self.sock.close()
            raise

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        """How it works: `receive`: "recvmmsg" or "recvmsg"; `send`: "sendmmsg" or "sendmsg".

        `tags` and `stamps`: "yes" or "no"; `outgoing`: "seen" or "ignored".
        """
        many = compiled()
        return MappingProxyType(
            {
                "receive": "recvmmsg" if many else "recvmsg",
                "send": "sendmmsg" if many else "sendmsg",
                "tags": "yes" if self._tags else "no",
                "stamps": "yes" if self._stamped else "no",
                "outgoing": "ignored" if self._ignores else "seen",
            }
        )

    def pull(self, n: int) -> list[Mbuf]:
        return self._rx.pull(n)

    def push(self, packets: list[Mbuf]) -> int:
        """Let frames go; see `Port.push`.

        Their VLAN tags are put into them first, also into those that stay the caller's. A frame waits, and those
        after it, while the pool refuses the mbuf for that.
        """
        if self._closed:
            raise Inval("push: this port is closed")
        most = _encapsulated(packets)
        if most == len(packets):
            return self._tx.push(packets)
        first = packets[:most]
        try:
            return self._tx.push(first)
        finally:
            del packets[: most - len(first)]

    def stat(self) -> PortStat:
        counts = dict(zip(_IN, self._rx.counts(), strict=True)) | dict(zip(_OUT, self._tx.counts(), strict=True))
        return PortStat(**counts | {"dropped": self._drops()})

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def ready(self) -> int:
        return self._rx.ready()

    def rest(self) -> None:
        if not self._closed:
            self._rx.rest()

    def close(self) -> None:
        """Free what is armed, and what came and wasn't pulled."""
        if self._closed:
            return
        self._rx.close()
        self._closed = self._tx.closed = True
        self._drops()
        self.sock.close()

    def _turn(self, level: int, option: int) -> bool:
        """Turn an option on, if the system has it."""
        try:
            self.sock.setsockopt(level, option, 1)
        except OSError:
            return False
        return True

    def _drops(self) -> int:
        """Frames dropped so far; the kernel tells only of those since it was asked last."""
        if self.sock.fileno() >= 0:
            self._dropped += struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return self._dropped


def _encapsulated(packets: list[Mbuf]) -> int:
    """Put VLAN tags into frames; how many, from the first on, are ready to be sent."""
    for i, m in enumerate(packets):
        # What is no mbuf is refused by who sends.
        if isinstance(m, Mbuf) and m.flags & M_VLANTAG:
            try:
                encapsulate(m)
            except (NoBufs, NoMemory):
                return i
    return len(packets)


def _socket() -> socket.socket:
    """A packet socket that sees nothing yet."""
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except PermissionError as error:
        raise OSError(error.errno, "no packet socket may be opened: be root, or have CAP_NET_RAW") from None


def _bind(sock: socket.socket, name: str, protocol: int, promiscuous: bool) -> None:
    """Have the socket see an interface."""
    try:
        sock.bind((name, protocol))
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise OSError(error.errno, f"interface {name!r}: there is none of that name") from None
        raise
    if promiscuous:
        request = struct.pack("iHH8x", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0)
        sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
