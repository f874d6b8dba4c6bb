"""Commits, the latch, and the release list: how a method changes memory in one step.

A method has four phases: it converts its arguments, acquires the memory that it needs, commits, and releases what is no
longer used. User code (argument methods, finalizers, free routines, signal handlers, other threads) may run in every
phase but the commit. A commit is the part of one function between `enter_commit` and `leave_commit`.

Compiled, a commit is plain C. It calls no Python code, creates no object that the garbage collector tracks, takes no
lock, drops no last reference to a user's object, and raises nothing once it has changed something. The thread keeps the
interpreter's lock, so that no other thread, signal handler or finalizer runs before the commit ends.
`tests/laws/test_commits.py` checks the generated C.

Uncompiled, a commit is Python code, and `COMMIT_LOCK` keeps other threads out. There is one for the process, and it is
the innermost lock: a commit acquires no other. The lock belongs to a call, not only to a thread. If an exception of a
signal handler ends that call inside its commit, the next thread that needs the lock finds that the call has ended, and
takes it over.

The *latch* is set during a commit. Every public method calls `check_latch` before it changes anything: this raises
`Busy` if the same thread is in a commit. Compiled, this happens only if a commit runs user code by mistake.

A commit can't run finalizers or free routines. Instead it puts the object that has them (an mbuf, packet header,
storage, item or tag) on the *release list* of the thread, and `run_releases`, at the end of the method, calls
`on_release` of each object:

    first --> A --> B --> C --> X --> Y          linked by `_list_next`
              fresh = 3   ^last_fresh            X, Y: put there by methods that are further up on the stack

1. An object is on a list once at most (`is_listed`), and the list owns a reference to it.
2. `release_later` adds an object after the last of the `fresh` ones, which the running method has added: the order is
   first in, first out. `release_first` adds an item in front, so that it is free before any routine is called.
3. While `_run_releases` calls `on_release` of A, `depth` is one more and `fresh` is 0: B and C count as older objects.
   A method that user code calls there adds its objects in front, and releases these, but not B, at its end. An object
   that user code only drops is also added in front; it is released when the call of `on_release` has returned.
4. `run_all_releases` releases the older objects too. A thread calls it before it waits, because it may wait for the
   memory of one of them. It counts `sweeps` up, which tells the outer calls that B and C have gone.
5. An exception goes to `sys.unraisablehook`. One that isn't an `Exception` (KeyboardInterrupt, SystemExit) is raised
   when the other objects are released too.

Adding an object allocates nothing, so it can't fail and fits into a commit. `on_release` adds the objects that its own
object held to the list, instead of releasing them, and the last reference to an object is dropped while `depth` is
above 0. So releasing a chain of any length, linked in any way, needs no recursion. Lists need no lock, since each
belongs to one thread.
"""

from __future__ import annotations

import os
import sys
import time
from threading import RLock, get_ident, local
from typing import TYPE_CHECKING, Any

from mbuf.errors import Busy
from mbuf.vm.fork import FORK
from mbuf.vm.unraisable import report

if TYPE_CHECKING:
    from mbuf.shadow import cython
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_Fetch, PyErr_Restore
    from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject


class Latch:
    """`is_set` during a commit. `pending` objects are on the release lists of all threads.

    `unlinks` counts the times that an mbuf was freed or unlinked in the middle of a queue or chain: a queue that keeps
    its last mbuf checks whether it is still the last when this count has changed. In a test build, `hook` is called
    with the name of each phase in which user code may run, and at each allocation.
    """

    __slots__ = ("unlinks", "hook", "pending", "is_set")
    unlinks: int
    is_set: bool
    pending: int

    def __init__(self) -> None:
        self.hook: Any = None
        self.is_set = False
        self.unlinks = 0
        self.pending = 0


LATCH = Latch()

#: What the last object of a release list has as its next one.
_END: Any = cython.cast(cython.p_void, LATCH) if cython.compiled else LATCH


def latch() -> Latch:
    """The latch of the process."""
    return LATCH


@cython.no_gc
@cython.cclass
class Releasable:
    """An object that can be put on a release list. `on_release` is called once for each time it was put there."""

    #: The next object on the list, `_END` for the last one; NULL (uncompiled, None) while this one is on no list.
    __slots__ = ("_list_next",)
    _list_next: Any

    def on_release(self) -> int:
        """Release what this object holds. User code may run."""
        raise NotImplementedError


def _busy() -> None:
    raise Busy("called while this thread is in a commit of the allocator: call again after it")


def _call_hook(phase: str) -> None:
    """Call the hook of a test build."""
    hook = LATCH.hook
    if hook is not None:
        try:
            hook(phase)
        except BaseException as error:  # the hook reports what it finds by itself
            report(error, hook)


def release_later(r: Releasable) -> None:
    """Put an object on this thread's release list, after those that the running method has put there."""
    if is_listed(r):
        return
    LATCH.pending += 1
    if cython.compiled:
        Py_INCREF(r)
        if mbuf_own_list.fresh:
            last = cython.cast(Releasable, mbuf_own_list.last_fresh)
            r._list_next = last._list_next
            last._list_next = cython.cast(cython.p_void, r)
        else:
            _add_in_front(r)
        mbuf_own_list.last_fresh = cython.cast(cython.p_void, r)
    else:
        # Uncompiled, a finalizer may have run between the two.
        last = mbuf_own_list.last_fresh
        if mbuf_own_list.fresh and last is not None and is_listed(last):
            r._list_next = last._list_next
            last._list_next = r
        else:
            _add_in_front(r)
        mbuf_own_list.last_fresh = r
    mbuf_own_list.fresh += 1


def release_first(r: Releasable) -> None:
    """Put an item in front of this thread's release list: it is free before any routine is called."""
    if is_listed(r):
        return
    LATCH.pending += 1
    _add_in_front(r)
    if cython.compiled:
        Py_INCREF(r)
    if not mbuf_own_list.fresh:
        mbuf_own_list.last_fresh = mbuf_own_list.first
    mbuf_own_list.fresh += 1


def _add_in_front(r: Releasable) -> None:
    r._list_next = mbuf_own_list.first if has_listed() else _END
    mbuf_own_list.first = cython.cast(cython.p_void, r) if cython.compiled else r


def is_listed(r: Releasable) -> bool:
    """True while an object is on a release list."""
    if cython.compiled:
        return bool(r._list_next != cython.NULL)
    return r._list_next is not None


def _run_releases() -> None:
    """Release the objects of the running method; all objects if no `on_release` is running."""
    failure: BaseException | None = None
    while not in_commit() and has_listed() and (mbuf_own_list.fresh > 0 or mbuf_own_list.depth == 0):
        # From here on, an object that a finalizer drops stays on the list.
        mbuf_own_list.depth += 1
        rest = max(mbuf_own_list.fresh - 1, 0)
        mark = mbuf_own_list.last_fresh
        sweeps = mbuf_own_list.sweeps
        mbuf_own_list.fresh = 0
        if cython.compiled:
            failed = _release_one()
            _end_release(rest, mark, sweeps)
        else:
            # Uncompiled, a signal handler may raise between any two lines.
            failed = None
            try:
                failed = _release_one()
            finally:
                _end_release(rest, mark, sweeps)
        if failed is not None:
            failure = failed
    if failure is not None:
        raise failure


def _end_release(rest: int, mark: Any, sweeps: int) -> None:
    """Restore what `_run_releases` remembers of the list, unless all of it was released meanwhile."""
    mbuf_own_list.depth -= 1
    if rest and sweeps == mbuf_own_list.sweeps:
        mbuf_own_list.last_fresh = mark
        mbuf_own_list.fresh += rest


def _release_one() -> BaseException | None:
    """Take the first object off the list and release it; an exception that ends the program is returned.

    If this holds the last reference to the object, it is dropped in here, while `depth` is above 0.
    """
    if cython.compiled:
        r = cython.cast(Releasable, mbuf_own_list.first)
        Py_DECREF(r)
        mbuf_own_list.first = cython.NULL if r._list_next == _END else r._list_next
        r._list_next = cython.NULL
    else:
        r = mbuf_own_list.first
        if r is None:
            # Uncompiled, a finalizer may have released it just now.
            return None
        mbuf_own_list.first = None if r._list_next is _END else r._list_next
        r._list_next = None
        if not mbuf_own_list.fresh:
            # Uncompiled, `last_fresh` is a reference.
            mbuf_own_list.last_fresh = None
    LATCH.pending -= 1
    # No `return` in `except`: the compiler takes for granted there that the traceback had memory.
    failure: BaseException | None = None
    try:
        r.on_release()
    except BaseException as error:  # handed to the caller
        failure = error
    return None if failure is None else _reported(failure, r)


def _reported(error: BaseException, where: object) -> BaseException | None:
    """Give an exception to `sys.unraisablehook`; one that ends the program is returned instead."""
    if not isinstance(error, Exception):
        return error
    failure: BaseException | None = None
    try:
        report(error, where)
    except BaseException as worse:  # raised out of a hook
        failure = worse
    return failure


def run_all_releases() -> None:
    """Release all objects of this thread, also those of methods further up on the stack; call it before waiting."""
    if in_commit() or not has_listed():
        return
    count = 1
    if cython.compiled:
        r = cython.cast(Releasable, mbuf_own_list.first)
        while r._list_next != _END:
            r = cython.cast(Releasable, r._list_next)
            count += 1
        mbuf_own_list.last_fresh = cython.cast(cython.p_void, r)
    else:
        r = mbuf_own_list.first
        while r._list_next is not _END and r._list_next is not None:
            r = r._list_next
            count += 1
        mbuf_own_list.last_fresh = r
    mbuf_own_list.fresh = count
    # The marks that outer calls of `_run_releases` keep are no longer valid.
    mbuf_own_list.sweeps += 1
    _run_releases()


def _recount_pending() -> None:
    """In the child of a fork: count again, since the lists of other threads don't exist here."""
    count = 0
    if cython.compiled:
        at = mbuf_own_list.first
        while at != cython.NULL:
            count += 1
            at = cython.cast(Releasable, at)._list_next
            if at == _END:
                break
    else:
        r = mbuf_own_list.first
        while r is not None:
            count += 1
            r = None if r._list_next is _END else r._list_next
    LATCH.pending = count


os.register_at_fork(after_in_child=_recount_pending)


def run_releases_unraisable() -> None:
    """`run_releases` for finalizers and released views, which can't raise: exceptions go to `sys.unraisablehook`.

    Does nothing in a commit, or while an `on_release` runs: objects stay on the list until then. Keeps the exception
    that is being handled.
    """
    if mbuf_own_list.depth == 0 and not in_commit():
        if cython.compiled:
            kind = cython.declare(cython.pointer[PyObject])
            value = cython.declare(cython.pointer[PyObject])
            trace = cython.declare(cython.pointer[PyObject])
            PyErr_Fetch(cython.address(kind), cython.address(value), cython.address(trace))
        try:
            _run_releases()
        except BaseException as error:  # as Python does with what a finalizer raises
            report(error, None)
        if cython.compiled:
            PyErr_Restore(kind, value, trace)


def in_commit() -> bool:
    """True while this thread is in a commit."""
    if cython.compiled:
        return bool(LATCH.is_set)
    return COMMIT_LOCK.held_here()


def has_listed() -> bool:
    """True when this thread's release list isn't empty."""
    if cython.compiled:
        return bool(mbuf_own_list.first != cython.NULL)
    return mbuf_own_list.first is not None


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new object is on no list, as a compiled one is."""
        r = object.__new__(cls)
        r._list_next = None
        return r

    type.__setattr__(Releasable, "__new__", _blank)

    class _List(local):
        """Uncompiled, the release list of a thread."""

        first: Any = None
        last_fresh: Any = None
        fresh = 0
        depth = 0
        sweeps = 0

    mbuf_own_list = _List()

    class _CommitLock:
        """Uncompiled, the lock of commits. A call holds it, or a fork.

        When a call has ended without `leave_commit`, because of an exception of a signal handler or of an object that
        was never initialized, the lock is free.
        """

        __slots__ = ("__weakref__", "_held", "_repair", "_nested")

        def __init__(self) -> None:
            #: Under 0, the call that holds it, and its thread; `setdefault` lets only one call in.
            self._held: dict[int, tuple[Any, int]] = {}
            self._repair = RLock()
            self._nested = 0

        def held_here(self) -> bool:
            """True while this thread holds it."""
            found = self._held.get(0)
            return found is not None and found[1] == get_ident() and _is_running(found[0])

        def take(self, call: Any, blocking: bool) -> bool:
            """Acquire it for a call, given by its frame; None stands for a fork."""
            holder = (call, get_ident())
            tries = 0
            while (found := self._held.setdefault(0, holder)) is not holder:
                if tries > 10 and not _is_running(found[0]):
                    with self._repair:
                        if self._held.get(0) is found:
                            del self._held[0]
                elif not blocking:
                    return False
                tries += 1
                time.sleep(0 if tries < 100 else 0.0001)
            return True

        def acquire(self, blocking: bool = True) -> bool:
            """Acquire it for a fork. A thread that forks in a commit has it already."""
            if self.held_here():
                self._nested += 1
                return True
            return self.take(None, blocking)

        def release(self) -> None:
            """Undo an `acquire`."""
            if self._nested:
                self._nested -= 1
            else:
                self.leave()

        def leave(self) -> None:
            """Undo a `take`."""
            self._held.pop(0, None)

    def _is_running(call: Any) -> bool:
        """True unless a call, given by its frame, has ended. The frame of a call that runs can't be cleared."""
        # `sys._current_frames` would tell too, but if it starts a garbage collection that switches threads, and another
        # thread calls it, neither returns (CPython 3.11).
        if call is not None:
            try:
                call.clear()
            except RuntimeError:
                return True
        return call is None

    COMMIT_LOCK = _CommitLock()
    FORK.guard(COMMIT_LOCK)
    FORK.guard(COMMIT_LOCK._repair)

    def check_latch() -> None:
        """Raise `Busy` if this thread is in a commit."""
        if COMMIT_LOCK.held_here():
            _busy()
        if LATCH.hook is not None:
            _call_hook("enter")

    def acquired() -> None:
        """Tell the hook of a test build that something was allocated: user code may have run."""
        if LATCH.hook is not None:
            _call_hook("acquire")

    def enter_commit() -> None:
        """Begin a commit of the calling function; wait until no other thread is in one."""
        if COMMIT_LOCK.held_here():
            _busy()
        COMMIT_LOCK.take(sys._getframe(1), blocking=True)

    def leave_commit() -> None:
        """End a commit."""
        COMMIT_LOCK.leave()

    def run_releases() -> None:
        """Release what the method has put on the release list."""
        if LATCH.hook is not None:
            _call_hook("release")
        if mbuf_own_list.first is not None:
            _run_releases()
