import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from mbuf import Freed, Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.datagrams import MAX_FRUITLESS, Datagrams
from mbuf.net.port.port import Port, PortStat
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.udp.udpport import UdpPort
from net.loops import Run, until

Small = Callable[..., Pool]


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


class Recorder:
    """Records the bytes and errors that an endpoint receives."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.errors: list[OSError] = []

    def received(self, m: Mbuf) -> None:
        self.got.append(bytes(m))
        m.freem()

    def closed(self, error: Exception | None) -> None:
        assert isinstance(error, OSError)
        self.errors.append(error)


class LimitedPort(Port):
    """A port that sends `accepts` packets, and receives one packet of a stream socket in each pull."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.accepts = 0
        self.sent: list[bytes] = []
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
        pushed = 0
        while packets and self.accepts:
            self.accepts -= 1
            m = packets.pop(0)
            self.sent.append(bytes(m))
            m.freem()
            pushed += 1
        return pushed

    def stat(self) -> PortStat:
        return PortStat(short=self.short)

    def fileno(self) -> int:
        return self.near.fileno()

    def close(self) -> None:
        self.near.close()
        self.far.close()


def test_datagrams_are_sent_and_received(pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    recorder, other = Recorder(), Recorder()

    async def main() -> None:
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
            endpoint, echo = Datagrams(pool, port, recorder.received), Datagrams(pool, back, lambda m: echo.send(m))
            sent = [os.urandom(100 + n) for n in range(50)]
            endpoint.send_batch([pool.wrap(data) for data in sent])
            await endpoint.drain()
            await until(lambda: len(recorder.got) == 50)
            assert recorder.got == sent
            echo.close()
            endpoint.close()
            endpoint.close()

    run(main())
    assert (pool.out, other.got) == (0, [])


def test_any_port_with_a_file_descriptor_is_accepted(pool: Pool, run: Run) -> None:
    near, far = socket.socketpair()
    recorder = Recorder()

    async def main() -> None:
        with near, far, StreamPort(pool, near) as port:
            endpoint = Datagrams(pool, port, recorder.received)
            far.sendall(b"hello")
            await until(lambda: recorder.got)
            endpoint.send_batch([pool.wrap(b"good "), pool.wrap(b"bye")])
            assert far.recv(100) == b"good bye"
            endpoint.close()

    run(main())
    assert recorder.got == [b"hello"]


def test_a_port_without_a_file_descriptor_is_refused(pool: Pool, run: Run) -> None:
    class NoDescriptor(Port):
        pass

    async def main() -> None:
        with pytest.raises(Inval, match="has no file descriptor"):
            Datagrams(pool, NoDescriptor(), lambda m: None)
        with LimitedPort(pool) as port, pytest.raises(Inval, match="batch 0"):
            Datagrams(pool, port, lambda m: None, batch=0)

    run(main())


def test_nothing_is_received_while_reading_is_paused(pool: Pool, run: Run) -> None:
    recorder = Recorder()

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received)
            endpoint.pause_reading()
            endpoint.pause_reading()
            port.far.send(b"later")
            for _ in range(20):
                await asyncio.sleep(0)
            assert recorder.got == []
            endpoint.resume_reading()
            await until(lambda: recorder.got == [b"later"])
            endpoint.close()

    run(main())


def test_endpoints_without_mbufs_continue_first_come_first_served(small: Small, run: Run) -> None:
    pool = small()
    recorders = [Recorder() for _ in range(3)]

    async def main() -> None:
        ports = [LimitedPort(pool) for _ in range(3)]
        endpoints = [Datagrams(pool, port, recorder.received) for port, recorder in zip(ports, recorders, strict=True)]
        others: list[Mbuf] = []
        with suppress(NoBufs):
            while True:
                others.append(pool.getcl())
        for n, port in enumerate(ports):
            port.far.send(bytes([n]))
            await until(lambda n=n: len(pool.zones.clust.limiter.waiters) == n + 1)
        assert all(not recorder.got for recorder in recorders)
        others.pop().free()
        await until(lambda: all(recorder.got for recorder in recorders))
        assert [recorder.got for recorder in recorders] == [[b"\0"], [b"\1"], [b"\2"]]
        # An endpoint that is closed while it waits leaves the queue.
        others.append(pool.getcl())
        ports[0].far.send(b"x")
        await until(lambda: len(pool.zones.clust.limiter.waiters))
        endpoints[0].pause_reading()
        endpoints[0].resume_reading()
        endpoints[0].close()
        await until(lambda: not len(pool.zones.clust.limiter.waiters))
        pool.free_bulk(others)
        for port, endpoint in zip(ports, endpoints, strict=True):
            endpoint.close()
            port.close()

    run(main())


def test_an_endpoint_whose_task_the_program_cancels_receives_on(small: Small, run: Run) -> None:
    pool = small()
    recorder = Recorder()

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(pool.getcl())
            port.far.send(b"x")
            for _ in range(2):
                await until(lambda: endpoint._wait_task is not None)
                task = endpoint._wait_task
                assert task is not None
                # The first time before it has begun.
                task.cancel()
                await until(lambda task=task: endpoint._wait_task is not task)
            pool.free_bulk(others)
            await until(lambda: recorder.got)
            endpoint.close()

    run(main())


def test_a_port_that_needs_more_than_a_cluster_is_asked_again(small: Small, run: Run) -> None:
    pool = small()
    recorder = Recorder()

    class Greedy(LimitedPort):
        def pull(self, n: int) -> list[Mbuf]:
            with suppress(NoBufs), self.pool.getcl():
                return super().pull(n)
            self.short += 1
            return []

    async def main() -> None:
        with Greedy(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(pool.getcl())
            port.far.send(b"x")
            await until(lambda: port.short)
            before = port.short
            others.pop().free()
            await until(lambda: port.short > before)
            assert not recorder.got
            others.pop().free()
            await until(lambda: recorder.got)
            pool.free_bulk(others)
            endpoint.close()

    run(main())


def test_closing_the_pool_closes_the_endpoint(
    make: Callable[..., Pool], few: Callable[..., dict[str, int]], run: Run
) -> None:
    pool = make(few())
    errors: list[Exception | None] = []

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, lambda m: None, errors.append)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(pool.getcl())
            port.far.send(b"x")
            await until(lambda: len(pool.zones.clust.limiter.waiters))
            with pytest.warns(ResourceWarning):
                pool.close()
            await endpoint.wait_closed()
            await until(lambda: errors)
            assert [type(error) for error in errors] == [Inval]
            pool.free_bulk(others)

    run(main())


def test_packets_are_queued_up_to_maxlen_and_others_are_dropped(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, lambda m: None, maxlen=3)
            port.accepts = 1
            packets = [pool.wrap(bytes([n])) for n in range(6)]
            endpoint.send_batch(packets)
            assert (packets, endpoint.dropped, port.sent) == ([], 2, [b"\0"])
            endpoint.send(pool.wrap(b"x"))
            assert endpoint.dropped == 3
            drains = [asyncio.ensure_future(endpoint.drain()) for _ in range(2)]
            await asyncio.sleep(0)
            drains[0].cancel()
            await asyncio.sleep(0)
            assert not drains[1].done()
            port.accepts = 3
            await drains[1]
            assert port.sent == [b"\0", b"\1", b"\2", b"\3"]
            endpoint.close()

    run(main())


def test_abort_frees_the_queue_and_ends_drain(pool: Pool, run: Run) -> None:
    closed: list[Exception | None] = []

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, lambda m: None, closed.append)
            endpoint.send(pool.wrap(b"x"))
            drain = asyncio.ensure_future(endpoint.drain())
            await asyncio.sleep(0)
            endpoint.abort()
            endpoint.abort()
            await drain
            endpoint.send(pool.wrap(b"y"))
            endpoint.resume_reading()
            await endpoint.wait_closed()
            await until(lambda: closed)
            assert (pool.out, endpoint.dropped, port.sent, closed) == (0, 2, [], [None])

    run(main())


def test_close_sends_the_queue_first_and_then_calls_closed(pool: Pool, run: Run) -> None:
    closed: list[Exception | None] = []

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, lambda m: None, closed.append)
            for n in range(3):
                endpoint.send(pool.wrap(bytes([n])))
            endpoint.close()
            endpoint.close()
            endpoint.send(pool.wrap(b"too late"))
            port.far.send(b"x")
            for _ in range(20):
                await asyncio.sleep(0)
            assert (closed, endpoint.is_closing(), endpoint.queued) == ([], True, 3)
            port.accepts = 10
            await endpoint.wait_closed()
            await until(lambda: closed)
            assert (port.sent, closed, endpoint.dropped) == ([b"\0", b"\1", b"\2"], [None], 1)

    run(main())


def test_a_with_statement_sends_the_queue_or_after_an_exception_frees_it(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with LimitedPort(pool) as port:
            async with Datagrams(pool, port, lambda m: None) as endpoint:
                endpoint.send(pool.wrap(b"x"))
                asyncio.get_running_loop().call_soon(setattr, port, "accepts", 1)
            assert (endpoint.queued, endpoint.dropped, port.sent) == (0, 0, [b"x"])
            with suppress(ZeroDivisionError):
                async with Datagrams(pool, port, lambda m: None) as endpoint:
                    endpoint.send(pool.wrap(b"y"))
                    raise ZeroDivisionError
            assert (endpoint.queued, endpoint.dropped, pool.out) == (0, 1, 0)

    run(main())


@pytest.mark.parametrize("direction", ["in", "out"])
def test_an_error_of_the_port_closes_the_endpoint_and_calls_failed(pool: Pool, run: Run, direction: str) -> None:
    recorder = Recorder()

    async def main() -> None:
        with LimitedPort(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received, recorder.closed)
            if direction == "out":
                endpoint.send(pool.wrap(b"x"))
            port.error = OSError("gone")
            if direction == "in":
                port.far.send(b"x")
            await until(lambda: recorder.errors)
            assert (recorder.errors, pool.out) == ([port.error], 0)

    run(main())


def test_the_pull_size_grows_with_traffic_and_an_idle_port_holds_no_memory(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    asked: list[int] = []
    held: list[int] = []

    class RecordingPort(UdpPort):
        def pull(self, n: int) -> list[Mbuf]:
            asked.append(n)
            return super().pull(n)

    async def main() -> None:
        recorder = Recorder()
        with RecordingPort(pool, far, gro=False, size=1500) as port:
            for _ in range(7):
                near.send(b"x")
            endpoint = Datagrams(pool, port, recorder.received, batch=4)
            await until(lambda: len(recorder.got) == 7)
            await until(lambda: not pool.out)
            held.append(pool.out)
            endpoint.close()

    run(main())
    assert asked[:3] == [1, 2, 4]
    assert held == [0]


def test_packets_in_the_port_are_received_though_its_descriptor_is_not_readable(pool: Pool, run: Run) -> None:
    class Buffering(LimitedPort):
        """A port that has received 100 packets for one byte in its socket."""

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

    recorder = Recorder()

    async def main() -> None:
        with Buffering(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received, batch=2)
            port.far.send(b"x")
            await until(lambda: len(recorder.got) == 100)
            endpoint.close()

    run(main())


class Raising:
    """A callback that raises each time, and the exceptions that the loop reports."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.reported.append(context["exception"]))

    def received(self, m: Mbuf) -> None:
        self.got.append(bytes(m))
        m.freem()
        raise NoBufs("no more", "", 0, 0)


def test_an_exception_of_the_callback_is_reported_and_the_rest_is_received(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        recorder = Raising()
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
            sent = [pool.frombytes(bytes([n])) for n in range(50)]
            back.push(sent)
            endpoint = Datagrams(pool, port, recorder.received, batch=4)
            await until(lambda: len(recorder.got) == 50)
            assert recorder.got == [bytes([n]) for n in range(50)]
            assert {type(error) for error in recorder.reported} == {NoBufs}
            endpoint.close()

    run(main())


def test_an_exception_of_the_callback_after_a_wait_is_reported(pool: Pool, run: Run, small: Small) -> None:
    few = small()

    async def main() -> None:
        recorder = Raising()
        with LimitedPort(few) as port:
            endpoint = Datagrams(few, port, recorder.received)
            others: list[Mbuf] = []
            with suppress(NoBufs):
                while True:
                    others.append(few.getcl())
            port.far.send(b"one")
            await until(lambda: endpoint.denied)
            few.free_bulk(others)
            await until(lambda: recorder.got)
            port.far.send(b"two")
            await until(lambda: len(recorder.got) == 2)
            assert (recorder.got, len(recorder.reported)) == ([b"one", b"two"], 2)
            endpoint.close()

    run(main())


def test_close_works_after_the_port_was_closed(pool: Pool, run: Run) -> None:
    async def main() -> None:
        port = LimitedPort(pool)
        endpoint = Datagrams(pool, port, lambda m: None)
        endpoint.send(pool.wrap(b"waits"))
        port.close()
        assert port.fileno() == -1
        endpoint.abort()
        assert (pool.out, endpoint.dropped) == (0, 1)

    run(main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_after_the_socket_was_closed_leaves_another_socket_of_its_number_alone(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket], how: str
) -> None:
    near, far = pair
    got: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        port = UdpPort(pool, near)
        endpoint = Datagrams(pool, port, lambda m: None)
        number = near.fileno()
        near.close()
        one, other = socket.socketpair()
        with one, other, socket.socket(fileno=os.dup(one.fileno())) as spare:
            reused = next(sock for sock in (one, other, spare) if sock.fileno() == number)
            peer = other if reused is not other else one
            reused.setblocking(False)
            loop.add_reader(reused, lambda: got.append(reused.recv(10)))
            getattr(endpoint, how)()
            port.close()
            peer.send(b"hello")
            await until(lambda: got)
            assert got == [b"hello"]
            loop.remove_reader(reused)

    run(main())


def test_a_socket_closed_by_the_program_ends_the_endpoint(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    closed: list[Exception | None] = []

    async def main() -> None:
        with UdpPort(pool, near) as port:
            Datagrams(pool, port, lambda m: None, closed.append)
            near.close()
            far.send(b"x")
            await until(lambda: closed)
            assert isinstance(closed[0], OSError)

    run(main())


def test_a_port_closed_by_the_caller_is_reported_once(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        recorder = Raising()
        port = UdpPort(pool, near)
        endpoint = Datagrams(pool, port, recorder.received)
        port.close()
        far.send(b"x")
        await until(lambda: recorder.reported)
        await asyncio.sleep(0)
        assert [type(error) for error in recorder.reported] == [Inval]
        assert endpoint.is_closing()

    run(main())


def test_a_queued_packet_that_cannot_be_sent_is_dropped_and_reported(pool: Pool, run: Run) -> None:
    reported: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        with LimitedPort(pool) as limited:
            endpoint = Datagrams(pool, limited, Recorder().received)
            with socket.socket(type=socket.SOCK_DGRAM) as sock, UdpPort(pool, sock) as port:
                # All are queued; then each is sent to a port that needs an address.
                endpoint.send_batch([pool.frombytes(b"x") for _ in range(2)])
                endpoint._out._port = port
                await asyncio.wait_for(endpoint.drain(), 20)
                assert (endpoint.dropped, pool.out, len(reported)) == (2, 0, 2)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert len(reported) == 2
                packets = [pool.frombytes(b"x")]
                with pytest.raises(Inval, match="has no peer"):
                    endpoint.send_batch(packets)
                assert len(packets) == 1
                with pytest.raises(Inval, match="has no peer"):
                    endpoint.send(packets[0])
                packets[0].freem()
            endpoint.close()

    run(main())
    assert all("has no peer" in str(error) for error in reported)


@pytest.mark.parametrize("batch", [False, True])
def test_an_exception_loses_one_packet_and_the_rest_of_the_pull_is_received(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket], batch: bool
) -> None:
    near, far = pair
    reported: list[dict[str, Any]] = []
    got: list[bytes] = []

    def received(m: Mbuf) -> None:
        data = bytes(m)
        m.freem()
        if data == b"bad":
            raise ZeroDivisionError
        got.append(data)

    def received_batch(packets: list[Mbuf]) -> None:
        try:
            while packets:
                received(packets.pop(0))
        finally:
            # They belong to this.
            pool.free_bulk(packets)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
            back.push([pool.frombytes(b"bad" if n == 64 else b"%3d" % n) for n in range(128)])
            if batch:
                endpoint = Datagrams(pool, port, received_batch=received_batch)
                await until(lambda: endpoint.raised)
            else:
                endpoint = Datagrams(pool, port, received)
                await until(lambda: len(got) == 127)
                assert got == [b"%3d" % n for n in range(128) if n != 64]
            assert (endpoint.raised, len(reported)) == (1, 1)
            assert isinstance(reported[0]["exception"], ZeroDivisionError)
            endpoint.close()

    run(main())


class Stopped(KeyboardInterrupt):
    """Ends a loop."""


def test_a_callback_that_ends_the_loop_loses_no_other_packet(
    pool: Pool, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []

    def received(m: Mbuf) -> None:
        got.append(bytes(m))
        m.freem()
        if len(got) == 20:
            raise Stopped

    loop = asyncio.new_event_loop()
    with UdpPort(pool, near) as port, UdpPort(pool, far) as back:
        back.push([pool.frombytes(b"%2d" % n) for n in range(50)])

        async def main() -> None:
            async with Datagrams(pool, port, received):
                await until(lambda: len(got) == 50)

        task = loop.create_task(main())
        with pytest.raises(Stopped):
            loop.run_until_complete(task)
        loop.run_until_complete(task)
        assert got == [b"%2d" % n for n in range(50)]
        loop.close()


def test_pausing_in_the_callback_keeps_the_other_packets_of_the_pull(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    got: list[bytes] = []

    async def main() -> None:
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:

            def received(m: Mbuf) -> None:
                got.append(bytes(m))
                m.freem()
                if len(got) % 20 == 0:
                    endpoint.pause_reading()

            back.push([pool.frombytes(b"%2d" % n) for n in range(50)])
            endpoint = Datagrams(pool, port, received)
            await until(lambda: len(got) == 20)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(got) == 20
            endpoint.resume_reading()
            await until(lambda: len(got) == 40)
            assert got == [b"%2d" % n for n in range(40)]
            endpoint.close()
            assert endpoint.discarded + port.ready == 10

    run(main())


def test_closing_in_the_callback_counts_the_other_packets_of_the_pull(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair

    async def main() -> None:
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:

            def received(m: Mbuf) -> None:
                m.freem()
                if port.ready == 0:
                    endpoint.close()

            back.push([pool.frombytes(b"%2d" % n) for n in range(50)])
            endpoint = Datagrams(pool, port, received)
            await endpoint.wait_closed()
            assert endpoint.discarded > 0

    run(main())


def test_what_the_callback_sends_goes_to_the_port_in_one_call(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    pushed: list[int] = []
    got: list[bytes] = []

    class RecordingPort(UdpPort):
        def push(self, packets: list[Mbuf]) -> int:
            pushed.append(len(packets))
            return super().push(packets)

    async def main() -> None:
        with RecordingPort(pool, near, gro=False) as port, UdpPort(pool, far) as back:

            def received(m: Mbuf) -> None:
                for _ in range(3):
                    endpoint.send(m.copypacket())
                endpoint.send_batch([m])

            back.push([pool.frombytes(b"%2d" % n) for n in range(50)])
            endpoint = Datagrams(pool, port, received)
            while len(got) < 200:
                await asyncio.sleep(0)
                for m in back.pull(1000):
                    got.append(bytes(m))
                    m.freem()
            assert got == [b"%2d" % (n // 4) for n in range(200)]
            got.clear()
            pushed.clear()
            endpoint.pause_reading()
            endpoint._received = lambda m: endpoint.send(m)
            back.push([pool.frombytes(b"%2d" % n) for n in range(50)])
            endpoint._pull_size = 1000
            endpoint.resume_reading()
            while len(got) < 50:
                await asyncio.sleep(0)
                for m in back.pull(1000):
                    got.append(bytes(m))
                    m.freem()
            assert max(pushed) > 10
            with pytest.raises(Inval, match="NoneType"):
                endpoint.send(None)  # type: ignore[arg-type]
            endpoint.close()

    run(main())


def test_an_unsendable_packet_among_those_of_the_callback_is_dropped_alone(
    pool: Pool, run: Run, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    reported: list[Any] = []
    got: list[bytes] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        with UdpPort(pool, near) as port, UdpPort(pool, far) as back:

            def received(m: Mbuf) -> None:
                for n in range(5):
                    packet = pool.frombytes(b"%d" % n)
                    endpoint.send(packet)
                    if n == 2:
                        packet.freem()
                with pytest.raises(Freed):
                    endpoint.send(packet.free() or packet)
                m.freem()

            endpoint = Datagrams(pool, port, received)
            back.push([pool.frombytes(b"x")])
            while len(got) < 3:
                await asyncio.sleep(0)
                for m in back.pull(1000):
                    got.append(bytes(m))
                    m.freem()
            assert (got, endpoint.dropped) == ([b"0", b"1", b"3"], 2)
            assert [type(error) for error in reported] == [Freed, Freed]
            endpoint.close()

    run(main())


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_descriptor_that_is_ready_in_vain_is_not_tried_again_at_once(pool: Pool, run: Run, direction: str) -> None:
    class Refusing(LimitedPort):
        """The system has no memory: neither direction works, whatever the descriptor says."""

        calls = 0
        refusing = True

        def pull(self, n: int) -> list[Mbuf]:
            self.calls += 1
            return [] if self.refusing else super().pull(n)

        def push(self, packets: list[Mbuf]) -> int:
            self.calls += bool(packets)
            return 0 if self.refusing else super().push(packets)

    async def main() -> None:
        delays: list[Callable[[], None]] = []
        recorder = Recorder()
        with Refusing(pool) as port:
            endpoint = Datagrams(pool, port, recorder.received)
            endpoint._loop = endpoint._out._loop = cast(asyncio.AbstractEventLoop, Delaying(endpoint._loop, delays))
            if direction == "in":
                port.far.send(b"x")
            else:
                endpoint.send(pool.wrap(b"x"))
            await until(lambda: delays)
            before = port.calls
            assert before <= MAX_FRUITLESS + 2
            for _ in range(100):
                await asyncio.sleep(0)
            assert port.calls == before
            delays.pop()()
            await until(lambda: delays)
            assert port.calls <= before + 2
            port.refusing, port.accepts = False, 1
            delays.pop()()
            await until(lambda: recorder.got or port.sent)
            endpoint.close()

    run(main())


class Delaying:
    """A loop whose `call_later` only records the callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delays: list[Callable[[], None]]) -> None:
        self._loop = loop
        self._delays = delays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self._delays.append(callback)


def test_a_closed_endpoint_is_no_reference_cycle(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with LimitedPort(pool) as port:

            class Owner:
                def __init__(self) -> None:
                    self.endpoint = Datagrams(pool, port, self.received, self.closed)

                def received(self, m: Mbuf) -> None:
                    m.freem()

                def closed(self, error: Exception | None) -> None:
                    pass

            owner = Owner()
            gone = weakref.ref(owner)
            owner.endpoint.close()
            await owner.endpoint.wait_closed()
            del owner
            for _ in range(5):
                await asyncio.sleep(0)
            assert gone() is None

    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()


def test_wrong_numbers_are_refused(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with LimitedPort(pool) as port:
            for wrong, error in (
                ({"batch": 0}, Inval),
                ({"maxlen": -1}, Inval),
                ({"batch": 1.5}, TypeError),
                ({"maxlen": "x"}, TypeError),
                ({"maxlen": None}, TypeError),
            ):
                options: Any = wrong
                with pytest.raises(error, match=f"{next(iter(options))}.*: give"):
                    Datagrams(pool, port, Recorder().received, **options)

    run(main())


def test_one_callback_for_packets_must_be_given(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with LimitedPort(pool) as port:
            with pytest.raises(Inval, match="give received"):
                Datagrams(pool, port)
            with pytest.raises(Inval, match="give received"):
                Datagrams(pool, port, lambda m: None, received_batch=lambda packets: None)
            with pytest.raises(TypeError, match="5 can't be called"):
                Datagrams(pool, port, lambda m: None, 5)  # type: ignore[arg-type]

    run(main())


def test_an_endpoint_receives_after_a_refused_datagram(pool: Pool, run: Run) -> None:
    async def main() -> None:
        recorder, errors = Recorder(), []
        with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
            near.bind(("127.0.0.1", 0))
            far.bind(("127.0.0.1", 0))
            there = far.getsockname()
            near.connect(there)
            far.close()
            with UdpPort(pool, near, on_error=errors.append) as port:
                endpoint = Datagrams(pool, port, recorder.received)
                endpoint.send(pool.frombytes(b"refused"))
                await until(lambda: errors)
                with socket.socket(type=socket.SOCK_DGRAM) as again:
                    again.bind(there)
                    for n in range(1, 4):
                        again.sendto(b"%d" % n, near.getsockname())
                        await until(lambda n=n: len(recorder.got) == n)
                endpoint.close()
                await endpoint.wait_closed()
        assert (recorder.got, [error.errno for error in errors]) == ([b"1", b"2", b"3"], [111])

    run(main())
    assert pool.out == 0
