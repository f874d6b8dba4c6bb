"""Calls of user functions whose exceptions are logged.

The caller goes on after an `Exception`. Others (KeyboardInterrupt, SystemExit) propagate.
"""

from __future__ import annotations

from types import TracebackType


class LogErrors:
    """A `with` block that logs its exception as "`what` failed". `failed` is true after an exception."""

    __slots__ = ("_args", "_what", "failed")

    def __init__(self, what: str, *args: object) -> None:
        self._what = what
        self._args = args
        self.failed = False

    def __enter__(self) -> LogErrors:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        # Imported here: most programs never come here.
        import logging

        self.failed = True
        logging.getLogger("mbuf").error(f"{self._what} failed", *self._args, exc_info=error)
        return True
