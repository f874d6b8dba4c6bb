"""What is logged, by the logger `mbuf`; and calls of user functions whose exceptions are logged.

The caller goes on after an `Exception`. Others (KeyboardInterrupt, SystemExit) propagate.
"""

from __future__ import annotations

from types import TracebackType


def log(level: str, text: str, *args: object, error: Exception | None = None) -> None:
    """Log a text, at the level `error`, `warning` or `info`."""
    try:
        # Imported here: programs without a pool never log. A pool has loaded it before the first mbuf.
        import logging

        # Found without a lock: a signal handler that raises in `getLogger` could leave it locked for ever.
        logger = logging.root.manager.loggerDict.get("mbuf")
        if not isinstance(logger, logging.Logger):
            logger = logging.getLogger("mbuf")
    except (ImportError, AttributeError):
        # The interpreter ends, and can import nothing any more; or this interrupts the import itself.
        return
    getattr(logger, level)(text, *args, exc_info=error)


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
        self.failed = True
        log("error", f"{self._what} failed", *self._args, error=error)
        return True
