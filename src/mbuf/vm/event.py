"""Whom to call when something happens.

An event knows its listeners, not what they are for. Who invokes it holds no lock.
"""

import threading
from collections.abc import Callable
from typing import Any

from mbuf.vm.fork import FORK

EVENTHANDLER_PRI_FIRST = 0
EVENTHANDLER_PRI_ANY = 10000
EVENTHANDLER_PRI_LAST = 20000


class Event:
    """Listeners in order of priority, first come first served among equals. See EVENTHANDLER(9)."""

    __slots__ = ("_listeners", "_lock", "count")

    def __init__(self) -> None:
        self._listeners: tuple[tuple[int, Callable[..., Any]], ...] = ()
        # Taken to change the listeners, never to call them; reentrant, for a finalizer may deregister anywhere.
        self._lock = threading.RLock()
        FORK.guard(self._lock)
        #: How often it was invoked.
        self.count = 0

    def register(self, fn: Callable[..., Any], priority: int = EVENTHANDLER_PRI_ANY) -> None:
        """Call `fn` with the event's arguments whenever it is invoked."""
        # A tuple replaced whole: whoever is invoking goes on with the one it began with.
        with self._lock:
            self._listeners = tuple(sorted((*self._listeners, (priority, fn)), key=lambda entry: entry[0]))

    def deregister(self, fn: Callable[..., Any]) -> None:
        """Forget `fn`; one that isn't registered is no error."""
        with self._lock:
            self._listeners = tuple(entry for entry in self._listeners if entry[1] != fn)

    def __bool__(self) -> bool:
        """True when somebody listens."""
        return bool(self._listeners)

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
