"""Reads tunables: from loader.conf, TOML, a mapping, or the environment.

Each function returns what `Pool(tunables=...)` takes: numbers, as the kernel would read them. A value that the kernel
ignores is left out. A `TunableWarning` tells of each of those, and of each value that the kernel reads differently
from how it is written.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mbuf.errors import Inval, TunableWarning
from mbuf.pool.limits import SWITCHES, TUNABLES
from mbuf.pool.suggest import near, unknown
from mbuf.pool.tunable_checks import Given, check_value, prefix, read
from mbuf.vm.warn import warn

#: Every tunable there is.
NAMES = (*TUNABLES, *SWITCHES)

_PREFIX = "MBUF_"

#: Variables with that prefix that are no tunables.
_OURS = ("MBUF_FUZZ_SECONDS", "MBUF_PURE", "MBUF_SOAK")

#: Most characters of a loader.conf: a device that is given by mistake has no end.
_MAX_CHARS = 1 << 20

_LINE = re.compile(r'\s*([^\s="#]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"#]+))\s*(?:#.*)?')
_BLANK = re.compile(r"\s*(?:#.*)?")

#: A loader.conf has other names too: one this similar to a tunable is taken for a misspelt tunable.
_MISSPELT_CUTOFF = 0.92


class Setting(NamedTuple):
    """A name, its value, and where it was read."""

    name: str
    value: int | str
    where: str


def read_loader_conf(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read the tunables in a loader.conf file, as numbers by name. See loader.conf(5).

    Names of other things are skipped. Raises `Inval` for a line that can't be parsed and for a misspelt name of a
    tunable, and `OSError` if the file can't be read.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        text = file.read(_MAX_CHARS + 1)
    if len(text) > _MAX_CHARS:
        raise Inval(f"{os.fspath(path)}: more than {_MAX_CHARS} characters: this is no loader.conf")
    return _checked(_loader_settings(text.split("\n"), os.fspath(path)))


def _loader_settings(lines: Iterable[str], path: str) -> Iterator[Setting]:
    for number, line in enumerate(lines, 1):
        if _BLANK.fullmatch(line):
            continue
        where = f"{path}:{number}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise Inval(f'{where}: give NAME="VALUE", not {line.strip()[:60]!r}')
        name, quoted, bare = match.groups()
        if name in NAMES:
            yield Setting(name, bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted), where)
        elif name.lower().startswith("kern.ipc.nm") or near(name, NAMES, _MISSPELT_CUTOFF):
            raise Inval(f"{where}: {unknown('tunable', name, NAMES)}")


def read_toml(path: str | os.PathLike[str], table: str = "") -> dict[str, int]:
    """Read the tunables in a TOML file, or in one table of it, such as `tool.server`, as numbers by name.

    Raises `Inval` if the table is missing or has anything but tunables, and `OSError` if the file can't be read.
    """
    with open(path, "rb") as file:
        try:
            found: Any = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Inval(f"{os.fspath(path)}: {error}") from None
    for key in table.split(".") if table else ():
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise Inval(f"{os.fspath(path)}: there is no table [{table}]")
    return from_mapping(found, os.fspath(path))


def from_mapping(mapping: Mapping[str, Any], where: str = "") -> dict[str, int]:
    """Read tunables from a mapping of names to numbers or texts; a mapping inside it adds a part to dotted names.

    `where` is put in front of warnings and errors. Raises `Inval` for an unknown name or another type of value.
    """
    return _checked(_flat(mapping, "", where))


def _flat(mapping: Mapping[str, Any], above: str, where: str) -> Iterator[Setting]:
    for key, value in mapping.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.", where)
        elif isinstance(value, str | int) and (not isinstance(value, bool) or name in SWITCHES):
            yield Setting(name, value, where)
        else:
            raise Inval(f"{prefix(where)}{name}: give a whole number or a text, not {value!r}")


def from_environ(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Read tunables from the environment: MBUF_NMBCLUSTERS is kern.ipc.nmbclusters, and so on.

    Raises `Inval` for another variable that begins with MBUF_.
    """
    names = {_PREFIX + name.rpartition(".")[2].upper(): name for name in NAMES}
    ours = sorted(name for name in environ if name.startswith(_PREFIX) and name not in _OURS)
    for name in ours:
        if name not in names:
            raise Inval(unknown("variable", name, names))
    return _checked(Setting(names[name], environ[name], name) for name in ours)


def _checked(settings: Iterable[Setting]) -> dict[str, int]:
    """The numbers of settings, the last one of each name; warns of each that isn't read as it is written."""
    found: dict[str, int] = {}
    for name, value, where in settings:
        if name not in NAMES:
            raise Inval(f"{prefix(where)}{unknown('tunable', name, NAMES)}")
        warning = check_value(name, value)
        if warning:
            warn(f'{prefix(where)}{name}="{value}": {warning}', TunableWarning)
        number = read(name, value)
        found.pop(name, None)
        if number is not None:
            found[name] = Given(number, where)
    return found
