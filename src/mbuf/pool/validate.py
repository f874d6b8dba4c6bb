"""What an allocation may be asked for.

Refuses arguments, which are numbers already; knows no zone.
"""

from __future__ import annotations

from mbuf.const import M_COPYFLAGS, M_NOWAIT, M_WAITOK, MT_NOINIT
from mbuf.errors import Inval


def validate(how: int, type: int, flags: int) -> None:
    """Refuse what no allocation can be asked for."""
    if how != M_NOWAIT and how != M_WAITOK:
        raise Inval(f"how {how}: give M_NOWAIT or M_WAITOK")
    if type <= 0 or type >= MT_NOINIT:
        raise Inval(f"type {type}: give MT_DATA or another MT_ number from 1 to 254")
    if flags & ~M_COPYFLAGS:
        raise Inval(f"flags {flags:#x}: only M_PKTHDR, M_EOR, M_RDONLY, ... (M_COPYFLAGS) can be asked for")


def at_least(least: int, n: int, verb: str) -> None:
    """Refuse a number of mbufs below `least`."""
    if n < least:
        raise Inval(f"{verb}: n {n}: give {least} or more")
