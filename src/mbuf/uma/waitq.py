"""Who waits, in order of arrival.

All waiting of the package is here. A thread waits itself; for somebody who can't block, an asyncio task, a function
is called instead. Both stand in one line:

    _line: first -> second -> ...     grant      _waking: those granted whose function is still to be called

A waiter joins in the commit that finds nothing to be had, so that nothing given back in between is missed. A grant is
a commit too: it takes the first out of the line, and hands it what it waits for, so that nobody who comes later gets
in between. Threads are woken by it at once; functions are called after the commit, by `wake`, which must follow each
grant. A function may say that nobody waits any more: then the next in line has the grant, or it is `unwanted`.

A thread that is interrupted by a signal handler's exception leaves the line by `drop`, or finds that it was granted
what it waited for all the same (`granted`); then it must hand that on.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_CheckSignals
    from cython.cimports.mbuf.uma.waitq import (
        PY_LOCK_ACQUIRED,
        PY_LOCK_INTR,
        PyThread_acquire_lock_timed,
        PyThread_allocate_lock,
        PyThread_free_lock,
        PyThread_get_thread_ident,
        PyThread_release_lock,
    )

#: How often a function is called again that an interrupt has cut short.
_TRIES = 8


@cython.cclass
class Waiter:
    """One who waits: a thread, or somebody for whom `wake` is called with the grant, by whichever thread gives it.

    `wake` must return at once, and say whether somebody still waits. Made outside of commits.
    """

    __slots__ = ("_before", "_behind", "_list", "_lock", "_wake", "granted", "thread")
    if TYPE_CHECKING:
        _list: Any
        _lock: Any

    def __init__(self, wake: Callable[[], bool] | None = None) -> None:
        self._before: Waiter | None = None
        self._behind: Waiter | None = None
        self._list = None
        self._wake = wake
        self.granted = False
        self.thread = 0
        if wake is not None:
            return
        # Held until the grant. Not a semaphore: a signal handler may grant what its own thread waits for.
        if not cython.compiled:
            self._lock = threading.Lock()
            self._lock.acquire()
        elif self._lock == cython.NULL:
            self._lock = PyThread_allocate_lock()
            if self._lock == cython.NULL:
                raise MemoryError
            PyThread_acquire_lock_timed(self._lock, 0, 0)

    def __dealloc__(self) -> None:
        if cython.compiled and self._lock != cython.NULL:
            PyThread_free_lock(self._lock)

    def grant(self) -> None:
        """In a commit: a thread that waits goes on."""
        if not cython.compiled:
            self._lock.release()
        elif self._lock != cython.NULL:
            PyThread_release_lock(self._lock)

    def wait(self, us: int) -> int:
        """Wait for so many microseconds, -1 for ever: 1 with the grant, 0 without, 2 when a signal came."""
        if not cython.compiled:
            return int(self._lock.acquire() if us < 0 else self._lock.acquire(timeout=us / 1e6))
        with cython.nogil:
            status = PyThread_acquire_lock_timed(self._lock, us, 1)
        if status == PY_LOCK_INTR:
            return 2
        return 1 if status == PY_LOCK_ACQUIRED else 0

    def call(self) -> bool:
        """Call the function; what it says."""
        return bool(self._wake())  # type: ignore[misc]


@cython.cclass
class Waiters:
    """A list of waiters, linked through them."""

    __slots__ = ("_first", "_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._first: Any = None
        self._last: Any = None

    def add(self, waiter: Waiter) -> None:
        """In a commit: put a waiter that is in no list at the end."""
        waiter._list = self
        waiter._before = self._last
        waiter._behind = None
        if self._last is None:
            self._first = waiter
        else:
            self._last._behind = waiter
        self._last = waiter
        self.count += 1

    def remove(self, waiter: Waiter) -> None:
        """In a commit: take a waiter out. The caller holds it."""
        if waiter._before is None:
            self._first = waiter._behind
        else:
            waiter._before._behind = waiter._behind
        if waiter._behind is None:
            self._last = waiter._before
        else:
            waiter._behind._before = waiter._before
        waiter._list = waiter._before = waiter._behind = None
        self.count -= 1


@cython.cclass
class WaitQ:
    """First come, first served."""

    __slots__ = ("_line", "_waking", "unwanted")

    def __cinit__(self) -> None:
        self._line = Waiters()
        self._waking = Waiters()

    def __init__(self) -> None:
        if not cython.compiled:
            self.__cinit__()
        #: Grants that nobody wanted, for whoever gives them to take back.
        self.unwanted = 0

    def __len__(self) -> int:
        return self._line.count

    @property
    def waking(self) -> bool:
        """True while functions are to be called, by `wake`."""
        return self._waking.count > 0

    def join(self, wake: Callable[[], bool] | None = None) -> Waiter:
        """Stand in line; the thread that waits, or somebody whom `wake` wakes."""
        waiter = Waiter(wake)
        enter_commit()
        try:
            self.add(waiter)
        finally:
            leave_commit()
        return waiter

    def add(self, waiter: Waiter) -> None:
        """In a commit: let a new waiter stand in line."""
        self._line.add(waiter)

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Wait for the grant; false, and out of the line, when the deadline comes first.

        Who is interrupted by an exception is to `quit`, and to look after a grant that came all the same.
        """
        if waiter is None or waiter._wake is not None:
            raise TypeError("this waiter is woken by a call: no thread waits for it")
        while True:
            us = microseconds(deadline)
            status = waiter.wait(us)
            if status == 1:
                return True
            if status == 0 and us >= 0:
                # A grant that came while giving up is a grant all the same.
                return not self.quit(waiter)
            if cython.compiled:
                PyErr_CheckSignals()

    def quit(self, waiter: Waiter) -> bool:
        """Leave the line; false when the grant has come already."""
        if waiter is None:
            raise TypeError("quit: nobody stands in line")
        enter_commit()
        try:
            left = self.drop(waiter)
        finally:
            leave_commit()
        return left

    def drop(self, waiter: Waiter) -> bool:
        """In a commit: leave the line; false for one that isn't in it, as it was granted something, or left before."""
        if waiter._list is self._waking:
            self._waking.remove(waiter)
            return False
        if waiter._list is not self._line:
            return False
        self._line.remove(waiter)
        return True

    def grant(self) -> bool:
        """Hand what the first in line waits for to it; false when nobody waits. `wake` follows."""
        enter_commit()
        try:
            granted = self.pass_on()
        finally:
            leave_commit()
        return granted

    def pass_on(self) -> bool:
        """In a commit: `grant`."""
        waiter = self._line._first
        if waiter is None:
            return False
        self._line.remove(waiter)
        waiter.granted = True
        if waiter._wake is None:
            waiter.grant()
        else:
            self._waking.add(waiter)
        return True

    def wake(self) -> None:
        """Call the functions of those who were granted something. An exception comes through when all were called."""
        failure: BaseException | None = None
        tries = 0
        waiter = None
        while True:
            if waiter is None:
                waiter = self._next_to_wake()
                tries = 0
            if waiter is None:
                break
            taken = False
            try:
                taken = waiter.call()
            except BaseException as error:  # kept, and raised below
                failure = failure or error
                tries += 1
                if tries < _TRIES:
                    # It may have been interrupted before it did anything.
                    continue
            if not taken:
                enter_commit()
                try:
                    self._refused(waiter)
                finally:
                    leave_commit()
            waiter = None
        if failure is not None:
            raise failure

    def _next_to_wake(self) -> Any:
        enter_commit()
        try:
            waiter: Any = self._waking._first
            if waiter is not None:
                self._waking.remove(waiter)
        finally:
            leave_commit()
        return waiter

    def _refused(self, waiter: Waiter) -> None:
        """In a commit: nobody waits there any more, so the next has the grant."""
        if waiter.granted:
            waiter.granted = False
            if not self.pass_on():
                self.unwanted += 1

    def forked(self) -> int:
        """In a commit, in the child of a fork: have the threads leave the line, which aren't here; how many it were."""
        count = 0
        waiter: Any = self._line._first
        while waiter is not None:
            behind: Any = waiter._behind
            if waiter._wake is None:
                self._line.remove(waiter)
                count += 1
            waiter = behind
        return count

    def contradiction(self) -> str:
        """What of the line can't be right, "" if all may be."""
        n = 0
        waiter: Any = self._line._first
        while waiter is not None and n <= self._line.count:
            if waiter.granted or waiter._list is not self._line:
                return "somebody stands in line, and has what it waits for"
            n += 1
            waiter = waiter._behind
        if n != self._line.count:
            return f"{self._line.count} count as waiting, and {n} do"
        if self._waking.count or self.unwanted:
            return f"{self._waking.count} grants were not told, {self.unwanted} not taken back"
        return ""


def current_thread() -> int:
    """A number for the calling thread."""
    if cython.compiled:
        thread: int = PyThread_get_thread_ident()
        return thread
    return threading.get_ident()


def microseconds(deadline: float | None) -> int:
    """How long it is until then: -1 for ever."""
    if deadline is None:
        return -1
    return int(min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX) * 1e6)
