"""A UDP socket as a port: batches of datagrams, coalesced and segmented by the kernel (GRO, GSO) where it can.

The port turns options of the socket on, and restores them when it is closed. The socket stays the caller's.
"""

from __future__ import annotations

import socket
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mbuf.errors import Busy, Inval
from mbuf.net.linux import (
    DATAGRAM_MAX,
    IP_RECVERR,
    IP_RECVTOS,
    IP_RECVTTL,
    IPV6_RECVERR,
    SO_COOKIE,
    SO_MEMINFO,
    SO_RXQ_OVFL,
    SO_TIMESTAMPING,
    SO_TIMESTAMPNS,
    SOL_UDP,
    TIMESTAMPING_RX,
    TIMESTAMPING_TX,
    TIMESTAMPING_TX_HARDWARE,
    UDP_GRO,
    UDP_SEGMENT,
)
from mbuf.net.port.rules import check_size
from mbuf.net.sockets import check_pool, check_socket, peer_name
from mbuf.net.udp.mmsgport import MmsgPort, yes
from mbuf.net.udp.posted import POSTED_MAX
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.sender import UdpSender
from mbuf.net.udp.senderrors import SendErrors
from mbuf.net.udp.sendstamps import SendStamps
from mbuf.packet.control import IP_PKTINFO
from mbuf.packet.peer import Peer
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mbuf.net.udp.senderrors import SendError
    from mbuf.net.udp.sendstamps import SendStamp
    from mbuf.pool.pool import Pool

#: The last port of each socket of this process, by the number that the system gives the socket (SO_COOKIE).
_ports: WeakValueDictionary[bytes, UdpPort] = WeakValueDictionary()

#: The options of a socket of IPv4 that give the fields of a `Control`, and those of a socket of IPv6, of which the last
#: are for datagrams of IPv4 that it receives.
_CONTROLS: Mapping[int, Mapping[str, tuple[tuple[int, int], ...]]] = MappingProxyType(
    {
        socket.AF_INET: {
            "local": ((socket.IPPROTO_IP, IP_PKTINFO),),
            "tos": ((socket.IPPROTO_IP, IP_RECVTOS),),
            "ttl": ((socket.IPPROTO_IP, IP_RECVTTL),),
            "errors": ((socket.IPPROTO_IP, IP_RECVERR),),
        },
        socket.AF_INET6: {
            "local": ((socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),),
            "tos": ((socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS), (socket.IPPROTO_IP, IP_RECVTOS)),
            "ttl": ((socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT), (socket.IPPROTO_IP, IP_RECVTTL)),
            "errors": ((socket.IPPROTO_IPV6, IPV6_RECVERR), (socket.IPPROTO_IP, IP_RECVERR)),
        },
    }
)


class UdpPort(MmsgPort):
    """Packets through a UDP socket, IPv4 or IPv6, connected or not.

    The port never waits, whether the socket blocks or not: wait for `port.fileno()`. The arguments are:

    * `to`: the address of a peer, or a `Peer`, that all packets are sent to. A socket that is connected when the port
      is made sends all to its peer, and takes no `to`. Without both, a packet is sent to its `m.peer`; `push` raises
      `Inval` for a packet that has none, and it and those after it stay with the caller. The `m.peer` of a packet that
      was received is its sender.
    * `gro`: the system may coalesce received datagrams of one peer; each is a packet of its own here nevertheless, but
      they share clusters, and are read-only unless `writable`.
    * `gso`: packets of one size go to the system as one message, which it segments.
    * `timestamps`: `m.pkthdr.rcv_tstmp` is the time of arrival, in nanoseconds since the epoch (M_TSTMP). With
      "hardware" it is that of the network card (M_TSTMP_HPREC), where the card has one for the packet; the
      administrator turns that on for the card.
    * `send_timestamps`: the system says when each packet was sent: see `send_stamps`. Packets go without GSO then. With
      "hardware" the time is that of the network card, where it has one, as with `timestamps`.
    * `local`, `tos`, `ttl`: `m.control` of a received packet is a `Control` with these fields; each option costs some
      time for each datagram that isn't coalesced. With `local`, a received packet that is sent again goes from the
      address that it came to. A packet that is given a `Control` is sent with it, whatever the options.
    * `on_error`: is called with a `SendError` for each error of packets that were sent, at the end of a `pull` or
      `push`. It gets those of the network with the peer that the packet was sent to, also for a socket that isn't
      connected (IP_RECVERR). It may call the port; what it raises, the `pull` or `push` raises. Without it, errors go
      to the logger `mbuf`: one line in 10 seconds. `close` drops the reference to it.
    * `size`: the bytes of the longest datagram. A longer one is discarded and counted (`truncated`). With a smaller
      size and without `gro` less memory is posted.
    * `writable`: each packet has memory of its own, which costs more of it. Some coalesced datagrams are copied then.
    * `posted`: the most bytes that are posted for datagrams to come; at least one message is posted. They count as
      held: in `pool.out`, in all statistics, and in the error of a full pool. `release_buffers` frees them until the
      next `pull`.
    * `drops`: `m.pkthdr.PH_loc` is the number of datagrams that the socket had dropped before this one, which costs
      some time for each datagram that isn't coalesced. `stat().dropped` counts drops in any case.

    `push` raises `Inval` for a packet to a peer of another family, for a broadcast without SO_BROADCAST, and for a
    packet whose checksum is still to be computed (`csum_flags`), and `TooLong` for more bytes than any datagram has;
    the packets before it are sent, the packet stays with the caller. No bytes are copied, but those of a packet of more
    than IOV_MAX pieces, and those received while the pool has too few clusters for a message. Close the port before the
    socket. One thread may pull while another pushes. Raises `Inval` for what is no UDP socket, and
    for arguments out of range, `Busy` if the socket has another `UdpPort` that isn't closed: they would change its
    options for each other.
    """

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        to: Any = None,
        gro: bool = True,
        gso: bool = True,
        timestamps: bool | str = False,
        size: int = DATAGRAM_MAX,
        writable: bool = False,
        posted: int = POSTED_MAX,
        drops: bool = True,
        local: bool = False,
        tos: bool = False,
        ttl: bool = False,
        on_error: Callable[[SendError], object] | None = None,
        send_timestamps: bool | str = False,
    ) -> None:
        check_pool("UdpPort", pool)
        longest = check_size(size, DATAGRAM_MAX, "datagram")
        check_socket("UdpPort", sock)
        if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
            raise Inval(f"UdpPort: give a UDP socket of IPv4 or IPv6, not {sock!r}")
        there = peer_name(sock)
        connected = there is not None
        if to is not None and connected:
            raise Inval("to: the socket is connected, and sends to its peer alone")
        peer = to if to is None or isinstance(to, Peer) else Peer(to)
        for name, value in (("timestamps", timestamps), ("send_timestamps", send_timestamps)):
            if value not in (False, True, "hardware"):
                raise Inval(f'{name} {value!r}: give True, False or "hardware"')
        cookie = _cookie(sock)
        other = _ports.get(cookie)
        if other is not None and not other._closed:
            raise Busy("UdpPort: this socket has a UdpPort already: use that one, or close it first")
        super().__init__(sock)
        coalesced = gro and self._turn_on(SOL_UDP, UDP_GRO)
        wanted = {"local": local, "tos": tos, "ttl": ttl, "errors": on_error is not None}
        self._features = {
            **self._turn_on_timestamps(timestamps, send_timestamps),
            "drops": yes(drops and self._turn_on(socket.SOL_SOCKET, SO_RXQ_OVFL)),
            **{name: yes(on and self._turn_on_control(name)) for name, on in wanted.items()},
        }
        #: Drops of the socket before it had a port, and since then, as of the last reading.
        self._drops_before = _drops(sock)
        self._drops_since = 0
        try:
            sender = Peer(there) if connected else None
            count = integer(posted, "posted")
            recverr = self._features["errors"] == "yes"
            self._stamps = SendStamps()
            stamped = self._features["send_timestamps"] != "no"
            self._failures = failures = SendErrors(
                *(sock, "UdpPort", on_error, recverr, peer or sender),
                stamps=self._stamps if stamped else None,
            )
            keyed = bool(local or tos or ttl)
            self._rx = UdpReceiver(
                *(pool, sock, longest, coalesced, not connected, None, writable, count, sender),
                keyed=keyed,
                failures=failures,
            )
            self._tx = UdpSender(sock, gso and not stamped and _has_gso(sock), connected, peer, failures, local)
        except BaseException:
            self._release_socket()
            raise
        _ports[cookie] = self

    def _turn_on_timestamps(self, received: bool | str, sent: bool | str) -> dict[str, str]:
        """Turn time stamps on, of packets that are received and of those that are sent; the features that result."""
        flags = TIMESTAMPING_RX if received == "hardware" else 0
        if sent:
            flags |= TIMESTAMPING_TX | (TIMESTAMPING_TX_HARDWARE if sent == "hardware" else 0)
        on = bool(received) and self._turn_on(socket.SOL_SOCKET, SO_TIMESTAMPNS)
        more = flags != 0 and self._turn_on(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
        return {
            "timestamps": "hardware" if more and received == "hardware" else yes(on),
            "send_timestamps": "hardware" if more and sent == "hardware" else yes(more and bool(sent)),
        }

    def _turn_on_control(self, name: str) -> bool:
        """Turn options of the socket on for a field of `Control`; false if the system doesn't have the first one."""
        first, *others = _CONTROLS[self.sock.family][name]
        on = self._turn_on(*first)
        for option in others:
            self._turn_on(*option)
        return on

    @property
    def features(self) -> Mapping[str, str]:  # type: ignore[override]
        """How the port works at this moment.

        `receive`: "gro", "recvmmsg" or "recvmsg"; `send`: "gso", "gso to N" if only datagrams of at most N bytes can be
        segmented on the route of the peer that was refused last, "sendmmsg" or "sendmsg"; `timestamps` and
        `send_timestamps`: "hardware", "yes" or "no"; `drops`, `local`, `tos`, `ttl` and `errors`: "yes" or "no".
        """
        features = dict(super().features)
        if self._rx.gro:
            features["receive"] = "gro"
        if self._tx.gso:
            features["send"] = "gso" if self._tx.gso >= DATAGRAM_MAX else f"gso to {self._tx.gso}"
        return MappingProxyType(features)

    def pull_bytes(self, n: int) -> list[tuple[bytes, Peer | None]]:
        """Return datagrams that have arrived as bytes, each with its peer; `pull`, for programs that want no mbufs.

        There are at most `n` of them, or more if the system has coalesced some. The bytes are copied, and the mbufs
        stay posted for the next call, which is faster than to allocate others: call `release_buffers` when no more
        datagrams arrive. Raises what `pull` raises.
        """
        return self._rx.pull_bytes(n)

    def send_stamps(self) -> list[SendStamp]:
        """Return when packets were sent, as far as the system has said that since the last call; the oldest first.

        It needs `send_timestamps`. Each `SendStamp` has the number of a packet: 0 for the first that the port has sent,
        and so on in the order of `push`. A packet that the system refuses may have a number, too. The port keeps 4096
        stamps at most; then the oldest are lost, which shows as a gap in the numbers. `on_error` may be called.
        """
        if not self._closed:
            self._failures.read_all()
        return self._stamps.take()

    def _dropped(self, seen: int) -> int:
        if self._drops_before is not None and (drops := _drops(self.sock)) is not None:
            # The socket also knows of drops after the last received message.
            self._drops_since = (drops - self._drops_before) & 0xFFFFFFFF
        return max(seen, self._drops_since)


def _cookie(sock: socket.socket) -> bytes:
    """The number of a socket, which its duplicates share, and no other socket has, also after it is closed."""
    return sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)


def _drops(sock: socket.socket) -> int | None:
    """How many datagrams the socket has dropped, modulo 2**32; None if the system doesn't count them."""
    try:
        return int(struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8])
    except (OSError, struct.error):
        return None


def _has_gso(sock: socket.socket) -> bool:
    """Whether the kernel can segment messages of this socket."""
    try:
        sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True
