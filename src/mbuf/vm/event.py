"""Whom to call when something happens.

An event knows its listeners, not what they are for. Never invoked in a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit

EVENTHANDLER_PRI_FIRST = 0
EVENTHANDLER_PRI_ANY = 10000
EVENTHANDLER_PRI_LAST = 20000


@cython.cclass
class Event:
    """Listeners in order of priority, first come first served among equals. See EVENTHANDLER(9)."""

    __slots__ = ("_listeners", "count")

    def __init__(self) -> None:
        # A tuple replaced whole: whoever is invoking goes on with the one it began with.
        self._listeners: tuple[tuple[int, Callable[..., Any]], ...] = ()
        #: How often it was invoked.
        self.count = 0

    def register(self, fn: Callable[..., Any], priority: int = EVENTHANDLER_PRI_ANY) -> None:
        """Call `fn` with the event's arguments whenever it is invoked."""
        if not callable(fn):
            raise Inval(f"register: {fn!r} can't be called")
        while True:
            before = self._listeners
            at = 0
            while at < len(before) and before[at][0] <= priority:
                at += 1
            if self._replace(before, (*before[:at], (priority, fn), *before[at:])):
                return

    def deregister(self, fn: Callable[..., Any]) -> None:
        """Forget `fn`; one that isn't registered is no error."""
        while True:
            before = self._listeners
            after = []
            for entry in before:
                if entry[1] != fn:
                    after.append(entry)
            if self._replace(before, tuple(after)):
                return

    def _replace(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
        """Replace the listeners; false if they are others by now, as a thread or finalizer may have seen to."""
        enter_commit()
        try:
            done = self._listeners is before
            if done:
                self._listeners = after
        finally:
            leave_commit()
        return done

    def __bool__(self) -> bool:
        """True when somebody listens."""
        return len(self._listeners) > 0

    def invoke(self, *args: object) -> None:
        """Call every listener; an exception goes through to the caller, after the others were called."""
        self.count += 1
        failure: BaseException | None = None
        for _, fn in self._listeners:
            try:
                fn(*args)
            except BaseException as error:  # kept, and raised below
                failure = failure or error
        if failure is not None:
            raise failure
