"""`mbuf where`: where a name of the kernel is in this library.

Reads docs/seed-map.toml, which is installed with the package, and finds the line in the source by its syntax tree,
because a compiled function doesn't know its line.
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
from mbuf.cli.options import CommandError
from mbuf.pool.suggest import unknown


class Location(NamedTuple):
    """A line of a source file, and the name that is defined there."""

    path: Path
    line: int
    name: str


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def where(names: tuple[str, ...]) -> None:
    """Print where names of the FreeBSD kernel are in this library: file, line, and what they do.

    NAME is a function, macro, variable, zone, event or sysctl from kern_mbuf.c or mbuf(9), for example m_getm2,
    M_LEADINGSPACE, zone_pack or kern.ipc.nmbclusters. Differences from the kernel are printed too.
    """
    entries = seed_map()
    for name in names:
        if name not in entries:
            raise CommandError(unknown("name", name, entries))
    for name in names:
        for line in lines(entries[name]):
            click.echo(line)


def seed_map() -> dict[str, dict[str, str]]:
    """Return the entries of the map by kernel name."""
    text = files("mbuf").joinpath("seed-map.toml").read_text("utf-8")
    return {entry["kernel"]: entry for entry in tomllib.loads(text)["entry"]}


def lines(entry: dict[str, str]) -> Iterator[str]:
    """Yield the lines to print for an entry of the map."""
    if entry["state"] == "built":
        at = locate(entry["target"])
        yield f"{at.path}:{at.line}: {entry['kernel']} is {at.name}"
    else:
        yield f"{entry['kernel']} is not in this library yet"
    yield f"    {entry['says']}"
    if "differs" in entry:
        yield f"    Unlike the kernel: {entry['differs']}"


def locate(target: str) -> Location:
    """Return where `module:qualname` is defined; where its class is, if it has no line of its own."""
    module, _, qualname = target.partition(":")
    source = _source(module)
    if not qualname:
        return Location(source, 1, module)
    *owners, last = qualname.split(".")
    if not owners:
        return Location(source, _line(source, (last,)), last)
    path = tuple(owners)
    # A method may be inherited.
    for kind in getattr(import_module(module), owners[0]).__mro__:
        if kind.__module__.partition(".")[0] == mbuf.__name__:
            below = _source(kind.__module__)
            line = _line(below, (kind.__qualname__, last))
            if line:
                return Location(below, line, f"{kind.__qualname__}.{last}")
    return Location(source, _line(source, path) or 1, qualname)


def _source(module: str) -> Path:
    """The source file of a module, also if it is compiled."""
    package = Path(mbuf.__file__).parent
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _line(source: Path, path: tuple[str, ...]) -> int:
    """The line on which a qualified name is defined in a source file; 0 if it isn't."""
    body: list[ast.stmt] = ast.parse(source.read_bytes()).body
    line = 0
    for name in path:
        found = next((node for node in _statements(body) if name in _names(node)), None)
        if found is None:
            return _attribute(body, name) if line else 0
        line = found.lineno
        body = getattr(found, "body", [])
    return line


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, and those inside of its `if` statements."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        else:
            yield node


def _names(node: Any) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    return [node.name] if hasattr(node, "name") else []


def _attribute(body: list[ast.stmt], name: str) -> int:
    """The line on which a class first sets an attribute of its instances; 0 if it doesn't."""
    lines = [
        node.lineno
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
    ]
    return min(lines, default=0)
