# cython: cdivision=True
"""The budget of a pool: memory that all its zones share, and the one queue of the calls that wait for it.

    queue:    A -> B -> C    `Claim`s (claim.py) in order of arrival, whatever their zone and size
    granted:  X, Y           claims whose items are `promised`, until their calls end
    supplies: keg -> keg     what is free and promised of each keg; the rest is free pages of the Vm

Taking back
1. A keg that finds no item and no page calls `take_back`. If caches or empty slabs hold anything, the caches of all
   zones are emptied, in the same call, and the keg tries once more. If they hold nothing, this only reads some counts.
2. Each item that is taken back was cached by one free, or by an import. After `take_back`, imports begin with one item,
   and double (`batch`). So two zones that take pages from each other in turn cost each request a bounded time.

Waiting
1. A claim says how many items of which kegs its call needs. It is granted when all of them can be had: as free items
   that are not promised, or as slabs of free pages.
2. Only the first claim of the queue can be granted, so that small ones don't overtake a large one. While a claim is
   queued, calls that have no grant get nothing.
3. A grant is a commit, and promises the items. Kegs give other threads only the rest (`access`); the call that has the
   grant takes freely, until `leave`.
4. `enqueue` first makes freed items bypass all caches, then takes back what is cached, and then, in one commit, enters
   the queue and grants what fits. From then on each item that is given to a keg calls `freed`, which grants the first
   claims that fit. So no free is missed.
5. If a call gets less than it claimed (user code took it meanwhile), it enters the queue again with its old number, in
   front of those that came later, and is granted after something else was freed (`after`).
6. `leave` ends every wait: it takes the claim out of the queue, or gives its promise up, and grants the next ones.

`Supply.kept` pages are reserved for other kegs. A keg for which pages are reserved may take while others wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.errors import MbufError
    from mbuf.vm.vm import Vm
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval
from mbuf.uma.claim import Claim, Queue, Supply
from mbuf.uma.counters import Counters
from mbuf.uma.waitq import Waiters

if not cython.compiled:
    from mbuf.uma.claim import SUPPLIES, can_keep_promises, excess, longest_run
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import enter_commit, leave_commit, run_all_releases

    # What a thread may take: everything, what isn't promised, or nothing.
    ALL, SPARE, NOTHING = range(3)

_Got = TypeVar("_Got")

#: Most items that a zone imports at once, as in the largest bucket.
_BATCH = 256


@cython.cclass
class Budget:
    """The memory of a pool, which all its zones share.

    `error` returns the exception for a request that found nothing; `on_shortage` is called then, and must not block.
    """

    __slots__ = (
        "_active",
        "_batch",
        "_first",
        "_next_seq",
        "_number",
        "_queue",
        "_refusing",
        "_run_claim",
        "_run_sweeps",
        "changes",
        "closed",
        "error",
        "granted",
        "on_shortage",
        "taken_back",
        "vm",
        "waits",
        "zones",
    )

    def __cinit__(self, *_: object) -> None:
        self._queue = Queue()
        # Granted claims whose call is running, each in its thread.
        self._active = Waiters()

    def __init__(self, vm: Vm, error: Callable[..., MbufError], on_shortage: Callable[[], object]) -> None:
        if not cython.compiled:
            self.__cinit__()
        self.vm = vm
        self.error = error
        self.on_shortage = on_shortage
        #: The zones whose caches are taken back.
        self.zones: tuple[Counters, ...] = ()
        #: How often something was freed or given up, and how often a call has waited.
        self.changes = 0
        self.waits = 0
        #: How often caches were taken back, and how many claims are granted and have not ended.
        self.taken_back = self.granted = 0
        #: True after `close`.
        self.closed = False
        self._first: Supply | None = None
        self._number = 0
        self._next_seq = 0
        self._batch = _BATCH
        # Where the first claim found no run last: there is none until pages were swept again.
        self._run_claim = self._run_sweeps = 0
        vm.freed.register(self.freed)

    def add(self, supply: Supply) -> None:
        """Add what is recorded of a keg. See `Keg.join`."""
        if supply is None or supply.number >= 0 or self._number == SUPPLIES:
            raise Inval("budget: give a keg that has none")
        supply.number = self._number
        self._number += 1
        supply._sibling = self._first
        self._first = supply

    @property
    def waiting(self) -> int:
        """How many calls are in the queue."""
        return len(self._queue)

    # What kegs ask.

    def access(self, supply: Supply) -> int:
        """What the calling thread may take from a keg: ALL, SPARE or NOTHING."""
        if not self._queue._queue.count and not self.granted:
            return ALL
        if self._is_active():
            return ALL
        return NOTHING if self._queue._queue.count and not supply.favoured else SPARE

    def _is_active(self) -> bool:
        """True if the calling thread has a grant."""
        enter_commit()
        try:
            thread = current_thread()
            claim: Any = self._active._first
            while claim is not None and claim.thread != thread:
                claim = claim._next
            return claim is not None
        finally:
            leave_commit()

    def may_grow(self, supply: Supply, access: int) -> bool:
        """True if a keg may take pages for one more slab, and enough are left for what is promised and reserved."""
        free = self.vm.map.pages - self.vm.map.used - supply._pages
        if free < supply.kept:
            return False
        return access == ALL or can_keep_promises(self._first, free)

    def batch(self, count: int) -> int:
        """How many items a zone may import at once, if it asks for `count`: fewer, the less memory is free."""
        if self._queue._queue.count or self.granted:
            return 1
        most = min(self._batch, 1 + ((self.vm.map.pages - self.vm.map.used) >> 3))
        self._batch = min(self._batch * 2, _BATCH)
        return min(count, most)

    def take_back(self) -> bool:
        """Take back all that the zones cache; false if that is nothing."""
        cached: bool = False
        for zone in self.zones:
            cached = cached or cython.cast(Counters, zone).has_cached()
        s: Any = self._first
        while s is not None:
            if s.has_empty():
                cached = True
            s = s._sibling
        if not cached:
            return False
        self._batch = 1
        self.taken_back += 1
        for zone in self.zones:
            cython.cast(Counters, zone).drain_caches()
        s = self._first
        while s is not None:
            s.drain()
            s = s._sibling
        return True

    def freed(self) -> None:
        """Something was freed: grant the first claims that fit now."""
        self.changes += 1
        if self._queue._queue.count:
            self.serve()

    # Waiting.

    def excess(self, claim: Claim) -> int:
        """The pages that a claim needs, if they are more than there are; else 0."""
        return excess(claim, self._first, self.vm.map.pages)

    def acquire(self, claim: Claim, deadline: float | None) -> bool:
        """Wait until a claim is granted to the calling thread. After true, call `leave`.

        False after the deadline, and at once if it needs more than there is.
        """
        if self.excess(claim):
            return False
        self.enqueue(claim)
        granted = False
        try:
            granted = self._queue.wait(claim, deadline)
        finally:
            if not granted:
                self.leave(claim)
        if granted:
            self._prepare(claim)
        return granted

    def _prepare(self, claim: Claim) -> None:
        """Take the runs of pages that were granted, before a single page is taken out of one."""
        s: Any = self._first
        while s is not None:
            if s._pages > 1 and claim.need[s.number]:
                while s._free < s.promised and s.grow():
                    pass
            s = s._sibling

    def denied(self, claim: Claim) -> MbufError:
        """The error for a claim that wasn't granted."""
        run = longest_run(claim, self._first)
        error: MbufError = self.error(run, self.excess(claim))
        return error

    def enqueue(self, claim: Claim) -> None:
        """Enter the queue without blocking; a task's function is called after the grant. Ends with `leave`."""
        self._bypass(1)
        try:
            run_all_releases()
            self.take_back()
        except BaseException:
            self._bypass(-1)
            raise
        enter_commit()
        try:
            if not claim.seq:
                self._next_seq += 1
                claim.seq = self._next_seq
                self.waits += 1
            claim.thread = current_thread()
            claim.entered = True
            self._queue.put_back(claim)
            self._grant()
        finally:
            leave_commit()
        try:
            self._wake()
        except BaseException:
            self.leave(claim)
            raise

    def use(self, claim: Claim, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`, which may take what was granted."""
        enter_commit()
        try:
            if claim.promised and claim._list is None:
                claim.thread = current_thread()
                self._active.add(claim)
        finally:
            leave_commit()
        self._prepare(claim)
        return ask()

    def leave(self, claim: Claim) -> None:
        """End a wait and its grant, and grant the next claims. Calling it again has no effect."""
        enter_commit()
        try:
            entered = claim.entered
            claim.entered = False
            if entered:
                self._queue.remove(claim)
                self._end(claim)
        finally:
            leave_commit()
        if entered:
            self._bypass(-1)
            self.freed()

    def _end(self, claim: Claim) -> None:
        """In a commit: a claim that isn't in the queue has ended: give its promise up."""
        if claim._list is self._active:
            self._active.remove(claim)
        if claim.promised:
            claim.promised = False
            self.granted -= 1
            s: Any = self._first
            while s is not None:
                s.promised -= claim.need[s.number]
                s = s._sibling

    def retry_after(self, seen: int) -> int:
        """The `after` of a call that left, having found too little since `changes` was `seen`."""
        return self.changes if self.changes == seen + 1 else -1

    def serve(self) -> None:
        """Grant the first claims that fit."""
        s: Any = self._first
        while s is not None:
            s.drain()
            s = s._sibling
        enter_commit()
        try:
            self._grant()
        finally:
            leave_commit()
        self._wake()

    def _grant(self) -> None:
        """In a commit: grant the first claims that fit. The caller calls `_wake` after the commit."""
        while self._queue._queue.count:
            claim = cython.cast(Claim, self._queue._queue._first)
            if not self.closed and (claim.after == self.changes or not self._fits(claim)):
                return
            self._queue.grant_next()
            claim.promised = True
            self.granted += 1
            s: Any = self._first
            while s is not None:
                s.promised += claim.need[s.number]
                s = s._sibling
            if claim._list is None:
                # A thread. A task comes with `use`.
                self._active.add(claim)

    def _fits(self, claim: Claim) -> bool:
        """In a commit: true if a claim can be granted, beside all that is promised."""
        pages = kept = runs = length = 0
        s: Any = self._first
        while s is not None:
            missing = s.promised + claim.need[s.number] - s._free
            if missing > 0:
                slabs = (missing + s._items - 1) // s._items
                pages += slabs * s._pages
                if claim.need[s.number] and s.kept > kept:
                    kept = s.kept
                if s._pages > 1:
                    if runs:
                        # Runs of two lengths may be in each other's way.
                        return False
                    runs = slabs
                    length = s._pages
            s = s._sibling
        if pages > self.vm.map.pages - self.vm.map.used - kept:
            return False
        if not runs:
            return True
        if self._run_claim == claim.seq and self._run_sweeps == self.vm.map.sweeps:
            return False
        if self.vm.map.runs(length) >= runs:
            return True
        self._run_claim = claim.seq
        self._run_sweeps = self.vm.map.sweeps
        return False

    def _wake(self) -> None:
        """Call the functions of granted tasks. What was granted to one that has gone is given up."""
        failure: BaseException | None = None
        while self._queue._waking.count:
            try:
                self._queue.wake()
            except BaseException as error:  # kept, and raised below
                failure = failure or error
            while self._queue.gone.count:
                self._end_gone()
        if failure is not None:
            raise failure

    def _end_gone(self) -> None:
        """End the claim of a task that has gone."""
        enter_commit()
        try:
            claim = cython.cast(Claim, self._queue.gone._first)
            self._queue.gone.remove(claim)
            entered = claim.entered
            claim.entered = False
            self._end(claim)
            self.changes += 1
            self._grant()
        finally:
            leave_commit()
        if entered:
            self._bypass(-1)

    def _bypass(self, change: int) -> None:
        """Add to the number of those for which freed items bypass the caches."""
        for zone in self.zones:
            cython.cast(Counters, zone).bypass_caches(change)

    def close(self) -> None:
        """Grant all claims, which then find the pool closed."""
        self.closed = True
        try:
            self.serve()
        finally:
            self.vm.freed.forget(self.freed)
            # They refer to the pool's parts, and those to this.
            self.error = self.on_shortage = _closed
            self.zones = ()
            while self._first is not None:
                self._first.promised = 0
                self._first = self._first._sibling

    def forked(self) -> None:
        """In the child of a fork: drop the claims of other threads, which don't exist here."""
        enter_commit()
        try:
            count = self._queue.forked()
            thread = current_thread()
            claim: Any = self._active._first
            while claim is not None:
                following: Any = claim._next
                if claim.thread != thread:
                    self._end(claim)
                    count += 1
                claim = following
        finally:
            leave_commit()
        self._bypass(-count)
        self.freed()

    def contradiction(self) -> str:
        """In a commit: the first contradiction, or ""."""
        s: Any = self._first
        while s is not None:
            if s.promised < 0 or (s.promised and not self.granted):
                return f"{s.promised} items are promised, and {self.granted} requests have a grant"
            s = s._sibling
        first: Any = self._queue._queue._first
        if first is not None and first.after != self.changes and self._fits(first):
            return "a request waits for memory, and there is enough"
        return self._queue.contradiction()


def _closed(*_: object) -> Any:
    """The functions of a closed budget."""
    return Inval("this pool is closed")
