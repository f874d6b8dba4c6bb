"""An example in a process of its own, in asyncio's loop or in uvloop."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Runs a program whose asyncio.run uses uvloop.
UVLOOP = """
import asyncio, runpy, sys, uvloop


def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


asyncio.run = run
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@contextmanager
def running(name: str, *arguments: str, loop: str = "asyncio") -> Iterator[list[str]]:
    """Run examples/`name`; give the words of its first line. At its end it has written nothing to stderr."""
    start = ["-c", UVLOOP] if loop == "uvloop" else []
    with subprocess.Popen(
        [sys.executable, *start, str(EXAMPLES / name), *arguments],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def lines(name: str) -> int:
    """The number of lines of an example."""
    return len((EXAMPLES / name).read_text("utf-8").splitlines())
