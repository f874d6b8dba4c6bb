"""A port that shows what passes to another port."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import NoBufs, NoMemory
from mbuf.net.port.base import BasePort
from mbuf.net.port.wrapper import PortWrapper

if TYPE_CHECKING:
    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf


class Tee(BasePort, PortWrapper):
    """What is pulled from `port` and pushed to it goes to `side` too, as copies that share their bytes.

    So nobody may write to those bytes any more: see `m.unshare`. `side` is not waited for: what it doesn't take is
    `dropped`, and a packet for whose copy there is no memory is `denied`. Closed, it closes both.
    """

    def __init__(self, port: Port, side: Port) -> None:
        super().__init__()
        self.port = port
        self.side = side

    def pull(self, n: int) -> list[Mbuf]:
        packets = self.port.pull(n)
        self._show([_copy(m) for m in packets])
        return self.came(packets)

    def push(self, packets: list[Mbuf]) -> int:
        copies = [_copy(m) for m in self.offered(packets)]
        sizes = [len(m) for m in packets]
        went = 0
        try:
            self.port.push(packets)
        finally:
            went = len(sizes) - len(packets)
            for m in copies[went:]:
                if m is not None:
                    m.freem()
            self._show(copies[:went])
            self.note(packets_out=went, bytes_out=sum(sizes[:went]))
        return went

    def close(self) -> None:
        super().close()
        self.side.close()

    def _show(self, copies: list[Mbuf | None]) -> None:
        shown = [m for m in copies if m is not None]
        self.note(denied=len(copies) - len(shown))
        try:
            self.side.push(shown)
        finally:
            self.note(dropped=len(shown))
            for m in shown:
                m.freem()


def _copy(m: Mbuf) -> Mbuf | None:
    """A copy that shares the bytes, if there is memory for it."""
    with suppress(NoBufs, NoMemory):
        return m.copypacket()
    return None
