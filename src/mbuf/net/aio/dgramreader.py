"""The receiving of an endpoint: when its descriptor is readable, a batch of datagrams is pulled from the port.

The batch is doubled up to `BATCH` while the port has as many. While there is much traffic, the port keeps its posted
mbufs; after `IDLE` seconds without a datagram, or with little traffic, it frees them. If the pool has no mbufs, the
descriptor isn't watched until a task has got one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mbuf.errors import MbufError
from mbuf.net.writable import RETRY_DELAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.udp.socketport import SocketPort
    from mbuf.net.udp.udpport import UdpPort
    from mbuf.net.watch import Watch
    from mbuf.pool.pool import Pool

#: The most datagrams that are received before other callbacks of the loop run.
BATCH = 64

#: Fewer datagrams than this in a batch are little traffic.
BATCH_LOW = 3

#: Seconds without a datagram after which the posted mbufs are freed.
IDLE = 0.05


class DatagramReader:
    """Pulls datagrams from a port while `wanted()` is true: packets if `mbufs`, else bytes with their peer.

    `watch` watches the port's descriptor. `deliver` is called with each batch, `fatal` with an error after which
    nothing can be received.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        port: UdpPort | SocketPort,
        watch: Watch,
        mbufs: bool,
        wanted: Callable[[], bool],
        deliver: Callable[[list[Any]], object],
        fatal: Callable[[Exception], object],
    ) -> None:
        self._loop = loop
        self._pool = pool
        self.port = port
        self._watch = watch
        self._mbufs = mbufs
        self._wanted = wanted
        self._deliver = deliver
        self._fatal = fatal
        self.pull: Callable[[int], list[Any]] = port.pull if mbufs else port.pull_bytes
        # `batch`: for how many datagrams the next receive has room. `_timer` runs while mbufs are posted.
        self.batch = 1
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        #: The descriptor has a reader.
        self.active = False
        #: Waits for a cluster.
        self.task: asyncio.Task[None] | None = None
        self._short = port.stat().short

    def close(self) -> None:
        """Receive no more."""
        self.stop()
        if self.task is not None:
            self.task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    def disconnect(self) -> None:
        """Forget what refers to the transport, after `close`."""
        self._wanted = _no
        self._deliver = self._fatal = self.pull = _nothing

    def start(self) -> None:
        if self._wanted() and not self.active and self.task is None:
            self.active = True
            self._watch.add_reader(self._readable)
            self._read_ready()

    def stop(self) -> None:
        if self.active:
            self.active = False
            self._watch.remove_reader()

    def _read_ready(self) -> None:
        """Call `_readable` soon for packets in the port: the descriptor isn't readable because of them."""
        if self.port.ready:
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        """Receive a batch and deliver it."""
        if self.active and not self._receive():
            self.stop()
            self.task = self._loop.create_task(self._wait_to_read())
            self.task.add_done_callback(self._waited)
        elif self._mbufs:
            self._read_ready()

    def _receive(self) -> bool:
        """Receive a batch and deliver it; False if there was none because the pool had no mbufs."""
        short = self._short
        try:
            datagrams = self.pull(self.batch)
        except (OSError, MbufError) as error:
            # The socket can't receive any more, or the pool was closed.
            self._fatal(error)
            return True
        count = len(datagrams)
        if count < BATCH_LOW:
            self.port.release_buffers()
        elif self._timer is None:
            self._timer = self._loop.call_later(IDLE, self._release_if_idle)
        if count:
            self._busy = True
            self.batch = min(2 * self.batch, BATCH) if count >= self.batch else max(count, self.batch // 2)
            self._deliver(datagrams)
            return True
        self._short = self.port.stat().short
        return short == self._short

    def _release_if_idle(self) -> None:
        self._timer = None
        if self._busy and self._wanted():
            self._busy = False
            self._timer = self._loop.call_later(IDLE, self._release_if_idle)
        else:
            self.batch = 1
            self.port.release_buffers()

    async def _wait_to_read(self) -> None:
        """Wait until the pool has a cluster, and receive."""
        try:
            (await self._pool.agetcl()).free()
            while self._wanted() and not self._receive():
                # The port needs more than one, or another user of the pool got it.
                await asyncio.sleep(RETRY_DELAY)
                (await self._pool.agetcl()).free()
        except MbufError as error:
            # The pool was closed.
            self._fatal(error)

    def _waited(self, _: object) -> None:
        """The task has ended, also if the program has cancelled it, or was ended in a callback: it may go on."""
        self.task = None
        self.start()


def _no() -> bool:
    return False


def _nothing(*_: object) -> Any:
    """In place of what isn't to be called any more."""
