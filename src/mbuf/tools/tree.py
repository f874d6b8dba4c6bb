"""`mbuf sysctl`: the sysctl tree of a modelled machine, read and set as sysctl(8) does it.

Lines in, lines out; what a value may be is the pool's affair.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mbuf.errors import Inval
from mbuf.pool.pool import Pool

_MOST_DIGITS = 100
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Style:
    """How a name is printed: by itself, or with its value, its description or its type; or the value alone."""

    names_only: bool = False
    values_only: bool = False
    describe: bool = False
    types: bool = False


def listing(pool: Pool, name: str, style: Style) -> Iterator[str]:
    """The lines of a name, or of all names below it. Raises `KeyError` where there are none."""
    for each in pool.sysctl.under(name):
        yield _line(pool, each, style)


def everything(pool: Pool, style: Style) -> Iterator[str]:
    """The lines of all names."""
    for each in pool.sysctl:
        yield _line(pool, each, style)


def _line(pool: Pool, name: str, style: Style) -> str:
    if style.names_only:
        return name
    if style.describe:
        shown: Any = pool.sysctl.describe(name)
    elif style.types:
        shown = pool.sysctl.type(name)
    else:
        shown = pool.sysctl[name]
    return str(shown) if style.values_only else f"{name}: {shown}"


def setting(pool: Pool, name: str, text: str, style: Style) -> str:
    """Set a value; the line that says so. Raises `Inval` with the kernel's answer, and why, if it can't be."""
    before = pool.sysctl[name]
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > _MOST_DIGITS:
        raise Inval(f"{name}={text}: Invalid argument (give a whole number)")
    sign, digits = match.groups()
    value = int(digits, 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10)
    try:
        pool.sysctl[name] = -value if sign == "-" else value
    except Inval as error:
        raise Inval(f"{name}={text}: Invalid argument ({error})") from None
    change = f"{before} -> {pool.sysctl[name]}"
    return change if style.values_only else f"{name}: {change}"
