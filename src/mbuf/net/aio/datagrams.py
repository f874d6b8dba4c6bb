"""A port in an asyncio loop: a callback gets the packets that arrive, and `send` queues those that can't be sent yet.

It waits for the port's file descriptor, so it works with any loop, and with any port that has one. It never looks into
a packet. The loop watches a duplicate of the descriptor (`net/watch.py`): the program may close its socket.

In: when the descriptor is readable, the port is asked for packets. The number is adapted to the traffic: it is doubled
up to `batch` after a pull that got all, and halved after one that got fewer. After 16 pulls other callbacks of the loop
run first. When no more packets have arrived, or there is little traffic (`BATCH_LOW`), the port frees the mbufs that it
has posted for packets to come: an idle endpoint holds no memory.

`received` is called for each packet. What it raises goes to the loop's exception handler and is counted (`raised`), and
the next packet follows. If it pauses reading, the packets that were pulled with this one wait in `_undelivered`.

A pool without mbufs is back-pressure: reading stops, and packets wait in the system's buffer. A task then waits for a
cluster in the pool's queue, where all threads and tasks wait first come, first served; it frees the cluster and pulls
at once. If that wasn't enough, it waits again after `RETRY_DELAY`. When a pull has succeeded, reading starts again.

    reading      the descriptor has a reader, and no task waits
    waiting      `_wait_task` waits for a cluster; there is no reader
    paused       by `pause_reading`; there is no reader
    closing      by `close`: there is no reader; the writer remains until the queue is empty
    closed       there is no reader, no writer and no task

A descriptor may be readable although the port gets nothing: the system has no memory (ENOBUFS, ENOMEM). After some
tries, the next one follows after `RETRY_DELAY`, so that the loop doesn't spin.

Out: `send` and `send_batch` push packets to the port; what it doesn't accept is queued (`net/aio/sendqueue.py`). What
`received` passes to `send` is pushed after the last packet of the pull, so that the system gets it in one call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mbuf.errors import Inval, MbufError
from mbuf.net.aio.sendqueue import SendQueue
from mbuf.net.sockets import check_pool, check_port
from mbuf.net.watch import Watch
from mbuf.net.writable import RETRY_DELAY, set_result
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

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

#: Times in a row that the descriptor may be readable without a packet, before the next try is delayed. Some are normal:
#: the socket drops a datagram with a wrong checksum only when it is read.
MAX_FRUITLESS = 16


class Datagrams:
    """Receives and sends the packets of a port in the running asyncio loop, until `close`.

    `received(m)` is called with each packet that has arrived, which belongs to the callback. If it raises an exception,
    the loop's exception handler is told, and the next packet follows. To get all packets of a pull in one call, give
    `received_batch` instead: it is called with a list, which belongs to it with all packets, also if it raises.

    `closed(error)` is called once, when this is closed and all is sent: with None after `close` or `abort`, or with the
    `OSError` or `Inval` of the port that ended it; without this callback, the loop's exception handler is told such an
    error. The port still belongs to the caller, who closes it after that.

    `batch` is the most packets of one pull; `maxlen` is the most packets that wait to be sent. Nothing is copied.
    Raises `Inval` if the port has no file descriptor, `batch` is less than 1, `maxlen` is negative, or there isn't one
    callback for packets; TypeError for what is no number and for a callback that can't be called; OSError if the
    descriptor can't be duplicated; RuntimeError if no loop is running.
    """

    def __init__(
        self,
        pool: Pool,
        port: Port,
        received: Callable[[Mbuf], object] | None = None,
        closed: Callable[[Exception | None], object] | None = None,
        *,
        received_batch: Callable[[list[Mbuf]], object] | None = None,
        batch: int = MAX_BATCH,
        maxlen: int = MAXLEN,
    ) -> None:
        check_pool("Datagrams", pool)
        check_port("Datagrams", port)
        if port.fileno() < 0:
            raise Inval(f"Datagrams: {port!r} has no file descriptor to wait for")
        most, longest = integer(batch, "batch"), integer(maxlen, "maxlen")
        if most < 1:
            raise Inval(f"Datagrams: batch {batch}: give 1 packet or more")
        if longest < 0:
            raise Inval(f"Datagrams: maxlen {maxlen}: give 0 packets or more")
        if (received is None) == (received_batch is None):
            raise Inval("Datagrams: give received, which is called with a packet, or received_batch, with a list")
        for callback in (received, received_batch, closed):
            if callback is not None and not callable(callback):
                raise TypeError(f"Datagrams: {callback!r} can't be called: give a function")
        #: The pool that packets are received into.
        self.pool = pool
        #: The port, which belongs to the caller.
        self.port = port
        #: The number of received packets that were freed because this was closed before `received` got them.
        self.discarded = 0
        #: How often nothing could be received because the pool had no mbufs.
        self.denied = 0
        #: How often `received` or `received_batch` raised an exception.
        self.raised = 0
        self._received = received
        self._received_batch = received_batch
        self._on_closed = closed
        self._batch = most
        # The number of packets that the next pull asks for.
        self._pull_size = 1
        self._loop = asyncio.get_running_loop()
        # Tasks in `drain` and `wait_closed`.
        self._waiters: list[asyncio.Future[None]] = []
        # Waits for a cluster.
        self._wait_task: asyncio.Task[None] | None = None
        # Packets that were pulled, and not passed to `received` yet.
        self._undelivered: list[Mbuf] = []
        self._delivering = False
        self._short = port.stat().short
        # Pulls in a row that got nothing.
        self._fruitless = 0
        self._paused = self._reading = False
        self._closing = self._closed = False
        self._watch = Watch(self._loop, port.fileno())
        self._out = SendQueue(port, self._watch, longest, self._sent_all, self._finish)
        self._start_reading()

    # In.

    def pause_reading(self) -> None:
        """Receive no packets until `resume_reading`; they wait in the system's buffer. A second call has no effect.

        In `received`, the other packets that were pulled with this one wait here.
        """
        self._paused = True
        self._stop_reading()

    def resume_reading(self) -> None:
        """Receive packets again."""
        self._paused = False
        self._start_reading()

    def _start_reading(self) -> None:
        if not (self._reading or self._paused or self._closing or self._wait_task is not None):
            self._reading = True
            self._watch.add_reader(self._readable)
            self._continue_reading()

    def _continue_reading(self) -> None:
        """Call `_readable` soon if packets are here already: the descriptor isn't readable because of them."""
        if self._undelivered or self.port.ready:
            self._loop.call_soon(self._readable)

    def _stop_reading(self) -> None:
        self._reading = False
        self._watch.remove_reader()

    def _readable(self) -> None:
        """Pull until there are no more packets, at most `MAX_PULLS` times."""
        for _ in range(MAX_PULLS):
            if not self._reading:
                return
            try:
                pulled = self._pull()
            except BaseException:
                self._continue_reading()
                raise
            if self._closing:
                return
            if not pulled:
                self._stop_reading()
                self._wait_task = self._loop.create_task(self._wait_for_mbufs())
                self._wait_task.add_done_callback(self._waited)
                return
            if self._fruitless > MAX_FRUITLESS:
                self._stop_reading()
                self._loop.call_later(RETRY_DELAY, self._start_reading)
                return
            if not (self._undelivered or self.port.ready):
                return
        self._loop.call_soon(self._readable)

    def _pull(self) -> bool:
        """Pull packets and pass them to `received`; False if there were none because the pool had no mbufs."""
        if self._undelivered:
            packets, self._undelivered = self._undelivered, []
            self._deliver(packets)
            return True
        try:
            packets = self.port.pull(self._pull_size)
        except (OSError, Inval) as error:
            # `Inval`: the port or its pool was closed.
            self._finish(error)
            return True
        full = len(packets) == self._pull_size
        self._pull_size = min(2 * self._pull_size, self._batch) if full else max(self._pull_size // 2, 1)
        if not full or self._pull_size <= BATCH_LOW:
            self.port.release_buffers()
        if packets:
            self._fruitless = 0
            self._deliver(packets)
            return True
        # Pulls that returned some packets may have counted too: then one more pull follows than is needed.
        before, self._short = self._short, self.port.stat().short
        if before != self._short:
            self.denied += 1
            return False
        self._fruitless += 1
        return True

    def _deliver(self, packets: list[Mbuf]) -> None:
        """Pass packets to `received`, and then send what it passed to `send`."""
        self._delivering = True
        try:
            if self._received is not None:
                self._deliver_each(self._received, packets)
            elif self._received_batch is not None:
                self._deliver_batch(self._received_batch, packets)
        finally:
            self._delivering = False
            if self._closing:
                self._discard()
            self._out.flush()

    def _deliver_each(self, received: Callable[[Mbuf], object], packets: list[Mbuf]) -> None:
        """Pass one packet after the other, until reading is paused, or this is closed; keep the others."""
        rest = iter(packets)
        try:
            for m in rest:
                try:
                    received(m)
                except Exception as error:
                    self._count_raised(error)
                if self._paused or self._closing:
                    break
        finally:
            self._undelivered += rest

    def _deliver_batch(self, received: Callable[[list[Mbuf]], object], packets: list[Mbuf]) -> None:
        try:
            received(packets)
        except Exception as error:
            self._count_raised(error)

    def _count_raised(self, error: Exception) -> None:
        self.raised += 1
        self._tell("exception in a callback of Datagrams", error)

    def _discard(self) -> None:
        """Free the received packets that nobody gets any more."""
        packets, self._undelivered = self._undelivered, []
        self.discarded += len(packets)
        self.pool.free_bulk(packets)

    async def _wait_for_mbufs(self) -> None:
        """Wait until a pull succeeds."""
        try:
            await self._wait_for_cluster()
            while not (self._paused or self._closing or self._pull()):
                # The port needs more than one cluster, or another user of the pool got it.
                await asyncio.sleep(RETRY_DELAY)
                await self._wait_for_cluster()
        except Exception as error:
            self._tell("exception in Datagrams", error)

    def _waited(self, _: object) -> None:
        """The task has ended, also if the program has cancelled it: start reading."""
        self._wait_task = None
        self._start_reading()

    async def _wait_for_cluster(self) -> None:
        """Wait until the pool has a cluster, and leave it to the port."""
        try:
            (await self.pool.agetcl()).freem()
        except MbufError as error:
            # The pool was closed.
            self._finish(error)

    # Out.

    @property
    def queued(self) -> int:
        """The number of packets that wait to be sent."""
        return len(self._out.packets)

    @property
    def dropped(self) -> int:
        """The number of packets to be sent that were freed.

        `maxlen` packets were waiting, this was closed, or the packet can't be sent.
        """
        return self._out.dropped

    def send(self, m: Mbuf) -> None:
        """Send a packet, which belongs to this then.

        If the port doesn't accept it at once, it is queued. If `maxlen` packets wait, it is freed and counted in
        `dropped`: `await drain()` to prevent that. In `received`, packets are collected and sent together; one that
        turns out to be unsendable is dropped then, and the loop's exception handler is told. Otherwise raises what
        `port.push` raises, and the packet still belongs to the caller.
        """
        if self._delivering and not self._closing:
            self._out.append(m)
        else:
            self.send_batch([m])

    def send_batch(self, packets: list[Mbuf]) -> None:
        """Send packets, which belong to this then; the list is empty afterwards.

        Those that the port doesn't accept at once are queued and sent later, in order. If `maxlen` packets wait, the
        others are freed and counted in `dropped`. Raises what `port.push` raises; packets that are left in the list
        still belong to the caller.
        """
        if self._closing:
            self._out.drop(packets)
        else:
            self._out.push(packets)

    async def drain(self) -> None:
        """Wait until no packet waits to be sent. Returns at once if this is closed."""
        while self._out.packets:
            await self._wait()

    async def _wait(self) -> None:
        """Wait until the queue is empty, or this is closed."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _sent_all(self) -> None:
        """The queue is empty."""
        if self._closing:
            self._finish(None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            set_result(waiter)

    # The end.

    def close(self) -> None:
        """Receive no more, send what is queued, and then call `closed`; `await wait_closed()` for that.

        The port stays open; close it afterwards. What is sent from now on is dropped. A second call has no effect.
        """
        if self._closing:
            return
        self._closing = True
        self._stop()
        if not self._out.packets:
            self._finish(None)

    def abort(self) -> None:
        """Receive and send no more, free the queued packets, which are counted in `dropped`, and call `closed`.

        The port stays open. Calling it again has no effect.
        """
        self._finish(None)

    def is_closing(self) -> bool:
        """True once this was closed, also while queued packets are still to be sent."""
        return self._closing

    async def wait_closed(self) -> None:
        """Wait until this is closed and all is sent."""
        while not self._closed:
            await self._wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        """`close`, or `abort` after an exception, and `wait_closed`."""
        if error is None:
            self.close()
        else:
            self.abort()
        await self.wait_closed()

    def _stop(self) -> None:
        """Receive no more."""
        self._stop_reading()
        if self._wait_task is not None:
            self._wait_task.cancel()
        if not self._delivering:
            self._discard()

    def _finish(self, error: Exception | None) -> None:
        """Be closed, and tell the program."""
        if self._closed:
            return
        self._closing = self._closed = True
        self._stop()
        self._watch.close()
        self._out.close()
        # They often refer to this, which would be a reference cycle.
        on_closed, self._on_closed = self._on_closed, None
        self._received = self._received_batch = None
        if on_closed is not None:
            self._loop.call_soon(on_closed, error)
        elif error is not None:
            self._tell("Datagrams is closed because of an error of its port", error)

    def _tell(self, message: str, error: Exception) -> None:
        """Tell the loop's exception handler."""
        self._loop.call_exception_handler({"message": message, "exception": error})
