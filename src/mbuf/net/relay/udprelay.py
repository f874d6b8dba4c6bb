"""A relay of datagrams: what a client sends goes on from a socket of its own, and what comes back there goes to it.

Holds what a socket doesn't take for a while, in lines that have an end; then, and where the pool refuses, packets are
dropped and counted. Sockets and packets; the bytes are for nobody here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.net.aio.datagrams import Datagrams
from mbuf.net.port.port import PortStat
from mbuf.net.relay.stat import RelayStat
from mbuf.net.udp.udpport import UdpPort

if TYPE_CHECKING:
    from mbuf.net.address import Address
    from mbuf.net.udp.peer import Peer
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Bytes that the system is asked to keep for a socket until we come to read them. It may give fewer.
ROOM = 1 << 22

#: Bytes of memory that lie ready for datagrams at most, and the part of all memory.
ARMED = 1 << 20
PART = 8


class UdpSession:
    """A client: the socket that stands for it, and what comes and goes through that."""

    __slots__ = ("_relay", "end", "peer", "port", "seen")

    def __init__(self, relay: UdpRelay, peer: Peer, port: UdpPort, now: float) -> None:
        self._relay = relay
        self.peer = peer
        self.port = port
        self.end = Datagrams(relay.pool, port, self._answered, lambda _: relay.forget(self))
        self.seen = now

    def _answered(self, packets: list[Mbuf]) -> None:
        """Packets for the client."""
        for m in packets:
            m.pkthdr.rcvif = self.peer
        self._relay.answered(self, packets)


class UdpRelay:
    """Relays from a bound socket to an address: made in a loop of asyncio, and closed by `close`.

    The bound socket stays its owner's. A client that sends and gets nothing for `idle` seconds is forgotten; of more
    than `most`, whoever was silent longest.
    """

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        dest: Address,
        most: int = 1024,
        idle: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if most < 1 or not idle > 0:
            raise Inval(f"{most} clients, idle for {idle} seconds: give 1 or more, and more than 0")
        self.pool = pool
        self.dest = dest
        self._most = most
        self._idle = idle
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._front = self._port(sock)
        self._sessions: OrderedDict[Peer, UdpSession] = OrderedDict()
        # The numbers of ports that are no more.
        self._gone = PortStat()
        self._dropped = self._denied = 0
        self._clients = 0
        self._end = Datagrams(pool, self._front, self._arrived)
        self._timer = self._loop.call_later(idle / 4, self._expire)

    def stat(self) -> RelayStat:
        """All its numbers, at this moment."""
        front, away, sessions = self._front.stat(), self._gone, self._sessions.values()
        for session in sessions:
            away = _sum(away, session.port.stat())
        ends = (self._end, *(session.end for session in sessions))
        lost = self._dropped + sum(end.dropped for end in ends)
        both = _sum(front, away)
        return RelayStat(
            packets=both.packets_out,
            bytes=both.bytes_out,
            denied=both.denied + self._denied + sum(end.denied for end in ends),
            dropped=lost + both.dropped + both.denied + both.truncated + both.errors,
            clients=self._clients,
            open=len(sessions),
        )

    def close(self) -> None:
        """Forget everybody, and relay no more."""
        self._timer.cancel()
        for session in tuple(self._sessions.values()):
            self.forget(session)
        self._end.close()
        self._front.close()

    def _port(self, sock: socket.socket) -> UdpPort:
        """A socket as a port, with room in its queues, and little memory of ours until it needs more."""
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, ROOM)
        return UdpPort(self.pool, sock, posted=min(ARMED, self.pool.vm.realmem // PART))

    def _arrived(self, packets: list[Mbuf]) -> None:
        """Packets of clients."""
        for peer, run in runs(packets):
            session = self._session(peer)
            if session is None:
                self._lose(run)
            else:
                session.end.send(run)

    def answered(self, session: UdpSession, packets: list[Mbuf]) -> None:
        """Packets for a client."""
        session.seen = self._clock()
        self._sessions.move_to_end(session.peer)
        self._end.send(packets)

    def _session(self, peer: Peer) -> UdpSession | None:
        """The client's, made if it is new; None if there can be none now."""
        session = self._sessions.get(peer)
        now = self._clock()
        if session is not None:
            session.seen = now
            self._sessions.move_to_end(peer)
            return session
        if len(self._sessions) >= self._most:
            self.forget(next(iter(self._sessions.values())))
        try:
            sock = self.dest.connect()
        except OSError:
            return None
        session = self._sessions[peer] = UdpSession(self, peer, self._port(sock), now)
        self._clients += 1
        return session

    def forget(self, session: UdpSession) -> None:
        """A client is no more."""
        session.end.close()
        self._dropped += session.end.dropped
        self._denied += session.end.denied
        session.port.close()
        self._gone = _sum(self._gone, session.port.stat())
        session.port.sock.close()
        del self._sessions[session.peer]

    def _expire(self) -> None:
        """Forget those that have been silent for too long."""
        before = self._clock() - self._idle
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.seen > before:
                break
            self.forget(session)
        self._timer = self._loop.call_later(self._idle / 4, self._expire)

    def _lose(self, packets: list[Mbuf]) -> None:
        self._dropped += len(packets)
        for m in packets:
            m.freem()


def runs(packets: list[Mbuf]) -> list[tuple[Peer, list[Mbuf]]]:
    """Packets of one peer that came one after the other, together."""
    # A port names the same peer by the same object, until another has sent.
    first: Peer = packets[0].pkthdr.rcvif
    if packets[-1].pkthdr.rcvif is first:
        return [(first, packets)]
    found: list[tuple[Peer, list[Mbuf]]] = []
    for m in packets:
        peer: Peer = m.pkthdr.rcvif
        if found and found[-1][0] is peer:
            found[-1][1].append(m)
        else:
            found.append((peer, [m]))
    return found


def _sum(one: PortStat, other: PortStat) -> PortStat:
    return PortStat(*(getattr(one, name) + getattr(other, name) for name in PortStat.__slots__))
