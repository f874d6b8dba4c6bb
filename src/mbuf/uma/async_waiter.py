"""Waiting for an item without blocking a thread.

A task waits in the same queue as threads do, and what it waits for is granted to it in the same way: see waitq.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.uma.budget import Budget
    from mbuf.uma.claim import Claim
    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython

_Got = TypeVar("_Got")


@cython.cclass
class AsyncWaiter:
    """A task that waits for one item of a zone, after the zone has denied it one.

    `wake` is called once, by any thread, after the grant. It must return at once: true if the task still waits. Then
    `use` repeats the request. `leave` must be called at the end in any case.
    """

    __slots__ = ("_call", "_target", "_zone")

    def __init__(self, zone: Zone, wake: Callable[[], bool]) -> None:
        self._zone, self._target = zone.wait_target()
        self._call = None
        if self._target is None:
            raise zone.denied()
        # From here on, an item that is freed is granted to waiters instead of cached.
        self._zone.bypass_caches(1)
        try:
            self._call = self._target.enqueue(wake)
        except BaseException:
            self._zone.bypass_caches(-1)
            raise

    def use(self, ask: Callable[[], _Got]) -> _Got:
        """Return what `ask` returns. There is an item for it now, but it may raise if it needs more than that."""
        got: _Got = self._target.use_grant(self._call, ask)
        return got

    def leave(self) -> None:
        """Stop waiting. A grant that wasn't used goes to the next waiter. Calling it again has no effect."""
        call, self._call = self._call, None
        if call is not None:
            self._zone.bypass_caches(-1)
            self._target.dequeue(call)


@cython.cclass
class MemoryWaiter:
    """The same for a task that waits for memory: `claim` says what for, and has its `wake`. See budget.py."""

    __slots__ = ("_budget", "_claim")

    def __init__(self, budget: Budget, claim: Claim) -> None:
        self._budget = budget
        self._claim = claim
        budget.enqueue(claim)

    def use(self, ask: Callable[[], _Got]) -> _Got:
        """Return what `ask` returns. What the claim says is set aside for it."""
        got: _Got = self._budget.use(self._claim, ask)
        return got

    def leave(self) -> None:
        """Stop waiting. What was granted and isn't used goes to the next waiters. Calling it again has no effect."""
        self._budget.leave(self._claim)
