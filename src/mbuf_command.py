"""What the shell starts as `mbuf`. It is outside of the package, to catch an interrupt while that is imported."""

import sys


def run() -> None:
    """Run the command; `mbuf.cli.main` has its exit codes."""
    try:
        from mbuf.cli.entry import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
