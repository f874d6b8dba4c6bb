"""The queue of packets that a port doesn't accept yet."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mbuf import Freed, Inval, Mbuf, Pool
from mbuf.net.aio.sendqueue import MAX_COLLECTED, SendQueue
from mbuf.net.port.port import Port
from mbuf.net.watch import Watch
from net.loops import until


class LimitedPort(Port):
    """A port that sends `accepts` packets."""

    accepts = 0
    closed = False
    error: OSError | None = None

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.calls = 0

    def push(self, packets: list[Mbuf]) -> int:
        self.calls += 1
        if self.closed:
            raise Inval("push: the port is closed")
        pushed = 0
        while packets and self.accepts:
            if self.error is not None:
                raise self.error
            self.sent.append(bytes(packets[0]))
            packets.pop(0).freem()
            self.accepts -= 1
            pushed += 1
        return pushed


class Setup:
    """A queue, its port, and what it has called."""

    def __init__(self, maxlen: int) -> None:
        self.near, self.far = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.watch = Watch(loop, self.near.fileno())
        self.port = LimitedPort()
        self.emptied = 0
        self.errors: list[Exception] = []
        self.told: list[Any] = []
        loop.set_exception_handler(lambda _, context: self.told.append(context["exception"]))
        self.queue = SendQueue(self.port, self.watch, maxlen, self.count, self.failed)

    def count(self) -> None:
        self.emptied += 1

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.queue.close()


def run(test: Callable[[Setup], Awaitable[object]], maxlen: int = 1000) -> Setup:
    async def main() -> Setup:
        setup = Setup(maxlen)
        await asyncio.wait_for(test(setup), 60)  # type: ignore[arg-type]
        setup.queue.close()
        setup.watch.close()
        setup.near.close()
        setup.far.close()
        return setup

    return asyncio.run(main())


def test_collected_packets_are_pushed_by_flush_or_when_they_are_many(pool: Pool) -> None:
    async def test(setup: Setup) -> None:
        setup.port.accepts = 1000
        setup.queue.append(pool.frombytes(b"a"))
        setup.queue.append(pool.frombytes(b"b"))
        assert setup.port.sent == []
        setup.queue.flush()
        assert (setup.port.sent, setup.port.calls, setup.emptied) == ([b"a", b"b"], 1, 1)
        for _ in range(MAX_COLLECTED):
            setup.queue.append(pool.frombytes(b"c"))
        assert (len(setup.port.sent), setup.port.calls) == (2 + MAX_COLLECTED, 2)
        setup.queue.append(pool.frombytes(b"d"))
        setup.queue.push([pool.frombytes(b"e")])
        assert setup.port.sent[-2:] == [b"d", b"e"]

    run(test)


def test_packets_wait_up_to_maxlen_and_are_pushed_in_order(pool: Pool) -> None:
    async def test(setup: Setup) -> None:
        setup.queue.append(pool.frombytes(b"0"))
        setup.queue.push([pool.frombytes(b"%d" % n) for n in range(1, 4)])
        setup.queue.append(pool.frombytes(b"4"))
        assert (len(setup.queue.packets), setup.queue.dropped, setup.queue.waiting) == (3, 2, True)
        setup.port.accepts = 1000
        await until(lambda: setup.emptied)
        assert setup.port.sent == [b"0", b"1", b"2"]

    run(test, maxlen=3)


def test_an_unsendable_packet_is_dropped_alone_and_told(pool: Pool) -> None:
    async def test(setup: Setup) -> None:
        packets = [pool.frombytes(b"%d" % n) for n in range(5)]
        setup.queue.push(packets[:])
        packets[3].freem()
        setup.port.accepts = 1000
        await until(lambda: setup.emptied)
        assert (setup.port.sent, setup.queue.dropped) == ([b"0", b"1", b"2", b"4"], 1)
        assert [type(error) for error in setup.told] == [Freed]

    run(test)


def test_an_unsendable_packet_behind_what_is_not_accepted_waits(pool: Pool) -> None:
    class Strict(LimitedPort):
        """Raises for any freed packet, before it sends one."""

        def push(self, packets: list[Mbuf]) -> int:
            for m in packets:
                len(m)
            return super().push(packets)

    async def test(setup: Setup) -> None:
        port = setup.queue._port = Strict()
        packets = [pool.frombytes(b"%d" % n) for n in range(3)]
        setup.queue.push(packets[:])
        packets[1].freem()
        await until(lambda: port.calls > 3)
        assert len(setup.queue.packets) == 3
        port.accepts = 1000
        await until(lambda: setup.emptied)
        assert (port.sent, setup.queue.dropped) == ([b"0", b"2"], 1)

    run(test)


@pytest.mark.parametrize("closed", [False, True])
def test_an_error_of_the_port_is_told_once_and_all_is_dropped(pool: Pool, closed: bool) -> None:
    async def test(setup: Setup) -> None:
        setup.queue.push([pool.frombytes(b"x") for _ in range(3)])
        setup.port.closed, setup.port.error, setup.port.accepts = closed, OSError("gone"), 1
        await until(lambda: setup.errors)
        assert [type(error) for error in setup.errors] == [Inval if closed else OSError]
        setup.queue.append(pool.frombytes(b"y"))
        setup.queue.flush()

    assert run(test).queue.dropped == 4


def test_an_error_while_packets_are_pushed_one_by_one_drops_all(pool: Pool) -> None:
    class Failing(LimitedPort):
        def push(self, packets: list[Mbuf]) -> int:
            self.calls += 1
            if len(packets) > 1:
                raise Inval("one of them can't be sent")
            if packets:
                raise OSError("gone")
            return 0

    async def test(setup: Setup) -> None:
        setup.queue._port = Failing()
        setup.queue.packets += [pool.frombytes(b"0"), pool.frombytes(b"1")]
        setup.queue.flush()
        assert ([type(error) for error in setup.errors], setup.queue.dropped) == ([OSError], 2)

    run(test)


def test_a_writable_descriptor_whose_port_accepts_nothing_is_tried_later(pool: Pool) -> None:
    delays: list[Callable[[], object]] = []

    class Loop:
        def call_later(self, delay: float, callback: Callable[[], object]) -> None:
            delays.append(callback)

    async def test(setup: Setup) -> None:
        setup.queue._loop = Loop()  # type: ignore[assignment]
        setup.queue.push([pool.frombytes(b"x")])
        await until(lambda: delays)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (setup.port.calls, len(delays)) == (2, 1)
        setup.port.accepts = 1
        delays.pop()()
        await until(lambda: setup.emptied)
        assert (setup.port.sent, delays) == ([b"x"], [])

    run(test)


def test_what_a_raising_port_has_left_is_sent_later(pool: Pool) -> None:
    async def test(setup: Setup) -> None:
        push = setup.port.push

        def tell(packets: list[Mbuf]) -> int:
            """Send one, and tell the program of an error."""
            setup.port.accepts = 1
            push(packets)
            setup.port.push = push  # type: ignore[method-assign]
            setup.port.accepts = 1000
            raise ZeroDivisionError

        setup.port.push = tell  # type: ignore[method-assign]
        for data in (b"a", b"b", b"c"):
            setup.queue.append(pool.frombytes(data))
        with pytest.raises(ZeroDivisionError):
            setup.queue.flush()
        assert setup.port.sent == [b"a"]
        await until(lambda: not setup.queue.packets)
        assert setup.port.sent == [b"a", b"b", b"c"]

    run(test)
