"""How many items of a zone there may be, and who waits for one.

Counts items handed out and cached alike. At the limit it warns, rings, and lets those who may wait do so in order of
arrival; an item given back goes to the first in line. Knows neither items nor caches.

Each charge is a commit. A thread that is to wait first has caches bypassed from now on (`bypass_caches`), works off its
release list, and has all caches emptied (`drain_caches`); then, in one commit, it finds room or enters the queue:
what is given back before it is found, what is given back after it is handed to it. For who can't block, a grant comes
as a call, and is spent by the first charge inside `redeem`; what isn't spent goes to the next.
"""

from __future__ import annotations

import logging
from operator import index
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.uma.item import Home
else:
    from mbuf.shadow import cython

from mbuf.const import M_WAITOK
from mbuf.errors import Inval
from mbuf.uma.waitq import Waiter, Waiters, WaitQ

if not cython.compiled:
    from mbuf.uma.waitq import current_thread
    from mbuf.vm.commit import enter_commit, leave_commit, work_off_all

#: Least seconds between two warnings of a zone, unless told otherwise (zone_warnings in uma_core.c).
WARNING_INTERVAL = 300.0

_log = logging.getLogger("mbuf")

_Got = TypeVar("_Got")


def nothing(*_: object) -> None:
    """Where nobody is to be called."""


@cython.cclass
class Warnings:
    """Whether zones at their limit say so, and at most how often each. One for all zones of a pool."""

    __slots__ = ("interval", "on")

    def __init__(self) -> None:
        #: Anything but 0 is yes. See vm.zone_warnings.
        self.on = 1
        #: Least seconds between two warnings of a zone; 0 lets all through.
        self.interval = WARNING_INTERVAL


@cython.cclass
class Limit:
    """See zone_alloc_limit and zone_free_limit in uma_core.c."""

    __slots__ = (
        "_paying",
        "_warned",
        "clock",
        "closed",
        "items",
        "max",
        "moving",
        "name",
        "owner",
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
        # Who was granted a charge, and is about to spend it.
        self._paying = Waiters()

    def __init__(self, name: str, sysctl: str, clock: Callable[[], float]) -> None:
        if not cython.compiled:
            self.__cinit__()
        self.name = name
        #: What sets the limit, for the warning.
        self.sysctl = sysctl
        self.clock = clock
        #: Most items, 0 for no limit.
        self.max = 0
        #: Items charged, `moving` of them on their way between a backend and whoever is to have them.
        self.items = 0
        self.moving = 0
        #: How often somebody waited, and how many warnings were kept back.
        self.sleeps = 0
        self.suppressed = 0
        #: True when nobody is to wait any more.
        self.closed = False
        #: Called at each hit of the limit; must not block.
        self.on_limit: Callable[[], object] = nothing
        #: The zone, which is told when somebody waits.
        self.owner: Home | None = None
        # When it was warned last.
        self._warned = float("-inf")

    def set(self, maximum: int) -> None:
        """Let there be at most `maximum` items, and let those in who fit now. See uma_zone_set_max."""
        most = index(maximum)
        if not 0 < most < 1 << 62:
            raise Inval(f"limit {maximum} of {self.name}: give 1 or more")
        self.max = most
        self.uncharge(0)

    def charge(self, count: int, how: int, deadline: float | None) -> int:
        """Charge up to `count` items; how many there was room for. With M_WAITOK, waits for room for one."""
        room = self._charge(count)
        if room:
            return room
        self._warn()
        self.on_limit()
        return self._sleep(deadline) if how == M_WAITOK else 0

    def _charge(self, count: int) -> int:
        enter_commit()
        try:
            if self._paying.count and self._spend():
                return 1
            room = self._room(count)
            self.items += room
            self.moving += room
            return room
        finally:
            leave_commit()

    def _spend(self) -> bool:
        """In a commit: true once, when this thread's next charge is paid already."""
        thread = current_thread()
        call = self._paying._first
        while call is not None and call.thread != thread:
            call = call._behind
        if call is not None:
            self._paying.remove(call)
        return call is not None

    def _room(self, count: int) -> int:
        """In a commit: for how many items there is room."""
        if not self.max or self.closed:
            return count
        if self.waiters._line.count:
            return 0
        return max(min(count, self.max - self.items), 0)

    def uncharge(self, count: int) -> None:
        """Take `count` items off that were on their way, or hand their room to those who wait."""
        enter_commit()
        try:
            self.take_off(count)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.tell()

    def take_off(self, count: int) -> None:
        """In a commit: `uncharge`; `tell` follows."""
        self.items -= count
        self.moving -= count
        while (not self.max or self.closed or self.items < self.max) and self.waiters.pass_on():
            self.items += 1
            self.moving += 1

    def tell(self) -> None:
        """Call those who can't block and were granted a charge; what they don't want is for the next."""
        failure: BaseException | None = None
        while self.waiters._waking.count:
            try:
                self.waiters.wake()
            except BaseException as error:  # kept, and raised below
                failure = failure or error
            enter_commit()
            try:
                unwanted = self.waiters.unwanted
                self.waiters.unwanted = 0
                self.take_off(unwanted)
            finally:
                leave_commit()
        if failure is not None:
            raise failure

    def dismiss(self) -> None:
        """Let everybody who waits go on, now and later, room or not: there will be no more."""
        self.closed = True
        self.uncharge(0)

    def _sleep(self, deadline: float | None) -> int:
        # From here on nothing that is freed stays in a cache, where nobody would be woken for it.
        owner = self.owner
        if owner is not None:
            owner.bypass_caches(1)
        try:
            work_off_all()
            if owner is not None:
                owner.drain_caches()
            waiter = Waiter()
            enter_commit()
            try:
                got = self._room(1) > 0
                if got:
                    self.items += 1
                    self.moving += 1
                else:
                    self.waiters.add(waiter)
                    self.sleeps += 1
            finally:
                leave_commit()
            return 1 if got else self._wait(waiter, deadline)
        finally:
            if owner is not None:
                owner.bypass_caches(-1)

    def _wait(self, waiter: Waiter, deadline: float | None) -> int:
        granted = False
        try:
            granted = self.waiters.wait(waiter, deadline)
        finally:
            if not granted:
                self._hand_on(waiter)
        return int(granted)

    def _hand_on(self, waiter: Waiter) -> None:
        """Leave the line. What was granted all the same is for the next."""
        enter_commit()
        try:
            if not self.waiters.drop(waiter) and waiter.granted:
                waiter.granted = False
                self.take_off(1)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.tell()

    # For who can't block.

    @property
    def reached(self) -> bool:
        """True when there is no room."""
        return self.max > 0 and (self.items >= self.max or self.waiters._line.count > 0)

    def enlist(self, wake: Callable[[], bool]) -> Waiter:
        """Stand in line for room for one: it is charged when `wake` is called. Ends with `leave`."""
        call = Waiter(wake)
        owner = self.owner
        if owner is not None:
            owner.bypass_caches(1)
        try:
            work_off_all()
            if owner is not None:
                owner.drain_caches()
        except BaseException:
            if owner is not None:
                owner.bypass_caches(-1)
            raise
        enter_commit()
        try:
            self.waiters.add(call)
            self.sleeps += 1
            self.take_off(0)
        finally:
            leave_commit()
        try:
            self.tell()
        except BaseException:
            self.leave(call)
            raise
        return call

    def leave(self, call: Waiter) -> None:
        """Stand in line no more. A grant that came, and wasn't used, is for the next."""
        if call is None:
            raise TypeError("leave: nobody stands in line")
        owner = self.owner
        if owner is not None:
            owner.bypass_caches(-1)
        self._hand_on(call)

    def redeem(self, call: Waiter, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`, whose first charge here is that of the grant; what it doesn't need is for the next in line."""
        if call is None:
            raise TypeError("redeem: nobody stands in line")
        enter_commit()
        try:
            paying = call.granted and call._list is None
            if paying:
                call.granted = False
                call.thread = current_thread()
                self._paying.add(call)
        finally:
            leave_commit()
        try:
            return ask()
        finally:
            if paying:
                self._end_paying(call)

    def _end_paying(self, call: Waiter) -> None:
        enter_commit()
        try:
            if call._list is self._paying:
                self._paying.remove(call)
                self.take_off(1)
        finally:
            leave_commit()
        if self.waiters._waking.count:
            self.tell()

    def forked(self) -> None:
        """In the child of a fork: threads that waited aren't here."""
        enter_commit()
        count = self.waiters.forked()
        leave_commit()
        if self.owner is not None:
            self.owner.bypass_caches(-count)

    def _warn(self) -> None:
        now = self.clock()
        if not self.warnings.on or now < self._warned + self.warnings.interval:
            self.suppressed += 1
            return
        self._warned = now
        _log.warning("[zone: %s] %s limit reached", self.name, self.sysctl)

    def contradiction(self, items: int) -> str:
        """What can't be right where so many items have arrived, "" if all may be."""
        if items + self.moving != self.items:
            return f"{self.items} items are charged, {self.moving} of them on their way, and there are {items}"
        if self._paying.count:
            return "a charge that was granted is not spent, nor handed on"
        if self.waiters._line.count and not self.closed and (not self.max or self.items < self.max):
            return "somebody waits, and there is room"
        return self.waiters.contradiction()
