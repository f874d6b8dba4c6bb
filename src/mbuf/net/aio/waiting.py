"""A port whose `recv` and `send` are awaited, in asyncio or trio: for programs without protocols and callbacks.

The port never waits itself. If it has no packet, or accepts none, the task waits until the descriptor is readable or
writable. If the pool has no mbufs, the descriptor may be readable and a receive still gets nothing: then the task waits
for a cluster. What differs between the two libraries is only how to wait (`_Asyncio`, `_Trio`).

They wait for a duplicate of the descriptor: the number of the original belongs to another file as soon as the program
has closed its socket. `close` ends all waits, and the calls then find the port closed.

A port that always has packets would never let another task run. So after `MAX_CALLS` calls of the port in a row without
a wait, the next one lets the others run first.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from mbuf.errors import Busy, Inval, NoBufs, NoMemory
from mbuf.net.sockets import check_pool, check_port
from mbuf.net.watch import Watch
from mbuf.net.writable import RETRY_DELAY, set_result
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Calls of the port in a row without a wait, after which other tasks run.
MAX_CALLS = 16


class _Waits(Protocol):
    """The ways to wait in a library for tasks."""

    async def readable(self) -> None: ...

    async def writable(self) -> None: ...

    async def cluster(self, pool: Pool) -> None: ...

    async def sleep(self, seconds: float) -> None: ...

    def close(self) -> None: ...


class WaitingPort:
    """A port whose calls are awaited: `await port.recv()`, `await port.send(m)`. In tasks of asyncio or trio.

    `port` is any port with a file descriptor, such as a `UdpPort`; it is closed with this, by `close` or by `async
    with`. `pool` is the pool that it receives into. One task may receive while another sends; `Busy` is raised for a
    second one. Raises `Inval` if the port has no descriptor, or if neither library runs, TypeError for what is no pool
    or no port, and OSError if the descriptor can't be duplicated.
    """

    def __init__(self, pool: Pool, port: Port) -> None:
        check_pool("WaitingPort", pool)
        check_port("WaitingPort", port)
        if port.fileno() < 0:
            raise Inval(f"WaitingPort: {port!r} has no file descriptor to wait for")
        #: The port.
        self.port = port
        self._pool = pool
        self._waits = _waits(port.fileno())
        # Packets that `recv` has received with the one that it returned; the last of the list is the next one.
        self._received: list[Mbuf] = []
        # A task is in `recv`, or in `send`.
        self._receiving = self._sending = False
        self._calls = 0

    async def recv(self) -> Mbuf:
        """Wait for a packet; it belongs to the caller, and `m.peer` is its sender. Raises what `port.pull` raises.

        `Busy` is raised if another task is waiting in it, and `Inval` if this is closed meanwhile.
        """
        if not self._received:
            packets = await self.recv_batch()
            packets.reverse()
            self._received = packets
        return self._received.pop()

    async def recv_batch(self, n: int = 64) -> list[Mbuf]:
        """Wait for packets; at most `n` of those that have arrived, which belong to the caller. Raises as `recv`."""
        count = integer(n, "n")
        if count < 1:
            raise Inval(f"recv_batch: {n} packets: ask for 1 or more")
        if self._received:
            packets = self._received[: -count - 1 : -1]
            del self._received[-count:]
            return packets
        if self._receiving:
            raise Busy("recv: another task is receiving from this port")
        self._receiving = True
        try:
            return await self._pull(count)
        finally:
            self._receiving = False

    async def _pull(self, n: int) -> list[Mbuf]:
        """Wait for packets, and return at most `n`."""
        denied = False
        while True:
            await self._let_others_run()
            short = self.port.stat().short
            packets = self.port.pull(n)
            self.port.release_buffers()
            if packets:
                return packets
            if self.port.stat().short == short:
                await self._waits.readable()
                self._calls = 0
                continue
            if denied:
                # The port needs more than one cluster.
                await self._waits.sleep(RETRY_DELAY)
            denied = True
            await self._waits.cluster(self._pool)

    async def send(self, m: Mbuf) -> None:
        """Send a packet to its `m.peer`, or to the port's own; wait until the port accepts it. It belongs to this then.

        Raises what `port.push` raises, and `Busy` if another task is waiting in it; the packet belongs to the caller
        then, as it does if the task is cancelled.
        """
        await self.send_batch([m])

    async def send_batch(self, packets: list[Mbuf]) -> None:
        """Send packets, and wait until the port accepts all. The sent ones are removed from the list. As `send`."""
        if self._sending:
            raise Busy("send: another task is sending through this port")
        self._sending = True
        try:
            while packets:
                await self._let_others_run()
                if self.port.push(packets) or not packets:
                    continue
                await self._waits.writable()
                self._calls = 0
                if not self.port.push(packets) and packets:
                    # The system has no memory to send, although the socket is writable.
                    await self._waits.sleep(RETRY_DELAY)
        finally:
            self._sending = False

    async def _let_others_run(self) -> None:
        """Count a call of the port; let other tasks run before it if there were many without a wait."""
        self._calls += 1
        if self._calls > MAX_CALLS:
            self._calls = 0
            await self._waits.sleep(0)

    def close(self) -> None:
        """Free the packets that were received and not taken, and close the port. Calling it again has no effect.

        A task that waits in a call of this gets `Inval`.
        """
        packets, self._received = self._received, []
        self._pool.free_bulk(packets)
        self.port.close()
        self._waits.close()

    async def __aenter__(self) -> WaitingPort:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Asyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._watch = Watch(loop, fd)
        # What ends the waits that are going on.
        self._ends: list[Callable[[], object]] = []

    async def readable(self) -> None:
        await self._wait(self._watch.add_reader, self._watch.remove_reader)

    async def writable(self) -> None:
        await self._wait(self._watch.add_writer, self._watch.remove_writer)

    async def cluster(self, pool: Pool) -> None:
        # In the pool's queue.
        task = self._loop.create_task(pool.agetcl())
        try:
            self._ends.append(task.cancel)
            await asyncio.wait([task])
        finally:
            self._ends.remove(task.cancel)
            task.cancel()
        if not task.cancelled():
            task.result().free()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        self._watch.close()
        for end in self._ends:
            end()

    async def _wait(self, add: Callable[..., Any], remove: Callable[[], Any]) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        end = partial(set_result, ready)
        self._ends.append(end)
        try:
            add(end)
            await ready
        finally:
            self._ends.remove(end)
            remove()


class _Trio:
    def __init__(self, trio: Any, fd: int) -> None:
        self._trio = trio
        self._fd = os.dup(fd)
        self.sleep = trio.sleep

    async def readable(self) -> None:
        await self._wait(self._trio.lowlevel.wait_readable)

    async def writable(self) -> None:
        await self._wait(self._trio.lowlevel.wait_writable)

    async def cluster(self, pool: Pool) -> None:
        while self._fd >= 0:
            try:
                pool.getcl().free()
                return
            except (NoBufs, NoMemory):
                await self.sleep(RETRY_DELAY)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(RuntimeError):
                # Unless trio runs no more: then nobody waits.
                self._trio.lowlevel.notify_closing(fd)
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    async def _wait(self, wait: Callable[[int], Any]) -> None:
        with suppress(self._trio.ClosedResourceError):
            await wait(self._fd)


def _waits(fd: int) -> _Waits:
    """How to wait in the library that runs the task. trio isn't imported: who runs in it has done that."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return _Trio(trio, fd)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise Inval("WaitingPort: make it in a task of asyncio or trio") from None
    return _Asyncio(loop, fd)
