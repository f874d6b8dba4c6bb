"""A port that is no more than Python: what all of those have in common.

Counts what came and went, and takes what went out of its giver's list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.errors import Inval
from mbuf.net.port.port import Port, PortStat
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from collections.abc import Iterable


class BasePort(Port):
    """A port with numbers of its own."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(PortStat.__slots__, 0)
        self.closed = False

    def stat(self) -> PortStat:
        return PortStat(**self._counts)

    def close(self) -> None:
        self.closed = True
        super().close()

    def note(self, **more: int) -> None:
        """Count so many more of what a `PortStat` has."""
        for name, count in more.items():
            self._counts[name] += count

    def came(self, packets: list[Mbuf]) -> list[Mbuf]:
        """Count packets that are given."""
        self.note(packets_in=len(packets), bytes_in=sum(map(len, packets)))
        return packets

    def wanted(self, n: int) -> int:
        """How many packets are asked for."""
        if self.closed:
            raise Inval("pull: this port is closed")
        most = clip(n)
        if most < 0:
            raise Inval(f"pull: {n} packets: give 0 or more")
        return most

    def offered(self, packets: Any) -> Iterable[Mbuf]:
        """The packets of a list, each looked at when its turn comes: `Inval` or `Freed` if it is none."""
        if not isinstance(packets, list):
            raise TypeError("push: give a list, out of which the packets are taken that went")
        if self.closed:
            raise Inval("push: this port is closed")
        return map(checked, packets)


def checked(thing: Any) -> Mbuf:
    """What is to go, if it is an mbuf that is live."""
    if not isinstance(thing, Mbuf):
        raise Inval(f"push: a list of packets is wanted, but there is a {type(thing).__name__} in it")
    # Raises if it was freed.
    thing.length()
    return thing
