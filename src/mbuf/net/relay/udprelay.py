"""A relay of UDP datagrams: a socket of its own for each client, through which it exchanges datagrams with one address.

    client A <->                  <-> socket of A <->
                 the bound socket                     the destination
    client B <->                  <-> socket of B <->

The destination tells clients apart by the ports of these sockets, and what comes back to one of them is sent to its
client, from the bound socket. A datagram stays in the mbufs into which it was received. Each socket has a queue of
bounded length (`Datagrams`) for datagrams that it doesn't take at once; those that find it full, or no memory, are
dropped and counted, as UDP allows.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.net.aio.datagrams import Datagrams
from mbuf.net.port.port import PortStat
from mbuf.net.relay.stat import RelayStat
from mbuf.net.udp.senderrors import ErrorLog
from mbuf.net.udp.udpport import UdpPort

if TYPE_CHECKING:
    from mbuf.net.address import Address
    from mbuf.packet.mbuf import Mbuf
    from mbuf.packet.peer import Peer
    from mbuf.pool.pool import Pool

#: Bytes that the kernel is asked to buffer for a socket in each direction; it may allow fewer. See socket(7).
SOCKET_BUFFER = 1 << 22

#: Bytes of receive buffers posted for one socket: at most this, and at most the pool's memory divided by the divisor.
MAX_POSTED = 1 << 20
POSTED_DIVISOR = 8


class UdpSession:
    """A client, and the socket through which its datagrams are exchanged with the destination."""

    __slots__ = ("_relay", "datagrams", "last_seen", "peer", "port")

    def __init__(self, relay: UdpRelay, peer: Peer, port: UdpPort, now: float) -> None:
        self._relay = relay
        #: The client's address.
        self.peer = peer
        self.port = port
        self.datagrams = Datagrams(relay.pool, port, closed=self._closed, received_batch=self._received)
        #: When the client last sent or was sent a datagram, in seconds of the relay's clock.
        self.last_seen = now

    def _closed(self, error: Exception | None) -> None:
        """Forget a client whose socket has failed."""
        if error is not None:
            self._relay.forget(self)

    def _received(self, packets: list[Mbuf]) -> None:
        """Send datagrams from the destination to the client."""
        for m in packets:
            m.peer = self.peer
        self._relay.reply(self, packets)


class UdpRelay:
    """Relays datagrams from a bound UDP socket to an address, and the answers back.

    Make one in a running event loop: it relays from then on, until `close`. `sock` is the bound socket
    (`Address.listen`) and stays its owner's; `dest` is the address to send to. There are at most `max_clients` clients:
    a new one replaces the one that was idle longest. A client is forgotten when no datagram came from it or went to it
    for `idle_timeout` seconds. `clock` returns the time in seconds. No bytes are copied. Raises `Inval` if one of the
    bounds isn't positive.
    """

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        dest: Address,
        max_clients: int = 1024,
        idle_timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_clients < 1:
            raise Inval(f"max_clients {max_clients}: give 1 or more")
        if not idle_timeout > 0:
            raise Inval(f"idle_timeout {idle_timeout}: give more than 0 seconds")
        #: The pool that all mbufs come from.
        self.pool = pool
        #: The address that datagrams are sent to.
        self.dest = dest
        self._max_clients = max_clients
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        # One log for the ports of all clients.
        self._log = ErrorLog("UDP relay")
        self._port = self._make_port(sock)
        # By the client's address; the one that was idle longest is first.
        self._sessions: OrderedDict[Peer, UdpSession] = OrderedDict()
        # The counters of sessions that have ended.
        self._ended = PortStat()
        self._dropped = self._denied = 0
        self._clients = 0
        self._datagrams = Datagrams(pool, self._port, received_batch=self._received)
        self._timer = self._loop.call_later(idle_timeout / 4, self._expire)

    def stat(self) -> RelayStat:
        """Return all counters, as they are now."""
        sessions = self._sessions.values()
        total = _add(self._port.stat(), self._ended)
        for session in sessions:
            total = _add(total, session.port.stat())
        endpoints = (self._datagrams, *(session.datagrams for session in sessions))
        dropped = self._dropped + sum(endpoint.dropped for endpoint in endpoints)
        return RelayStat(
            packets=total.packets_out,
            bytes=total.bytes_out,
            denied=total.denied + self._denied + sum(endpoint.denied for endpoint in endpoints),
            dropped=dropped + total.dropped + total.denied + total.truncated + total.discarded + total.errors,
            clients=self._clients,
            open=len(sessions),
        )

    def close(self) -> None:
        """Forget all clients, and relay no more. Unsent datagrams are dropped; the bound socket stays open."""
        self._timer.cancel()
        for session in tuple(self._sessions.values()):
            self.forget(session)
        self._datagrams.abort()
        self._port.close()

    def _make_port(self, sock: socket.socket) -> UdpPort:
        """Return a port whose socket has large buffers in the kernel, and which posts little memory of the pool."""
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        posted = min(MAX_POSTED, self.pool.vm.realmem // POSTED_DIVISOR)
        return UdpPort(self.pool, sock, posted=posted, on_error=self._log)

    def _received(self, packets: list[Mbuf]) -> None:
        """Send datagrams of clients to the destination."""
        for peer, run in runs(packets):
            session = self._session_of(peer)
            if session is None:
                self._drop(run)
            else:
                session.datagrams.send_batch(run)

    def reply(self, session: UdpSession, packets: list[Mbuf]) -> None:
        """Send datagrams to a session's client; they belong to the relay then."""
        session.last_seen = self._clock()
        self._sessions.move_to_end(session.peer)
        self._datagrams.send_batch(packets)

    def _session_of(self, peer: Peer) -> UdpSession | None:
        """Return the client's session, a new one if it has none; None if there is no descriptor for one."""
        session = self._sessions.get(peer)
        now = self._clock()
        if session is not None:
            session.last_seen = now
            self._sessions.move_to_end(peer)
            return session
        if len(self._sessions) >= self._max_clients:
            self.forget(next(iter(self._sessions.values())))
        try:
            sock = self.dest.connect()
        except OSError:
            return None
        port = self._make_port(sock)
        try:
            session = self._sessions[peer] = UdpSession(self, peer, port, now)
        except OSError:
            port.close()
            sock.close()
            return None
        self._clients += 1
        return session

    def forget(self, session: UdpSession) -> None:
        """Close a session, and keep its counters. Calling it again has no effect."""
        if self._sessions.get(session.peer) is not session:
            return
        session.datagrams.abort()
        self._dropped += session.datagrams.dropped
        self._denied += session.datagrams.denied
        session.port.close()
        self._ended = _add(self._ended, session.port.stat())
        session.port.sock.close()
        del self._sessions[session.peer]

    def _expire(self) -> None:
        """Forget the clients that were idle for too long."""
        deadline = self._clock() - self._idle_timeout
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.last_seen > deadline:
                break
            self.forget(session)
        self._timer = self._loop.call_later(self._idle_timeout / 4, self._expire)

    def _drop(self, packets: list[Mbuf]) -> None:
        self._dropped += len(packets)
        for m in packets:
            m.freem()


def runs(packets: list[Mbuf]) -> list[tuple[Peer, list[Mbuf]]]:
    """Group packets that came one after the other from the same peer."""
    # A port uses the same object for the same peer, until another peer has sent.
    first = packets[0].peer
    if first is not None and packets[-1].peer is first:
        return [(first, packets)]
    groups: list[tuple[Peer, list[Mbuf]]] = []
    for m in packets:
        peer: Any = m.peer
        if groups and groups[-1][0] is peer:
            groups[-1][1].append(m)
        else:
            groups.append((peer, [m]))
    return groups


def _add(one: PortStat, other: PortStat) -> PortStat:
    return PortStat(*(getattr(one, name) + getattr(other, name) for name in PortStat.__slots__))
