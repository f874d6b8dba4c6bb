"""The limit of a zone: how many items there may be, and how requests wait for one. See zone_alloc_limit in uma_core.c.

    items = handed out + in caches + in_transit        at most `max` (0: no limit)
    waiters: first -> second -> ...                    requests that wait, in order of arrival (waitq.py)
    _prepaid                                           grants of tasks that are being used now

An item is *charged* before the backend makes it, and uncharged after the backend has taken it back. So cached items
count too. `in_transit` are charged items that are in a bucket between two places, or not made yet; an audit needs it,
because it counts the items that have arrived.

Rules
1. Each change is a commit: `charge`, `uncharge`, entering and leaving the queue. There is no lock, and a thread that
   waits holds none. The logger, `on_limit`, `drain_caches` and the `wake` functions are called outside of commits.
2. While requests wait, a new request finds no room: no request overtakes a waiter.
3. `uncharge` hands the room that it makes to the first waiter, in the same commit: the item is charged again, for the
   waiter, and the waiter is *granted*. So there is never room while a request waits.

Waiting (`_sleep`, and `enqueue` for tasks)
1. `bypass_caches(1)`: from now on, an item that is freed goes to the backend, and is uncharged.
2. `run_all_releases`: what this thread has still to release may hold items.
3. `drain_caches`: the items that were cached before step 1 go to the backend, and are uncharged.
4. In one commit: take the room if there is some, else enter the queue. (A task enters it in any case; if there is
   room, the same commit grants it.)
5. Wait for the grant. Then `bypass_caches(-1)`.
No item is missed: one that was freed before step 1 is in a cache, and step 3 turns it into room; one that is freed
before step 4 makes room, which step 4 finds; one that is freed later goes to a waiter by rule 3. (A bucket that another
thread was filling before step 4 may still get into that thread's cache, as in the kernel.)

Giving up. A deadline, or an exception of a signal handler, takes the waiter out of the queue in a commit. If that
commit finds that the waiter is granted already, then the deadline is ignored; after an exception the grant goes to the
next waiter, by `_uncharge(1)`.

Tasks. An asyncio task can't block. After the commit, the thread that made the room calls `wake` for its
grant. If `wake` returns false, the task has gone, and the next waiter gets the grant. Else the task repeats its request
inside `use_grant`: the first charge of the same thread there is prepaid. If there was no charge, the grant goes to the
next waiter.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.errors import MbufError
    from mbuf.uma.item import ItemOwner
else:
    from mbuf.shadow import cython

from mbuf.const import M_WAITOK
from mbuf.errors import Inval
from mbuf.uma.waitq import Waiter, Waiters, WaitQ
from mbuf.vm.log_errors import log

if not cython.compiled:
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import enter_commit, leave_commit, run_all_releases

#: Least seconds between two warnings of a zone by default. See zone_warnings in uma_core.c.
WARNING_INTERVAL = 300.0

_Got = TypeVar("_Got")


def nothing(*_: object) -> None:
    """The `on_limit` of a zone that has none."""


@cython.cclass
class Warnings:
    """Whether a pool logs that a limit is reached or memory is out, and how often. One object for all its zones."""

    __slots__ = ("_warned", "interval", "on")

    def __init__(self) -> None:
        #: 0 for no warnings. See vm.zone_warnings.
        self.on = 1
        #: Least seconds between two warnings of a zone, and between two that memory is out.
        self.interval = WARNING_INTERVAL
        # The time of the last warning that memory is out.
        self._warned = float("-inf")

    def no_memory(self, error: MbufError, now: float) -> None:
        """Log that there is no memory, as the error says it."""
        interval = self.interval
        if self.on and now >= self._warned + interval:
            self._warned = now
            log("warning", f"%s; {_CONSEQUENCE}", error, logger="mbuf.pool")


#: The end of a warning.
_CONSEQUENCE = "requests are refused, or wait, until something is freed"


@cython.cclass
class Limit:
    """The limit of one zone, and the requests that wait at it."""

    __slots__ = (
        "_prepaid",
        "_warned",
        "clock",
        "closed",
        "items",
        "max",
        "in_transit",
        "name",
        "zone",
        "on_limit",
        "sleeps",
        "suppressed",
        "sysctl",
        "waiters",
        "warnings",
    )

    def __cinit__(self, *_: object) -> None:
        self.waiters = WaitQ()
        self.warnings = Warnings()
        # The granted waiters whose request is running in `use_grant`.
        self._prepaid = Waiters()

    def __init__(self, name: str, sysctl: str, clock: Callable[[], float]) -> None:
        if not cython.compiled:
            self.__cinit__()
        self.name = name
        #: The name of the sysctl that sets the limit, for the warning.
        self.sysctl = sysctl
        self.clock = clock
        #: Most items, 0 for no limit.
        self.max = 0
        #: Items charged; `in_transit` of them are not in a cache, nor handed out.
        self.items = 0
        self.in_transit = 0
        #: How many requests have waited, and how many warnings were suppressed.
        self.sleeps = 0
        self.suppressed = 0
        #: True after `close`.
        self.closed = False
        #: Called each time a request finds no room; must not block.
        self.on_limit: Callable[[], object] = nothing
        #: The zone, whose caches are drained and bypassed while a request waits.
        self.zone: ItemOwner | None = None
        # The time of the last warning.
        self._warned = float("-inf")

    def set(self, maximum: int) -> None:
        """Set the limit, and grant the waiters for which there is room now. See uma_zone_set_max."""
        most = index(maximum)
        if not 0 < most < 1 << 62:
            raise Inval(f"limit {maximum} of {self.name}: give 1 or more")
        self.max = most
        self.uncharge(0)

    def charge(self, count: int, how: int, deadline: float | None) -> int:
        """Charge up to `count` items; returns how many. If there is no room, M_WAITOK waits for room for one."""
        room = self._charge(count)
        if room:
            return room
        self._warn()
        self.on_limit()
        return self._sleep(deadline) if how == M_WAITOK else 0

    def _charge(self, count: int) -> int:
        enter_commit()
        try:
            if self._prepaid.count and self._use_prepaid():
                return 1
            room = self._room(count)
            self.items += room
            self.in_transit += room
            return room
        finally:
            leave_commit()

    def _use_prepaid(self) -> bool:
        """In a commit: use the prepaid charge of this thread; false if it has none."""
        thread = current_thread()
        call = self._prepaid._first
        while call is not None and call.thread != thread:
            call = call._next
        if call is not None:
            self._prepaid.remove(call)
        return call is not None

    def _room(self, count: int) -> int:
        """In a commit: the number of items, up to `count`, for which there is room."""
        if not self.max or self.closed:
            return count
        if self.waiters._queue.count:
            return 0
        return max(min(count, self.max - self.items), 0)

    def uncharge(self, count: int) -> None:
        """Uncharge `count` items that were in transit, and grant their room to waiters."""
        enter_commit()
        try:
            self._uncharge(count)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.wake_granted()

    def _uncharge(self, count: int) -> None:
        """In a commit: `uncharge`. The caller calls `wake_granted` after the commit."""
        self.items -= count
        self.in_transit -= count
        while (not self.max or self.closed or self.items < self.max) and self.waiters.grant_next():
            self.items += 1
            self.in_transit += 1

    def wake_granted(self) -> None:
        """Call the `wake` functions of granted tasks. A grant that a task refuses goes to the next waiter."""
        failure: BaseException | None = None
        while self.waiters._waking.count:
            try:
                self.waiters.wake()
            except BaseException as error:  # kept, and raised below
                failure = failure or error
            enter_commit()
            try:
                refused = self.waiters.refused
                self.waiters.refused = 0
                self._uncharge(refused)
            finally:
                leave_commit()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Grant all waiters, and from now on let every charge through: the zone is closed."""
        self.closed = True
        self.uncharge(0)

    def _sleep(self, deadline: float | None) -> int:
        # From here on, an item that is freed makes room instead of staying in a cache.
        zone = self.zone
        if zone is not None:
            zone.bypass_caches(1)
        try:
            run_all_releases()
            if zone is not None:
                zone.drain_caches()
            waiter = Waiter()
            enter_commit()
            try:
                got = self._room(1) > 0
                if got:
                    self.items += 1
                    self.in_transit += 1
                else:
                    self.waiters.add(waiter)
                    self.sleeps += 1
            finally:
                leave_commit()
            return 1 if got else self._wait(waiter, deadline)
        finally:
            if zone is not None:
                zone.bypass_caches(-1)

    def _wait(self, waiter: Waiter, deadline: float | None) -> int:
        granted = False
        try:
            granted = self.waiters.wait(waiter, deadline)
        finally:
            if not granted:
                self._return_grant(waiter)
        return int(granted)

    def _return_grant(self, waiter: Waiter) -> None:
        """Take a waiter out of the queue. If it was granted meanwhile, the grant goes to the next."""
        enter_commit()
        try:
            if not self.waiters.remove(waiter) and waiter.granted:
                waiter.granted = False
                self._uncharge(1)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.wake_granted()

    # For tasks, which can't block.

    @property
    def reached(self) -> bool:
        """True if there is no room."""
        return self.max > 0 and (self.items >= self.max or self.waiters._queue.count > 0)

    def enqueue(self, wake: Callable[[], bool]) -> Waiter:
        """Wait for room for one item without blocking: when `wake` is called, it is charged. Ends with `dequeue`."""
        call = Waiter(wake)
        zone = self.zone
        if zone is not None:
            zone.bypass_caches(1)
        try:
            run_all_releases()
            if zone is not None:
                zone.drain_caches()
        except BaseException:
            if zone is not None:
                zone.bypass_caches(-1)
            raise
        enter_commit()
        try:
            self.waiters.add(call)
            self.sleeps += 1
            self._uncharge(0)
        finally:
            leave_commit()
        try:
            self.wake_granted()
        except BaseException:
            self.dequeue(call)
            raise
        return call

    def dequeue(self, call: Waiter) -> None:
        """End what `enqueue` began. A grant that wasn't used goes to the next waiter."""
        if call is None:
            raise TypeError("dequeue: give the waiter that enqueue returned")
        zone = self.zone
        if zone is not None:
            zone.bypass_caches(-1)
        self._return_grant(call)

    def use_grant(self, call: Waiter, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`, whose first charge here is prepaid by the grant. An unused grant goes to the next waiter."""
        if call is None:
            raise TypeError("use_grant: give the waiter that enqueue returned")
        enter_commit()
        try:
            prepaid = call.granted and call._list is None
            if prepaid:
                call.granted = False
                call.thread = current_thread()
                self._prepaid.add(call)
        finally:
            leave_commit()
        try:
            return ask()
        finally:
            if prepaid:
                self._end_prepaid(call)

    def _end_prepaid(self, call: Waiter) -> None:
        enter_commit()
        try:
            if call._list is self._prepaid:
                self._prepaid.remove(call)
                self._uncharge(1)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.wake_granted()

    def forked(self) -> None:
        """In the child of a fork: drop the waiting threads, which don't exist here."""
        enter_commit()
        count = self.waiters.forked()
        leave_commit()
        zone = self.zone
        if zone is not None:
            zone.bypass_caches(-count)

    def _warn(self) -> None:
        now = self.clock()
        interval = self.warnings.interval
        if not self.warnings.on or now < self._warned + interval:
            self.suppressed += 1
            return
        self._warned = now
        log(
            "warning",
            f"%s: the limit of %d is reached (%s); {_CONSEQUENCE}",
            self.name,
            self.max,
            self.sysctl,
            logger="mbuf.pool",
            # What the kernel logs.
            extra={"kernel": f"[zone: {self.name}] {self.sysctl} limit reached"},
        )

    def contradiction(self, items: int) -> str:
        """The first contradiction, or "". `items` are handed out, cached or adopted."""
        if items + self.in_transit != self.items:
            return f"{self.items} items are charged, {self.in_transit} of them in transit, and there are {items}"
        if self._prepaid.count:
            return "a prepaid charge was neither used nor returned"
        if self.waiters._queue.count and not self.closed and (not self.max or self.items < self.max):
            return "a request waits, and there is room"
        return self.waiters.contradiction()
