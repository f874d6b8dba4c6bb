"""Every example on every page runs, and prints what the page shows.

A block is code between lines of three backquotes. Its language decides what happens to it; CONTRIBUTING.md has the
rules for authors:

    python   a program of its own; a comment after `print(...)` is a line of its output, or part of one
    output   all that the program before it prints
    console  commands of `mbuf`, each after `$`, and what they print; `$ cat FILE` makes the file that it shows

Programs and commands run in an empty directory with a link to `captures`. `...` stands for any text.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.namespace import Unavailable, namespace

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/index.md", "docs/tutorial.md")),
    *(
        page
        for folder in ("howto", "explanation", "reference", "design")
        for page in sorted((ROOT / "docs" / folder).glob("*.md"))
    ),
]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"\bprint\(.*\)  # (.+)")
PATH = re.compile(r"`((?:src|tests|docs|bench|changes|captures|examples)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")

#: What the log says when an example reaches a limit, or memory is out.
WARNING = re.compile(r"^.*; requests are refused, or wait, until something is freed.*\n", re.MULTILINE)

#: Replaces asyncio.run by that of the other event loop.
UVLOOP = """import asyncio, uvloop
def run(main):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
asyncio.run = run
"""
MBUF = "from mbuf.cli.entry import run; run()"


def found(*languages: str) -> Iterator[tuple[str, str, str]]:
    """For each block in one of these languages: its page and line, its text, and the output block after it, if any."""
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = [(match[1], match[2], match.start()) for match in BLOCK.finditer(text)]
        for number, (language, block, at) in enumerate(blocks):
            after = blocks[number + 1] if number + 1 < len(blocks) else ("", "", 0)
            if language in languages:
                place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}"
                yield place, block, after[1] if after[0] == "output" else ""


def cases() -> list[object]:
    """Each program, and once more for uvloop if it runs an event loop."""
    made: list[object] = []
    for place, program, output in found("python"):
        made.append(pytest.param(program, output, "", id=place))
        if "asyncio.run(" in program:
            made.append(pytest.param(program, output, UVLOOP, id=f"{place}-uvloop"))
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory to run examples in."""
    (tmp_path / "captures").symlink_to(ROOT / "captures")
    return tmp_path


@pytest.mark.parametrize(("program", "output", "prelude"), cases())
def test_an_example_runs_and_prints_what_it_says(program: str, output: str, prelude: str, place: Path) -> None:
    if prelude:
        pytest.importorskip("uvloop")
    code = prelude + program
    if "TunPort(" in program:
        try:
            with namespace():
                done = run(place, "-c", code)
        except Unavailable as error:
            pytest.skip(str(error))
    else:
        done = run(place, "-c", code)
    assert (done.returncode, WARNING.sub("", done.stderr)) == (0, ""), done.stderr
    if output:
        assert like(output, done.stdout), done.stdout
    for line in PRINTED.findall(program):
        assert any(like(line, one) for one in done.stdout.splitlines()), done.stdout


@pytest.mark.parametrize("session", [pytest.param(text, id=where) for where, text, _ in found("console")])
def test_a_command_prints_what_the_page_shows(session: str, place: Path) -> None:
    for entry in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = entry.partition("\n")
        name, *arguments = shlex.split(command)
        if name == "cat":
            (place / arguments[0]).write_text(shown)
            continue
        assert name == "mbuf", "only commands of mbuf can be checked"
        done = run(place, "-c", MBUF, *arguments, stderr=subprocess.STDOUT)
        assert like(shown, done.stdout), done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_refers_to_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "" not in re.findall(r"^```(.*)$", text, re.MULTILINE)[::2], "each block has a language"
    prose = BLOCK.sub("", text)
    assert [link for link in LINK.findall(prose) if not (page.parent / link).exists()] == []
    assert [path for path in PATH.findall(prose) if not (ROOT / path).exists()] == []


def run(place: Path, *arguments: str, stderr: int = subprocess.PIPE) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process of its own, in that directory."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env={"PYTHONPATH": ":".join(sys.path), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
    )


def like(shown: str, printed: str) -> bool:
    """True if the text is what is shown, in which `...` stands for anything."""
    pattern = re.escape(shown.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
