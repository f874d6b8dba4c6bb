"""Type checkers see compiled methods as they are written, with and without Cython installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "laws" / "typed" / "program.py"
WRONG = """
from mbuf import Pool

Pool().getcl().pullup("14")
Pool().getcl().pkthdr.lenght
Pool().getcl_bulk()
"""


def pyright(tmp_path: Path, text: str, *, cython: bool) -> list[str]:
    """The messages of pyright about a program; the package is read from its sources."""
    program = tmp_path / "program.py"
    program.write_text(text)
    python = sys.executable
    if not cython:
        # An environment with nothing installed.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)
        python = str(tmp_path / "empty" / "bin" / "python")
    settings = {"include": ["program.py"], "extraPaths": [str(ROOT / "src")], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", python, "--project", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [
        f"{one['range']['start']['line']}: {one['message']}" for one in json.loads(done.stdout)["generalDiagnostics"]
    ]


@pytest.mark.parametrize("cython", [True, False])
def test_pyright_finds_nothing_wrong_with_a_right_program(tmp_path: Path, cython: bool) -> None:
    assert pyright(tmp_path, PROGRAM.read_text("utf-8"), cython=cython) == []


@pytest.mark.parametrize("cython", [True, False])
def test_pyright_finds_mistakes(tmp_path: Path, cython: bool) -> None:
    messages = "\n".join(pyright(tmp_path, WRONG, cython=cython))
    assert "\"Literal['14']\"" in messages
    assert "lenght" in messages
    assert 'Argument missing for parameter "count"' in messages or "missing" in messages


def test_mypy_agrees(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(PROGRAM)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout
