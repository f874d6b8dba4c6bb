"""Any datagram socket as a port, with Python's socket module: one system call for each packet.

For sockets that `UdpPort` doesn't accept, such as Unix sockets, and to compare its speed with.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from mbuf.const import M_PKTHDR
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.net.link.offload import check_complete
from mbuf.net.linux import DATAGRAM_MAX, FATAL, FATAL_RECEIVE, RETRY
from mbuf.net.port.base import BasePort
from mbuf.net.port.rules import check_addressed, check_ready, check_size, check_untagged, free_sent
from mbuf.net.sockets import check_pool, check_socket, never_waiting, peer_name
from mbuf.net.udp.recvmmsg import CONTROL_SIZE, is_incomplete, parsed
from mbuf.net.udp.sender import TRIES
from mbuf.net.udp.senderrors import SendError, SendErrors
from mbuf.net.udp.sendmmsg import BAD_NAME
from mbuf.packet.peer import Peer, peer_of, received_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Errors of a packet that has no address and needs one: of an IP socket, and of a Unix socket.
_NO_ADDRESS = frozenset({errno.EDESTADDRREQ, errno.ENOTCONN})


class SocketPort(BasePort):
    """Packets through a datagram socket, which stays the caller's. `UdpPort` is faster.

    `m.peer` is the sender of a received packet, and the receiver of one that is pushed through a socket that isn't
    connected. Packets of other sockets than UDP and Unix sockets have none. `size` is the bytes of the longest
    datagram; a longer one is discarded and counted (`truncated`). Coalesced datagrams of a socket with UDP_GRO are cut
    apart. No bytes are copied. One thread may pull while another pushes. `on_error` is called with a `SendError` for
    each error of packets that were sent, as by a `UdpPort`, but without those of the network if the socket isn't
    connected. `push` raises `Inval` for a packet that has no peer and needs one, for a peer of another family, and for
    a broadcast without SO_BROADCAST, and `TooLong`; the packet stays with the caller. `m.control` isn't used. Raises
    `Inval` for what is no datagram socket, and for a size out of range.
    """

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        size: int = DATAGRAM_MAX,
        on_error: Callable[[SendError], object] | None = None,
    ) -> None:
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
        self._failures = SendErrors(sock, "SocketPort", on_error, peer=_peer_of(sock.family, peer_name(sock)))
        #: A Unix socket has no errors of earlier datagrams.
        self._tries = 1 if sock.family == socket.AF_UNIX else TRIES
        #: Packets of a coalesced message that were not pulled.
        self._ready: list[Mbuf] = []

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        with self._pull_lock:
            try:
                while len(self._ready) < count and self._receive(self._ready):
                    pass
            except OSError:
                # After packets, the next pull raises it.
                if not self._ready:
                    raise
        # The program may call this port, and may raise: what was received stays for the next pull then.
        self._failures.tell()
        packets, self._ready = self._ready[:count], self._ready[count:]
        return self._count_pulled(packets)

    def pull_bytes(self, n: int) -> list[tuple[bytes, Peer | None]]:
        """Return datagrams that have arrived, each as a copy of its bytes and its peer. Raises what `pull` raises."""
        datagrams = []
        for m in self.pull(n):
            datagrams.append((bytes(m), m.peer))
            m.freem()
        return datagrams

    @property
    def ready(self) -> int:
        return len(self._ready)

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
        self._failures.tell()
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
        self._failures.forget()
        self._free_posted()
        ready, self._ready = self._ready, []
        self._count(discarded=len(ready))
        self._pool.free_bulk(ready)

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
            count, control, flags, address = never_waiting(
                self.sock, "recvmsg_into", rooms, CONTROL_SIZE, socket.MSG_DONTWAIT
            )
        except OSError as error:
            if error.errno in FATAL_RECEIVE:
                raise
            if error.errno not in RETRY:
                self._add_pending(error.errno or 0)
            return False
        finally:
            rooms.clear()
        segment = parsed(control)[0]
        if is_incomplete(flags, segment):
            self._count(truncated=1)
            return True
        m, self._posted = self._posted, None
        _set_length(m, count)
        m.peer = _peer_of(self.sock.family, address)
        if not 0 < segment < count:
            packets.append(m)
            return True
        try:
            packets += m.segment(segment)
        except (NoBufs, NoMemory):
            self._count(denied=-(-count // segment))
            m.freem()
        return True

    def _add_pending(self, error: int) -> None:
        """Count an error of a datagram that was sent before, to be told to the program."""
        self._count(faults=1)
        self._failures.add_pending(error)

    def _send(self, m: Mbuf) -> int | None:
        """Send a packet: 1, or 0 if the system refuses it for good; None if it can't be sent now."""
        check_ready("push", m)
        check_untagged(m)
        check_complete(m)
        peer = m.peer if m.flags & M_PKTHDR else None
        pending = 0
        for _ in range(self._tries):
            error = self._call(m, peer)
            if error and error == pending:
                continue
            # An error of a datagram that was sent before is returned once, and this one was not looked at.
            if pending:
                self._add_pending(pending)
            if error == 0:
                return 1
            if error in RETRY:
                return None
            pending = error
        mistake = self._failures.mistake(pending, len(m), peer)
        if mistake is not None:
            raise mistake
        self._failures.add(pending, peer, 1)
        return 0

    def _call(self, m: Mbuf, peer: Peer | None) -> int:
        """Send a packet, once; the error number, or 0."""
        to: tuple[Any, ...] = ()
        views = list(m)
        self._count(calls_out=1)
        try:
            if peer is not None and peer_name(self.sock) is None:
                to = (peer.address,)
            never_waiting(self.sock, "sendmsg", views, (), socket.MSG_DONTWAIT, *to)
        except OSError as error:
            if error.errno in FATAL:
                raise
            if error.errno in _NO_ADDRESS:
                check_addressed(m)
            # Python's own errors for an address have a negative number.
            return error.errno if error.errno and error.errno > 0 else BAD_NAME
        except TypeError:
            # The peer is of another family than the socket.
            return BAD_NAME
        finally:
            # A traceback that refers to this frame must not keep the memory.
            views.clear()
        return 0


def _peer_of(family: int, address: Any) -> Peer | None:
    """The peer of an address that the socket module has returned; None if there is none, or of another family."""
    if address and family == socket.AF_UNIX:
        return peer_of(received_path(address))
    return Peer(address) if address and family in (socket.AF_INET, socket.AF_INET6) else None


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
