"""The allocation calls that asyncio tasks wait in.

A task waits at a zone, in the same queue as threads that wait (M_WAITOK): first come, first served.

1. The call is tried once, as with M_NOWAIT, and usually succeeds (`_attempt`).
2. If it is denied, an `AsyncWaiter` enters the queue of what is missing (`Zone.wait_target`): room under the limit
   of the zone, room under the limit of the clusters that its packets take, or pages. Room that becomes free is charged
   to the first in the queue, so that no later request gets it. Pages are not set aside: the first in the queue is only
   woken when there may be some.
3. The event loop wakes the task, and the task tries the call again, now with that charge. This may be denied too: a
   packet takes a cluster and an mbuf, and the wait was for one of them. Then the task enters, at its end, the queue of
   what is missing now.
4. However the wait ends (success, timeout, cancellation), the waiter leaves the queue, and a charge that was not used
   goes to the next in the queue.

A call that takes from two zones one after the other (`agetjcl`, `agetm2`) keeps what it has while it waits for the
rest, as the kernel does, under one deadline. If it is cancelled or times out, it frees all of it. Two such calls can
each hold what the other one needs; a timeout, or any free of another user, ends that.

What a call takes (packet zone or not, a page first or not) is decided by the same functions as where threads wait, in
`allocator` and `chain`; only the waiting is here. A call counts as refused once, when it fails in the end: a try that
was denied and came to wait is no refusal.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.const import M_EOR, M_NOWAIT, M_PKTHDR
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.source import seconds_left
from mbuf.pool import allocator, chain
from mbuf.pool.validate import validate
from mbuf.uma.async_waiter import AsyncWaiter

if TYPE_CHECKING:
    import asyncio
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
    if allocator.is_packet(size):
        return await agetcl(a, type, flags, deadline)
    zone = a.zones.of_size(size)
    whole = _attempt(a, lambda: allocator.jumbo(a, zone, M_NOWAIT, type, flags, None))
    if whole is not None:
        return whole
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
            m = await _next(a, size, type, head, deadline)
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


async def _next(a: Allocator, size: int, type: int, head: int, deadline: float | None) -> Mbuf:
    """The next mbuf of a chain that is to hold `size` bytes more."""
    m = chain.try_page(a, size, type, head)
    if m is not None:
        return m
    if chain.needs_cluster(size):
        return await agetcl(a, type, head, deadline)
    return await aget(a, type, head, deadline)


def _attempt(a: Allocator, request: Callable[[], _Got]) -> _Got | None:
    """What `request` returns; None where it is denied, which doesn't count as refused."""
    refused = a.refused
    try:
        return request()
    except (NoBufs, NoMemory):
        a.refused = refused
        return None


async def _wait(a: Allocator, zone: Zone, request: Callable[[], _Got], deadline: float | None) -> _Got:
    """What `request` returns, as soon as the zone has what it needs."""
    got = _attempt(a, request)
    if got is not None:
        return got
    # Imported here: a program without an event loop does not need asyncio.
    import asyncio

    while got is None:
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        waiter = AsyncWaiter(zone, partial(_wake, loop, granted))
        try:
            async with asyncio.timeout(seconds_left(deadline)):
                await granted
            got = waiter.use(partial(_attempt, a, request))
        except TimeoutError:
            raise allocator.refusal(a, zone) from None
        finally:
            waiter.leave()
    return got


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
