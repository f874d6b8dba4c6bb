"""The send side of a port that uses sendmmsg(2): makes messages of packets, many of which go in one call.

Packets of one size to one peer, one after the other, become one message that the kernel segments (GSO), if it can.
Packets that were sent, or refused for good, are freed; those that can't be sent now stay with the caller.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_NOTREADY, M_PKTHDR, M_VLANTAG
from mbuf.errors import MbufError
from mbuf.net.link.offload import CSUM_OFFLOAD, check_complete
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
from mbuf.net.udp.senderrors import SendErrors
from mbuf.net.udp.sendmmsg import SendVector
from mbuf.packet.chain import Chain
from mbuf.packet.control import Control, control_messages
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.peer import Peer, peer_of
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
#: Errors of a GSO message: its segment size is too large for the route; the kernel can't segment on this route.
GSO_TOO_LONG = frozenset({errno.EINVAL, errno.EMSGSIZE})
GSO_REFUSED = errno.EIO

#: To how many runs of packets GSO isn't used again after it was refused: a refusal costs a call, and a copy of the run.
GSO_RUNS = 256
#: How often a message is sent that the system refuses, until the error counts as its own.
TRIES = 3

#: An mbuf without these flags is one piece, and can be sent.
NOT_PLAIN = M_EXTPG | M_NOTREADY | M_VLANTAG


@cython.cclass
class UdpSender:
    """Sends packets through a UDP or packet socket.

    They go to the socket's peer if it is `connected`, else to `to`, or if that is None each to its own peer. `gso` is
    the largest segment size that the kernel is asked to segment a message by; 0 without GSO. It is smaller for a while,
    for one peer, after the kernel refused a message to it. `failures` gets the errors; with `reply` a packet that was
    received goes from the address that it came to.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_connected",
        "_errors",
        "_failures",
        "_faults",
        "_ipv6",
        "_limited",
        "_limited_name",
        "_looking_at",
        "_packets",
        "_plain",
        "_reply",
        "_sock",
        "_suspect",
        "_suspect_name",
        "_to",
        "_vector",
        "gso",
        "lock",
    )

    def __cinit__(self) -> None:
        # Compiled, an object that was never initialized counts as closed.
        self.lock: CallLock = CallLock("push")
        self.lock.closed = True

    def __init__(
        self,
        sock: Any,
        gso: bool,
        connected: bool,
        to: Peer | None,
        failures: SendErrors | None = None,
        reply: bool = False,
    ) -> None:
        if cython.compiled and self._vector is not None:  # type: ignore[has-type]
            raise TypeError("UdpSender: this object was initialized already")
        self._sock = sock
        self.gso = GSO_SIZE_MAX if gso else 0
        self._connected = connected
        self._to: bytes | None = None if to is None else to.name
        # One message may need all pieces that the kernel accepts.
        self._vector = SendVector(MESSAGES_MAX, IOV_MAX)
        self.lock = CallLock("push")
        self._ipv6: bool = sock.family == socket.AF_INET6
        self._reply = reply and not connected
        self._failures = SendErrors(sock, "sender") if failures is None else failures
        #: The number of the packet that `_fill` looks at.
        self._looking_at = 0
        #: Packets before this number in the list go without GSO.
        self._plain = 0
        #: The size and the peer of packets that were refused with GSO, until one of them was sent without; 0 for none.
        self._suspect = 0
        self._suspect_name: bytes | None = None
        #: To how many more runs of packets to this peer `gso` applies; 0 if it applies to all.
        self._limited = 0
        self._limited_name: bytes | None = None
        self._packets = self._bytes = self._calls = self._errors = self._faults = 0

    def counts(self) -> dict[str, int]:
        """The counters of a `PortStat` that this side counts."""
        return {
            "packets_out": self._packets,
            "bytes_out": self._bytes,
            "calls_out": self._calls,
            "errors": self._errors,
            "faults": self._faults,
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
            self._plain = self._suspect = 0
            while done < len(packets):
                sent = self._send(packets, done)
                if sent == 0:
                    break
                done += sent
        finally:
            self.lock.release()
            free_sent(packets, done)
        if self._failures.untold:
            self._failures.tell()
        return done

    def _send(self, packets: list[Any], at: int) -> int:
        """Send packets from number `at` on, in one call; how many were sent or refused for good, 0 to retry later."""
        pending = 0
        tries = 1
        while True:
            messages = self._call(packets, at)
            if messages > 0:
                self._add_pending(pending)
                return self._count(packets, at, messages)
            error: int = -messages
            if error in RETRY:
                self._add_pending(pending)
                return 0
            if error in FATAL:
                raise OSError(error, os.strerror(error))
            if at >= len(packets):
                # Another thread removed them from the list during the call.
                return 0
            if error == errno.EINTR:
                continue
            if error == errno.EDESTADDRREQ and not self._connected:
                check_addressed(check_packet(packets[at]))
            refused: int = self._vector.end(0) - at
            if refused > 1 and (error == GSO_REFUSED or error in GSO_TOO_LONG):
                self._refuse_gso(error, packets, at, refused)
            elif tries < TRIES:
                # An error of a datagram that was sent before is returned once, and this one was not looked at.
                if error != pending:
                    self._add_pending(pending)
                pending = error
                tries += 1
            else:
                return self._refuse(error, packets, at, refused)

    def _call(self, packets: list[Any], at: int) -> int:
        """Call sendmmsg for packets from number `at` on; how many messages were sent, or the negated error number."""
        vector = self._vector
        try:
            try:
                self._fill(packets, at, len(packets))
            except MbufError:
                if self._looking_at == at:
                    raise
                # First those before the one that can't be sent: the next call raises this.
                vector.clear()
                self._fill(packets, at, self._looking_at)
            self._calls += 1
            messages: int = vector.send(self._sock)
            return messages
        finally:
            vector.clear()

    def _count(self, packets: list[Any], at: int, messages: int) -> int:
        """Count what was sent; how many packets."""
        vector = self._vector
        sent: int = vector.end(messages - 1) - at
        self._packets += sent
        for n in range(messages):
            self._bytes += vector.size(n)
        if at < self._plain and self._suspect:
            # Alone they can be sent: so they are too long for GSO on this route.
            self._limited = GSO_RUNS
            self._limited_name = self._suspect_name
            self.gso = self._suspect - 1
            self._suspect = 0
        return sent

    def _refuse_gso(self, error: int, packets: list[Any], at: int, refused: int) -> None:
        """Send the packets of a message, which was refused, without GSO."""
        # Another thread may have put anything into the list during the call.
        m: Mbuf = check_packet(packets[at])
        self._plain = at + refused
        self._suspect = 1 if error == GSO_REFUSED else length(m)
        self._suspect_name = self._name_of(m)

    def _refuse(self, error: int, packets: list[Any], at: int, refused: int) -> int:
        """Count packets that the system refused, to be told to the program; raise the error if it is the caller's."""
        m: Mbuf = check_packet(packets[at])
        name = self._name_of(m)
        peer = None if name is None else peer_of(name)
        mistake = self._failures.mistake(error, length(m), peer)
        if mistake is not None:
            raise mistake
        self._errors += refused
        self._failures.add(error, peer, refused)
        return refused

    def _add_pending(self, error: int) -> None:
        """Count an error of a datagram that was sent before, to be told to the program."""
        if error:
            self._faults += 1
            self._failures.add_pending(error)

    def _gso_for(self, name: bytes | None) -> int:
        """The largest segment size for a peer, of whom a message was refused not long ago; or for another one."""
        if name != self._limited_name:
            return GSO_SIZE_MAX
        limit = self.gso
        self._limited -= 1
        if self._limited == 0:
            self.gso = GSO_SIZE_MAX
        return limit

    def _fill(self, packets: list[Any], at: int, total: int) -> None:
        """Add packets from number `at` to `total` to the vector, as many as there is room for."""
        vector = self._vector
        while at < total and vector.count < vector.messages:
            self._looking_at = at
            m: Mbuf = check_packet(packets[at])
            control = self._control_of(m)
            if not self._fits(m):
                if vector.count == 0:
                    # More pieces than one call accepts: the bytes of this packet are copied.
                    check_ready("push", m)
                    check_untagged(m)
                    vector.add_export(export_buffer(bytes(m)))
                    vector.end_message(0, self._name_of(m), at + 1, length(m), control)
                break
            size = self._add(m)
            name = self._name_of(m)
            whole = size
            gso_size = 0
            most = self._gso_for(name) if self._limited else self.gso
            alone = size == 0 or size > most or at < self._plain
            at += 1
            if not alone:
                first = at
                end = min(total, at + GSO_SEGMENTS_MAX - 1)
                count = size
                plain = self._connected and control is None
                while at < end and count == size:
                    self._looking_at = at
                    m = check_packet(packets[at])
                    if plain and m._next is None and not m.bits & NOT_PLAIN and not has_extras(m) and vector.room():
                        # Most packets are like this: one piece, to the socket's peer.
                        count = m.count
                        if count > size or count == 0 or whole + count > GSO_BYTES_MAX:
                            break
                        vector.add(m)
                    else:
                        count = self._add_segment(m, size, GSO_BYTES_MAX - whole, name, control)
                        if count == 0:
                            break
                    whole += count
                    at += 1
                if at > first:
                    gso_size = size
            vector.end_message(gso_size, name, at, whole, control)

    def _add_segment(self, m: Mbuf, size: int, room: int, name: bytes | None, control: bytes | None) -> int:
        """Add a packet to a message of packets of `size` bytes to a peer; its bytes, or 0 if it can't be in it."""
        count = length(m)
        if count == 0 or count > size or count > room or not self._fits(m):
            return 0
        other = self._name_of(m)
        if other is not name and other != name:
            return 0
        theirs = self._control_of(m)
        if theirs is not control and theirs != control:
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

    def _control_of(self, m: Mbuf) -> bytes | None:
        """The control messages of a packet; None if it has none."""
        if not has_extras(m):
            return None
        check_complete(m)
        control = cython.cast(Control, m.hdr.control)
        return None if control is None else control_messages(control, self._ipv6, self._reply)


if not cython.compiled:

    def has_extras(m: Mbuf) -> bool:
        """True if a packet has a `Control`, or something is left to be done (`csum_flags`)."""
        return bool(m.bits & M_PKTHDR) and (m.hdr.control is not None or m.hdr.csum_flags & CSUM_OFFLOAD != 0)


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
