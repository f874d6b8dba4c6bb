"""What `mbuf_command` starts.

It catches what no command can: an interrupt during the imports (exit code 130, and no traceback), a package that isn't
installed, and a standard output that can't be written (exit code 2, and one line). So it must not import click itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import MappingProxyType
from typing import Any

#: The packages that commands need, each with the extra of mbuf that installs it.
_EXTRAS = MappingProxyType({"click": "cli", "rich": "cli", "h11": "http"})


def run() -> None:
    """Run the command; mbuf.cli.main has its exit codes."""
    try:
        from mbuf.cli.main import main

        main(prog_name="mbuf")
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        _print_error(f'mbuf: the package {package} is not installed: pip install "mbuf[{_EXTRAS[package]}]"')
        _exit(2)
    except KeyboardInterrupt:
        _exit(130)
    except OSError as error:
        with contextlib.suppress(OSError):
            _print_error(f"mbuf: {error.filename or 'standard output'}: {error.strerror or error}")
        _exit(2)


def _print_error(line: str) -> None:
    from mbuf.cli.format import printable

    # It is None if it was closed at the start, and `print` would take that for standard output.
    if sys.stderr is not None:
        print(printable(line), file=sys.stderr, flush=True)


def _exit(code: int) -> Any:
    """Exit without another attempt to write what is still in the buffers of standard output and error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    sys.exit(code)
