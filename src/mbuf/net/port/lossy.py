"""A port that loses packets, to try out who has to live with that."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.net.port.base import BasePort
from mbuf.net.port.wrapper import PortWrapper

if TYPE_CHECKING:
    from mbuf.net.port.port import Port
    from mbuf.packet.mbuf import Mbuf


class Lossy(BasePort, PortWrapper):
    """Passes packets on to and from `port`, but loses some both ways: each with probability `loss`.

    Those are freed and counted as `dropped`. The same `seed` loses the same again, if the same is done. Closed, it
    closes the port.
    """

    def __init__(self, port: Port, loss: float, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= loss <= 1:
            raise Inval(f"loss {loss}: give a probability, from 0 to 1")
        self.port = port
        self.loss = loss
        self._random = Random(seed)

    def pull(self, n: int) -> list[Mbuf]:
        packets = self.port.pull(n)
        lost = [m for m in packets if self._loses()]
        gone = set(map(id, lost))
        self._drop(lost)
        return self.came([m for m in packets if id(m) not in gone])

    def push(self, packets: list[Mbuf]) -> int:
        offered = list(self.offered(packets))
        kept = [m for m in offered if not self._loses()]
        passed, sizes = set(map(id, kept)), [len(m) for m in offered]
        try:
            self.port.push(kept)
        finally:
            # All before the first that didn't go.
            done = next((i for i, m in enumerate(offered) if kept and m is kept[0]), len(offered))
            went = [i for i in range(done) if id(offered[i]) in passed]
            self._drop([m for m in offered[:done] if id(m) not in passed])
            del packets[:done]
            self.note(packets_out=len(went), bytes_out=sum(sizes[i] for i in went))
        return done

    def _loses(self) -> bool:
        return self._random.random() < self.loss

    def _drop(self, packets: list[Mbuf]) -> None:
        self.note(dropped=len(packets))
        for m in packets:
            m.freem()
