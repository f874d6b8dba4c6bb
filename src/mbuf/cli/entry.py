"""What the shell starts as `mbuf`.

It catches what happens before, beside and after the commands: an interrupt while they are imported (exit code 130, and
no traceback), and a standard output that can't be written (exit code 2, and one line). It is a module of its own
because it must import nothing itself: while mbuf.cli.main imports click, only this module can catch an interrupt.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


def run() -> None:
    """Run the command; mbuf.cli.main has its exit codes."""
    try:
        from mbuf.cli.main import main

        main(prog_name="mbuf")
    except KeyboardInterrupt:
        _exit(130)
    except OSError as error:
        with contextlib.suppress(OSError):
            _print_error(f"mbuf: {error.filename or 'standard output'}: {error.strerror or error}")
        _exit(2)


def _print_error(line: str) -> None:
    from mbuf.cli.format import printable

    print(printable(line), file=sys.stderr, flush=True)


def _exit(code: int) -> Any:
    """Exit without another attempt to write what is still in the buffers of standard output and error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    sys.exit(code)
