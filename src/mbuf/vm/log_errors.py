"""What is logged; and calls of user functions whose exceptions are logged.

The loggers are `mbuf` and those below it: `mbuf.pool`, `mbuf.net`, `mbuf.http`. docs/howto/logging.md lists what they
say. A handler is code of the user, so nothing is logged in a commit. Where a line may repeat, its caller limits how
often.
"""

from __future__ import annotations

from types import TracebackType


def log(
    level: str,
    text: str,
    *args: object,
    logger: str = "mbuf",
    error: Exception | None = None,
    extra: dict[str, object] | None = None,
) -> None:
    """Log a text, at the level `error`, `warning` or `info`. `extra` are attributes of the record."""
    try:
        # Imported here: programs without a pool never log. A pool has loaded it before the first mbuf.
        import logging

        # Found without a lock: a signal handler that raises in `getLogger` could leave it locked for ever.
        found = logging.root.manager.loggerDict.get(logger)
        if not isinstance(found, logging.Logger):
            found = logging.getLogger(logger)
    except (ImportError, AttributeError):
        # The interpreter ends, and can import nothing any more; or this interrupts the import itself.
        return
    getattr(found, level)(text, *args, exc_info=error, extra=extra)


class LogErrors:
    """A `with` block that logs an `Exception` as "`what` failed" and goes on. `failed` is true after one.

    Others (KeyboardInterrupt, SystemExit) propagate.
    """

    __slots__ = ("_args", "_logger", "_what", "failed")

    def __init__(self, what: str, *args: object, logger: str = "mbuf") -> None:
        self._what = what
        self._args = args
        self._logger = logger
        self.failed = False

    def __enter__(self) -> LogErrors:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed = True
        log("error", f"{self._what} failed", *self._args, logger=self._logger, error=error)
        return True
