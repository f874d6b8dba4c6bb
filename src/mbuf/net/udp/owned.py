"""Packets that share memory, copied so that each can be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.errors import MbufError

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf


def own(packets: list[Mbuf]) -> tuple[list[Mbuf], int]:
    """Return writable packets in place of these, and the bytes of those that the pool refuses to copy, which are freed.

    A packet that is writable is returned as it is: among those that share storage, the last one isn't copied.
    """
    owned: list[Mbuf] = []
    lost = 0
    for m in packets:
        if _is_writable(m):
            owned.append(m)
            continue
        try:
            owned.append(m.dup())
        except MbufError:
            lost += len(m)
        m.freem()
    return owned, lost


def _is_writable(m: Mbuf | None) -> bool:
    """Whether all mbufs of a packet are writable."""
    while m is not None:
        if not m.writable:
            return False
        m = m.next
    return True
