"""A port's two ends in a loop of asyncio: what comes in is handed on, what goes out may wait.

An inlet takes no more memory than what lately came needs, and none while nothing comes. A line has an end: packets
that find no place are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbuf.net.udp import UdpPort
    from mbuf.packet.mbuf import Mbuf

#: Packets of one pull at most, and pulls before others get their turn.
BATCH = 1024
TURN = 16

#: Packets that wait for a socket that takes none now.
WAITING = 1024

#: Seconds after which it is tried again where the pool had nothing to receive into.
AGAIN = 0.005


class Inlet:
    """Pulls packets from a port when there are some, and calls `take(packets)`, which takes them over.

    `start` it, and `stop` it in the end.
    """

    __slots__ = ("_later", "_loop", "_take", "_want", "port")

    def __init__(self, port: UdpPort, take: Callable[[list[Mbuf]], object]) -> None:
        self.port = port
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        # As many as came lately: each message to receive takes memory for the longest.
        self._want = 1

    def start(self) -> None:
        """Pull from now on."""
        self._later = None
        self._loop.add_reader(self.port, self._readable)

    def stop(self) -> None:
        """Pull no more."""
        self._loop.remove_reader(self.port)
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _readable(self) -> None:
        for _ in range(TURN):
            short = self.port.stat().short
            packets = self.port.pull(self._want)
            if len(packets) < self._want:
                self._want = max(self._want // 2, 1)
            else:
                self._want = min(self._want * 2, BATCH)
            if packets:
                self._take(packets)
                continue
            self.port.rest()
            if self.port.stat().short > short:
                # What there is waits in the socket, and would call again at once.
                self.stop()
                self._later = self._loop.call_later(AGAIN, self.start)
            return


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
        if not self._waiting:
            self._port.push(packets)
            if not packets:
                return
            self._loop.add_writer(self._port, self._flush)
        room = WAITING - len(self._waiting)
        self._waiting += packets[:room]
        del packets[:room]
        self._lose(packets)

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
