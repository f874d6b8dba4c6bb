"""Warnings that name the line of the program, not one of this package."""

from __future__ import annotations

import sys
import warnings
from types import FrameType


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the line that called this package. Compiled functions have no frame, so they are not counted."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "mbuf":
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
