"""How many items of a zone there may be, and who waits for one.

Counts items handed out and cached alike. At the limit it warns, rings, and lets those who may wait do
so in order of arrival; an item given back goes to the first in line. Knows neither items nor caches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

from mbuf.const import M_WAITOK
from mbuf.errors import Inval
from mbuf.uma.waitq import Call, Waiter, WaitQ
from mbuf.vm.lock import Lock

#: Least seconds between two warnings of a zone, unless told otherwise (zone_warnings in uma_core.c).
WARNING_INTERVAL = 300.0

_log = logging.getLogger("mbuf")

_Got = TypeVar("_Got")


def nothing(*_: object) -> None:
    """Where nobody is to be called."""


class Warnings:
    """Whether zones at their limit say so, and at most how often each. One for all zones of a pool."""

    __slots__ = ("interval", "on")

    def __init__(self) -> None:
        #: Anything but 0 is yes. See vm.zone_warnings.
        self.on = 1
        #: Least seconds between two warnings of a zone; 0 lets all through.
        self.interval = WARNING_INTERVAL


class Limit:
    """See zone_alloc_limit and zone_free_limit in uma_core.c."""

    __slots__ = (
        "_lock",
        "_paid",
        "_warned",
        "clock",
        "items",
        "max",
        "name",
        "press",
        "ring",
        "sleeps",
        "suppressed",
        "sysctl",
        "waiters",
        "warnings",
        "wring",
    )

    def __init__(self, name: str, sysctl: str, clock: Callable[[], float]) -> None:
        self.name = name
        #: What sets the limit, for the warning.
        self.sysctl = sysctl
        self.clock = clock
        #: Most items, 0 for no limit.
        self.max = 0
        #: Items charged.
        self.items = 0
        #: How often somebody waited, and how many warnings were kept back.
        self.sleeps = 0
        self.suppressed = 0
        self.waiters = WaitQ()
        self.warnings = Warnings()
        #: Called at each hit of the limit; must not block.
        self.ring: Callable[[], None] = nothing
        #: Called before somebody waits, to squeeze out items cached elsewhere.
        self.wring: Callable[[], None] = nothing
        #: Called with 1 when somebody begins to wait, with -1 when it ends.
        self.press: Callable[[int], None] = nothing
        self._lock = Lock()
        # Threads whose next charge is paid already.
        self._paid: set[int] = set()
        # When it was warned last.
        self._warned = float("-inf")

    def set(self, maximum: int) -> None:
        """Let there be at most `maximum` items, and let those in who fit now. See uma_zone_set_max."""
        if maximum <= 0:
            raise Inval(f"limit {maximum} of {self.name}: give 1 or more")
        self.max = maximum
        self.uncharge(0)

    def charge(self, count: int, how: int, deadline: float | None) -> int:
        """Charge up to `count` items; how many there was room for. With M_WAITOK, waits for room for one."""
        if self._paid and self._spend():
            return 1
        with self._lock:
            room = self._room(count)
            self.items += room
        if room:
            return room
        self._warn()
        self.ring()
        if how != M_WAITOK:
            return 0
        return self._sleep(deadline)

    def _room(self, count: int) -> int:
        if not self.max:
            return count
        if self.waiters:
            return 0
        return max(min(count, self.max - self.items), 0)

    def uncharge(self, count: int) -> None:
        """Take `count` items off, or hand their room to those who wait."""
        if not self._lock.enter():
            self._lock.defer(self.uncharge, count)
            return
        try:
            self.items -= count
            while (not self.max or self.items < self.max) and self.waiters.grant():
                self.items += 1
        finally:
            self._lock.leave()

    def dismiss(self) -> None:
        """Let everybody who waits go on, room or not: there will be no more."""
        with self._lock:
            while self.waiters.grant():
                self.items += 1

    def _sleep(self, deadline: float | None) -> int:
        # From here on nothing that is freed stays in a cache, where nobody would be woken for it.
        self.press(1)
        try:
            self.wring()
            with self._lock:
                if self._room(1):
                    self.items += 1
                    return 1
                waiter = self.waiters.join()
                self.sleeps += 1
            return self._wait(waiter, deadline)
        finally:
            self.press(-1)

    def _wait(self, waiter: Waiter, deadline: float | None) -> int:
        granted = None
        try:
            granted = self.waiters.wait(waiter, deadline)
        finally:
            if granted is None and not self.waiters.quit(waiter):
                # Interrupted, but granted all the same: somebody else may have it.
                self.uncharge(1)
        return int(granted)

    # For who can't block.

    @property
    def reached(self) -> bool:
        """True when there is no room."""
        return self.max > 0 and (self.items >= self.max or len(self.waiters) > 0)

    def enlist(self, wake: Callable[[], bool]) -> Call:
        """Stand in line for room for one: it is charged when `wake` is called. See `Call`. Ends with `leave`."""
        self.press(1)
        try:
            self.wring()
            with self._lock:
                call = self.waiters.enlist(wake)
                self.sleeps += 1
        except BaseException:
            self.press(-1)
            raise
        self.uncharge(0)
        return call

    def leave(self, call: Call, used: bool) -> None:
        """Stand in line no more. A grant that came, and wasn't used, is for the next."""
        self.press(-1)
        if not self.waiters.quit(call) and call.granted and not used:
            self.uncharge(1)

    def redeem(self, ask: Callable[[], _Got]) -> _Got:
        """Call `ask`, for whose first charge here `wake` was called; what it doesn't need is for the next in line."""
        self._paid.add(get_ident())
        try:
            return ask()
        finally:
            if self._spend():
                self.uncharge(1)

    def _spend(self) -> bool:
        """True once, when this thread's next charge is paid already."""
        try:
            self._paid.remove(get_ident())
        except KeyError:
            return False
        return True

    def _warn(self) -> None:
        now = self.clock()
        if not self.warnings.on or now < self._warned + self.warnings.interval:
            self.suppressed += 1
            return
        self._warned = now
        _log.warning("[zone: %s] %s limit reached", self.name, self.sysctl)
