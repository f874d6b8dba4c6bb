"""Python integers as 64-bit integers.

A number outside 64 bits is outside every range that is checked here too, so it is replaced by the nearest 64-bit
number.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.mbuf.vm.ints import PyNumber_AsSsize_t

_MAX = (1 << 63) - 1

#: The most bytes of a packet: the kernel counts them in an int.
INT_MAX = (1 << 31) - 1


def clip(number: Any) -> int:
    """The number, or the nearest 64-bit number. TypeError if it is no integer."""
    if cython.compiled:
        near: int = PyNumber_AsSsize_t(number, cython.NULL)
        return near
    # As a plain int: a subclass may override the comparisons.
    return max(min(int.__add__(index(number), 0), _MAX), ~_MAX)


def count(number: Any, what: str) -> int:
    """A number of bytes, from 0 to INT_MAX. `Inval`, with the name `what`, for any other number."""
    near = clip(number)
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
