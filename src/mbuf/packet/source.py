"""The door to more memory: whom an mbuf asks when a verb needs another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT, M_PKTHDR, MT_DATA

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf


class Source:
    """Gives mbufs, or raises `NoBufs` or `NoMemory`. A `Pool` is one."""

    def get(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf."""
        raise NotImplementedError

    def gethdr(self, how: int = M_NOWAIT, type: int = MT_DATA, timeout: float | None = None) -> Mbuf:
        """An mbuf with a packet header."""
        raise NotImplementedError

    def getcl(
        self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = M_PKTHDR, timeout: float | None = None
    ) -> Mbuf:
        """An mbuf with a cluster."""
        raise NotImplementedError

    def cluster(self, size: int, how: int, timeout: float | None) -> Any:
        """A cluster, raw."""
        raise NotImplementedError

    def dropped(self, item: Any) -> None:
        """An mbuf was dropped instead of freed; its item is about to go home."""
        raise NotImplementedError
