# cython: cdivision=True
"""What waits for memory in a budget, and what a budget records of its kegs: see budget.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.uma.backend import Backend
from mbuf.uma.waitq import Waiter, Waiters, WaitQ

if not cython.compiled:
    #: Most kegs that share a budget.
    SUPPLIES = 8


@cython.cclass
class Supply(Backend):
    """What a budget records of a keg."""

    __slots__ = ("_free", "_items", "_pages", "_sibling", "favoured", "kept", "number", "promised")

    def __cinit__(self, *_: object) -> None:
        # The next keg of the same budget.
        self._sibling: Supply | None = None
        # Free items in the slabs, items of a slab, and pages of a slab.
        self._free = 0
        self._items = 1
        self._pages = 1
        #: Items that granted claims are to get.
        self.promised = 0
        #: Pages that are reserved for others, and whether some are reserved for this keg.
        self.kept = 0
        self.favoured = False
        #: Index in `Claim.need`; -1 if the keg has no budget.
        self.number = -1

    def has_empty(self) -> bool:
        """True if there are slabs whose pages can be given back."""
        return False

    def grow(self) -> bool:
        """Add a slab; false if there are no pages for it."""
        return False


@cython.cclass
class Claim(Waiter):
    """A call that waits for memory. `seq` and `after` are those of its last claim, if the call waits again."""

    __slots__ = ("after", "entered", "need", "promised", "seq")

    def __init__(self, wake: Callable[[], bool] | None = None, seq: int = 0, after: int = -1) -> None:
        Waiter.__init__(self, wake)
        #: The number of the call, in order of arrival; 0 before it first waits.
        self.seq = seq
        # It isn't granted while the budget's `changes` has this value.
        self.after = after
        self.entered = False
        self.promised = False
        if not cython.compiled:
            self.need = [0] * SUPPLIES

    def add(self, supply: Supply, count: int) -> None:
        """Say that the call needs `count` more items of a keg."""
        if supply is None or supply.number < 0 or not 0 <= count < 1 << 40:
            raise Inval("claim: give a keg of a budget, and a number of items")
        self.need[supply.number] += count


@cython.cclass
class Queue(WaitQ):
    """The queue of a budget. Claims of tasks that have gone are put into `gone`: the next one may need more."""

    __slots__ = ("gone",)

    def __init__(self) -> None:
        WaitQ.__init__(self)
        self.gone = Waiters()

    def _refuse(self, waiter: Waiter) -> None:
        if waiter.granted:
            waiter.granted = False
            self.gone.add(waiter)

    def put_back(self, claim: Claim) -> None:
        """In a commit: add a claim where its number belongs."""
        at: Any = self._queue._first
        while at is not None and cython.cast(Claim, at).seq < claim.seq:
            at = at._next
        self._queue.insert(claim, at)


# Sums over the kegs of a budget; each takes the first one.


def can_keep_promises(s: Supply | None, free: int) -> bool:
    """True if `free` pages suffice for all that is promised."""
    while s is not None:
        if s.promised > s._free:
            if s._pages > 1:
                # Its run may be anywhere.
                return False
            free -= (s.promised - s._free + s._items - 1) // s._items
        s = s._sibling
    return free >= 0


def excess(claim: Claim, s: Supply | None, most: int) -> int:
    """The pages that a claim needs, if they are more than `most` less those that are reserved for others; else 0."""
    pages = kept = 0
    while s is not None:
        if claim.need[s.number]:
            pages += (claim.need[s.number] + s._items - 1) // s._items * s._pages
            kept = max(kept, s.kept)
        s = s._sibling
    return pages if pages > most - kept else 0


def longest_run(claim: Claim, s: Supply | None) -> int:
    """The pages of the longest run that a claim needs."""
    run = 1
    while s is not None:
        if claim.need[s.number]:
            run = max(run, s._pages)
        s = s._sibling
    return run
