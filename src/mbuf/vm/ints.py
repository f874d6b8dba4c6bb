"""Python integers as 64-bit integers.

A number outside 64 bits is outside every range that is checked here too, so it is replaced by the nearest 64-bit
number.
"""

from __future__ import annotations

from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.mbuf.vm.ints import (
        PyErr_Clear,
        PyErr_Occurred,
        PyLong_AsSsize_t,
        PyLong_CheckExact,
        PyNumber_AsSsize_t,
    )

_MAX = (1 << 63) - 1

#: The most bytes of a packet: the kernel counts them in an int.
INT_MAX = (1 << 31) - 1


#: What to give for an argument of that name; any other is a whole number.
_EXPECTED = MappingProxyType(
    {
        "how": "M_NOWAIT or M_WAITOK",
        "type": "a number, such as MT_DATA",
        "flags": "flags, such as M_PKTHDR, or 0",
    }
)


def integer(number: Any, what: str) -> int:
    """The argument named `what` as `clip` makes it. TypeError that says what to give, if it is no integer."""
    if cython.compiled and PyLong_CheckExact(number):
        near: int = PyLong_AsSsize_t(number)
        if near != -1 or not PyErr_Occurred():
            return near
        PyErr_Clear()
    return _converted(number, what)


def _converted(number: Any, what: str) -> int:
    """`integer` for what is no plain int, or has more than 64 bits."""
    if not hasattr(type(number), "__index__"):
        expected = _EXPECTED.get(what, "a whole number")
        raise TypeError(f"{what}: give {expected}, not {kind_of(number)}")
    return clip(number)


def kind_of(thing: Any) -> str:
    """What an argument is, for an error: `None`, `a str`, `an int`."""
    if thing is None:
        return "None"
    name = type(thing).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def clip(number: Any) -> int:
    """The number, or the nearest 64-bit number. TypeError if it is no integer."""
    if cython.compiled:
        near: int = PyNumber_AsSsize_t(number, cython.NULL)
        return near
    # As a plain int: a subclass may override the comparisons.
    return max(min(int.__add__(index(number), 0), _MAX), ~_MAX)


def count(number: Any, what: str) -> int:
    """A number of bytes, from 0 to INT_MAX. `Inval`, with the name `what`, for any other number."""
    near = integer(number, what)
    if not 0 <= near <= INT_MAX:
        raise Inval(f"{what} {number}: give a number from 0 to {INT_MAX}")
    return near


def fold(sum: int) -> int:
    """A sum of 16-bit numbers, 0 or more, folded to 16 bits: the carries are added (RFC 1071)."""
    while sum > 0xFFFF:
        sum = (sum & 0xFFFF) + (sum >> 16)
    return sum


def swapped(word: int) -> int:
    """A 16-bit number with its two bytes swapped."""
    return (word & 0xFF) << 8 | word >> 8
