"""Any socket of datagrams as a port: a call for each packet, by Python's own socket module.

For sockets that `UdpPort` doesn't take (those of Unix, for instance), and to compare with.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.linux import LONGEST
from mbuf.net.port.base import BasePort
from mbuf.net.udp.peer import Peer
from mbuf.net.udp.receiver import HARD
from mbuf.net.udp.sender import LATER
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool


class SocketPort(BasePort):
    """Packets through a socket of datagrams, which stays its owner's; see `UdpPort`, which is faster.

    `m.pkthdr.rcvif` is whom a packet is from and goes to: a `Peer`, or an address as the socket gives it. A datagram
    longer than `size` is thrown away and counted.
    """

    def __init__(self, pool: Pool, sock: socket.socket, size: int = LONGEST) -> None:
        super().__init__()
        if not isinstance(sock, socket.socket) or sock.type != socket.SOCK_DGRAM:
            raise Inval(f"a socket of datagrams is wanted, not {sock!r}")
        if not 0 < clip(size) <= LONGEST:
            raise Inval(f"size {size}: give the bytes of the longest datagram, 1 to {LONGEST}")
        self._pool = pool
        self.sock = sock
        self.size = size
        self._armed: Mbuf | None = None

    def pull(self, n: int) -> list[Mbuf]:
        most = self.wanted(n)
        packets: list[Mbuf] = []
        try:
            while len(packets) < most and self._receive(packets):
                pass
        except OSError:
            # After packets it is raised the next time.
            if not packets:
                raise
        return self.came(packets)

    def push(self, packets: list[Mbuf]) -> int:
        offered = self.offered(packets)
        done = went = size = 0
        try:
            for m in offered:
                count = len(m)
                sent = self._send(m)
                if sent is None:
                    break
                done += 1
                went += sent
                size += count if sent else 0
        finally:
            gone = packets[:done]
            del packets[:done]
            self.note(packets_out=went, bytes_out=size, errors=done - went)
            self._pool.free_bulk(gone)
        return done

    def fileno(self) -> int:
        return self.sock.fileno()

    def close(self) -> None:
        """Free what is armed; the socket stays open."""
        super().close()
        if self._armed is not None:
            self._armed.freem()
            self._armed = None

    def _receive(self, packets: list[Mbuf]) -> bool:
        """Receive a datagram, if one is there; false if none can be."""
        if self._armed is None:
            try:
                self._armed = self._pool.getm2(self.size)
            except (NoBufs, NoMemory):
                self.note(short=1)
                return False
        rooms = _rooms(self._armed, self.size)
        self.note(calls_in=1)
        try:
            count, _, flags, address = self.sock.recvmsg_into(rooms, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in HARD:
                raise
            if error.errno not in LATER:
                self.note(faults=1)
            return False
        finally:
            rooms.clear()
        if flags & socket.MSG_TRUNC:
            self.note(truncated=1)
            return True
        m, self._armed = self._armed, None
        _fill(m, count)
        if address:
            m.pkthdr.rcvif = Peer(address) if isinstance(address, tuple) else address
        packets.append(m)
        return True

    def _send(self, m: Mbuf) -> int | None:
        """Send a packet: 1, or 0 if the system refuses it for good; None if it can't go now."""
        whom: Any = m.pkthdr.rcvif
        to = (
            (whom.address if isinstance(whom, Peer) else whom,)
            if whom is not None and not _connected(self.sock)
            else ()
        )
        views = list(m)
        self.note(calls_out=1)
        try:
            self.sock.sendmsg(views, (), socket.MSG_DONTWAIT, *to)
        except OSError as error:
            if error.errno in LATER:
                return None
            if error.errno in HARD:
                raise
            return 0
        finally:
            views.clear()
        return 1


def _connected(sock: socket.socket) -> bool:
    try:
        return bool(sock.getpeername()) or sock.family == socket.AF_UNIX
    except OSError:
        return False


def _rooms(m: Mbuf | None, size: int) -> list[memoryview]:
    """Views of the room in a chain, of so many bytes."""
    rooms = []
    while m is not None and size > 0:
        room = m.room[:size]
        size -= len(room)
        rooms.append(room)
        m = m.next
    return rooms


def _fill(m: Mbuf, count: int) -> None:
    """Count so many bytes that were written to the room of a chain; mbufs without any are freed."""
    last: Mbuf = m
    n: Mbuf | None = m
    while n is not None and (count or n is m):
        more = min(count, n.trailing)
        n.grow(more)
        count -= more
        last = n
        n = n.next
    last.next = None
    if n is not None:
        n.freem()
    m.fixhdr()
