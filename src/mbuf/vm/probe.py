"""Probes: named places in the code that call listeners, as those of DTrace do.

The code at such a place tests `on` first. While there are no listeners, this test is the only cost.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.vm.log_errors import LogErrors

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython


@cython.cclass
class Probes:
    """The listeners of each probe. See SDT(9)."""

    __slots__ = ("_busy", "_listeners", "on")
    on: bool

    def __init__(self) -> None:
        #: True while there are listeners.
        self.on = False
        self._listeners: dict[str, tuple[Callable[..., object], ...]] = {}
        # Threads that are calling a listener: nothing that a listener does fires a probe.
        self._busy: set[int] = set()

    def listen(self, name: str, fn: Callable[..., object]) -> None:
        """Call `fn` with the probe's arguments whenever it fires. `Inval` if `fn` isn't callable."""
        if not callable(fn):
            raise Inval(f"probe {name}: give a function to call, not {fn!r}")
        # The tuple is replaced as a whole: a running `fire` goes on with the old one.
        self._listeners[name] = (*self._listeners.get(name, ()), fn)
        self.on = True

    def ignore(self, name: str, fn: Callable[..., object]) -> bool:
        """Remove a listener; false if it isn't there."""
        before = self._listeners.get(name, ())
        after = tuple(known for known in before if known != fn)
        if len(after) < len(before):
            self._listeners[name] = after
        self.on = any(self._listeners.values())
        return len(after) < len(before)

    def silence(self) -> None:
        """Remove all listeners."""
        self._listeners.clear()
        self.on = False

    def listening(self, name: str) -> int:
        """The number of listeners of a probe."""
        return len(self._listeners.get(name, ()))

    def fire(self, name: str, *args: Any) -> None:
        """Call the listeners of `name`. One that raises an exception is logged and removed."""
        listeners = self._listeners.get(name)
        me = threading.get_ident()
        if not listeners or me in self._busy:
            return
        self._busy.add(me)
        try:
            for fn in listeners:
                with LogErrors("listener %r of probe %s, which is detached now,", fn, name, logger="mbuf.pool") as call:
                    fn(*args)
                if call.failed:
                    self.ignore(name, fn)
        finally:
            self._busy.discard(me)
