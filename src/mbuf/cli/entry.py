"""The command `mbuf`, as the shell starts it.

However it ends, it ends with an exit code and at most a line: an interrupt while it is still being loaded,
a standard output that takes no more, and what click would say in three lines.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


def run() -> None:
    """Run the command; see mbuf.cli.main for its exit codes."""
    try:
        # What is loaded here takes a while, in which people may think better of it.
        from mbuf.cli.main import main

        main(prog_name="mbuf")
    except ModuleNotFoundError as error:
        _missing(error)
    except KeyboardInterrupt:
        _end(130)
    except OSError as error:
        with contextlib.suppress(OSError):
            _say(f"mbuf: {error.filename or 'standard output'}: {error.strerror or error}")
        _end(2)


def _missing(error: ModuleNotFoundError) -> None:
    """End with a line that tells how to install what the command needs."""
    package = (error.name or "").partition(".")[0]
    if package in ("click", "rich"):
        needs = 'the command needs click and rich: pip install "mbuf[cli]"'
    elif package == "h11":
        needs = 'serve needs h11: pip install "mbuf[http]"'
    else:
        raise error
    _say(f"mbuf: {needs}")
    _end(2)


def _say(line: str) -> None:
    from mbuf.cli.format import plain

    print(plain(line), file=sys.stderr, flush=True)


def _end(code: int) -> Any:
    """End without trying again to print what could not be printed."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nobody, stream)
    sys.exit(code)
