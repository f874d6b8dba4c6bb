"""Exceptions that no caller can catch: those of free routines and similar functions.

They go to `sys.unraisablehook`, as those of finalizers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.exc import PyErr_SetObject, PyErr_WriteUnraisable


class _Raiser:
    """Raises an exception in its finalizer, so that the interpreter calls the hook."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


def report(error: BaseException, where: Any) -> None:
    """Give an exception to `sys.unraisablehook`; `where` is what raised it."""
    if cython.compiled:
        PyErr_SetObject(type(error), error)
        PyErr_WriteUnraisable(where)
    else:
        _Raiser(error)


def run(fn: Callable[..., object], *args: Any) -> None:
    """Call `fn(*args)`; an exception goes to the hook, but KeyboardInterrupt and SystemExit are raised."""
    try:
        fn(*args)
    except Exception as error:
        report(error, fn)
