"""A port that sends a copy of each packet to a second port."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.errors import MbufError
from mbuf.net.port.base import BasePort
from mbuf.net.port.wrapper import PortWrapper
from mbuf.net.sockets import check_port

if TYPE_CHECKING:
    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf


class Tee(BasePort, PortWrapper):
    """A port around `port` that pushes a copy of each pulled or pushed packet to the port `side` too.

    A copy shares its bytes with the packet, so both are read-only: see `m.unshare`. The tee doesn't wait for `side`:
    a copy that `side` doesn't accept at once, also because of an error, is freed and counted as `dropped`; a packet
    that can't be copied, because the pool has no mbuf, is counted as `denied`. An error of `side` (`MbufError`,
    OSError) isn't raised. Closing the tee closes both ports.
    """

    def __init__(self, port: Port, side: Port) -> None:
        check_port("Tee", port)
        check_port("Tee", side)
        super().__init__()
        self.port = port
        self.side = side

    def pull(self, n: int) -> list[Mbuf]:
        packets = self.port.pull(n)
        self._push_copies([_copy(m) for m in packets])
        return self._count_pulled(packets)

    def push(self, packets: list[Mbuf]) -> int:
        offered = list(self._begin_push(packets))
        sizes = [len(m) for m in offered]
        copies = [_copy(m) for m in offered]
        # A list of its own: what is added to `packets` meanwhile must not be taken for packets that weren't sent.
        rest = offered[:]
        sent = 0
        try:
            self.port.push(rest)
        finally:
            # A port of the program may leave more in the list than there was.
            sent = max(len(offered) - len(rest), 0)
            packets[: len(offered)] = rest
            for m in copies[sent:]:
                if m is not None:
                    m.freem()
            self._push_copies(copies[:sent])
            self._count(packets_out=sent, bytes_out=sum(sizes[:sent]))
        return sent

    def close(self) -> None:
        super().close()
        self.side.close()

    def _push_copies(self, copies: list[Mbuf | None]) -> None:
        packets = [m for m in copies if m is not None]
        self._count(denied=len(copies) - len(packets))
        try:
            with suppress(MbufError, OSError):
                self.side.push(packets)
        finally:
            self._count(dropped=len(packets))
            for m in packets:
                m.freem()


def _copy(m: Mbuf) -> Mbuf | None:
    """A copy that shares the bytes; None if there can be none."""
    with suppress(MbufError):
        # Not `copypacket`, which requires a packet header.
        return m.copym()
    return None
