"""A port that loses packets at random, to test programs that must cope with loss."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.net.port.base import BasePort
from mbuf.net.port.wrapper import PortWrapper
from mbuf.net.sockets import check_port

if TYPE_CHECKING:
    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf


class Lossy(BasePort, PortWrapper):
    """A port around `port` that loses each pulled or pushed packet with the probability `loss`, from 0 to 1.

    A lost packet is freed and counted as `dropped`. The same `seed` and the same calls lose the same packets. Closing
    it closes `port`. Raises `Inval` if `loss` is no probability.
    """

    def __init__(self, port: Port, loss: float, seed: int = 0) -> None:
        check_port("Lossy", port)
        super().__init__()
        if not 0 <= loss <= 1:
            raise Inval(f"loss {loss}: give a probability, from 0 to 1")
        self.port = port
        self.loss = loss
        self._random = Random(seed)

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        with self._pull_lock:
            packets = self.port.pull(count)
            lost = [m for m in packets if self._is_lost()]
            lost_ids = set(map(id, lost))
            self._drop(lost)
            return self._count_pulled([m for m in packets if id(m) not in lost_ids])

    def push(self, packets: list[Mbuf]) -> int:
        offered = list(self._begin_push(packets))
        with self._push_lock:
            return self._push(packets, offered)

    def _push(self, packets: list[Mbuf], offered: list[Mbuf]) -> int:
        """Push those of the packets that aren't lost."""
        kept = [m for m in offered if not self._is_lost()]
        kept_ids, sizes = set(map(id, kept)), [len(m) for m in offered]
        try:
            self.port.push(kept)
        finally:
            # `kept` begins with the first packet that wasn't sent: all before it are sent or lost.
            done = next((i for i, m in enumerate(offered) if kept and m is kept[0]), len(offered))
            sent = [i for i in range(done) if id(offered[i]) in kept_ids]
            self._drop([m for m in offered[:done] if id(m) not in kept_ids])
            del packets[:done]
            self._count(packets_out=len(sent), bytes_out=sum(sizes[i] for i in sent))
        return done

    def _is_lost(self) -> bool:
        return self._random.random() < self.loss

    def _drop(self, packets: list[Mbuf]) -> None:
        self._count(dropped=len(packets))
        for m in packets:
            m.freem()
