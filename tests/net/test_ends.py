import asyncio
import socket
from collections.abc import Callable

import pytest

from mbuf import Pool
from mbuf.net import ends
from mbuf.net.udp import UdpPort

Make = Callable[..., Pool]


def test_what_a_port_does_not_take_waits_in_a_line_that_has_an_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        """A port that takes as many as it is told."""

        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.takes = 0
            self.went: list[int] = []

        def fileno(self) -> int:
            return self.sock.fileno()

        def push(self, packets: list[object]) -> int:
            count = min(self.takes, len(packets))
            for m in packets[:count]:
                self.went.append(len(m))  # type: ignore[arg-type]
                m.freem()  # type: ignore[attr-defined]
            del packets[:count]
            return count

    monkeypatch.setattr(ends, "WAITING", 3)

    async def main() -> None:
        pool = make()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            port = Stuck(ours)
            line = ends.Line(port)  # type: ignore[arg-type]

            def packets(*sizes: int) -> list[object]:
                return [pool.gethdr().append(bytes(size)) for size in sizes]

            port.takes = 1
            line.put(packets(1, 2, 3))  # type: ignore[arg-type]
            assert (port.went, line.dropped) == ([1], 0)
            port.takes = 0
            line.put(packets(4, 5))  # type: ignore[arg-type]
            assert (line.dropped, pool.out) == (1, 3)
            port.takes = 10
            while len(port.went) < 4:
                await asyncio.sleep(0)
            assert port.went == [1, 2, 3, 4]
            port.takes = 0
            line.put(packets(6, 7, 8, 9))  # type: ignore[arg-type]
            assert line.dropped == 2
            line.close()
            assert (line.dropped, pool.out) == (5, 0)

    asyncio.run(main())


def test_an_inlet_arms_as_much_as_lately_came_and_nothing_when_nothing_comes(make: Make) -> None:
    async def main() -> None:
        pool = make()
        source, target = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        with source, target:
            target.bind(("127.0.0.1", 0))
            source.connect(target.getsockname())
            sizes: list[int] = []
            held: list[int] = []

            def take(packets: list[object]) -> None:
                sizes.append(len(packets))
                held.append(pool.out - len(packets))
                pool.free_bulk(packets)  # type: ignore[arg-type]

            with UdpPort(pool, target, gro=False, size=1500) as port:
                inlet = ends.Inlet(port, take)  # type: ignore[arg-type]
                for _ in range(7):
                    source.send(b"x")
                inlet.start()
                while sum(sizes) < 7:
                    await asyncio.sleep(0)
                while pool.out:
                    await asyncio.sleep(0)
                inlet.stop()
            assert sizes == [1, 2, 4]
            assert max(held) == 0

    asyncio.run(main())
