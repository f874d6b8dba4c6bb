"""The types of option values, and the error that ends a command.

Each type accepts what people write (`16M`, `100x`, `0.5s`), or raises a `CommandError` that names the option and the
values to give. `WholeNumber` is click's IntRange. `Number` is for numbers with units, which click doesn't have; it
accepts neither `nan` nor `inf`, as click's FloatRange would.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import IO, Any

import click

from mbuf.cli.format import printable


class CommandError(click.ClickException):
    """The command can't do what was asked for: one line on standard error, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"mbuf: {printable(self.message)}", file=file, err=file is None)


class WholeNumber(click.IntRange):
    """A whole number from `min` to `max`."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises `CommandError`."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise _bad_value(value, param, f"give a whole number from {self.min} to {self.max}") from None


class Number(click.ParamType[float]):
    """A number from `min` to `max`, with or without one of the units, each of which stands for a factor."""

    def __init__(self, name: str, units: Mapping[str, int], min: float, max: float) -> None:
        self.name = name
        self._units = {"": 1, **units}
        self._min = min
        self._max = max

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, multiplied by its unit. Raises `CommandError`."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)([a-zA-Z]?)", value, re.ASCII)
        factor = self._units.get(match[2].upper()) if match else None
        if match is None or factor is None:
            units = ", ".join(unit for unit in self._units if unit)
            raise _bad_value(value, param, f"give a number{units and f', with or without a unit ({units})'}")
        number = float(match[1]) * factor
        if not self._min <= number <= self._max:
            raise _bad_value(value, param, f"give {self._text(self._min)} to {self._text(self._max)}")
        return number

    def _text(self, number: float) -> str:
        """A bound, with the largest unit of which it is a multiple."""
        if number != int(number):
            return f"{number:g}"
        factor, unit = max((factor, unit) for unit, factor in self._units.items() if number % factor == 0)
        return f"{number / factor:.0f}{unit if factor > 1 else ''}"


def _bad_value(value: object, param: click.Parameter | None, advice: str) -> CommandError:
    return CommandError(f"{param.opts[0] if param else 'value'} {value}: {advice}")


_BYTES = MappingProxyType({"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40})
_SECONDS = MappingProxyType({"S": 1})

SIZE = Number("SIZE", _BYTES, 4096, 1 << 60)
#: In less, there is no room for the header of a response and one mbuf of a file.
MEMORY = Number("SIZE", _BYTES, 1 << 17, 1 << 60)
SECONDS = Number("SECONDS", _SECONDS, 0, 1e9)
TIMEOUT = Number("SECONDS", _SECONDS, 0.1, 86400)
RATE = Number("RATE", {}, 1e-3, 1e9)
SPEED = Number("SPEED", {"X": 1}, 1e-3, 1e9)
PORT = WholeNumber(0, 65535)
CLIENTS = WholeNumber(1, 1 << 20)
QUEUES = WholeNumber(1, 1024)
CPUS = WholeNumber(1, 1024)
DESCRIPTORS = WholeNumber(1, 1 << 20)
MTU = WholeNumber(68, 65535)
TIMES = WholeNumber(1, 1_000_000_000)
