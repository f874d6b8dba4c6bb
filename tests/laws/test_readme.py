"""The examples of README and the guide run, and print what their comments say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = ("README.md", "docs/guide.md")
TEXT = "".join((Path(__file__).parents[2] / page).read_text("utf-8") for page in PAGES)
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[0])
def test_an_example_runs_and_prints_what_it_says(example: str) -> None:
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True, text=True)
    for said in re.findall(r"print\(.*\)  # (.*)", example):
        assert said in done.stdout or said.startswith(("mbuf by mbuf", "True: ", "each file"))
