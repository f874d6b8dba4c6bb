"""The send side of a port that uses sendmmsg(2): makes messages of packets, many of which go in one call.

Packets of one size to one peer, one after the other, become one message that the kernel segments (GSO), if it can.
Packets that were sent, or refused for good, are freed; those that can't be sent now stay with the caller.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_NOTREADY, M_PKTHDR, M_VLANTAG
from mbuf.net.linux import FATAL, IOV_MAX, RETRY
from mbuf.net.port.rules import (
    CallLock,
    check_addressed,
    check_list,
    check_packet,
    check_ready,
    check_untagged,
    free_sent,
)
from mbuf.net.udp.sendmmsg import SendVector
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer
from mbuf.vm.buffer_export import export_buffer

if not cython.compiled:
    from mbuf.packet.chain import length, next_checked
    from mbuf.packet.read import pieces

#: The most messages of one sendmmsg.
MESSAGES_MAX = 64
#: The most datagrams of a GSO message that all kernels with GSO accept, and its most bytes: the payload of the longest
#: UDP datagram over IPv6 without options.
GSO_SEGMENTS_MAX = 64
GSO_BYTES_MAX = 65487
#: The largest segment size: UDP_SEGMENT has 16 bits.
GSO_SIZE_MAX = 0xFFFF
#: Errors of a GSO message: its segment size is too large for the route; the kernel can't segment at all.
GSO_TOO_LONG = frozenset({errno.EINVAL, errno.EMSGSIZE})
GSO_REFUSED = errno.EIO

#: An mbuf without these flags is one piece, and can be sent.
NOT_PLAIN = M_EXTPG | M_NOTREADY | M_VLANTAG


@cython.cclass
class UdpSender:
    """Sends packets through a UDP or packet socket.

    They go to the socket's peer if it is `connected`, else to `to`, or if that is None each to its own peer. `gso` is
    the largest segment size that the kernel is asked to segment a message by; 0 without GSO.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_connected",
        "_errors",
        "_packets",
        "_sock",
        "_to",
        "_vector",
        "gso",
        "lock",
    )

    def __cinit__(self) -> None:
        # Compiled, an object that was never initialized counts as closed.
        self.lock: CallLock = CallLock("push")
        self.lock.closed = True

    def __init__(self, sock: Any, gso: bool, connected: bool, to: Peer | None) -> None:
        if cython.compiled and self._vector is not None:  # type: ignore[has-type]
            raise TypeError("UdpSender: this object was initialized already")
        self._sock = sock
        self.gso = GSO_SIZE_MAX if gso else 0
        self._connected = connected
        self._to: bytes | None = None if to is None else to.name
        # One message may need all pieces that the kernel accepts.
        self._vector = SendVector(MESSAGES_MAX, IOV_MAX)
        self.lock = CallLock("push")
        self._packets = self._bytes = self._calls = self._errors = 0

    def counts(self) -> dict[str, int]:
        """The counters of a `PortStat` that this side counts."""
        return {
            "packets_out": self._packets,
            "bytes_out": self._bytes,
            "calls_out": self._calls,
            "errors": self._errors,
        }

    def check(self) -> None:
        """Raise `Inval` if it is closed, `Busy` if another thread is pushing."""
        self.lock.check()

    def push(self, packets: list[Mbuf]) -> int:
        """Send packets, from the first on. See `Port.push`."""
        check_list(packets)
        self.lock.acquire()
        done = 0
        try:
            # In the child of a fork, it may have what another thread was sending.
            self._vector.clear()
            while done < len(packets):
                sent = self._send(packets, done)
                if sent == 0:
                    break
                done += sent
        finally:
            self.lock.release()
            free_sent(packets, done)
        return done

    def _send(self, packets: list[Any], at: int) -> int:
        """Send packets from number `at` on, in one call; how many were sent or refused for good, 0 to retry later."""
        vector = self._vector
        try:
            self._fill(packets, at)
            self._calls += 1
            messages = vector.send(self._sock)
        finally:
            vector.clear()
        if messages <= 0:
            return self._handle_error(-messages, packets, at)
        sent: int = vector.end(messages - 1) - at
        self._packets += sent
        for n in range(messages):
            self._bytes += vector.size(n)
        return sent

    def _handle_error(self, error: int, packets: list[Any], at: int) -> int:
        """The system refused the first message: retry later (0), or send its packets without GSO, or drop them."""
        if error in RETRY:
            return 0
        if error == errno.EINTR:
            return self._send(packets, at)
        if error in FATAL:
            raise OSError(error, os.strerror(error))
        if at >= len(packets):
            # Another thread removed them from the list during the call.
            return 0
        if error == errno.EDESTADDRREQ and not self._connected:
            check_addressed(check_packet(packets[at]))
        refused: int = self._vector.end(0) - at
        if refused > 1 and (error == GSO_REFUSED or error in GSO_TOO_LONG):
            # Another thread may have put anything into the list during the call.
            m: Mbuf = check_packet(packets[at])
            self.gso = 0 if error == GSO_REFUSED else length(m) - 1
            return self._send(packets, at)
        self._errors += refused
        return refused

    def _fill(self, packets: list[Any], at: int) -> None:
        """Add packets from number `at` on to the vector, as many as there is room for."""
        vector = self._vector
        total = len(packets)
        while at < total and vector.count < vector.messages:
            m: Mbuf = check_packet(packets[at])
            if not self._fits(m):
                if vector.count == 0:
                    # More pieces than one call accepts: the bytes of this packet are copied.
                    check_ready("push", m)
                    check_untagged(m)
                    vector.add_export(export_buffer(bytes(m)))
                    vector.end_message(0, self._name_of(m), at + 1, length(m))
                break
            size = self._add(m)
            name = self._name_of(m)
            at += 1
            whole = size
            gso_size = 0
            if 0 < size <= self.gso:
                first = at
                end = min(total, at + GSO_SEGMENTS_MAX - 1)
                count = size
                while at < end and count == size:
                    m = check_packet(packets[at])
                    if self._connected and m._next is None and not m.bits & NOT_PLAIN and vector.room():
                        # Most packets are like this: one piece, to the socket's peer.
                        count = m.count
                        if count > size or count == 0 or whole + count > GSO_BYTES_MAX:
                            break
                        vector.add(m)
                    else:
                        count = self._add_segment(m, size, GSO_BYTES_MAX - whole, name)
                        if count == 0:
                            break
                    whole += count
                    at += 1
                if at > first:
                    gso_size = size
            vector.end_message(gso_size, name, at, whole)

    def _add_segment(self, m: Mbuf, size: int, room: int, name: bytes | None) -> int:
        """Add a packet to a message of packets of `size` bytes to a peer; its bytes, or 0 if it can't be in it."""
        count = length(m)
        if count == 0 or count > size or count > room or not self._fits(m):
            return 0
        other = self._name_of(m)
        if other is not name and other != name:
            return 0
        self._add(m)
        return count

    def _fits(self, m: Mbuf) -> bool:
        """Whether there is room for the pieces of a packet."""
        if m._next is None and not m.bits & M_EXTPG:
            return bool(self._vector.room())
        return bool(_count_pieces(m) <= self._vector.room())

    def _add(self, m: Mbuf) -> int:
        """Add the bytes of a packet to the message; how many they are."""
        vector = self._vector
        if m._next is None and not m.bits & NOT_PLAIN:
            if m.count:
                vector.add(m)
            return m.count
        check_ready("push", m)
        check_untagged(m)
        total = 0
        n: Chain | None = m
        while n is not None:
            if n.bits & M_EXTPG:
                for view in pieces(n):
                    vector.add_export(export_buffer(view))
            elif n.count:
                vector.add(n)
            total += n.count
            n = next_checked(n)
        return total

    def _name_of(self, m: Mbuf) -> bytes | None:
        """The name of the peer that a packet is sent to; None for the socket's own peer."""
        if self._connected or self._to is not None or not m.bits & M_PKTHDR:
            return self._to
        peer = m.hdr.peer
        return None if peer is None else peer.name


def _count_pieces(m: Chain) -> int:
    """How many pieces the bytes of a packet are in."""
    count = 0
    n: Chain | None = m
    while n is not None:
        if n.bits & M_EXTPG:
            count += len(pieces(n))
        elif n.count:
            count += 1
        n = next_checked(n)
    return count
