"""Protocols' drain functions: what lets go of memory that somebody can spare.

An exception in one is for the log, with the drain's name; the others run, and so does whoever asked for
them. Called with no lock held, and never from inside an allocation.
"""

from __future__ import annotations

from collections.abc import Callable

from mbuf.errors import Inval
from mbuf.vm.event import EVENTHANDLER_PRI_ANY, Event
from mbuf.vm.log_errors import LogErrors


class Drains:
    """Drains in order of priority, first come first served among equals. See pr_drain and mb_reclaim.

    One may do anything: register and deregister drains, from the next time on, allocate and free. One that
    waits for memory waits for what it should let go of.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = Event()

    def register(self, fn: Callable[[], object], name: str = "", priority: int = EVENTHANDLER_PRI_ANY) -> None:
        """Call `fn()` when a limit is hit or memory is low; the log calls it `name`, or by its own name.

        Raises `Inval` for what can't be called.
        """
        if not callable(fn):
            raise Inval(f"drains: give a function to call, not {fn!r}")
        self._event.register(_Drain(fn, name or getattr(fn, "__qualname__", repr(fn))), priority)

    def deregister(self, fn: Callable[[], object]) -> None:
        """Forget `fn`; raises `Inval` if it isn't registered."""
        self._event.deregister(fn)

    @property
    def count(self) -> int:
        """How often they were invoked."""
        return self._event.count

    def __bool__(self) -> bool:
        """True when there are any."""
        return bool(self._event)

    def invoke(self) -> None:
        """Call every drain; what ends a program (KeyboardInterrupt, SystemExit) goes through after that."""
        self._event.invoke()


class _Drain:
    """One drain; equal to its function, so that it is found by that."""

    __slots__ = ("_fn", "_name")

    def __init__(self, fn: Callable[[], object], name: str) -> None:
        self._fn = fn
        self._name = name

    def __eq__(self, other: object) -> bool:
        return self._fn == other

    def __call__(self) -> None:
        with LogErrors("drain %s", self._name):
            self._fn()
