"""Warnings that name the line of the program, not one of this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import FrameType


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the line that called this package. Compiled functions have no frame, so they are not counted."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "mbuf":
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def end_block(close: Callable[[], object], error: BaseException | None) -> None:
    """Call `close` at the end of a `with` block that ended with `error`, or None.

    A `ResourceWarning` that a filter makes an error is added to the exception of the block, if there is one.
    """
    try:
        close()
    except ResourceWarning as warning:
        if error is None:
            raise
        error.add_note(str(warning))
