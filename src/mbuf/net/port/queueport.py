"""A queue as a port: what is pushed is pulled, in the same order, by whoever has the other end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.errors import NoBufs
from mbuf.net.port.base import BasePort
from mbuf.packet.queue import MbufQ

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf


class QueuePort(BasePort):
    """Packets in a line of at most `maxlen`; any number if that is 0. Packets go to who pulls them, not to be freed."""

    def __init__(self, maxlen: int = 0) -> None:
        super().__init__()
        self.queue = MbufQ(maxlen)

    def pull(self, n: int) -> list[Mbuf]:
        packets: list[Mbuf] = []
        for _ in range(min(self.wanted(n), len(self.queue))):
            m = self.queue.dequeue()
            if m is not None:
                packets.append(m)
        return self.came(packets)

    def push(self, packets: list[Mbuf]) -> int:
        offered = self.offered(packets)
        done = size = 0
        try:
            for m in offered:
                count = len(m)
                self.queue.enqueue(m)
                size += count
                done += 1
        except NoBufs:
            # Full: the rest waits with its owner.
            pass
        finally:
            del packets[:done]
            self.note(packets_out=done, bytes_out=size)
        return done

    @property
    def ready(self) -> int:
        return len(self.queue)

    def close(self) -> None:
        """Free what is in line."""
        super().close()
        self.queue.drain()
