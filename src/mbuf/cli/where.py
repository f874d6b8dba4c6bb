"""The command `mbuf where`: where a name of the kernel's is found here.

Reads docs/seed-map.toml, which is part of the package, and the sources. Runs nothing of what it finds.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import click

import mbuf
from mbuf.cli.options import Refused
from mbuf.pool.suggest import unknown


class Place(NamedTuple):
    """A line of a source, and what is there."""

    path: Path
    line: int
    name: str


@click.command(short_help="Print where the kernel's names are found here.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def where(names: tuple[str, ...]) -> None:
    """Print where the kernel's NAMEs are found here: file, line, and what they do.

    NAME is a function, macro, variable, zone, event or sysctl of FreeBSD's kern_mbuf.c and of the interface
    that mbuf(9) describes: m_getm2, M_LEADINGSPACE, zone_pack, kern.ipc.nmbclusters.
    """
    entries = seed_map()
    for name in names:
        if name not in entries:
            raise Refused(unknown("name", name, entries))
    for name in names:
        for line in lines(entries[name]):
            click.echo(line)


def seed_map() -> dict[str, dict[str, str]]:
    """The entries of the map by the kernel's names."""
    text = files("mbuf").joinpath("seed-map.toml").read_text("utf-8")
    return {entry["kernel"]: entry for entry in tomllib.loads(text)["entry"]}


def lines(entry: dict[str, str]) -> Iterator[str]:
    """What is said of a name."""
    if entry["state"] == "built":
        at = place(entry["target"])
        yield f"{at.path}:{at.line}: {entry['kernel']} is {at.name}"
    else:
        yield f"{entry['kernel']} is not there yet"
    yield f"    {entry['says']}"
    if "differs" in entry:
        yield f"    Unlike the kernel: {entry['differs']}"


def place(target: str) -> Place:
    """Where `module:qualname` is; the class that it is of, where there is no line for itself."""
    module, _, qualname = target.partition(":")
    source = _source(module)
    if not qualname:
        return Place(source, 1, module)
    *owners, last = qualname.split(".")
    if not owners:
        return Place(source, _line(source, (last,)), last)
    path = tuple(owners)
    # A verb may be that of a class below.
    for kind in getattr(import_module(module), owners[0]).__mro__:
        if kind.__module__.partition(".")[0] == mbuf.__name__:
            below = _source(kind.__module__)
            line = _line(below, (kind.__qualname__, last))
            if line:
                return Place(below, line, f"{kind.__qualname__}.{last}")
    return Place(source, _line(source, path) or 1, qualname)


def _source(module: str) -> Path:
    """The file of a module, its source if it is compiled."""
    package = Path(mbuf.__file__).parent
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _line(source: Path, path: tuple[str, ...]) -> int:
    """The line on which something is defined in a source, 0 if it isn't."""
    body: list[ast.stmt] = ast.parse(source.read_bytes()).body
    line = 0
    for name in path:
        found = next((node for node in _flat(body) if name in _names(node)), None)
        if found is None:
            return _attribute(body, name) if line else 0
        line = found.lineno
        body = getattr(found, "body", [])
    return line


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those that are under an `if` there."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _flat([*node.body, *node.orelse])
        else:
            yield node


def _names(node: Any) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    return [node.name] if hasattr(node, "name") else []


def _attribute(body: list[ast.stmt], name: str) -> int:
    """The line on which a class's instances first get an attribute, 0 if they don't."""
    lines = [
        node.lineno
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
    ]
    return min(lines, default=0)
