"""Packets out of their lines and through a socket that doesn't block, one after the other.

Owns the one that is on the way, and loses none: each goes, or is freed and counted, or is still there. Knows no
tags, and never waits.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass

from mbuf.errors import Freed, MbufError
from mbuf.net.pacing.inflight import InFlight, bare, passes
from mbuf.net.pacing.txqueue import TxQueues

#: Nanoseconds after which a send is tried again that there was no memory for.
_AGAIN = 1_000_000


@dataclass(frozen=True, slots=True)
class PaceStat:
    """What became of packets."""

    #: Those that went, and their bytes.
    sent: int
    bytes: int
    #: Those that were freed without having gone: the socket refused them, or was closed before.
    drops: int
    #: Those that wait.
    queued: int
    #: The last error that a packet was dropped for, or the one that ended a stream; None if there was none.
    fault: OSError | MbufError | None


class PacedSender:
    """Sends from lines through a socket: `pump` as often as there is something that may go."""

    __slots__ = (
        "_again",
        "_bytes",
        "_current",
        "_drops",
        "_ended",
        "_fault",
        "_lines",
        "_sent",
        "_sock",
        "_stream",
        "blocked",
    )

    def __init__(self, sock: socket.socket, lines: TxQueues) -> None:
        self._sock = sock
        self._stream = sock.type == socket.SOCK_STREAM
        self._lines = lines
        self._current: InFlight | None = None
        #: Whether the socket took no more; or else the time to try again, where it doesn't tell.
        self.blocked = False
        self._again: int | None = None
        #: Whether the fault was a stream's, which goes no further.
        self._ended = False
        self._fault: OSError | MbufError | None = None
        self._sent = 0
        self._bytes = 0
        self._drops = 0

    @property
    def stuck(self) -> bool:
        """True while a packet is on the way, and no other can go."""
        return self._current is not None

    @property
    def busy(self) -> bool:
        """True while there are packets."""
        return self._current is not None or bool(self._lines)

    @property
    def queued(self) -> int:
        """How many packets there are."""
        return len(self._lines) + (self._current is not None)

    def due(self, now: int) -> int | None:
        """When the next may go; None if there is none, or it is for the socket to say."""
        if self.blocked:
            return None
        return self._lines.due(now) if self._current is None else self._again

    def stat(self) -> PaceStat:
        """What became of the packets."""
        return PaceStat(self._sent, self._bytes, self._drops, self.queued, self._fault)

    def pump(self, now: int) -> int:
        """Send what may go now; how many packets are gone, sent or dropped. Raises what ended a stream."""
        if self._ended and self._fault is not None:
            raise bare(self._fault)
        gone = 0
        self.blocked, self._again = False, None
        while (packet := self._next(now)) is not None and self._go(packet, now):
            gone += 1
        return gone

    def drain(self) -> None:
        """Free all packets."""
        if self._current is not None:
            self._drop(self._current)
        self._drops += self._lines.drain()
        self.blocked = False

    def _next(self, now: int) -> InFlight | None:
        if self._current is None:
            found = self._lines.next(now)
            self._current = None if found is None else InFlight(*found, self._stream)
        return self._current

    def _go(self, packet: InFlight, now: int) -> bool:
        """Send a packet; False if it has to wait."""
        try:
            packet.step(self._sock)
        except BlockingIOError:
            self.blocked = True
            return False
        except (OSError, MbufError) as error:
            if passes(error):
                self._again = now + _AGAIN
                return False
            self._fault = bare(error)
            if packet.stream and (packet.begun or isinstance(error, OSError)):
                self._ended = True
                raise
            self._drop(packet)
            return True
        self._pay(packet, now)
        self._leave(packet)
        return True

    def _pay(self, packet: InFlight, now: int) -> None:
        line = packet.line
        line.sent += 1
        line.bytes += packet.size
        self._sent += 1
        self._bytes += packet.size
        if line.bucket is not None:
            line.bucket.take(packet.size, now)

    def _drop(self, packet: InFlight) -> None:
        self._drops += 1
        self._leave(packet)

    def _leave(self, packet: InFlight) -> None:
        """Let another packet go next, and free this one: last of all, since somebody's routine may be called."""
        self._current = None
        self._lines.gone(packet.line)
        # Somebody else may have, though it was ours.
        with suppress(Freed):
            packet.m.freem()
