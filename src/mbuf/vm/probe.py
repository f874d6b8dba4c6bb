"""Probes: places that tell whoever listens that something happens there.

A place asks `on` first, which costs a look; that is all it costs while nobody listens. Knows names and
listeners, not what they are for.
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
    """Who listens to what. See SDT(9)."""

    __slots__ = ("_busy", "_listeners", "on")
    on: bool

    def __init__(self) -> None:
        #: True while somebody listens.
        self.on = False
        self._listeners: dict[str, tuple[Callable[..., object], ...]] = {}
        # Threads that are with a listener now: what that does fires nothing.
        self._busy: set[int] = set()

    def listen(self, name: str, fn: Callable[..., object]) -> None:
        """Call `fn` with the probe's arguments whenever it fires; raises `Inval` for what can't be called."""
        if not callable(fn):
            raise Inval(f"probe {name}: give a function to call, not {fn!r}")
        # A tuple replaced whole: whoever is firing goes on with the one it began with.
        self._listeners[name] = (*self._listeners.get(name, ()), fn)
        self.on = True

    def ignore(self, name: str, fn: Callable[..., object]) -> bool:
        """Forget a listener; false if it isn't there."""
        before = self._listeners.get(name, ())
        after = tuple(known for known in before if known != fn)
        if len(after) < len(before):
            self._listeners[name] = after
        self.on = any(self._listeners.values())
        return len(after) < len(before)

    def silence(self) -> None:
        """Forget all listeners."""
        self._listeners.clear()
        self.on = False

    def listening(self, name: str) -> int:
        """How many listen to it."""
        return len(self._listeners.get(name, ()))

    def fire(self, name: str, *args: Any) -> None:
        """Call who listens to `name`. One that raises an exception is told of in the log, and heard no more."""
        listeners = self._listeners.get(name)
        me = threading.get_ident()
        if not listeners or me in self._busy:
            return
        self._busy.add(me)
        try:
            for fn in listeners:
                with LogErrors("listener %r of probe %s, which is detached now,", fn, name) as call:
                    fn(*args)
                if call.failed:
                    self.ignore(name, fn)
        finally:
            self._busy.discard(me)
