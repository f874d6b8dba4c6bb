"""A port whose `recv` and `send` are awaited, in asyncio or trio: for programs without protocols and callbacks.

The port never waits itself. If it has no packet, or accepts none, the task waits until the descriptor is readable or
writable. If the pool has no mbufs, the descriptor may be readable and a receive still gets nothing: then the task waits
for a cluster. What differs between the two libraries is only how to wait (`_Asyncio`, `_Trio`).
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from mbuf.errors import Busy, Inval, NoBufs, NoMemory
from mbuf.net.sockets import check_pool, check_port
from mbuf.net.writable import set_result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: Seconds until the next try, if the descriptor was ready and the port could do nothing, or no cluster was free.
RETRY_DELAY = 0.005


class _Waits(Protocol):
    """The ways to wait in a library for tasks."""

    async def readable(self, fd: int) -> None: ...

    async def writable(self, fd: int) -> None: ...

    async def sleep(self, seconds: float) -> None: ...

    def wake(self, fd: int) -> None:
        """Wake the tasks that wait for a descriptor, which is about to be closed."""


class WaitingPort:
    """A port whose calls are awaited: `await port.recv()`, `await port.send(m)`. In tasks of asyncio or trio.

    `port` is any port with a file descriptor, such as a `UdpPort`; it is closed with this, by `close` or by `async
    with`. `pool` is the pool that it receives into. One task may receive while another sends; if a second one has to
    wait for the same, that raises `Busy`. Raises TypeError for what is no pool or port, and `Inval` if the port has no
    descriptor, or if neither library runs.
    """

    def __init__(self, pool: Pool, port: Port) -> None:
        check_pool("WaitingPort", pool)
        check_port("WaitingPort", port)
        if port.fileno() < 0:
            raise Inval(f"WaitingPort: {port!r} has no file descriptor to wait for")
        #: The port.
        self.port = port
        self._pool = pool
        self._waits = _waits()
        self._received: list[Mbuf] = []
        # The calls in which a task waits, with the descriptor that it waits for.
        self._waiting: dict[str, int] = {}

    async def recv(self) -> Mbuf:
        """Wait for a packet; it belongs to the caller, and `m.peer` is its sender. Raises what `port.pull` raises."""
        if not self._received:
            self._received = await self.recv_batch()
            self._received.reverse()
        return self._received.pop()

    async def recv_batch(self, n: int = 64) -> list[Mbuf]:
        """Wait for packets; at most `n` of those that have arrived, which belong to the caller. Raises as `recv`."""
        if n < 1:
            raise Inval(f"recv_batch: {n} packets: ask for 1 or more")
        if self._received:
            packets, self._received = self._received[::-1], []
            return packets
        while True:
            short = self.port.stat().short
            packets = self.port.pull(n)
            self.port.release_buffers()
            if packets:
                return packets
            if self.port.stat().short != short:
                await self._wait_for_cluster()
            else:
                await self._wait("recv", self._waits.readable)

    async def send(self, m: Mbuf) -> None:
        """Send a packet to its `m.peer`, or to the port's own; wait until the port accepts it. It belongs to this then.

        Raises what `port.push` raises; the packet belongs to the caller then, as it does if the task is cancelled.
        """
        await self.send_batch([m])

    async def send_batch(self, packets: list[Mbuf]) -> None:
        """Send packets, and wait until the port accepts all. The sent ones are removed from the list. As `send`."""
        while packets:
            if self.port.push(packets) or not packets:
                continue
            await self._wait("send", self._waits.writable)
            if not self.port.push(packets) and packets:
                # The system has no memory to send, although the socket is writable.
                await self._waits.sleep(RETRY_DELAY)

    async def _wait(self, call: str, ready: Callable[[int], Awaitable[None]]) -> None:
        """Wait for the descriptor. Both libraries can do so for one task only."""
        if call in self._waiting:
            raise Busy(f"{call}: another task waits in {call} of this port: let one task do it for both")
        fd = self._waiting[call] = self.port.fileno()
        try:
            await ready(fd)
        finally:
            del self._waiting[call]

    async def _wait_for_cluster(self) -> None:
        """Wait until the pool has a cluster, which is left to the port."""
        while True:
            try:
                self._pool.getcl().free()
                return
            except (NoBufs, NoMemory):
                await self._waits.sleep(RETRY_DELAY)

    def close(self) -> None:
        """Free the packets that were received and not taken, and close the port. Calling it again has no effect.

        A task that waits in `recv` or `send` gets `Inval`, as one that calls it afterwards.
        """
        for fd in set(self._waiting.values()):
            self._waits.wake(fd)
        self._pool.free_bulk(self._received)
        self.port.close()

    async def __aenter__(self) -> WaitingPort:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class _Asyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # What ends each wait, with the descriptor.
        self._pending: dict[asyncio.Future[None], tuple[Callable[[int], Any], int]] = {}

    async def readable(self, fd: int) -> None:
        await self._wait(self._loop.add_reader, self._loop.remove_reader, fd)

    async def writable(self, fd: int) -> None:
        await self._wait(self._loop.add_writer, self._loop.remove_writer, fd)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wake(self, fd: int) -> None:
        # All are for this one.
        for ready in tuple(self._pending):
            self._end(ready)

    async def _wait(self, add: Callable[..., Any], remove: Callable[[int], Any], fd: int) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        add(fd, self._end, ready)
        self._pending[ready] = remove, fd
        try:
            await ready
        finally:
            self._end(ready)

    def _end(self, ready: asyncio.Future[None]) -> None:
        """Stop watching the descriptor, at once: afterwards its number may be that of another one."""
        if ready in self._pending:
            remove, fd = self._pending.pop(ready)
            remove(fd)
            set_result(ready)


class _Trio:
    def __init__(self, trio: Any) -> None:
        self._trio = trio
        self.sleep = trio.sleep
        self.wake = trio.lowlevel.notify_closing

    async def readable(self, fd: int) -> None:
        with suppress(self._trio.ClosedResourceError):
            await self._trio.lowlevel.wait_readable(fd)

    async def writable(self, fd: int) -> None:
        with suppress(self._trio.ClosedResourceError):
            await self._trio.lowlevel.wait_writable(fd)


def _waits() -> _Waits:
    """How to wait in the library that runs the task. trio isn't imported: who runs in it has done that."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return _Trio(trio)
    try:
        return _Asyncio(asyncio.get_running_loop())
    except RuntimeError:
        raise Inval("WaitingPort: make it in a task of asyncio or trio") from None
