"""Checks of the arguments that allocation calls have in common.

The arguments are numbers already.
"""

from __future__ import annotations

from mbuf.const import M_COPYFLAGS, M_NOWAIT, M_WAITOK, MLEN, MT_NOINIT
from mbuf.errors import Inval


def validate(how: int, type: int, flags: int) -> None:
    """Raise `Inval` for values of `how`, `type` or `flags` that no allocation accepts."""
    if how != M_NOWAIT and how != M_WAITOK:
        size = ", and a size by its name, as in getjcl(size=4096)" if how >= MLEN else ""
        raise Inval(f"how {how}: give M_NOWAIT or M_WAITOK{size}")
    if type <= 0 or type >= MT_NOINIT:
        raise Inval(f"type {type}: give MT_DATA or another MT_ number from 1 to 254")
    if flags & ~M_COPYFLAGS:
        raise Inval(f"flags {flags:#x}: only M_PKTHDR, M_EOR, M_RDONLY, ... (M_COPYFLAGS) are allowed")


def at_least(least: int, n: int, verb: str) -> None:
    """Raise `Inval` for a number of mbufs below `least`."""
    if n < least:
        raise Inval(f"{verb}: n {n}: give {least} or more")
