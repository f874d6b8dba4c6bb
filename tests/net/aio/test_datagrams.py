import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mbuf import Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.datagrams import Datagrams
from mbuf.net.port.port import Port, PortStat
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.udp.udpport import UdpPort
from net.loops import Run, runs, until

Small = Callable[..., Pool]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return runs(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets that are connected to each other."""
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (near, far):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        yield near, far


class Box:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.errors: list[OSError] = []

    def received(self, packets: list[Mbuf]) -> None:
        for m in packets:
            self.got.append(bytes(m))
            m.freem()


class Stuck(Port):
    """A port that takes a packet now and then, and gives what the pool allows."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.takes = 0
        self.taken: list[bytes] = []
        self.error: OSError | None = None
        self.short = 0

    def pull(self, n: int) -> list[Mbuf]:
        if self.error is not None:
            raise self.error
        try:
            m = self.pool.getcl()
        except NoBufs:
            self.short += 1
            return []
        try:
            m.append(self.near.recv(100))
        except BlockingIOError:
            m.freem()
            return []
        return [m]

    def push(self, packets: list[Mbuf]) -> int:
        if self.error is not None:
            raise self.error
        went = 0
        while packets and self.takes:
            self.takes -= 1
            m = packets.pop(0)
            self.taken.append(bytes(m))
            m.freem()
            went += 1
        return went

    def stat(self) -> PortStat:
        return PortStat(short=self.short)

    def fileno(self) -> int:
        return self.near.fileno()

    def close(self) -> None:
        self.near.close()
        self.far.close()


def test_datagrams_come_and_go(pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    box, other = Box(), Box()

    async def main() -> None:
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
            endpoint, echo = Datagrams(pool, port, box.received), Datagrams(pool, back, lambda got: echo.send(got))
            sent = [os.urandom(100 + n) for n in range(50)]
            endpoint.send([pool.wrap(data) for data in sent])
            await endpoint.drained()
            await until(lambda: len(box.got) == 50)
            assert box.got == sent
            echo.close()
            endpoint.close()
            endpoint.close()

    run(main())
    assert (pool.out, other.got) == (0, [])


def test_any_port_with_a_descriptor_will_do(pool: Pool, run: Run) -> None:
    near, far = socket.socketpair()
    box = Box()

    async def main() -> None:
        with near, far, StreamPort(pool, near) as port:
            endpoint = Datagrams(pool, port, box.received)
            far.sendall(b"hello")
            await until(lambda: box.got)
            endpoint.send([pool.wrap(b"good "), pool.wrap(b"bye")])
            assert far.recv(100) == b"good bye"
            endpoint.close()

    run(main())
    assert box.got == [b"hello"]


def test_without_a_descriptor_there_is_nothing_to_wait_for(pool: Pool, run: Run) -> None:
    class Bare(Port):
        pass

    async def main() -> None:
        with pytest.raises(Inval, match="has no descriptor"):
            Datagrams(pool, Bare(), lambda packets: None)
        with Stuck(pool) as port, pytest.raises(Inval, match="batch 0"):
            Datagrams(pool, port, lambda packets: None, batch=0)

    run(main())


def test_who_pauses_hears_nothing_until_it_resumes(pool: Pool, run: Run) -> None:
    box = Box()

    async def main() -> None:
        with Stuck(pool) as port:
            endpoint = Datagrams(pool, port, box.received)
            endpoint.pause()
            endpoint.pause()
            port.far.send(b"later")
            for _ in range(20):
                await asyncio.sleep(0)
            assert box.got == []
            endpoint.resume()
            await until(lambda: box.got == [b"later"])
            endpoint.close()

    run(main())


def test_where_the_pool_refuses_it_waits_for_its_turn(small: Small, run: Run) -> None:
    pool = small()
    boxes = [Box() for _ in range(3)]

    async def main() -> None:
        ports = [Stuck(pool) for _ in range(3)]
        endpoints = [Datagrams(pool, port, box.received) for port, box in zip(ports, boxes, strict=True)]
        others: list[Mbuf] = []
        with suppress(NoBufs):
            while True:
                others.append(pool.getcl())
        for n, port in enumerate(ports):
            port.far.send(bytes([n]))
            await until(lambda n=n: len(pool.zones.clust.limiter.waiters) == n + 1)
        assert all(not box.got for box in boxes)
        others.pop().free()
        await until(lambda: all(box.got for box in boxes))
        assert [box.got for box in boxes] == [[b"\0"], [b"\1"], [b"\2"]]
        # Whoever waits and is closed waits no more.
        others.append(pool.getcl())
        ports[0].far.send(b"x")
        await until(lambda: len(pool.zones.clust.limiter.waiters))
        endpoints[0].pause()
        endpoints[0].resume()
        endpoints[0].close()
        await until(lambda: not len(pool.zones.clust.limiter.waiters))
        pool.free_bulk(others)
        for port, endpoint in zip(ports, endpoints, strict=True):
            endpoint.close()
            port.close()

    run(main())


def test_what_needs_more_than_a_cluster_tries_again(small: Small, run: Run) -> None:
    pool = small()
    box = Box()

    class Greedy(Stuck):
        def pull(self, n: int) -> list[Mbuf]:
            with suppress(NoBufs), self.pool.getcl():
                return super().pull(n)
            self.short += 1
            return []

    async def main() -> None:
        with Greedy(pool) as port:
            endpoint = Datagrams(pool, port, box.received)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(pool.getcl())
            port.far.send(b"x")
            await until(lambda: port.short)
            before = port.short
            others.pop().free()
            await until(lambda: port.short > before)
            assert not box.got
            others.pop().free()
            await until(lambda: box.got)
            pool.free_bulk(others)
            endpoint.close()

    run(main())


def test_a_closed_pool_ends_it(make: Callable[..., Pool], few: Callable[..., dict[str, int]], run: Run) -> None:
    pool = make(few())

    async def main() -> None:
        with Stuck(pool) as port:
            endpoint = Datagrams(pool, port, lambda packets: None)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(pool.getcl())
            port.far.send(b"x")
            await until(lambda: len(pool.zones.clust.limiter.waiters))
            with pytest.warns(ResourceWarning):
                pool.close()
            await until(lambda: endpoint._closed)
            pool.free_bulk(others)

    run(main())


def test_what_the_port_does_not_take_waits_and_too_much_is_dropped(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with Stuck(pool) as port:
            endpoint = Datagrams(pool, port, lambda packets: None, waiting=3)
            port.takes = 1
            packets = [pool.wrap(bytes([n])) for n in range(6)]
            endpoint.send(packets)
            assert (packets, endpoint.dropped, port.taken) == ([], 2, [b"\0"])
            endpoint.send([pool.wrap(b"x")])
            assert endpoint.dropped == 3
            drained = [asyncio.ensure_future(endpoint.drained()) for _ in range(2)]
            await asyncio.sleep(0)
            drained[0].cancel()
            await asyncio.sleep(0)
            assert not drained[1].done()
            port.takes = 3
            await drained[1]
            assert port.taken == [b"\0", b"\1", b"\2", b"\3"]
            endpoint.close()

    run(main())


def test_closing_frees_what_waits_and_sends_no_more(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with Stuck(pool) as port:
            endpoint = Datagrams(pool, port, lambda packets: None)
            endpoint.send([pool.wrap(b"x")])
            drained = asyncio.ensure_future(endpoint.drained())
            await asyncio.sleep(0)
            endpoint.close()
            await drained
            endpoint.send([pool.wrap(b"y")])
            assert (pool.out, endpoint.dropped, port.taken) == (0, 2, [])

    run(main())


@pytest.mark.parametrize("way", ["in", "out"])
def test_an_error_of_the_port_ends_it_and_is_told(pool: Pool, run: Run, way: str) -> None:
    box = Box()

    async def main() -> None:
        with Stuck(pool) as port:
            endpoint = Datagrams(pool, port, box.received, box.errors.append)
            if way == "out":
                endpoint.send([pool.wrap(b"x")])
            port.error = OSError("gone")
            if way == "in":
                port.far.send(b"x")
            await until(lambda: box.errors)
            assert (box.errors, pool.out) == ([port.error], 0)

    run(main())


def test_it_asks_for_as_many_as_lately_came_and_lets_the_port_rest(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    asked: list[int] = []
    held: list[int] = []

    class Told(UdpPort):
        def pull(self, n: int) -> list[Mbuf]:
            asked.append(n)
            return super().pull(n)

    async def main() -> None:
        box = Box()
        with Told(pool, far, gro=False, size=1500) as port:
            for _ in range(7):
                near.send(b"x")
            endpoint = Datagrams(pool, port, box.received, batch=4)
            await until(lambda: len(box.got) == 7)
            await until(lambda: not pool.out)
            held.append(pool.out)
            endpoint.close()

    run(main())
    assert asked[:3] == [1, 2, 4]
    assert held == [0]


def test_what_the_port_holds_is_taken_though_its_descriptor_tells_nothing(pool: Pool, run: Run) -> None:
    class Full(Stuck):
        """Has more than the descriptor tells of."""

        left = 100

        @property
        def ready(self) -> int:
            return self.left % 100

        def pull(self, n: int) -> list[Mbuf]:
            if self.left == 100:
                self.near.recv(1)
            packets = [self.pool.gethdr() for _ in range(min(n, self.left))]
            self.left -= len(packets)
            return packets

    box = Box()

    async def main() -> None:
        with Full(pool) as port:
            endpoint = Datagrams(pool, port, box.received, batch=2)
            port.far.send(b"x")
            await until(lambda: len(box.got) == 100)
            endpoint.close()

    run(main())


class Raising:
    """Takes packets, and raises each time; and what a loop is told of that."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.told.append(context["exception"]))

    def received(self, packets: list[Mbuf]) -> None:
        for m in packets:
            self.got.append(bytes(m))
            m.freem()
        raise NoBufs("no more", "", 0, 0)


def test_what_the_callback_raises_is_told_and_the_rest_comes_all_the_same(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        box = Raising()
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
            sent = [pool.frombytes(bytes([n])) for n in range(50)]
            back.push(sent)
            endpoint = Datagrams(pool, port, box.received, batch=4)
            await until(lambda: len(box.got) == 50)
            assert box.got == [bytes([n]) for n in range(50)]
            assert {type(error) for error in box.told} == {NoBufs}
            endpoint.close()

    run(main())


def test_what_the_callback_raises_when_the_turn_has_come_ends_nothing(pool: Pool, run: Run, small: Small) -> None:
    few = small()

    async def main() -> None:
        box = Raising()
        with Stuck(few) as port:
            endpoint = Datagrams(few, port, box.received)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(few.getcl())
            port.far.send(b"one")
            await until(lambda: endpoint.denied)
            few.free_bulk(others)
            await until(lambda: box.got)
            port.far.send(b"two")
            await until(lambda: len(box.got) == 2)
            assert (box.got, len(box.told)) == ([b"one", b"two"], 2)
            endpoint.close()

    run(main())


def test_a_port_that_was_closed_before_ends_it(pool: Pool, run: Run) -> None:
    async def main() -> None:
        port = Stuck(pool)
        endpoint = Datagrams(pool, port, lambda packets: None)
        endpoint.send([pool.wrap(b"waits")])
        port.close()
        assert port.fileno() == -1
        endpoint.close()
        assert (pool.out, endpoint.dropped) == (0, 1)

    run(main())


def test_a_port_that_is_closed_meanwhile_is_told_of_once(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        box = Raising()
        port = UdpPort(pool, near)
        endpoint = Datagrams(pool, port, box.received)
        port.close()
        far.send(b"x")
        await until(lambda: box.told)
        await asyncio.sleep(0)
        assert [type(error) for error in box.told] == [Inval]
        assert endpoint._closed

    run(main())
