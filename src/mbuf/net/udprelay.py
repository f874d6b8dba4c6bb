"""A relay of datagrams: what a client sends goes on from a socket of its own, and what comes back there goes to it.

Holds what a socket doesn't take for a while, in lines that have an end; then, and where the pool refuses, packets are
dropped and counted. Sockets and packets; the bytes are for nobody here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.net.port import PortStat
from mbuf.net.relaystat import RelayStat
from mbuf.net.udp import UdpPort

if TYPE_CHECKING:
    from mbuf.net.address import Address
    from mbuf.net.peer import Peer
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Packets of one pull, and pulls before others get their turn.
BATCH = 1024
TURN = 16

#: Packets that wait for a socket that takes none now.
WAITING = 1024

#: Bytes that the system is asked to keep for a socket until we come to read them. It may give fewer.
ROOM = 1 << 22

#: Seconds after which it is tried again where the pool had nothing to receive into.
AGAIN = 0.005


class Line:
    """Packets on their way out of a port: those that it doesn't take now wait."""

    __slots__ = ("_loop", "_port", "_waiting", "dropped")

    def __init__(self, port: UdpPort) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Mbuf] = []
        #: Packets that found too many waiting.
        self.dropped = 0

    def put(self, packets: list[Mbuf]) -> None:
        """Take packets over, and send them as soon as can be."""
        if self._waiting:
            room = WAITING - len(self._waiting)
            self._waiting += packets[:room]
            del packets[:room]
            self._lose(packets)
            return
        self._port.push(packets)
        if packets:
            self._waiting = packets[:WAITING]
            del packets[:WAITING]
            self._lose(packets)
            self._loop.add_writer(self._port, self._flush)

    def close(self) -> None:
        """Free what waits."""
        if self._waiting:
            self._loop.remove_writer(self._port)
            self._lose(self._waiting)

    def _flush(self) -> None:
        self._port.push(self._waiting)
        if not self._waiting:
            self._loop.remove_writer(self._port)

    def _lose(self, packets: list[Mbuf]) -> None:
        self.dropped += len(packets)
        for m in packets:
            m.freem()
        packets.clear()


class Session:
    """A client: the socket that stands for it, and what waits to go out of that."""

    __slots__ = ("line", "peer", "port", "seen")

    def __init__(self, peer: Peer, port: UdpPort, now: float) -> None:
        self.peer = peer
        self.port = port
        self.line = Line(port)
        self.seen = now


class UdpRelay:
    """Relays from a bound socket to an address: `start` it, in a loop of asyncio, and `close` it in the end.

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
        _widen(sock)
        self._front = UdpPort(pool, sock)
        self._line = Line(self._front)
        self._sessions: OrderedDict[Peer, Session] = OrderedDict()
        # The numbers of ports that are no more.
        self._gone = PortStat()
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._clients = 0
        # Who found no memory, in order, and what to call then; how often that was, and when it is tried again.
        self._starved: deque[tuple[UdpPort, Callable[[], None]]] = deque()
        self._denied = 0
        self._again: asyncio.TimerHandle | None = None

    def stat(self) -> RelayStat:
        """All its numbers, at this moment."""
        front, away, sessions = self._front.stat(), self._gone, self._sessions.values()
        for session in sessions:
            away = _sum(away, session.port.stat())
        lines = self._dropped + self._line.dropped + sum(session.line.dropped for session in sessions)
        both = _sum(front, away)
        return RelayStat(
            packets=both.packets_out,
            bytes=both.bytes_out,
            denied=both.denied + self._denied,
            dropped=lines + both.dropped + both.denied + both.truncated + both.errors,
            clients=self._clients,
            open=len(sessions),
        )

    @property
    def features(self) -> str:
        """How it receives and sends."""
        found = self._front.features
        return f"{found['receive']} in, {found['send']} out"

    def start(self) -> None:
        """Relay from now on."""
        self._loop.add_reader(self._front, self._arrived)
        self._timer = self._loop.call_later(self._idle / 4, self._expire)

    def close(self) -> None:
        """Forget everybody, and relay no more."""
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._front)
        for session in tuple(self._sessions.values()):
            self._forget(session)
        self._line.close()
        self._front.close()

    def _pull(self, port: UdpPort, fn: Callable[[], None]) -> list[Mbuf]:
        """Packets; none if there are none now, or no memory for them, and then `fn` is called later."""
        calls = port.stat().calls_in
        packets = port.pull(BATCH)
        if not packets:
            port.rest()
            if port.stat().calls_in == calls:
                self._denied += 1
                self._loop.remove_reader(port)
                self._starved.append((port, fn))
                if self._again is None:
                    self._again = self._loop.call_later(AGAIN, self._feed)
        return packets

    def _feed(self) -> None:
        """Let those that found no memory try again, until one finds none."""
        self._again = None
        for _ in range(len(self._starved)):
            port, fn = self._starved.popleft()
            if port.fileno() >= 0:
                self._loop.add_reader(port, fn)
                fn()
            if self._again is not None:
                return

    def _arrived(self) -> None:
        """Packets of clients."""
        for _ in range(TURN):
            packets = self._pull(self._front, self._arrived)
            if not packets:
                return
            for peer, run in runs(packets):
                session = self._session(peer)
                if session is None:
                    self._lose(run)
                else:
                    session.line.put(run)

    def _session(self, peer: Peer) -> Session | None:
        """The client's, made if it is new; None if there can be none now."""
        session = self._sessions.get(peer)
        now = self._clock()
        if session is not None:
            session.seen = now
            self._sessions.move_to_end(peer)
            return session
        if len(self._sessions) >= self._most:
            self._forget(next(iter(self._sessions.values())))
        try:
            sock = self.dest.connect()
        except OSError:
            return None
        _widen(sock)
        session = self._sessions[peer] = Session(peer, UdpPort(self.pool, sock), now)
        self._clients += 1
        self._loop.add_reader(session.port, lambda: self._answered(session))
        return session

    def _answered(self, session: Session) -> None:
        """Packets for a client."""
        for _ in range(TURN):
            packets = self._pull(session.port, lambda: self._answered(session))
            if not packets:
                return
            session.seen = self._clock()
            self._sessions.move_to_end(session.peer)
            for m in packets:
                m.pkthdr.rcvif = session.peer
            self._line.put(packets)

    def _forget(self, session: Session) -> None:
        self._loop.remove_reader(session.port)
        session.line.close()
        self._dropped += session.line.dropped
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
            self._forget(session)
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


def _widen(sock: socket.socket) -> None:
    """Ask for room in a socket's queues."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, ROOM)


def _sum(one: PortStat, other: PortStat) -> PortStat:
    return PortStat(*(getattr(one, name) + getattr(other, name) for name in PortStat.__slots__))
