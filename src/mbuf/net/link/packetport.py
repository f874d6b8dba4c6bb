"""A network interface of the system as a port: whole frames, through a packet socket. See packet(7).

A frame comes with what the kernel knows of it: the VLAN tag that it removed, the time, the number of drops. The socket
belongs to the port, and receives nothing before it is bound to the interface.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

from mbuf.const import M_VLANTAG
from mbuf.errors import Freed, Inval, MbufError, NoBufs, NoMemory
from mbuf.net.link.interface import encode_name
from mbuf.net.link.offload import check_complete
from mbuf.net.link.vlan import encapsulate
from mbuf.net.linux import (
    DATAGRAM_MAX,
    ETH_P_ALL,
    PACKET_ADD_MEMBERSHIP,
    PACKET_AUXDATA,
    PACKET_IGNORE_OUTGOING,
    PACKET_MR_PROMISC,
    PACKET_STATISTICS,
    SO_RXQ_OVFL,
    SO_TIMESTAMPNS,
    SOL_PACKET,
)
from mbuf.net.port.rules import check_list, check_packet, check_size
from mbuf.net.sockets import check_pool
from mbuf.net.udp.mmsgport import MmsgPort, yes
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.sender import UdpSender
from mbuf.net.udp.senderrors import SendErrors
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sndtag import Interface
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from mbuf.pool.pool import Pool

#: Bytes of the longest frame: the longest IP packet, also one of coalesced segments, an Ethernet header and a VLAN tag.
FRAME_MAX = DATAGRAM_MAX + 18


class PacketPort(MmsgPort):
    """All frames of an interface, with their Ethernet headers, as its link delivers and sends them.

    The arguments are:

    * `interface`: the name of the interface. `port.interface` is the `m.pkthdr.rcvif` of all packets.
    * `protocol`: the EtherType of the frames to be pulled; ETH_P_ALL (3) for all, 0 for none, to send only.
    * `outgoing`: frames that this system sends are pulled too.
    * `promiscuous`: frames for other stations of the link are pulled too.
    * `timestamps`: `m.pkthdr.rcv_tstmp` is the time of arrival, in nanoseconds since the epoch (M_TSTMP).
    * `size`: the bytes of the longest frame. A longer one is discarded and counted (`truncated`). With a smaller size
      less memory is posted, but the system coalesces TCP segments to frames that are longer than the MTU.

    A frame that arrived with a VLAN tag is M_VLANTAG, and doesn't have the tag in its bytes: `m.pkthdr.ether_vtag` is
    the tag, and the 16 bits of `PH_per` above it are the TPID. A frame that is pushed with M_VLANTAG is sent with that
    tag; with the TPID of 802.1Q if `PH_per` has none. `PH_loc` is the number of frames that the socket had dropped.

    When the interface goes down, the system says so once, in `faults`. An interface that is down or deleted refuses
    what is pushed (`errors`). The socket is `port.sock`. One thread may pull while another pushes. Raises OSError
    without the privilege (root, or CAP_NET_RAW), or if there is no such interface, `Inval` for arguments out of range.
    """

    def __init__(
        self,
        pool: Pool,
        interface: str,
        *,
        protocol: int = ETH_P_ALL,
        outgoing: bool = False,
        promiscuous: bool = False,
        timestamps: bool = False,
        size: int = FRAME_MAX,
    ) -> None:
        check_pool("PacketPort", pool)
        longest = check_size(size, FRAME_MAX, "frame")
        if not 0 <= integer(protocol, "protocol") <= 0xFFFF:
            raise Inval(f"protocol {protocol}: give an EtherType, ETH_P_ALL (3) for all, or 0 for none")
        name = os.fsdecode(encode_name(interface))
        self.interface = Interface(name)
        self._drops = 0
        super().__init__(_socket())
        try:
            ignored = not outgoing and self._turn_on(SOL_PACKET, PACKET_IGNORE_OUTGOING)
            self._features = {
                "vlan_tags": yes(self._turn_on(SOL_PACKET, PACKET_AUXDATA)),
                "timestamps": yes(timestamps and self._turn_on(socket.SOL_SOCKET, SO_TIMESTAMPNS)),
                "outgoing": "ignored" if ignored else "pulled",
            }
            self._turn_on(socket.SOL_SOCKET, SO_RXQ_OVFL)
            _bind(self.sock, name, protocol, promiscuous)
            self._failures = failures = SendErrors(self.sock, f"PacketPort {name}")
            self._rx = UdpReceiver(pool, self.sock, longest, False, False, self.interface, failures=failures)
            self._tx = UdpSender(self.sock, False, True, None, failures)
        except BaseException:
            self.sock.close()
            raise

    def push(self, packets: list[Mbuf]) -> int:
        """Send frames. See `Port.push`.

        VLAN tags are put into the frames first, also into those that then stay with the caller. If the pool refuses an
        mbuf for that, this frame and those after it stay with the caller, as they are. Raises `Inval` also for a frame
        that is too short for its tag, or whose checksum is still to be computed (`csum_flags`, see `complete`).
        """
        check_list(packets)
        self._tx.check()
        count = _encapsulate(packets)
        if count == len(packets):
            return self._tx.push(packets)
        first = packets[:count]
        try:
            return self._tx.push(first)
        finally:
            del packets[: count - len(first)]

    def _dropped(self, seen: int) -> int:
        if self.sock.fileno() >= 0:
            # The kernel counts from 0 again after each reading.
            self._drops += struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return self._drops

    def _release_socket(self) -> None:
        self._dropped(0)
        self.sock.close()


def _encapsulate(packets: list[Mbuf]) -> int:
    """Put VLAN tags into frames; how many frames, from the first on, can be sent then."""
    for i, thing in enumerate(packets):
        try:
            m = check_packet(thing)
        except (Freed, Inval):
            # The sender raises this, after it has sent the packets before.
            break
        try:
            check_complete(m)
            if m.flags & M_VLANTAG:
                encapsulate(m)
        except (NoBufs, NoMemory):
            return i
        except MbufError:
            # After the packets before it, the next push raises this.
            if not i:
                raise
            return i
    return len(packets)


def _socket() -> socket.socket:
    """A packet socket that receives nothing yet."""
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except PermissionError as error:
        raise OSError(error.errno, "no permission to open a packet socket: be root, or have CAP_NET_RAW") from None


def _bind(sock: socket.socket, name: str, protocol: int, promiscuous: bool) -> None:
    """Bind the socket to an interface."""
    try:
        sock.bind((name, protocol))
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise OSError(error.errno, f"interface {name!r}: there is no interface of that name") from None
        raise
    if promiscuous:
        request = struct.pack("iHH8x", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0)
        sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
