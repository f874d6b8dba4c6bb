"""A queue as a port: packets that are pushed can be pulled, in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.errors import NoBufs
from mbuf.net.port.base import BasePort
from mbuf.packet.queue import MbufQ

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf


class QueuePort(BasePort):
    """A queue of at most `maxlen` packets; of any number if `maxlen` is 0.

    `push` moves packets into the queue, in place of freeing them, until it is full; `pull` moves them out. Nothing is
    copied. `queue` is the `MbufQ`.
    """

    def __init__(self, maxlen: int = 0) -> None:
        super().__init__()
        self.queue = MbufQ(maxlen)

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        packets: list[Mbuf] = []
        with self._pull_lock:
            while len(packets) < count and (m := self.queue.dequeue()) is not None:
                packets.append(m)
            return self._count_pulled(packets)

    def push(self, packets: list[Mbuf]) -> int:
        offered = self._begin_push(packets)
        done = size = 0
        with self._push_lock:
            try:
                for m in offered:
                    count = len(m)
                    self.queue.enqueue(m)
                    size += count
                    done += 1
            except NoBufs:
                # The queue is full: the other packets stay with the caller.
                pass
            finally:
                del packets[:done]
                self._count(packets_out=done, bytes_out=size)
        return done

    @property
    def ready(self) -> int:
        return len(self.queue)

    def close(self) -> None:
        """Free the packets in the queue."""
        super().close()
        self._count(discarded=len(self.queue))
        self.queue.drain()
