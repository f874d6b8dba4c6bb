"""A line on a terminal that changes: the next one takes its place.

Elsewhere than on a terminal, each line stays.
"""

import shutil
import sys
from collections.abc import Callable


def liner(say: Callable[[str], object]) -> tuple[Callable[[str], object], Callable[[str], object]]:
    """Two functions: one for lines to keep, said through `say`, and one for those that the next may replace."""
    if not sys.stdout.isatty():
        return say, say
    drawn = False

    def keep(line: str) -> None:
        nonlocal drawn
        if drawn:
            _write("\r\x1b[K")
            drawn = False
        say(line)

    def tell(line: str) -> None:
        nonlocal drawn
        drawn = True
        _write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")

    return keep, tell


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
