"""UDP's send side: packets to messages, many messages to one call.

Runs of packets of one size to one peer go as one message that the kernel cuts (GSO), where it does that. What
went, or is refused for good, is freed; what can't go now stays the caller's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.pool.pool import Pool
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_NOTREADY, M_PKTHDR
from mbuf.errors import Busy, Freed, Inval, MbufError
from mbuf.net.udp.peer import Peer
from mbuf.net.udp.sendmmsg import Outbox
from mbuf.packet.chain import Chain
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.buffer_export import export_buffer

if not cython.compiled:
    from mbuf.packet.chain import length, next_checked
    from mbuf.packet.read import pieces
    from mbuf.packet.segment import check_alive

#: Messages of a call, pieces of all of them, and of one: more than IOV_MAX the kernel refuses.
MESSAGES = 64
PIECES = 1024
#: Datagrams of one message, as all kernels with GSO take them, and its bytes: what IPv6 carries without options.
SEGMENTS = 64
LONGEST = 65487
#: A datagram's bytes as far as GSO may have to name them: its number has 16 bits.
SHORT = 0xFFFF
#: Errors that say to try again later, and those of the program, not of the network.
LATER = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})
HARD = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EFAULT, errno.EOPNOTSUPP})
#: How the kernel says that it won't cut: not this size on this way, or not at all.
TOO_LONG = frozenset({errno.EINVAL, errno.EMSGSIZE})
NO_CUTTING = errno.EIO


@cython.cclass
class UdpSender:
    """Packets to a UDP socket: to its own peer if it is connected, else to the peer `to`, or to that of each packet.

    `gso` is the size of the longest datagram that the kernel is asked to cut a message into; 0 for no cutting.
    """

    __slots__ = (
        "_bytes",
        "_calls",
        "_connected",
        "_errors",
        "_outbox",
        "_packets",
        "_pool",
        "_sock",
        "_to",
        "busy",
        "closed",
        "gso",
    )

    def __cinit__(self) -> None:
        # Compiled, one that was never made is as good as closed.
        self.closed = True

    def __init__(self, pool: Pool, sock: Any, gso: bool, connected: bool, to: Peer | None) -> None:
        if pool is None:
            raise TypeError("Sender: give a pool")
        if cython.compiled and self._pool is not None:  # type: ignore[has-type]
            raise TypeError("Sender: this one is made already")
        self._pool = pool
        self._sock = sock
        self.gso = SHORT if gso else 0
        self._connected = connected
        self._to: bytes | None = None if to is None else to.name
        self._outbox = Outbox(MESSAGES, PIECES)
        self.busy = False
        self.closed = False
        self._packets = self._bytes = self._calls = self._errors = 0

    def counts(self) -> tuple[int, ...]:
        """Packets, bytes, calls, errors."""
        return self._packets, self._bytes, self._calls, self._errors

    def push(self, packets: list[Mbuf]) -> int:
        """Send packets, from the first on."""
        if type(packets) is not list:
            raise TypeError("push: give a list, out of which the packets are taken that went")
        if self.closed:
            raise Inval("push: this port is closed")
        if self.busy:
            raise Busy("push: another thread is pushing to this port at this moment")
        self.busy = True
        done = 0
        try:
            while done < len(packets):
                went = self._some(packets, done)
                if went == 0:
                    break
                done += went
        finally:
            self.busy = False
            self._release(packets, done)
        return done

    def _release(self, packets: list[Any], done: int) -> None:
        """Free the first packets, and take them out of the list.

        Raises `Freed` if one was in it twice, or was freed by somebody else meanwhile, when the others are free.
        """
        gone = packets[:done]
        del packets[:done]
        try:
            self._pool.free_bulk(gone)
        except (Freed, Inval) as refused:
            # The list as a whole isn't freed: its packets are, one by one.
            error: MbufError = refused
            for m in gone:
                if isinstance(m, Mbuf):
                    try:
                        m.freem()
                    except Freed as again:
                        error = again
            raise error from None

    def _some(self, packets: list[Any], at: int) -> int:
        """Send packets from one on, in one call; how many are gone, 0 if none can go now."""
        outbox = self._outbox
        try:
            self._build(packets, at)
            self._calls += 1
            went = outbox.send(self._sock)
        finally:
            outbox.clear()
        if went <= 0:
            return self._refused(-went, packets, at)
        gone: int = outbox.end(went - 1) - at
        self._packets += gone
        for n in range(went):
            self._bytes += outbox.size(n)
        return gone

    def _refused(self, error: int, packets: list[Any], at: int) -> int:
        """What becomes of the first message, which the system has refused: how many of its packets are gone."""
        if error in LATER:
            return 0
        if error == errno.EINTR:
            return self._some(packets, at)
        if error in HARD:
            raise OSError(error, os.strerror(error))
        gone: int = self._outbox.end(0) - at
        if gone > 1 and (error == NO_CUTTING or error in TOO_LONG):
            # Others may have put anything there during the call.
            m: Mbuf = _packet(packets[at])
            self.gso = 0 if error == NO_CUTTING else length(m) - 1
            return self._some(packets, at)
        self._errors += gone
        return gone

    def _build(self, packets: list[Any], at: int) -> None:
        """Put packets from one on into the outbox, as many as it takes."""
        outbox = self._outbox
        total = len(packets)
        while at < total and outbox.count < outbox.messages:
            m: Mbuf = _packet(packets[at])
            if not self._fits(m):
                if outbox.count == 0:
                    # More pieces than a call takes: this one packet is copied.
                    outbox.lend(export_buffer(bytes(m)))
                    outbox.seal(0, self._whom(m), at + 1, length(m))
                break
            size = self._add(m)
            name = self._whom(m)
            at += 1
            whole = size
            cut = 0
            if 0 < size <= self.gso:
                first = at
                end = min(total, at + SEGMENTS - 1)
                count = size
                while at < end and count == size:
                    m = _packet(packets[at])
                    if self._connected and m._next is None and not m.bits & M_EXTPG and outbox.left():
                        # What nearly all are: one piece, to the socket's own peer.
                        count = m.count
                        if count > size or count == 0 or whole + count > LONGEST:
                            break
                        outbox.hold(m)
                    else:
                        count = self._join(m, size, LONGEST - whole, name)
                        if count == 0:
                            break
                    whole += count
                    at += 1
                if at > first:
                    cut = size
            outbox.seal(cut, name, at, whole)

    def _join(self, m: Mbuf, size: int, room: int, name: bytes | None) -> int:
        """Add a packet to a message of packets of that size to that peer; its bytes, or 0 if it doesn't fit in."""
        count = length(m)
        if count == 0 or count > size or count > room or not self._fits(m):
            return 0
        other = self._whom(m)
        if other is not name and other != name:
            return 0
        self._add(m)
        return count

    def _fits(self, m: Mbuf) -> bool:
        """Whether there is room for the pieces of a packet."""
        if m._next is None and not m.bits & M_EXTPG:
            return bool(self._outbox.left())
        return bool(_pieces(m) <= self._outbox.left())

    def _add(self, m: Mbuf) -> int:
        """Add the bytes of a packet to the message; how many they are."""
        outbox = self._outbox
        if m._next is None and not m.bits & M_EXTPG:
            if m.count:
                outbox.hold(m)
            return m.count
        total = 0
        n: Chain | None = m
        while n is not None:
            if n.bits & M_EXTPG:
                if n.bits & M_NOTREADY:
                    raise Inval("push: a packet has bytes that aren't ready: they are still to be encrypted, or read")
                for view in pieces(n):
                    outbox.lend(export_buffer(view))
            elif n.count:
                outbox.hold(n)
            total += n.count
            n = next_checked(n)
        return total

    def _whom(self, m: Mbuf) -> bytes | None:
        """The name of the peer that a packet goes to; None if the socket knows."""
        if self._connected or self._to is not None or not m.bits & M_PKTHDR:
            return self._to
        whom = m.hdr.rcvif_or_tag
        return cython.cast(Peer, whom).name if isinstance(whom, Peer) else None


def _packet(m: Any) -> Mbuf:
    """What is to be sent, if it is an mbuf that is live."""
    if not isinstance(m, Mbuf):
        raise Inval(f"push: a list of packets is wanted, but there is a {type(m).__name__} in it")
    packet: Mbuf = cython.cast(Mbuf, m)
    check_alive(packet)
    return packet


def _pieces(m: Chain) -> int:
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
