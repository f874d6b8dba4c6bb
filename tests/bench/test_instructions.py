"""bench/instructions.py runs, and counts something for each verb."""

import json
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from mbuf import compiled

SCRIPT = Path(__file__).parents[2] / "bench" / "instructions.py"


@pytest.mark.skipif(which("valgrind") is None or not compiled(), reason="needs valgrind and the compiled leg")
def test_each_verb_has_a_count() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert {"two empty methods", "getcl() + free()", "get() + free()", "m.len"} <= counts.keys()
    assert counts["getcl() + free()"] < counts["wrap() + free()"]
    assert all(20 < count < 1_000_000 for count in counts.values())
