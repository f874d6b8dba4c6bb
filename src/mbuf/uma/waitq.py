"""A queue of waiters, served in order of arrival. All waiting of the package is here.

A waiter is a thread, which blocks on a lock of its own, or a task, for which a function is called. Both use one queue:

    _queue:  first -> second -> ...     (grant)     _waking: granted tasks whose function is still to be called

Rules
1. A waiter enters the queue in the same commit that finds nothing available. Code that makes something available after
   that commit grants a waiter, so no wake-up is lost.
2. A grant is a commit. It takes the first waiter out of the queue and sets `granted`. At a limit, the same commit
   charges an item for the waiter, so that no other request can take it. At a keg, a granted waiter just tries again.
3. The grant of a thread releases the thread's lock, which never blocks, in the commit. The function of a task is user
   code: `wake` calls it. The granting code calls `wake` after the commit.
4. If the function returns false, or keeps raising, its task has gone: the next waiter gets the grant, or
   `refused` counts it, and the caller of `wake` takes it back.
5. A waiter gives up in a commit (`remove`): either it is still in the queue and leaves it, or it is granted, and must
   use the grant or pass it on. There is no third case.
The queue needs no lock of its own, since it changes in commits only.
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

#: How often a function that raises is called before its waiter counts as gone.
_TRIES = 8


@cython.cclass
class Waiter:
    """A waiting thread, or a task, whose function `wake` is called after the grant by the granting thread.

    `wake` must return at once: true if the task still waits. Waiters are made outside of commits.
    """

    __slots__ = ("_prev", "_next", "_list", "_lock", "_wake", "granted", "thread")
    if TYPE_CHECKING:
        _list: Any
        _lock: Any

    def __init__(self, wake: Callable[[], bool] | None = None) -> None:
        self._prev: Waiter | None = None
        self._next: Waiter | None = None
        self._list = None
        self._wake = wake
        self.granted = False
        self.thread = 0
        if wake is not None:
            return
        # Locked until the grant. Any thread may unlock it, also a signal handler of the waiting thread itself.
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
        """In a commit: let the waiting thread go on."""
        if not cython.compiled:
            self._lock.release()
        elif self._lock != cython.NULL:
            PyThread_release_lock(self._lock)

    def wait(self, us: int) -> int:
        """Block for up to `us` microseconds, -1 for ever: 1 after the grant, 0 after that time, 2 after a signal."""
        if not cython.compiled:
            return int(self._lock.acquire() if us < 0 else self._lock.acquire(timeout=us / 1e6))
        with cython.nogil:
            status = PyThread_acquire_lock_timed(self._lock, us, 1)
        if status == PY_LOCK_INTR:
            return 2
        return 1 if status == PY_LOCK_ACQUIRED else 0

    def call(self) -> bool:
        """Call the function, and return its result as a bool."""
        return bool(self._wake())  # type: ignore[misc]


@cython.cclass
class Waiters:
    """A list of waiters, linked through the waiters."""

    __slots__ = ("_first", "_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._first: Any = None
        self._last: Any = None

    def add(self, waiter: Waiter) -> None:
        """In a commit: append a waiter that is in no list."""
        waiter._list = self
        waiter._prev = self._last
        waiter._next = None
        if self._last is None:
            self._first = waiter
        else:
            self._last._next = waiter
        self._last = waiter
        self.count += 1

    def insert(self, waiter: Waiter, at: Waiter | None) -> None:
        """In a commit: insert a waiter that is in no list before another one; None appends it."""
        if at is None:
            self.add(waiter)
            return
        waiter._list = self
        waiter._prev = at._prev
        waiter._next = at
        if at._prev is None:
            self._first = waiter
        else:
            at._prev._next = waiter
        at._prev = waiter
        self.count += 1

    def remove(self, waiter: Waiter) -> None:
        """In a commit: remove a waiter. The caller holds a reference."""
        if waiter._prev is None:
            self._first = waiter._next
        else:
            waiter._prev._next = waiter._next
        if waiter._next is None:
            self._last = waiter._prev
        else:
            waiter._next._prev = waiter._prev
        waiter._list = waiter._prev = waiter._next = None
        self.count -= 1


@cython.cclass
class WaitQ:
    """A queue of waiters; the first is granted first."""

    __slots__ = ("_queue", "_waking", "refused")

    def __cinit__(self) -> None:
        self._queue = Waiters()
        self._waking = Waiters()

    def __init__(self) -> None:
        if not cython.compiled:
            self.__cinit__()
        #: Grants that no waiter took; the granting code takes them back.
        self.refused = 0

    def __len__(self) -> int:
        return self._queue.count

    @property
    def waking(self) -> bool:
        """True while there are functions for `wake` to call."""
        return self._waking.count > 0

    def enqueue(self, wake: Callable[[], bool] | None = None) -> Waiter:
        """Add a new waiter: the calling thread, or a task with the function `wake`."""
        waiter = Waiter(wake)
        enter_commit()
        try:
            self.add(waiter)
        finally:
            leave_commit()
        return waiter

    def add(self, waiter: Waiter) -> None:
        """In a commit: add a new waiter."""
        self._queue.add(waiter)

    def wait(self, waiter: Waiter, deadline: float | None) -> bool:
        """Block until the grant; false if the deadline comes first, and then the waiter has left the queue.

        After an exception of a signal handler, the caller must call `cancel`, and pass a grant on that came meanwhile.
        """
        if waiter is None or waiter._wake is not None:
            raise TypeError("wait: this waiter is a task, which a call wakes: give the waiter of a thread")
        while True:
            us = microseconds(deadline)
            status = waiter.wait(us)
            if status == 1:
                return True
            if status == 0 and us >= 0:
                # A grant that came before the cancellation counts.
                return not self.cancel(waiter)
            if cython.compiled:
                PyErr_CheckSignals()

    def cancel(self, waiter: Waiter) -> bool:
        """Leave the queue; false if the waiter is granted already."""
        if waiter is None:
            raise TypeError("cancel: give the waiter that enqueue returned")
        enter_commit()
        try:
            left = self.remove(waiter)
        finally:
            leave_commit()
        return left

    def remove(self, waiter: Waiter) -> bool:
        """In a commit: leave the queue; false if the waiter isn't in it: it was granted, or has left before."""
        if waiter._list is self._waking:
            self._waking.remove(waiter)
            return False
        if waiter._list is not self._queue:
            return False
        self._queue.remove(waiter)
        return True

    def grant(self) -> bool:
        """Grant the first waiter; false if there is none. The caller calls `wake` after it."""
        enter_commit()
        try:
            granted = self.grant_next()
        finally:
            leave_commit()
        return granted

    def grant_next(self) -> bool:
        """In a commit: `grant`."""
        waiter = self._queue._first
        if waiter is None:
            return False
        self._queue.remove(waiter)
        waiter.granted = True
        if waiter._wake is None:
            waiter.grant()
        else:
            self._waking.add(waiter)
        return True

    def wake(self) -> None:
        """Call the functions of granted tasks. The first exception is raised when all were called."""
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
                    # A signal may have interrupted it before it did anything.
                    continue
            if not taken:
                enter_commit()
                try:
                    self._refuse(waiter)
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

    def _refuse(self, waiter: Waiter) -> None:
        """In a commit: the task has gone; give its grant to the next waiter."""
        if waiter.granted:
            waiter.granted = False
            if not self.grant_next():
                self.refused += 1

    def forked(self) -> int:
        """In a commit, in the child of a fork: remove the threads, which don't exist here. Returns their number."""
        count = 0
        waiter: Any = self._queue._first
        while waiter is not None:
            following: Any = waiter._next
            if waiter._wake is None:
                self._queue.remove(waiter)
                count += 1
            waiter = following
        return count

    def contradiction(self) -> str:
        """The first contradiction in the queue, or ""."""
        n = 0
        waiter: Any = self._queue._first
        while waiter is not None and n <= self._queue.count:
            if waiter.granted or waiter._list is not self._queue:
                return "a waiter is in the queue, and granted"
            n += 1
            waiter = waiter._next
        if n != self._queue.count:
            return f"the queue counts {self._queue.count} waiters, and has {n}"
        if self._waking.count or self.refused:
            return f"{self._waking.count} tasks were not woken after their grant, {self.refused} grants not taken back"
        return ""


def current_thread() -> int:
    """A number for the calling thread."""
    if cython.compiled:
        thread: int = PyThread_get_thread_ident()
        return thread
    return threading.get_ident()


def microseconds(deadline: float | None) -> int:
    """Microseconds until the deadline; -1 for ever."""
    if deadline is None:
        return -1
    return int(min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX) * 1e6)
