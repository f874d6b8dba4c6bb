"""Routines that users leave behind, to be called when something ends.

Whoever calls one goes on whatever it does: what it raises is told, as a finalizer's is, and not passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _Last:
    """Calls when it goes; the interpreter itself gives `sys.unraisablehook` what that raises."""

    __slots__ = ("_args", "_fn")

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args

    def __del__(self) -> None:
        self._fn(*self._args)


def run(fn: Callable[..., object], *args: Any) -> None:
    """Call `fn(*args)`; an exception goes to `sys.unraisablehook`."""
    _Last(fn, args)
