"""Directives of the page of commands, for reStructuredText (`eval-rst` in Markdown).

`command` describes a command of `mbuf` and its options, read from the command itself. `shell` runs commands while the
pages are built, and shows what they print.
"""

from __future__ import annotations

import inspect
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
from docutils import nodes
from reference import Described, escaped
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mbuf.cli.main import main

ROOT = Path(__file__).parents[2]

#: Runs the command of the tree whose pages are built.
_RUN = (sys.executable, "-c", "from mbuf.cli.entry import run; run()")


class Command(Described):
    """A command's usage, description and options."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        command = main.resolve_command(click.Context(main), [name])[1]
        if command is None or not command.help:
            raise self.error(f"the command {name} has no description")
        context = click.Context(command, info_name=f"mbuf {name}", **main.context_settings)
        usage = command.get_usage(context).removeprefix("Usage: ")
        lines = [".. code-block:: text", "", f"   {' '.join(usage.split())}", "", f".. program:: mbuf {name}", ""]
        lines += [*escaped(inspect.cleandoc(command.help)).splitlines(), ""]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                option, text = record
                lines += [f".. option:: {option}", "", f"   {' '.join(text.split())}", ""]
        return self.parse(lines)


class Shell(SphinxDirective):
    """Each command after a `$`, and below it what it prints. Paths are relative to the project."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(f"$ {line}\n{_output(line)}" for line in self.content)
        return [nodes.literal_block(text, text, language="console")]


def _output(line: str) -> str:
    program, *arguments = shlex.split(line)
    if program != "mbuf":
        raise ValueError(f"{line}: only the command mbuf is run")
    env = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run(
        [*_RUN, *arguments], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    return done.stdout.replace(f"{ROOT}/", "").rstrip("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", Command)
    app.add_directive("shell", Shell)
    return {"parallel_read_safe": True}
