"""Protocols' drain functions, which free memory that a protocol can spare.

An exception in a drain is logged with the drain's name; the others are called all the same, and the caller goes on.
Drains are called with no lock held, and never inside an allocation.
"""

from __future__ import annotations

from collections.abc import Callable

from mbuf.errors import Inval
from mbuf.vm.event import EVENTHANDLER_PRI_ANY, Event
from mbuf.vm.log_errors import LogErrors


class Drains:
    """Drain functions in order of priority; those of equal priority in the order of registration. See pr_drain,
    mb_reclaim.

    A drain may allocate, free, and register or deregister drains, which has an effect from the next time on. It
    should not wait for memory: that may be memory that it should free.
    """

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = Event()

    def register(self, fn: Callable[[], object], name: str = "", priority: int = EVENTHANDLER_PRI_ANY) -> None:
        """Call `fn()` whenever a limit is reached or memory is low. Raises `Inval` if it can't be called.

        Lower priorities are called first. The log calls the drain `name`, or by the function's own name.
        """
        if not callable(fn):
            raise Inval(f"drains: give a function to call, not {fn!r}")
        self._event.register(_Drain(fn, name or getattr(fn, "__qualname__", repr(fn))), priority)

    def deregister(self, fn: Callable[[], object]) -> None:
        """Stop calling `fn`. Raises `Inval` if it isn't registered."""
        self._event.deregister(fn)

    @property
    def count(self) -> int:
        """How often the drains were called."""
        return self._event.count

    def __bool__(self) -> bool:
        """True if any drain is registered."""
        return bool(self._event)

    def invoke(self) -> None:
        """Call every drain. KeyboardInterrupt and SystemExit of a drain are raised after all were called."""
        self._event.invoke()


class _Drain:
    """One drain; equal to its function, so that it can be found by that."""

    __slots__ = ("_fn", "_name")

    def __init__(self, fn: Callable[[], object], name: str) -> None:
        self._fn = fn
        self._name = name

    def __eq__(self, other: object) -> bool:
        return self._fn == other

    def __call__(self) -> None:
        with LogErrors("drain %s", self._name, logger="mbuf.pool"):
            self._fn()
