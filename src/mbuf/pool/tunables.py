"""Where tunables are written: loader.conf, TOML, a mapping, the environment.

Each function returns what `Pool(tunables=...)` takes: numbers, as the kernel would read them. What it would
ignore is left out, and told in a `TunableWarning`, as is what it would read otherwise than people do.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mbuf.errors import Inval, TunableWarning
from mbuf.pool.limits import SWITCHES, TUNABLES
from mbuf.pool.suggest import near, unknown
from mbuf.pool.tunable_checks import Given, check_value, prefix, read

#: Every tunable there is.
NAMES = (*TUNABLES, *SWITCHES)

_PREFIX = "MBUF_"

#: Variables of this package that are no tunables: how it is installed, and tested.
_OURS = ("MBUF_FUZZ_SECONDS", "MBUF_PURE", "MBUF_SOAK")

#: Characters of a loader.conf, at most: devices have no end.
_MAX_CHARS = 1 << 20

_LINE = re.compile(r'\s*([^\s="#]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"#]+))\s*(?:#.*)?')
_BLANK = re.compile(r"\s*(?:#.*)?")

#: loader.conf has names of everything: those so much like one of ours are ours, misspelt.
_MISSPELT_CUTOFF = 0.92


class Setting(NamedTuple):
    """A name, its value, and where it says so."""

    name: str
    value: int | str
    where: str


def read_loader_conf(path: str | os.PathLike[str]) -> dict[str, int]:
    """The tunables of a loader.conf file. See loader.conf(5).

    What the file says of other things is passed over. Raises `Inval` for a line that can't be read and for a
    name of ours that is misspelt, `OSError` if there is no reading the file.
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
    """The tunables of a TOML file, or of a table in it, as in `tool.server`; all that is there must be tunables."""
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
    """The tunables of a mapping of names to numbers or texts; mappings in it make dotted names."""
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
    """The tunables of an environment: MBUF_NMBCLUSTERS is kern.ipc.nmbclusters, and so on."""
    names = {_PREFIX + name.rpartition(".")[2].upper(): name for name in NAMES}
    ours = sorted(name for name in environ if name.startswith(_PREFIX) and name not in _OURS)
    for name in ours:
        if name not in names:
            raise Inval(unknown("variable", name, names))
    return _checked(Setting(names[name], environ[name], name) for name in ours)


def _checked(settings: Iterable[Setting]) -> dict[str, int]:
    """The numbers of settings, the last of a name, with a warning for each that isn't what it seems to be."""
    found: dict[str, int] = {}
    for name, value, where in settings:
        if name not in NAMES:
            raise Inval(f"{prefix(where)}{unknown('tunable', name, NAMES)}")
        warning = check_value(name, value)
        if warning:
            warnings.warn(f'{prefix(where)}{name}="{value}": {warning}', TunableWarning, stacklevel=3)
        number = read(name, value)
        found.pop(name, None)
        if number is not None:
            found[name] = Given(number, where)
    return found
