"""`mbuf sysctl`: the sysctl tree of a modelled machine, read and set as sysctl(8) does it.

Names in, lines or bytes out; what a value may be is the pool's affair.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mbuf.errors import Inval
from mbuf.pool.pool import Pool

_MOST_DIGITS = 100
#: Bytes of an opaque value that are shown.
_FEW_BYTES = 16
#: Bytes of a number, by its type.
_WIDTHS = MappingProxyType({"integer": 4, "unsigned integer": 4, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4})
_WIDTH = 8
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Style:
    """How a name is printed: by itself, or with its value, its description or its type; or the value alone.

    Opaque values are printed only with `opaque` (how they begin) or `whole`.
    """

    names_only: bool = False
    values_only: bool = False
    describe: bool = False
    types: bool = False
    opaque: bool = False
    whole: bool = False


def listing(pool: Pool, name: str, style: Style) -> Iterator[str]:
    """The lines of a name, or of all names below it. Raises `KeyError` where there are none."""
    yield from _lines(pool, pool.sysctl.under(name), style)


def everything(pool: Pool, style: Style) -> Iterator[str]:
    """The lines of all names."""
    yield from _lines(pool, pool.sysctl, style)


def _lines(pool: Pool, names: Iterable[str], style: Style) -> Iterator[str]:
    told = style.names_only or style.describe or style.types or style.opaque or style.whole
    for each in names:
        if told or not pool.sysctl.format(each):
            yield _line(pool, each, style)


def raw(pool: Pool, name: str) -> bytes:
    """The values of a name, or of all names below it, as the bytes that the kernel hands out."""
    return b"".join(_bytes(pool.sysctl[each], pool.sysctl.type(each)) for each in pool.sysctl.under(name))


def _bytes(value: Any, kind: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("ascii") + b"\0"
    width = _WIDTHS.get(kind, _WIDTH)
    return int(value % (1 << 8 * width)).to_bytes(width, "little")


def _line(pool: Pool, name: str, style: Style) -> str:
    if style.names_only:
        return name
    if style.describe:
        shown: Any = pool.sysctl.describe(name)
    elif style.types:
        shown = pool.sysctl.type(name)
    else:
        shown = _shown(pool.sysctl[name], pool.sysctl.format(name), style.whole)
    return str(shown) if style.values_only else f"{name}: {shown}"


def _shown(value: Any, form: str, whole: bool) -> Any:
    if not form:
        return value
    dump = value.hex() if whole else value[:_FEW_BYTES].hex() + "..." * (len(value) > _FEW_BYTES)
    return f"Format:{form} Length:{len(value)} Dump:0x{dump}"


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
