"""Values of options, as people write them.

Each is read or refused in one line, which ends the command with code 2.
"""

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, Any, NoReturn

import click

from mbuf.pool.names import unknown
from mbuf.pool.remarks import read
from mbuf.pool.tunables import NAMES


class Refused(click.ClickException):
    """What was asked for can't be done: one line, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"mbuf: {self.message}", file=file, err=file is None)


class Number(click.ParamType[float]):
    """A number from `least` to `most`, with one of the units, if any; a `whole` one, if so."""

    def __init__(self, name: str, units: Mapping[str, int], least: float, most: float, whole: bool = False) -> None:
        self.name = name
        self._whole = whole
        self._units = units
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)([a-zA-Z]?)", value, re.ASCII)
        unit = self._units.get(match[2].upper()) if match else None
        if match is None or unit is None:
            units = "".join(f", {unit}" for unit in self._units if unit)
            self._refuse(value, param, f"give a number{units and f', if need be with a unit of {units[2:]}'}")
        number = float(match[1]) * unit
        if self._whole and number != int(number):
            self._refuse(value, param, "give a whole number")
        if not self._least <= number <= self._most:
            self._refuse(value, param, f"give {self._least:g} to {self._most:g}")
        return number

    def _refuse(self, value: str, param: click.Parameter | None, advice: str) -> NoReturn:
        name = param.opts[0] if param else self.name
        raise Refused(f"{name} {value}: {advice}")


_BYTES = MappingProxyType({"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40})
SIZE = Number("SIZE", _BYTES, 4096, 1 << 61)
SECONDS = Number("SECONDS", {"": 1, "S": 1}, 0, 1e9)
RATE = Number("RATE", {"": 1}, 1e-3, 1e9)
SPEED = Number("SPEED", {"": 1, "X": 1}, 1e-3, 1e9)
#: Less than this is no head and one mbuf of a file.
MEMORY = Number("MEMORY", _BYTES, 1 << 17, 1 << 61)
PORT = Number("PORT", {"": 1}, 0, 65535, whole=True)
PATIENCE = Number("SECONDS", {"": 1, "S": 1}, 0.1, 86400)
CLIENTS = Number("CLIENTS", {"": 1}, 1, 1 << 20, whole=True)


def tunables(settings: tuple[str, ...]) -> dict[str, str]:
    """The tunables of `name=value` texts, a later one of the same name before an earlier one."""
    found: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise Refused(f"--set {setting}: give NAME=VALUE")
        if name not in NAMES:
            raise Refused(f"--set {setting}: {unknown('tunable', name, NAMES)}")
        number = read(name, value)
        if number is None or value.lstrip().startswith("-"):
            raise Refused(f"--set {setting}: the value isn't a number from 0 on, with k, m, g, t or no unit")
        found.pop(name, None)
        found[name] = value
    return found


def readable(paths: tuple[str, ...]) -> tuple[str, ...]:
    """The paths, if all can be read."""
    for path in paths:
        if not os.path.exists(path):
            raise Refused(f"{path}: there is no such file")
        if os.path.isdir(path):
            raise Refused(f"{path}: is a directory, not a capture")
        if not os.access(path, os.R_OK):
            raise Refused(f"{path}: may not be read")
    return paths
