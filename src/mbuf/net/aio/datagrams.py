"""A port in an asyncio loop: a callback gets the packets that arrive, and `send` queues those that can't be sent yet.

It waits for the port's file descriptor, so it works with any loop, and with any port that has one. It never looks into
a packet.

In: when the descriptor is readable, the port is asked for packets. The number is adapted to the traffic: it is doubled
up to `batch` after a pull that got all, and halved after one that got fewer. After 16 pulls other callbacks of the loop
run first. When no more packets have arrived, or there is little traffic (`BATCH_LOW`), the port frees the mbufs that it
has posted for packets to come: an idle endpoint holds no memory.

A pool without mbufs is back-pressure: reading stops, and packets wait in the system's buffer. A task then waits for a
cluster in the pool's queue, where all threads and tasks wait first come, first served; it frees the cluster and pulls
at once. If that wasn't enough, it waits again after `RETRY_DELAY`. When a pull has succeeded, reading starts again.

    reading      the descriptor has a reader, and no task waits
    waiting      `_wait_task` waits for a cluster; there is no reader
    paused       by `pause_reading`; there is no reader
    closed       there is no reader, no writer and no task

Out: `send` pushes packets to the port. If it doesn't accept all, the others are queued, up to `maxlen` packets, and the
descriptor gets a writer, which pushes them when it is writable. Packets beyond `maxlen` are dropped and counted, as a
full interface queue does.

An exception of the callback goes to the loop's exception handler, and doesn't stop the endpoint.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import Freed, Inval, MbufError
from mbuf.net.sockets import check_pool, check_port
from mbuf.net.writable import set_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: The default of `batch`, the most packets of one pull.
MAX_BATCH = 1024

#: Pulls in one callback of the loop, so that other callbacks run.
MAX_PULLS = 16

#: The default of `maxlen`, the most packets that wait to be sent.
MAXLEN = 1024

#: Up to this number of packets in a pull, the port frees its posted mbufs between pulls.
BATCH_LOW = 32

#: Seconds until the next try, if a pull failed although a cluster was free.
RETRY_DELAY = 0.005


class Datagrams:
    """Receives and sends the packets of a port in the running asyncio loop, until `close`.

    `received(packets)` is called with a list of packets that have arrived; they belong to the callback. `failed(error)`
    is called after the port has raised an `OSError`, and this was closed for it. The port still belongs to the caller,
    who closes it after this. `batch` is the most packets of one call of `received`; `maxlen` is the most packets that
    wait to be sent. Nothing is copied. Raises `Inval` if the port has no file descriptor, or `batch` is less than 1,
    and RuntimeError if no loop is running.
    """

    def __init__(
        self,
        pool: Pool,
        port: Port,
        received: Callable[[list[Mbuf]], object],
        failed: Callable[[OSError], object] | None = None,
        batch: int = MAX_BATCH,
        maxlen: int = MAXLEN,
    ) -> None:
        check_pool("Datagrams", pool)
        check_port("Datagrams", port)
        if port.fileno() < 0:
            raise Inval(f"Datagrams: {port!r} has no file descriptor to wait for")
        if batch < 1:
            raise Inval(f"Datagrams: batch {batch}: give 1 packet or more")
        #: The pool that packets are received into.
        self.pool = pool
        #: The port, which belongs to the caller.
        self.port = port
        #: The number of packets that `send` freed because `maxlen` packets were waiting, or because this was closed.
        self.dropped = 0
        #: How often nothing could be received because the pool had no mbufs.
        self.denied = 0
        self._received = received
        self._failed = failed
        self._batch = batch
        # The number of packets that the next pull asks for.
        self._pull_size = 1
        self._maxlen = maxlen
        self._loop = asyncio.get_running_loop()
        self._queue: list[Mbuf] = []
        self._drain_waiters: list[asyncio.Future[None]] = []
        # Waits for a cluster.
        self._wait_task: asyncio.Task[None] | None = None
        # A port that the caller has closed has no descriptor any more, but the loop may still have it.
        self._fd = port.fileno()
        self._short = port.stat().short
        self._paused = False
        self._reading = self._closed = False
        self._start_reading()

    # In.

    def pause_reading(self) -> None:
        """Receive no packets until `resume_reading`; they wait in the system's buffer. A second call has no effect."""
        self._paused = True
        self._stop_reading()

    def resume_reading(self) -> None:
        """Receive packets again."""
        self._paused = False
        self._start_reading()

    def _start_reading(self) -> None:
        if not (self._reading or self._paused or self._closed or self._wait_task is not None):
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if self.port.ready:
                # The descriptor isn't readable for packets that the port has received already.
                self._loop.call_soon(self._readable)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            # The descriptor may be closed.
            with suppress(OSError):
                self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        """Pull until there are no more packets, at most `MAX_PULLS` times."""
        for _ in range(MAX_PULLS):
            if not self._reading:
                return
            try:
                pulled = self._pull()
            except BaseException:
                # The loop reports what the callback raises. The descriptor isn't readable for packets in the port.
                if self.port.ready:
                    self._loop.call_soon(self._readable)
                raise
            if not pulled:
                self._stop_reading()
                self._wait_task = self._loop.create_task(self._wait_for_mbufs())
                return
            if not self.port.ready:
                return
        self._loop.call_soon(self._readable)

    def _pull(self) -> bool:
        """Pull packets and call `received`; False if there were none because the pool had no mbufs."""
        try:
            packets = self.port.pull(self._pull_size)
        except OSError as error:
            self._fail(error)
            return True
        except Inval:
            # The port or its pool was closed: every pull would raise this.
            self.close()
            raise
        full = len(packets) == self._pull_size
        self._pull_size = min(2 * self._pull_size, self._batch) if full else max(self._pull_size // 2, 1)
        if not full or self._pull_size <= BATCH_LOW:
            self.port.release_buffers()
        if packets:
            self._received(packets)
            return True
        # Pulls that returned some packets may have counted too: then one more pull follows than is needed.
        before, self._short = self._short, self.port.stat().short
        self.denied += before != self._short
        return before == self._short

    async def _wait_for_mbufs(self) -> None:
        """Wait until a pull succeeds, then start reading."""
        try:
            await self._wait_for_cluster()
            while not (self._paused or self._closed or self._pull()):
                # The port needs more than one cluster, or another user of the pool got it.
                await asyncio.sleep(RETRY_DELAY)
                await self._wait_for_cluster()
        except Exception as error:
            # What the callback raises is reported as if the loop had called it.
            self._loop.call_exception_handler({"message": "Exception in Datagrams", "exception": error})
        finally:
            self._wait_task = None
        self._start_reading()

    async def _wait_for_cluster(self) -> None:
        """Wait until the pool has a cluster, and leave it to the port."""
        try:
            (await self.pool.agetcl()).freem()
        except MbufError:
            # The pool was closed.
            self.close()

    # Out.

    def send(self, packets: list[Mbuf]) -> None:
        """Send packets, which belong to this then; the list is empty afterwards.

        Those that the port doesn't accept at once are queued and sent later, in order. If `maxlen` packets wait, the
        others are freed and counted in `dropped`: `await drain()` to prevent that. Raises what `port.push` raises.
        """
        if self._closed:
            self._drop(packets)
        elif not self._queue:
            self.port.push(packets)
            if packets:
                self._loop.add_writer(self._fd, self._writable)
        space = self._maxlen - len(self._queue)
        self._queue += packets[:space]
        del packets[:space]
        self._drop(packets)

    async def drain(self) -> None:
        """Wait until no packet waits to be sent. After `close` this returns at once."""
        while self._queue:
            waiter = self._loop.create_future()
            self._drain_waiters.append(waiter)
            await waiter

    def _writable(self) -> None:
        try:
            self.port.push(self._queue)
        except OSError as error:
            self._fail(error)
            return
        except (Freed, Inval):
            # The first packet can't be sent, or the port is closed. The loop would report it again and again.
            try:
                self._drop([self._queue.pop(0)] if self._queue else [])
            finally:
                if not self._queue:
                    self._stop_writing()
            raise
        if not self._queue:
            self._stop_writing()

    def _stop_writing(self) -> None:
        """The queue is empty: remove the writer, and wake the tasks in `drain`."""
        with suppress(OSError):
            self._loop.remove_writer(self._fd)
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            set_result(waiter)

    def _drop(self, packets: list[Mbuf]) -> None:
        self.dropped += len(packets)
        self.pool.free_bulk(packets)

    def _fail(self, error: OSError) -> None:
        self.close()
        if self._failed is not None:
            self._failed(error)

    def close(self) -> None:
        """Receive and send no more, and free the queued packets. The port stays open.

        Calling it again has no effect.
        """
        self._closed = True
        self._stop_reading()
        if self._wait_task is not None:
            self._wait_task.cancel()
        if self._queue:
            self._drop(self._queue)
            self._stop_writing()
