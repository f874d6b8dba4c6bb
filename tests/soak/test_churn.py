"""A short run of what `make soak` runs for long."""

import subprocess
import sys
from pathlib import Path

from mbuf import compiled

SCRIPT = Path(__file__).with_name("churn.py")


def test_a_short_run_leaves_nothing_behind() -> None:
    count = 200_000 if compiled() else 10_000
    # At the beginning the interpreter itself grows by more than 1 %.
    command = [sys.executable, "-W", "error", SCRIPT, "--count", str(count), "--seed", "1", "--flat", "10"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing leaked\n")
