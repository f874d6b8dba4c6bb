"""The lines that a command prints while it runs: lines that stay, and a status line that changes.

On a terminal, the status line is always the last one, and is removed at the end; other lines are printed above it.
Elsewhere, and on a terminal that can't move the cursor, each status is a line of its own.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from mbuf.cli.format import printable


def is_terminal(stream: TextIO | None) -> bool:
    """True if it is a terminal. A standard stream that was closed when the program started is None."""
    return stream is not None and stream.isatty()


def is_dumb() -> bool:
    """True if the terminal, by its name in TERM, has no colours and can't move the cursor."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def print_line(line: str) -> None:
    """Print a line now, also into a pipe. If standard output can't be written, the command goes on without it."""
    try:
        click.echo(printable(line))
    except OSError:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), sys.stdout.fileno())


@contextmanager
def status_line() -> Iterator[tuple[Callable[[str], object], Callable[[str], object]]]:
    """Yield two functions: one prints a line that stays, the other shows a new status."""
    if not is_terminal(sys.stdout) or is_dumb():
        yield print_line, print_line
        return
    # Imported here, because it is slow, and of no use without a terminal.
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield (
            lambda line: console.print(Text(printable(line)), soft_wrap=True),
            lambda status: live.update(Text(status, no_wrap=True, overflow="ellipsis"), refresh=True),
        )
