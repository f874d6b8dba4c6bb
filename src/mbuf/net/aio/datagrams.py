"""Packets of a port in an asyncio loop: called when some have come, and taken to be sent.

Waits by the port's descriptor, so it works on any loop, with any port that has one. Where the pool refuses, it
stands in line, and reads no more until its turn has come. Never looks into a packet.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Inval, MbufError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Packets of one pull at most, pulls before others get their turn, and how many packets may wait to be sent.
BATCH = 1024
TURN = 16
WAITING = 1024

#: As long as no more come at once, the port has no memory ready in between.
FEW = 32

#: Seconds after which it is tried again, where what was there in one's turn wasn't enough.
AGAIN = 0.005


class Datagrams:
    """An endpoint: `received(packets)` is called with a list of packets, yours from then on; `send` others.

    Made in a loop, and closed by `close`; the port stays its owner's. `failed(error)` is called with what the system
    says of the port, if there is no more to be had from it. Of the packets to be sent at most `waiting` wait. It asks
    the port for as many as lately came, `batch` at most, and lets it rest when there are no more, or few.
    """

    def __init__(
        self,
        pool: Pool,
        port: Port,
        received: Callable[[list[Mbuf]], object],
        failed: Callable[[OSError], object] | None = None,
        batch: int = BATCH,
        waiting: int = WAITING,
    ) -> None:
        if port.fileno() < 0:
            raise Inval(f"Datagrams: {port!r} has no descriptor to wait for")
        if batch < 1:
            raise Inval(f"batch {batch}: give 1 or more packets")
        self.pool = pool
        self.port = port
        #: Packets that found too many waiting, and were freed.
        self.dropped = 0
        #: Times that the pool had no memory for what has come.
        self.denied = 0
        self._received = received
        self._failed = failed
        self._batch = batch
        self._want = 1
        self._most = waiting
        self._loop = asyncio.get_running_loop()
        self._out: list[Mbuf] = []
        self._empty: list[asyncio.Future[None]] = []
        self._turn: asyncio.Task[None] | None = None
        # A port that is closed has none any more.
        self._fd = port.fileno()
        self._short = port.stat().short
        self._asked = False
        self._reading = self._closed = False
        self._listen()

    # In.

    def pause(self) -> None:
        """Read no more, until `resume`; what comes meanwhile waits in the system."""
        self._asked = True
        self._deafen()

    def resume(self) -> None:
        """Read again."""
        self._asked = False
        self._listen()

    def _listen(self) -> None:
        if not (self._reading or self._asked or self._closed or self._turn is not None):
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if self.port.ready:
                # The descriptor doesn't tell of those.
                self._loop.call_soon(self._readable)

    def _deafen(self) -> None:
        if self._reading:
            self._reading = False
            # It may be closed already.
            with suppress(OSError):
                self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        for _ in range(TURN):
            if not self._reading:
                return
            try:
                fed = self._pull()
            except BaseException:
                # What `received` raises is the loop's to tell. The descriptor doesn't tell of what is left.
                if self.port.ready:
                    self._loop.call_soon(self._readable)
                raise
            if not fed:
                self._deafen()
                self._turn = self._loop.create_task(self._await_turn())
                return
            if not self.port.ready:
                return
        self._loop.call_soon(self._readable)

    def _pull(self) -> bool:
        """Take packets from the port; false if it is the pool's fault that there are none."""
        try:
            packets = self.port.pull(self._want)
        except OSError as error:
            self._end(error)
            return True
        except Inval:
            # Somebody has closed the port, or its pool: it would be the same each time.
            self.close()
            raise
        more = len(packets) == self._want
        self._want = min(2 * self._want, self._batch) if more else max(self._want // 2, 1)
        if not more or self._want <= FEW:
            self.port.release_buffers()
        if packets:
            self._received(packets)
            return True
        # Some of these may be of pulls that gave a few: then it is asked once more than needed.
        before, self._short = self._short, self.port.stat().short
        self.denied += before != self._short
        return before == self._short

    async def _await_turn(self) -> None:
        """Wait until the pool has a cluster, and leave it to the port."""
        try:
            await self._cluster()
            while not (self._asked or self._closed or self._pull()):
                # It needs more than that, or somebody else was quicker.
                await asyncio.sleep(AGAIN)
                await self._cluster()
        except Exception as error:
            # What `received` raises is told as if the loop had called it.
            self._loop.call_exception_handler({"message": "Exception in Datagrams", "exception": error})
        finally:
            self._turn = None
        self._listen()

    async def _cluster(self) -> None:
        """Wait until there is a cluster."""
        try:
            (await self.pool.agetcl()).freem()
        except MbufError:
            # There never will be one: the pool was closed.
            self.close()

    # Out.

    def send(self, packets: list[Mbuf]) -> None:
        """Let packets go: at once those that the port takes, the others as soon as it does. Empties the list.

        Those that find too many waiting are freed, and counted in `dropped`: `await drained()` before there are.
        """
        if self._closed:
            self._drop(packets)
        elif not self._out:
            self.port.push(packets)
            if packets:
                self._loop.add_writer(self._fd, self._flush)
        room = self._most - len(self._out)
        self._out += packets[:room]
        del packets[:room]
        self._drop(packets)

    async def drained(self) -> None:
        """Wait until no packet waits to be sent."""
        while self._out:
            waiter = self._loop.create_future()
            self._empty.append(waiter)
            await waiter

    def _flush(self) -> None:
        try:
            self.port.push(self._out)
        except OSError as error:
            self._end(error)
            return
        if not self._out:
            self._idle()

    def _idle(self) -> None:
        """Nothing waits to be sent any more."""
        with suppress(OSError):
            self._loop.remove_writer(self._fd)
        waiters, self._empty = self._empty, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _drop(self, packets: list[Mbuf]) -> None:
        self.dropped += len(packets)
        self.pool.free_bulk(packets)

    def _end(self, error: OSError) -> None:
        self.close()
        if self._failed is not None:
            self._failed(error)

    def close(self) -> None:
        """Hear and send no more; what waits to be sent is freed. Twice is as good as once."""
        self._closed = True
        self._deafen()
        if self._turn is not None:
            self._turn.cancel()
        if self._out:
            self._drop(self._out)
            self._idle()
