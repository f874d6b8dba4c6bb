"""The calls that wait for memory in a pool with a budget: for all that the call needs, at once.

A call is tried first, as with M_NOWAIT. If it gets too little, it gives back what it got, and enters the budget's queue
with a `Claim` for everything that it needs. When the claim is granted, that is set aside, and the call is tried again,
in the same thread or task. So a call holds nothing while it waits, two calls never wait for each other's mbufs, and a
large request isn't overtaken by small ones.

A kind's own limit (`limits={...}`) has a queue of its own: a call that it denies waits there for one item after the
other, as in a pool with FreeBSD's limits, and only then for memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from mbuf.const import M_NOWAIT, M_WAITOK
from mbuf.errors import NoBufs, NoMemory, PoolFull
from mbuf.uma.claim import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.pool.allocator import Allocator
    from mbuf.uma.item import Item
    from mbuf.uma.zone import Zone

_Got = TypeVar("_Got")


#: What a call needs: zones, and how many items of each.
Needs = tuple[tuple[Any, int], ...]


def claim_for(needs: Needs, wake: Callable[[], bool] | None, seq: int, after: int) -> Claim:
    """A claim for items of zones."""
    claim = Claim(wake, seq, after)
    for zone, count in needs:
        zone.backend.claim(claim, count)
    return claim


def item(a: Allocator, zone: Zone, deadline: float | None) -> Item | None:
    """An item of a zone, as soon as there is memory for it; None after the deadline."""
    got: Any = None
    seq = 0
    after = -1
    while got is None:
        claim = claim_for(((zone, 1),), None, seq, after)
        if not a.budget.acquire(claim, deadline):
            return None
        seen = a.budget.changes
        try:
            got = zone.alloc(M_NOWAIT, None)
        finally:
            a.budget.leave(claim)
        if got is None and zone.limiter.reached:
            got = zone.alloc(M_WAITOK, deadline)
            if got is None and zone.limiter.reached:
                break
        seq = claim.seq
        after = a.budget.retry_after(seen)
    found: Item | None = got
    return found


def call(a: Allocator, needs: Needs, ask: Callable[[int], _Got], deadline: float | None) -> _Got:
    """What `ask(M_NOWAIT)` returns, as soon as there is memory for it.

    Where a kind is at its limit, it is what `ask(M_WAITOK)` returns, which waits for one item after the other.
    """
    refused = a.refused
    claim: Any = None
    seen = 0
    try:
        return ask(M_NOWAIT)
    except (NoBufs, NoMemory) as error:
        full = isinstance(error, PoolFull)
    while full:
        claim = claim_for(
            needs, None, 0 if claim is None else claim.seq, -1 if claim is None else a.budget.retry_after(seen)
        )
        a.refused = refused
        if not a.budget.acquire(claim, deadline):
            a.refused += 1
            raise a.budget.denied(claim)
        seen = a.budget.changes
        try:
            return ask(M_NOWAIT)
        except (NoBufs, NoMemory) as error:
            full = isinstance(error, PoolFull)
        finally:
            a.budget.leave(claim)
    a.refused = refused
    return ask(M_WAITOK)
