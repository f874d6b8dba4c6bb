"""`mbuf sysctl`: the sysctl tree of a modelled machine, read and set as with sysctl(8).

A pool is made for the machine, and its `sysctl` answers; this module parses arguments and formats values.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import click

from mbuf.cli.format import printable
from mbuf.cli.machine import boot_tunables, machine_options, memory, warnings_on_stderr
from mbuf.cli.options import CommandError
from mbuf.errors import Inval
from mbuf.pool.pool import Pool
from mbuf.vm.vm import Vm

_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")

#: Longer numbers are refused before they are converted, which takes quadratic time.
_MAX_DIGITS = 100

#: Bytes of an opaque value that -o prints, as sysctl(8) does.
_DUMP_BYTES = 16

#: Bytes of a number, by its type; 8 for the others.
_WIDTHS = MappingProxyType({"integer": 4, "unsigned integer": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4})
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Style:
    """What is printed of a name: its value, or with `describe` or `types` its description or type.

    Opaque values are printed only with `opaque` (the first bytes) or `whole` (all bytes).
    """

    names_only: bool = False
    values_only: bool = False
    describe: bool = False
    types: bool = False
    opaque: bool = False
    whole: bool = False


@click.command()
@click.argument("names", metavar="[NAME[=VALUE]]...", nargs=-1)
@click.option("-a", "every", is_flag=True, help="Print all names with their values.")
@click.option("-d", "describe", is_flag=True, help="Print descriptions instead of values.")
@click.option("-t", "types", is_flag=True, help="Print types instead of values.")
@click.option("-N", "names_only", is_flag=True, help="Print only names.")
@click.option("-n", "values_only", is_flag=True, help="Print only values.")
@click.option("-o", "opaque", is_flag=True, help="Print opaque values too: length and first bytes.")
@click.option("-x", "whole", is_flag=True, help="Print opaque values too: length and all bytes.")
@click.option("-b", "raw", is_flag=True, help="Print values as raw bytes.")
@machine_options
@click.pass_context
def sysctl(
    context: click.Context,
    names: tuple[str, ...],
    every: bool,
    describe: bool,
    types: bool,
    names_only: bool,
    values_only: bool,
    opaque: bool,
    whole: bool,
    raw: bool,
    ncpu: int,
    physmem: float | None,
    loader_conf: str | None,
    settings: tuple[str, ...],
) -> None:
    """Print or set the sysctls of a FreeBSD machine that has just booted. Nothing changes on this machine.

    You see which limits a machine with this memory and these tunables has, and whether the kernel accepts a new value.
    Arguments are processed in order.

    NAME is a sysctl, or a branch of the tree such as kern.ipc or vm.uma.mbuf. The raw bytes of vm.zone_stats are in the
    format that libmemstat reads.
    """
    if every == bool(names):
        raise CommandError("sysctl: give -a or names, not both" if every else "sysctl: give a name, or -a for all")
    if raw and [name for name in names if "=" in name]:
        raise CommandError("sysctl -b: give names without values")
    style = Style(names_only, values_only, describe, types, opaque, whole)
    with warnings_on_stderr(), _boot(memory(physmem), boot_tunables(loader_conf, settings), ncpu) as pool:
        for name in names:
            _check_name(pool, name)
        if raw:
            click.echo(b"".join(raw_value(pool, name) for name in (pool.sysctl if every else names)), nl=False)
            return
        for line in all_lines(pool, style) if every else ():
            click.echo(line)
        context.exit(2 if [name for name in names if not _read_or_set(pool, name, style)] else 0)


def _boot(memory: int, tunables: dict[str, int | str], ncpu: int) -> Pool:
    try:
        return Pool(Vm(memory), tunables, ncpu, worker=False)
    except Inval as error:
        raise CommandError(str(error)) from None


def _check_name(pool: Pool, argument: str) -> None:
    """Raise `CommandError` for a name that doesn't exist, and for a branch with a value."""
    name, equals, _ = argument.partition("=")
    try:
        below = pool.sysctl.under(name)
    except KeyError as error:
        raise CommandError(error.args[0]) from None
    if equals and below != (name,):
        raise CommandError(f"{argument}: {name} is a branch, and has no value")


def _read_or_set(pool: Pool, argument: str, style: Style) -> bool:
    """Print what the kernel answers to NAME or NAME=VALUE; False if that is an error."""
    name, equals, text = argument.partition("=")
    try:
        for line in (set_value(pool, name, text, style),) if equals else lines_of(pool, name, style):
            click.echo(line)
    except Inval as error:
        click.echo(f"sysctl: {printable(str(error))}", err=True)
        return False
    return True


def lines_of(pool: Pool, name: str, style: Style) -> Iterator[str]:
    """Yield the lines of a name, or of all names below it. Raises `KeyError` if there are none."""
    yield from _lines(pool, pool.sysctl.under(name), style)


def all_lines(pool: Pool, style: Style) -> Iterator[str]:
    """Yield the lines of all names."""
    yield from _lines(pool, pool.sysctl, style)


def _lines(pool: Pool, names: Iterable[str], style: Style) -> Iterator[str]:
    opaque = style.names_only or style.describe or style.types or style.opaque or style.whole
    for name in names:
        if opaque or not pool.sysctl.format(name):
            yield _line(pool, name, style)


def _line(pool: Pool, name: str, style: Style) -> str:
    if style.names_only:
        return name
    if style.describe:
        text: Any = pool.sysctl.describe(name)
    elif style.types:
        text = pool.sysctl.type(name)
    else:
        text = _value_text(pool.sysctl[name], pool.sysctl.format(name), style.whole)
    return str(text) if style.values_only else f"{name}: {text}"


def _value_text(value: Any, format: str, whole: bool) -> Any:
    """A value as it is printed: a hex dump if it is opaque, which means that it has a format."""
    if not format:
        return value
    dump = value.hex() if whole else value[:_DUMP_BYTES].hex() + "..." * (len(value) > _DUMP_BYTES)
    return f"Format:{format} Length:{len(value)} Dump:0x{dump}"


def raw_value(pool: Pool, name: str) -> bytes:
    """Return the values of a name, or of all names below it, as the bytes that sysctl(3) returns on amd64."""
    return b"".join(_bytes(pool.sysctl[each], pool.sysctl.type(each)) for each in pool.sysctl.under(name))


def _bytes(value: Any, type: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("ascii") + b"\0"
    width = _WIDTHS.get(type, _WIDTH)
    return int(value % (1 << 8 * width)).to_bytes(width, "little")


def set_value(pool: Pool, name: str, text: str, style: Style) -> str:
    """Set a value, and return the line that sysctl(8) prints: old and new value.

    Raises `Inval` with the error that sysctl(8) prints, and the reason, if the kernel doesn't accept the value.
    """
    before = pool.sysctl[name]
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        raise Inval(f"{name}={text}: Invalid argument (give a whole number)")
    sign, digits = match.groups()
    value = int(digits, 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10)
    try:
        pool.sysctl[name] = -value if sign == "-" else value
    except Inval as error:
        raise Inval(f"{name}={text}: Invalid argument ({error})") from None
    change = f"{before} -> {pool.sysctl[name]}"
    return change if style.values_only else f"{name}: {change}"
