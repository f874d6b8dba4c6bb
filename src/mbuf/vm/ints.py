"""Numbers as wide as the machine's.

Python's are wider; what is beyond a register's range is beyond every range that is checked here, so the
nearest register value does as well.
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

_MOST = (1 << 63) - 1

#: The kernel counts the bytes of a packet in an int.
INT_MAX = (1 << 31) - 1


def clip(number: Any) -> int:
    """The number, or the nearest that has 64 bits; TypeError if it is none."""
    if cython.compiled:
        near: int = PyNumber_AsSsize_t(number, cython.NULL)
        return near
    # A number of its own: a subclass of int may answer as it likes.
    return max(min(int.__add__(index(number), 0), _MOST), ~_MOST)


def count(number: Any, what: str) -> int:
    """A number of bytes: `Inval`, saying of what, unless it is from 0 to INT_MAX."""
    near = clip(number)
    if not 0 <= near <= INT_MAX:
        raise Inval(f"{what} {number}: give a number from 0 to {INT_MAX}")
    return near


def fold(sum: int) -> int:
    """A sum of 16-bit numbers, not negative, with the carries added in."""
    while sum > 0xFFFF:
        sum = (sum & 0xFFFF) + (sum >> 16)
    return sum


def swapped(word: int) -> int:
    """A 16-bit number with its two bytes in the other order."""
    return (word & 0xFF) << 8 | word >> 8
