"""The allocation calls that asyncio tasks wait in: those of mbuf(9), with an `a` in front.

Who waits stands in the zone's line, together with threads that wait (M_WAITOK), first come, first served.
Cancelled, a call holds nothing: what it was just given goes to the next in line.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.const import M_EOR, M_NOWAIT, M_PKTHDR, M_WAITOK, MCLBYTES, MINCLSIZE, MJUMPAGESIZE, MT_DATA
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.source import left, until
from mbuf.pool.filled import Filled
from mbuf.uma.turn import Turn
from mbuf.vm.number import clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.packet.mbuf import Mbuf
    from mbuf.uma.zone import Zone

_Got = TypeVar("_Got")


class Awaited(Filled):
    """The calls that wait without blocking. With a `timeout`, in seconds, they raise like those that don't wait."""

    __slots__ = ()

    async def aget(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """`get`, in asyncio: waits until there is one."""
        return await _turn(self.zones.mbuf, lambda: self.get(M_NOWAIT, type), until(M_WAITOK, timeout))

    async def agethdr(self, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """`gethdr`, in asyncio: waits until there is one."""
        return await _turn(self.zones.mbuf, lambda: self.gethdr(M_NOWAIT, type), until(M_WAITOK, timeout))

    async def agetcl(self, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """`getcl`, in asyncio: waits until there is one."""
        return await _turn(self.zones.pack, lambda: self.getcl(M_NOWAIT, type, flags), until(M_WAITOK, timeout))

    async def agetjcl(
        self, type: int = MT_DATA, flags: int = M_PKTHDR, size: int = MJUMPAGESIZE, timeout: float | None = None
    ) -> Mbuf:
        """`getjcl`, in asyncio: waits until there is an mbuf, and then until there is a cluster for it."""
        zone = self.zones.of_size(clip(size))
        deadline = until(M_WAITOK, timeout)
        if zone is self.zones.clust:
            return await _turn(self.zones.pack, lambda: self.getcl(M_NOWAIT, type, flags), deadline)
        try:
            return self.getjcl(M_NOWAIT, type, flags, size)
        except (NoBufs, NoMemory):
            pass
        head = flags & M_PKTHDR
        m = await self._plain_awaited(type, head, deadline)
        try:
            m.flags |= flags & ~M_PKTHDR
            await _turn(zone, lambda: self.cljget(m, M_NOWAIT, size), deadline)
        except BaseException:
            m.free()
            raise
        return m

    async def agetm2(self, len: int, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None) -> Mbuf:
        """`getm2` of a new chain, in asyncio: waits for one mbuf after the other, and holds those that it has."""
        todo = clip(len)
        if todo <= 0:
            raise Inval(f"agetm2: len {len}: ask for at least 1 byte")
        deadline = until(M_WAITOK, timeout)
        first: Any = None
        last: Any = None
        head = flags & M_PKTHDR
        try:
            while todo > 0:
                m = await self._largest_awaited(todo, type, head, deadline)
                todo -= m.size
                head = 0
                if first is None:
                    first = m
                else:
                    last.next = m
                last = m
        except BaseException:
            if first is not None:
                first.freem()
            raise
        last.flags |= flags & M_EOR
        whole: Mbuf = first
        return whole

    async def _largest_awaited(self, todo: int, type: int, head: int, deadline: float | None) -> Mbuf:
        if todo > MCLBYTES:
            try:
                return self.getjcl(M_NOWAIT, type, head, MJUMPAGESIZE)
            except (NoBufs, NoMemory):
                pass
        if todo >= MINCLSIZE:
            return await _turn(self.zones.pack, lambda: self.getcl(M_NOWAIT, type, head), deadline)
        return await self._plain_awaited(type, head, deadline)

    async def _plain_awaited(self, type: int, head: int, deadline: float | None) -> Mbuf:
        if head:
            return await _turn(self.zones.mbuf, lambda: self.gethdr(M_NOWAIT, type), deadline)
        return await _turn(self.zones.mbuf, lambda: self.get(M_NOWAIT, type), deadline)


async def _turn(zone: Zone, ask: Callable[[], _Got], deadline: float | None) -> _Got:
    """What `ask` returns, as soon as the zone has what it needs."""
    try:
        return ask()
    except (NoBufs, NoMemory):
        pass
    loop = asyncio.get_running_loop()
    while True:
        granted: asyncio.Future[None] = loop.create_future()
        turn = Turn(zone, partial(_wake, loop, granted))
        try:
            async with asyncio.timeout(left(deadline)):
                await granted
            return turn.use(ask)
        except TimeoutError:
            raise zone.denied() from None
        except (NoBufs, NoMemory):
            # It needs more than its turn was for.
            continue
        finally:
            turn.leave()


def _wake(loop: asyncio.AbstractEventLoop, granted: asyncio.Future[None]) -> bool:
    """Tell who waits in a loop, from any thread; false if nobody does any more."""
    if granted.done():
        return False
    try:
        loop.call_soon_threadsafe(_grant, granted)
    except RuntimeError:
        return False
    return True


def _grant(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_result(None)
