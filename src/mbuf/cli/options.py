"""Values of options, as people write them.

Each is read or refused in one line, which ends the command with code 2.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Any, NoReturn

import click

from mbuf.cli.format import plain
from mbuf.pool.suggest import unknown
from mbuf.pool.tunable_checks import read
from mbuf.pool.tunables import NAMES


class Refused(click.ClickException):
    """What was asked for can't be done: one line, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"mbuf: {plain(self.message)}", file=file, err=file is None)


class Commands(click.Group):
    """Commands that tell what is wrong with their arguments in one line, and are interrupted without any."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None
    except click.UsageError as error:
        _, *path = error.ctx.command_path.split() if error.ctx else ("mbuf",)
        raise Refused(f"{error.format_message().rstrip('.')}: see {' '.join(['mbuf', *path])} --help") from None


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
            self._refuse(value, param, f"give {self._bound(self._least)} to {self._bound(self._most)}")
        return number

    def _bound(self, number: float) -> str:
        """A bound with the largest unit of which it is a multiple."""
        if number != int(number):
            return f"{number:g}"
        step, unit = max((step, unit) for unit, step in self._units.items() if number % step == 0)
        return f"{number / step:.0f}{unit if step > 1 else ''}"

    def _refuse(self, value: str, param: click.Parameter | None, advice: str) -> NoReturn:
        name = param.opts[0] if param else self.name
        raise Refused(f"{name} {value}: {advice}")


class Whole(Number):
    """A whole number from `least` to `most`."""

    def __init__(self, name: str, least: int, most: int) -> None:
        super().__init__(name, {"": 1}, least, most, whole=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        # A default is one already.
        return value if isinstance(value, int) else int(super().convert(value, param, ctx))


_BYTES = MappingProxyType({"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40})
SIZE = Number("SIZE", _BYTES, 4096, 1 << 60)
SECONDS = Number("SECONDS", {"": 1, "S": 1}, 0, 1e9)
RATE = Number("RATE", {"": 1}, 1e-3, 1e9)
SPEED = Number("SPEED", {"": 1, "X": 1}, 1e-3, 1e9)
#: Less than this is no head and one mbuf of a file.
MEMORY = Number("MEMORY", _BYTES, 1 << 17, 1 << 60)
PORT = Whole("PORT", 0, 65535)
PATIENCE = Number("SECONDS", {"": 1, "S": 1}, 0.1, 86400)
CLIENTS = Whole("CLIENTS", 1, 1 << 20)
QUEUES = Whole("N", 1, 1024)
CPUS = Whole("N", 1, 1024)
DESCRIPTORS = Whole("N", 1, 1 << 20)
MTU = Whole("BYTES", 68, 65535)
TIMES = Whole("TIMES", 1, 1_000_000_000)


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
            raise Refused(f"{path or repr(path)}: there is no such file")
        if os.path.isdir(path):
            raise Refused(f"{path}: is a directory, not a capture")
        if not os.access(path, os.R_OK):
            raise Refused(f"{path}: may not be read")
    return paths
