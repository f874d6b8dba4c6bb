"""A port's two ends in a loop of asyncio: what comes in is handed on, what goes out may wait.

An inlet takes no more memory than what lately came needs, and none while nothing comes. A line has an end: packets
that find no place are dropped and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
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


class Starved:
    """Inlets for which there was no memory, in order: one tries again at a time."""

    __slots__ = ("_inlets", "_later", "denied")

    def __init__(self) -> None:
        self._inlets: deque[Inlet] = deque()
        self._later: asyncio.TimerHandle | None = None
        #: How often one was denied.
        self.denied = 0

    def add(self, inlet: Inlet) -> None:
        """An inlet has stopped, for want of memory."""
        self.denied += 1
        self._inlets.append(inlet)
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(AGAIN, self._feed)

    def remove(self, inlet: Inlet) -> None:
        """It needs none any more."""
        if inlet in self._inlets:
            self._inlets.remove(inlet)
        if not self._inlets and self._later is not None:
            self._later.cancel()
            self._later = None

    def _feed(self) -> None:
        """Let them try again, until one finds none."""
        self._later = None
        for _ in range(len(self._inlets)):
            if self._later is None:
                self._inlets.popleft().start()


class Inlet:
    """Pulls packets from a port when there are some, and calls `take(packets)`, which takes them over.

    `start` it, and `stop` it in the end.
    """

    __slots__ = ("_loop", "_starved", "_take", "_want", "port")

    def __init__(self, port: UdpPort, take: Callable[[list[Mbuf]], object], starved: Starved) -> None:
        self.port = port
        self._take = take
        self._starved = starved
        self._loop = asyncio.get_running_loop()
        # As many as came lately: each message to receive takes memory for the longest.
        self._want = 1

    def start(self) -> None:
        """Pull from now on, and what is there at once."""
        self._loop.add_reader(self.port, self._readable)
        self._readable()

    def stop(self) -> None:
        """Pull no more."""
        self._loop.remove_reader(self.port)
        self._starved.remove(self)

    def _readable(self) -> None:
        for _ in range(TURN):
            calls = self.port.stat().calls_in
            packets = self.port.pull(self._want)
            if len(packets) < self._want:
                self._want = max(self._want // 2, 1)
            else:
                self._want = min(self._want * 2, BATCH)
            if packets:
                self._take(packets)
                continue
            self.port.rest()
            if self.port.stat().calls_in == calls:
                # What there is waits in the socket, and would call again at once.
                self._loop.remove_reader(self.port)
                self._starved.add(self)
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
