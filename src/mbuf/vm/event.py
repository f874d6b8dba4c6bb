"""Events: lists of functions that are called when something happens.

An event isn't invoked in a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Busy, Inval

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit

EVENTHANDLER_PRI_FIRST = 0
EVENTHANDLER_PRI_ANY = 10000
EVENTHANDLER_PRI_LAST = 20000

# How often the list may change under a call that changes it.
_ROUNDS = 64


@cython.cclass
class Event:
    """Listeners in order of priority; those of equal priority in order of registration. See EVENTHANDLER(9)."""

    __slots__ = ("_listeners", "count")

    def __init__(self) -> None:
        # The tuple is replaced as a whole: a running `invoke` goes on with the old one.
        self._listeners: tuple[tuple[int, Callable[..., Any]], ...] = ()
        #: How often it was invoked.
        self.count = 0

    def register(self, fn: Callable[..., Any], priority: int = EVENTHANDLER_PRI_ANY) -> None:
        """Call `fn` with the event's arguments whenever it is invoked. `Inval` if `fn` isn't callable."""
        if not callable(fn):
            raise Inval(f"register: give a function to call, not {fn!r}")
        order = index(priority)
        for _ in range(_ROUNDS):
            before = self._listeners
            at = 0
            while at < len(before) and before[at][0] <= order:
                at += 1
            if self._replace(before, (*before[:at], (order, fn), *before[at:])):
                return
        raise Busy("register: other threads keep changing the listeners: try again")

    def deregister(self, fn: Callable[..., Any]) -> None:
        """Remove `fn`. `Inval` if it isn't registered."""
        if not self.forget(fn):
            raise Inval(f"deregister: {fn!r} is not registered")

    def forget(self, fn: Callable[..., Any]) -> bool:
        """Remove `fn`; false if it isn't registered."""
        for _ in range(_ROUNDS):
            before = self._listeners
            after = []
            for entry in before:
                if entry[1] != fn:
                    after.append(entry)
            if len(after) == len(before):
                return False
            if self._replace(before, tuple(after)):
                return True
        raise Busy("deregister: other threads keep changing the listeners: try again")

    def _replace(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
        """Replace the listeners; false if another thread or a finalizer has replaced them meanwhile."""
        enter_commit()
        try:
            done = self._listeners is before
            if done:
                self._listeners = after
        finally:
            leave_commit()
        return done

    def __bool__(self) -> bool:
        """True if there are listeners."""
        return len(self._listeners) > 0

    def invoke(self, *args: object) -> None:
        """Call every listener. The first exception is raised when all were called."""
        self.count += 1
        failure: BaseException | None = None
        for _, fn in self._listeners:
            try:
                fn(*args)
            except BaseException as error:  # kept, and raised below
                failure = failure or error
        if failure is not None:
            raise failure
