"""What packets come from and go to.

A port gives packets and takes packets, as many as it can at the moment, and never waits. No packet is ever lost
between the two: each is given, gone, counted as lost, or still its owner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from mbuf.packet.mbuf import Mbuf

#: What `features` is of a port that has none.
PLAIN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PortStat:
    """What a port has done so far, from `port.stat()`."""

    #: Packets that it gave, and their bytes.
    packets_in: int = 0
    bytes_in: int = 0
    #: Packets that it took and let go into the world, and their bytes.
    packets_out: int = 0
    bytes_out: int = 0
    #: Packets that came and were lost because the pool refused the mbufs for them.
    denied: int = 0
    #: Times that it received fewer at once, or none, because the pool refused; nothing was lost.
    short: int = 0
    #: Packets that were lost before they came here, as far as the system tells: the socket's queue was full.
    dropped: int = 0
    #: Packets that were longer than the room for them, and thrown away.
    truncated: int = 0
    #: Packets that it took and the system refused to send.
    errors: int = 0
    #: Errors that the system told when it was asked for packets: somebody refused what was sent, for instance.
    faults: int = 0
    #: Calls to the system that received or sent, or tried to.
    calls_in: int = 0
    calls_out: int = 0


class Port:
    """Somewhere packets come from and go to; what is no more than that is a port too.

    Close it with `close`, or use it in a `with` statement.
    """

    #: How it works: what of the system's help it has, and what it does instead.
    features: Mapping[str, str] = PLAIN

    def pull(self, n: int) -> list[Mbuf]:
        """At most `n` packets that are there now, the caller's from then on; none if there are none."""
        raise NotImplementedError

    def push(self, packets: list[Mbuf]) -> int:
        """Let packets go, from the first on, as many as can now; returns how many went.

        Those are freed, and taken out of the list; the rest stay in it, and the caller's. What the system refuses
        for good counts as gone, and in `stat().errors`.
        """
        raise NotImplementedError

    def stat(self) -> PortStat:
        """All its numbers, at this moment."""
        raise NotImplementedError

    def fileno(self) -> int:
        """What to wait for: a descriptor that is readable when packets are there, writable when they can go.

        -1 for a port that has none.
        """
        return -1

    @property
    def ready(self) -> int:
        """Packets that have come already, and wait here for a `pull`: the descriptor doesn't tell of them."""
        return 0

    def rest(self) -> None:
        """Have no memory ready for what comes, until the next `pull`."""

    def close(self) -> None:
        """Free what it holds; it gives and takes no more. Twice is as good as once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
