"""The allocation calls that asyncio tasks wait in.

A task waits in the zone's queue, together with threads that wait (M_WAITOK), first come, first served. Cancelled,
a call holds nothing: what it was just given goes to the next in the queue.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.const import M_EOR, M_NOWAIT, M_PKTHDR, MCLBYTES, MINCLSIZE
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.source import left
from mbuf.pool import allocator
from mbuf.pool.validate import validate
from mbuf.uma.async_waiter import AsyncWaiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.allocator import Allocator
    from mbuf.uma.zone import Zone

_Got = TypeVar("_Got")


async def aget(a: Allocator, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`get`, as soon as there is one."""
    validate(M_NOWAIT, type, flags)
    return await _wait(a, a.zones.mbuf, lambda: allocator.get(a, M_NOWAIT, type, flags, None), deadline)


async def agetcl(a: Allocator, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`getcl`, as soon as there is one."""
    validate(M_NOWAIT, type, flags)
    return await _wait(a, a.zones.pack, lambda: allocator.getcl(a, M_NOWAIT, type, flags, None), deadline)


async def agetjcl(a: Allocator, type: int, flags: int, size: int, deadline: float | None) -> Mbuf:
    """`getjcl`: waits until there is an mbuf, and then until there is a cluster for it."""
    validate(M_NOWAIT, type, flags)
    zone = a.zones.of_size(size)
    if zone is a.zones.clust:
        return await agetcl(a, type, flags, deadline)
    refused = a.refused
    try:
        return allocator.getjcl(a, M_NOWAIT, type, flags, size, None)
    except (NoBufs, NoMemory):
        a.refused = refused
    m = await aget(a, type, flags, deadline)
    try:
        await _wait(a, zone, lambda: allocator.cljget(a, m, size, M_NOWAIT, None), deadline)
    except BaseException:
        m.free()
        raise
    return m


async def agetm2(a: Allocator, size: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`getm2` of a new chain: waits for one mbuf after the other, and holds those that it has."""
    validate(M_NOWAIT, type, flags)
    if size <= 0:
        raise Inval(f"agetm2: len {size}: ask for at least 1 byte")
    first: Any = None
    last: Any = None
    head = flags & M_PKTHDR
    try:
        while size > 0:
            m = await _largest(a, size, type, head, deadline)
            size -= m.size
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


async def _largest(a: Allocator, size: int, type: int, head: int, deadline: float | None) -> Mbuf:
    """The next mbuf of a chain that is to hold `size` bytes more."""
    if size > MCLBYTES:
        refused = a.refused
        try:
            return allocator.jumbo(a, a.zones.jumbop, M_NOWAIT, type, head, None)
        except (NoBufs, NoMemory):
            a.refused = refused
    if size >= MINCLSIZE:
        return await agetcl(a, type, head, deadline)
    return await aget(a, type, head, deadline)


async def _wait(a: Allocator, zone: Zone, ask: Callable[[], _Got], deadline: float | None) -> _Got:
    """What `ask` returns, as soon as the zone has what it needs."""
    refused = a.refused
    try:
        return ask()
    except (NoBufs, NoMemory):
        a.refused = refused
    loop = asyncio.get_running_loop()
    while True:
        granted: asyncio.Future[None] = loop.create_future()
        turn = AsyncWaiter(zone, partial(_wake, loop, granted))
        try:
            async with asyncio.timeout(left(deadline)):
                await granted
            refused = a.refused
            return turn.use(ask)
        except TimeoutError:
            raise allocator.refusal(a, zone) from None
        except (NoBufs, NoMemory):
            # It needs more than its turn was for.
            a.refused = refused
        finally:
            turn.leave()


def _wake(loop: asyncio.AbstractEventLoop, granted: asyncio.Future[None]) -> bool:
    """Tell a task that waits in a loop, from any thread; false if it does so no more."""
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
