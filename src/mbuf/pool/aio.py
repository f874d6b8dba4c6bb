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

In a pool with a budget, a call waits for all that it takes at once: its `Claim` stands in the budget's queue, and what
it says is set aside when it is granted (uma/budget.py).

In a pool with limits, a call that takes from two zones one after the other (`agetjcl`, `agetm2`) keeps what it has
while it waits for the rest, as the kernel does, under one deadline. If it is cancelled or times out, it frees all of
it. Two such calls can each hold what the other one needs; a timeout, or any free of another user, ends that.

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
from mbuf.pool import allocator, bulk, chain, waiting
from mbuf.pool.validate import validate
from mbuf.uma.async_waiter import AsyncWaiter, MemoryWaiter
from mbuf.uma.limit import Limit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.allocator import Allocator
    from mbuf.pool.waiting import Needs
    from mbuf.uma.zone import Zone

_Got = TypeVar("_Got")


async def aget(a: Allocator, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`get`, as soon as there is one."""
    validate(M_NOWAIT, type, flags)
    needs = ((a.zones.mbuf, 1),)
    return await _one(a, needs, lambda: allocator.get(a, M_NOWAIT, type, flags, None), deadline)


async def agetcl(a: Allocator, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`getcl`, as soon as there is one."""
    validate(M_NOWAIT, type, flags)
    needs = ((a.zones.pack, 1),)
    return await _one(a, needs, lambda: allocator.getcl(a, M_NOWAIT, type, flags, None), deadline)


async def agetjcl(a: Allocator, type: int, flags: int, size: int, deadline: float | None) -> Mbuf:
    """`getjcl`: waits for an mbuf and its cluster, or first for the one and then for the other."""
    validate(M_NOWAIT, type, flags)
    if allocator.is_packet(size):
        return await agetcl(a, type, flags, deadline)
    zone = a.zones.of_size(size)
    needs = bulk.needs(a, 1, size)
    whole = await _whole(a, needs, lambda: allocator.jumbo(a, zone, M_NOWAIT, type, flags, None), deadline)
    if whole is not None:
        return whole
    m = await aget(a, type, flags, deadline)
    try:
        await _one(a, ((zone, 1),), lambda: allocator.cljget(a, m, size, M_NOWAIT, None), deadline)
    except BaseException:
        m.free()
        raise
    return m


async def agetm2(a: Allocator, size: int, type: int, flags: int, deadline: float | None) -> Mbuf:
    """`getm2` of a new chain: waits for all of it, or for one mbuf after the other, and holds those that it has."""
    validate(M_NOWAIT, type, flags)
    if size <= 0:
        raise Inval(f"agetm2: len {size}: ask for at least 1 byte")
    if a.budget is not None:
        needs = chain.needs(a, size, flags)
        made = await _whole(a, needs, lambda: chain.getm2(a, None, size, M_NOWAIT, type, flags, None), deadline)
        if made is not None:
            return made
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


async def _one(a: Allocator, needs: Needs, request: Callable[[], _Got], deadline: float | None) -> _Got:
    """What `request` returns, as soon as the one zone of `needs` has it."""
    got = _attempt(a, request)
    if got is not None:
        return got
    zone = needs[0][0]
    call = _Waiting(a, needs, deadline)
    while got is None:
        got = await call.attempt(zone if a.budget is None or _at_limit(needs) else None, request)
    return got


async def _whole(a: Allocator, needs: Needs, request: Callable[[], _Got], deadline: float | None) -> _Got | None:
    """What `request` returns, as soon as there is memory for all of it; None where it must wait for its parts.

    That is in a pool with FreeBSD's limits, and where a kind is at its own limit.
    """
    got = _attempt(a, request)
    call = _Waiting(a, needs, deadline)
    while got is None and a.budget is not None and not _at_limit(needs):
        got = await call.attempt(None, request)
    return got


def _at_limit(needs: Needs) -> bool:
    """True if one of the zones has no room under its limit."""
    for zone, count in needs:  # noqa: SIM110 (a generator is an object of Python's)
        if count and isinstance(zone.wait_target()[1], Limit):
            return True
    return False


class _Waiting:
    """A call that waits, perhaps several times: it keeps its place in the queue for memory."""

    __slots__ = ("_a", "_after", "_deadline", "_needs", "_seq")

    def __init__(self, a: Allocator, needs: Needs, deadline: float | None) -> None:
        self._a = a
        self._needs = needs
        self._deadline = deadline
        self._seq = 0
        self._after = -1

    async def attempt(self, zone: Zone | None, request: Callable[[], _Got]) -> _Got | None:
        """Wait at a zone, or, for None, for memory; then return what `request` returns, None where it is denied."""
        # Imported here: a program without an event loop does not need asyncio.
        import asyncio

        a = self._a
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        wake = partial(_wake, loop, granted)
        waiter: Any = AsyncWaiter(zone, wake) if zone is not None else self._enqueue(wake)
        seen = 0
        try:
            async with asyncio.timeout(seconds_left(self._deadline)):
                await granted
            if zone is None:
                seen = a.budget.changes
            return waiter.use(partial(_attempt, a, request))  # type: ignore[no-any-return]
        except TimeoutError:
            waiter.leave()
            raise allocator.refusal(a, zone or self._needs[0][0]) from None
        finally:
            waiter.leave()
            if zone is None:
                self._after = a.budget.retry_after(seen)

    def _enqueue(self, wake: Callable[[], bool]) -> MemoryWaiter:
        a = self._a
        claim = waiting.claim_for(self._needs, wake, self._seq, self._after)
        if a.budget.excess(claim):
            a.refused += 1
            raise a.budget.denied(claim)
        waiter = MemoryWaiter(a.budget, claim)
        self._seq = claim.seq
        return waiter


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
