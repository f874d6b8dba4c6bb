"""Any datagram socket as a port, with Python's socket module: one system call for each packet.

For sockets that `UdpPort` doesn't accept, such as Unix sockets, and to compare its speed with.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from mbuf.const import M_PKTHDR
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.linux import DATAGRAM_MAX, FATAL, FATAL_RECEIVE, RETRY
from mbuf.net.port.base import BasePort
from mbuf.net.port.rules import check_addressed, check_ready, check_size, check_untagged, free_sent
from mbuf.net.sockets import check_pool, check_socket, peer_name
from mbuf.packet.peer import Peer, packed_path, peer_of

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Errors of a packet that has no address and needs one: of an IP socket, and of a Unix socket.
_NO_ADDRESS = frozenset({errno.EDESTADDRREQ, errno.ENOTCONN})


class SocketPort(BasePort):
    """Packets through a datagram socket, which stays the caller's. `UdpPort` is faster.

    `m.peer` is the sender of a received packet, and the receiver of one that is pushed through a socket that isn't
    connected. Packets of other sockets than UDP and Unix sockets have none. `size` is the bytes of the longest
    datagram; a longer one is discarded and counted (`truncated`). A packet that the socket can't send to its peer is
    freed and counted (`errors`); `push` raises `Inval` for one that has none and needs one. No bytes are copied. One
    thread may pull while another pushes. Raises `Inval` for what is no datagram socket, and for a size out of range.
    """

    def __init__(self, pool: Pool, sock: socket.socket, size: int = DATAGRAM_MAX) -> None:
        super().__init__()
        check_pool("SocketPort", pool)
        check_socket("SocketPort", sock)
        if sock.type != socket.SOCK_DGRAM:
            raise Inval(f"SocketPort: give a datagram socket, not {sock!r}")
        self._pool = pool
        #: The socket.
        self.sock = sock
        self.size = check_size(size, DATAGRAM_MAX, "datagram")
        #: The chain that is posted for the next datagram.
        self._posted: Mbuf | None = None

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        packets: list[Mbuf] = []
        with self._pull_lock:
            try:
                while len(packets) < count and self._receive(packets):
                    pass
            except OSError:
                # After packets, the next pull raises it.
                if not packets:
                    raise
            return self._count_pulled(packets)

    def push(self, packets: list[Mbuf]) -> int:
        offered = self._begin_push(packets)
        done = sent = size = 0
        with self._push_lock:
            try:
                for m in offered:
                    count = len(m)
                    accepted = self._send(m)
                    if accepted is None:
                        break
                    done += 1
                    sent += accepted
                    size += count if accepted else 0
            finally:
                self._count(packets_out=sent, bytes_out=size, errors=done - sent)
                free_sent(packets, done)
        return done

    def fileno(self) -> int:
        return self.sock.fileno()

    def release_buffers(self) -> None:
        if not self.closed:
            with self._pull_lock:
                self._free_posted()

    def close(self) -> None:
        """Free what is posted; the socket stays open. Raises `Busy` if another thread is pulling or pushing."""
        super().close()
        self._free_posted()

    def _free_posted(self) -> None:
        m, self._posted = self._posted, None
        if m is not None:
            m.freem()

    def _receive(self, packets: list[Mbuf]) -> bool:
        """Receive a datagram, and add it to a list; false if none has arrived, or the pool refuses mbufs."""
        if self._posted is None:
            try:
                self._posted = self._pool.getm2(self.size)
            except (NoBufs, NoMemory):
                self._count(short=1)
                return False
        rooms = _rooms(self._posted, self.size)
        self._count(calls_in=1)
        try:
            count, _, flags, address = self.sock.recvmsg_into(rooms, 0, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno in FATAL_RECEIVE:
                raise
            if error.errno not in RETRY:
                self._count(faults=1)
            return False
        finally:
            rooms.clear()
        if flags & socket.MSG_TRUNC:
            self._count(truncated=1)
            return True
        m, self._posted = self._posted, None
        _set_length(m, count)
        m.peer = self._sender(address)
        packets.append(m)
        return True

    def _sender(self, address: Any) -> Peer | None:
        """The peer of an address that the socket module has returned."""
        if self.sock.family == socket.AF_UNIX:
            return peer_of(packed_path(address)) if address else None
        return Peer(address) if self.sock.family in (socket.AF_INET, socket.AF_INET6) else None

    def _send(self, m: Mbuf) -> int | None:
        """Send a packet: 1, or 0 if the system refuses it for good; None if it can't be sent now."""
        check_ready("push", m)
        check_untagged(m)
        peer = m.peer if m.flags & M_PKTHDR else None
        to: tuple[Any, ...] = ()
        views = list(m)
        self._count(calls_out=1)
        try:
            if peer is not None and peer_name(self.sock) is None:
                to = (peer.address,)
            self.sock.sendmsg(views, (), socket.MSG_DONTWAIT, *to)
        except OSError as error:
            if error.errno in RETRY:
                return None
            if error.errno in FATAL:
                raise
            if error.errno in _NO_ADDRESS:
                check_addressed(m)
            return 0
        except TypeError:
            # The peer is of another family than the socket.
            return 0
        finally:
            # A traceback that refers to this frame must not keep the memory.
            views.clear()
        return 1


def _rooms(m: Mbuf | None, size: int) -> list[memoryview]:
    """Views of the room in a chain, `size` bytes in total."""
    rooms = []
    while m is not None and size > 0:
        room = m.room[:size]
        size -= len(room)
        rooms.append(room)
        m = m.next
    return rooms


def _set_length(m: Mbuf, count: int) -> None:
    """Add `count` bytes, which were written to the room of a chain, to its lengths; free mbufs without any."""
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
