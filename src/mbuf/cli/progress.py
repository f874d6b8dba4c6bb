"""A progress bar for long commands.

It is drawn on standard error, only if that is a terminal that can move the cursor, and removed at the end.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mbuf.cli.statusline import is_dumb, is_terminal


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with how much of `total` is done. Without colours if NO_COLOR is set."""
    if not is_terminal(sys.stderr) or is_dumb():
        yield lambda done: None
        return
    # Imported here, because it is slow, and of no use without a terminal.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total or None)
        yield lambda done: bar.update(task, completed=done)
