"""What ports that are written in Python have in common: counters, and the rules of `pull` and `push`.

A subclass calls `_begin_pull` and `_begin_push` first, and counts in `_counts`. If two threads must not be in the same
call, it holds `_pull_lock` or `_push_lock` during the call: this also raises `Inval` if the port was closed meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.net.port.port import Port, PortStat
from mbuf.net.port.rules import CallLock, check_count, check_list, check_packet, check_usable, close_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mbuf.packet.mbuf import Mbuf


class BasePort(Port):
    """A port with counters of its own."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(PortStat.__slots__, 0)
        self._pull_lock = CallLock("pull")
        self._push_lock = CallLock("push")

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._pull_lock.closed

    def stat(self) -> PortStat:
        return PortStat(**self._counts)

    def close(self) -> None:
        self._set_closed()
        super().close()

    def _begin_pull(self, n: int) -> int:
        """How many packets may be returned; `Inval` if that is negative, or if the port is closed."""
        count = check_count(n)
        check_usable("pull", self.closed, False)
        return count

    def _begin_push(self, packets: Any) -> Iterator[Mbuf]:
        """The packets that are in a list now, each checked when its turn comes; `Inval` if the port is closed.

        During a system call, a signal handler or another thread may add packets to the list: they aren't sent.
        """
        check_list(packets)
        check_usable("push", self.closed, False)
        return map(check_packet, packets[:])

    def _set_closed(self) -> bool:
        """Close the port for all calls to come; whether it was open. `Busy` if a call holds one of the locks."""
        return close_calls(self._pull_lock, self._push_lock)

    def _count(self, **more: int) -> None:
        """Add to some of the counters of `PortStat`."""
        for name, count in more.items():
            self._counts[name] += count

    def _count_pulled(self, packets: list[Mbuf]) -> list[Mbuf]:
        """Count packets that are about to be returned, and return them."""
        self._count(packets_in=len(packets), bytes_in=sum(map(len, packets)))
        return packets
