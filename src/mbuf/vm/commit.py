"""Commits, the latch, and the release list: how a verb changes things in one step.

A verb converts its arguments, acquires what it needs, commits and releases; user code may run in all of these but
the third. A commit lies between `enter_commit` and `leave_commit`, in one function. Compiled, it is plain C, so that
neither a thread, nor a signal, nor a finalizer comes in between; uncompiled, one lock for the process stands around it.
The *latch* is up meanwhile: if user code runs all the same, which is a mistake in here, `check_latch`, with which every
public method begins, raises `Busy`.

What a commit ends may have finalizers and free routines, which must not run inside it. Their holder (an mbuf, a
header, storage, a tag) is put on the *release list* of the thread, and let go after the commit by `settle`:

    first -> fresh, fresh, fresh -> left by the verb that called back -> ...

`put` adds behind the last of the fresh ones: those that the running verb has put. `work_off` lets them go first in,
first out. While it calls back, what is left counts as the outer verb's: a verb inside the callback works off its own
at its end; what the callback merely drops follows when it has returned. So nothing recurses, however long a chain of
things is that hold each other. The list is linked through the objects, so adding can't fail; it owns a reference to
each.
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
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_Fetch, PyErr_Restore
    from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject


class Latch:
    """`up` while a commit runs; `pending` objects are on the release lists of all threads.

    `cuts` counts how often something that a queue or a chain holds was freed or unlinked where it was: whoever keeps
    the ends of a line looks for them again when it has changed. `hook`, in a test build, is called with the name of a
    phase wherever one begins in which user code may run, and at each allocation.
    """

    __slots__ = ("cuts", "hook", "pending", "up")
    cuts: int
    up: bool
    pending: int

    def __init__(self) -> None:
        self.hook: Any = None
        self.up = False
        self.cuts = 0
        self.pending = 0


LATCH = Latch()

#: Behind the last object of a release list.
_END: Any = cython.cast(cython.p_void, LATCH) if cython.compiled else LATCH


def latch() -> Latch:
    """The latch of the process."""
    return LATCH


@cython.no_gc
@cython.cclass
class Releasable:
    """What can be put on a release list. `let_go` is called once for each time that it was put there."""

    #: The next one on the list, `_END` for the last; NULL, or None uncompiled, while this is on none.
    __slots__ = ("_behind",)
    _behind: Any

    def let_go(self) -> int:
        """End what this holds. User code may run."""
        raise NotImplementedError


def _busy() -> None:
    raise Busy("called in the middle of a step of the allocator: call again when that is over")


def _border(phase: str) -> None:
    """Call the hook of a test build."""
    hook = LATCH.hook
    if hook is not None:
        try:
            hook(phase)
        except BaseException as error:  # the hook says what it finds by itself
            report(error, hook)


def put(r: Releasable) -> None:
    """Put an object on this thread's list, behind what the running verb has put there before."""
    if is_listed(r):
        return
    LATCH.pending += 1
    if cython.compiled:
        Py_INCREF(r)
        if mbuf_own_list.fresh:
            last = cython.cast(Releasable, mbuf_own_list.last_fresh)
            r._behind = last._behind
            last._behind = cython.cast(cython.p_void, r)
        else:
            _put_in_front(r)
        mbuf_own_list.last_fresh = cython.cast(cython.p_void, r)
    else:
        # Uncompiled, a finalizer may have come in between the two.
        last = mbuf_own_list.last_fresh
        if mbuf_own_list.fresh and last is not None and is_listed(last):
            r._behind = last._behind
            last._behind = r
        else:
            _put_in_front(r)
        mbuf_own_list.last_fresh = r
    mbuf_own_list.fresh += 1


def put_first(r: Releasable) -> None:
    """Put an object in front of all others: an item on its way home, which calls nobody."""
    if is_listed(r):
        return
    LATCH.pending += 1
    _put_in_front(r)
    if cython.compiled:
        Py_INCREF(r)
    if not mbuf_own_list.fresh:
        mbuf_own_list.last_fresh = mbuf_own_list.first
    mbuf_own_list.fresh += 1


def _put_in_front(r: Releasable) -> None:
    r._behind = mbuf_own_list.first if has_listed() else _END
    mbuf_own_list.first = cython.cast(cython.p_void, r) if cython.compiled else r


def is_listed(r: Releasable) -> bool:
    """True while an object is on a release list."""
    if cython.compiled:
        return bool(r._behind != cython.NULL)
    return r._behind is not None


def work_off() -> None:
    """Let go of what the running verb has put, or, where no callback is under way, of all.

    Exceptions go to `sys.unraisablehook`; one that ends the program is raised when the list is empty.
    """
    failure: BaseException | None = None
    while not inside() and has_listed() and (mbuf_own_list.fresh > 0 or mbuf_own_list.depth == 0):
        # From here on, what a finalizer drops stays on the list.
        mbuf_own_list.depth += 1
        rest = max(mbuf_own_list.fresh - 1, 0)
        mark = mbuf_own_list.last_fresh
        sweeps = mbuf_own_list.sweeps
        mbuf_own_list.fresh = 0
        try:
            failed = _let_first_go()
            if failed is not None:
                failure = failed
        finally:
            mbuf_own_list.depth -= 1
            if rest and sweeps == mbuf_own_list.sweeps:
                mbuf_own_list.last_fresh = mark
                mbuf_own_list.fresh += rest
    if failure is not None:
        raise failure


def _let_first_go() -> BaseException | None:
    """Take the first object off the list and let go of it; returns an exception that ends the program, raises none.

    The last reference to the object goes in here, while this counts as a callback: what it drops is put on the list.
    """
    if cython.compiled:
        r = cython.cast(Releasable, mbuf_own_list.first)
        Py_DECREF(r)
        mbuf_own_list.first = cython.NULL if r._behind == _END else r._behind
        r._behind = cython.NULL
    else:
        r = mbuf_own_list.first
        if r is None:
            # Uncompiled, a finalizer may have let it go just now.
            return None
        mbuf_own_list.first = None if r._behind is _END else r._behind
        r._behind = None
        if not mbuf_own_list.fresh:
            # Uncompiled, the mark is a reference.
            mbuf_own_list.last_fresh = None
    LATCH.pending -= 1
    try:
        r.let_go()
    except BaseException as error:  # handed to the caller
        return _reported(error, r)
    return None


def _reported(error: BaseException, where: object) -> BaseException | None:
    """Report an exception, if it doesn't end the program; else return it."""
    try:
        if not isinstance(error, Exception):
            return error
        report(error, where)
    except BaseException as worse:  # raised out of a hook
        return worse
    return None


def work_off_all() -> None:
    """`work_off`, and what outer verbs of this thread left: for who is about to wait, maybe for just that."""
    if inside() or not has_listed():
        return
    count = 1
    if cython.compiled:
        r = cython.cast(Releasable, mbuf_own_list.first)
        while r._behind != _END:
            r = cython.cast(Releasable, r._behind)
            count += 1
        mbuf_own_list.last_fresh = cython.cast(cython.p_void, r)
    else:
        r = mbuf_own_list.first
        while r._behind is not _END and r._behind is not None:
            r = r._behind
            count += 1
        mbuf_own_list.last_fresh = r
    mbuf_own_list.fresh = count
    # What outer verbs remember of the list is no longer so.
    mbuf_own_list.sweeps += 1
    work_off()


def _recount() -> None:
    """In the child of a fork: other threads aren't here, nor are their lists."""
    count = 0
    if cython.compiled:
        at = mbuf_own_list.first
        while at != cython.NULL:
            count += 1
            at = cython.cast(Releasable, at)._behind
            if at == _END:
                break
    else:
        r = mbuf_own_list.first
        while r is not None:
            count += 1
            r = None if r._behind is _END else r._behind
    LATCH.pending = count


os.register_at_fork(after_in_child=_recount)


def finish_drop() -> None:
    """`settle` where nobody can catch an exception: in a finalizer, or where a view is released.

    Inside a commit, or a callback of the list, what was put stays until that is over. An exception that is under way
    goes on.
    """
    if mbuf_own_list.depth == 0 and not inside():
        if cython.compiled:
            kind = cython.declare(cython.pointer(PyObject))
            value = cython.declare(cython.pointer(PyObject))
            trace = cython.declare(cython.pointer(PyObject))
            PyErr_Fetch(cython.address(kind), cython.address(value), cython.address(trace))
        try:
            work_off()
        except BaseException as error:  # as Python does with what a finalizer raises
            report(error, None)
        if cython.compiled:
            PyErr_Restore(kind, value, trace)


def inside() -> bool:
    """True while this thread is in a commit."""
    if cython.compiled:
        return bool(LATCH.up)
    return STEP.mine()


def has_listed() -> bool:
    """True when something is on this thread's list."""
    if cython.compiled:
        return bool(mbuf_own_list.first != cython.NULL)
    return mbuf_own_list.first is not None


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new object is on no list, as a compiled one is."""
        r = object.__new__(cls)
        r._behind = None
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

    class _Step:
        """Uncompiled, the lock around commits. It is held by a call, or by a fork.

        A call that is over holds it no longer, though it never left its commit: an exception, out of a signal handler
        or of an object that nobody initialized, has cut it short.
        """

        __slots__ = ("__weakref__", "_held", "_mend", "_nested")

        def __init__(self) -> None:
            #: The call and its thread. That only one can put itself here is what makes it a lock.
            self._held: dict[int, tuple[Any, int]] = {}
            self._mend = RLock()
            self._nested = 0

        def mine(self) -> bool:
            """True while this thread holds it."""
            found = self._held.get(0)
            return found is not None and found[1] == get_ident() and _goes_on(found)

        def take(self, call: Any, blocking: bool) -> bool:
            """Acquire it for a call, that of a function with a commit, or for None, a fork."""
            holder = (call, get_ident())
            tries = 0
            while (found := self._held.setdefault(0, holder)) is not holder:
                if tries > 10 and not _goes_on(found):
                    with self._mend:
                        if self._held.get(0) is found:
                            del self._held[0]
                elif not blocking:
                    return False
                tries += 1
                time.sleep(0 if tries < 100 else 0.0001)
            return True

        def acquire(self, blocking: bool = True) -> bool:
            """Acquire it for a fork; once more, if this thread is in a commit."""
            if self.mine():
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

    def _goes_on(holder: tuple[Any, int]) -> bool:
        """True unless the call that holds the lock is over."""
        call, thread = holder
        if call is None:
            return True
        frame = sys._current_frames().get(thread)
        while frame is not None and frame is not call:
            frame = frame.f_back
        return frame is not None

    STEP = _Step()
    FORK.guard(STEP)
    FORK.guard(STEP._mend)

    def check_latch() -> None:
        """Refuse to begin a verb in the middle of a commit of this thread."""
        if STEP.mine():
            _busy()
        if LATCH.hook is not None:
            _border("enter")

    def acquired() -> None:
        """Something was allocated, in the course of which user code may have run."""
        if LATCH.hook is not None:
            _border("acquire")

    def enter_commit() -> None:
        """Begin a commit of the calling function, when no other thread is in one."""
        if STEP.mine():
            _busy()
        STEP.take(sys._getframe(1), blocking=True)

    def leave_commit() -> None:
        """End a commit."""
        STEP.leave()

    def settle() -> None:
        """Let go of what the verb has ended."""
        if LATCH.hook is not None:
            _border("release")
        if mbuf_own_list.first is not None:
            work_off()
