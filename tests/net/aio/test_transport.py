"""`create_datagram_endpoint` and its transport, compared with the loops' own where that says what is right."""

import asyncio
import errno
import gc
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from chains import exhaust_pool
from mbuf import Freed, Inval, Mbuf, NoBufs, Pool
from mbuf.net.aio.endpoint import create_datagram_endpoint
from mbuf.net.aio.lookup import find_peer
from mbuf.net.aio.transport import UdpTransport
from net.loops import Run, until

#: Each test has one pool of the usual kind: it is about the transport.
POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}

ANY = ("127.0.0.1", 0)
Small = Callable[..., Pool]


@pytest.fixture
def sink() -> Iterator[socket.socket]:
    """A bound socket of the test."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(ANY)
        sock.settimeout(20)
        yield sock


class Recorder(asyncio.DatagramProtocol):
    """Records its calls. `act`, if it is given, is called in each `datagram_received`."""

    def __init__(self, act: Callable[["Recorder", bytes, Any], object] | None = None) -> None:
        self.act = act
        self.got: list[bytes] = []
        self.addresses: list[Any] = []
        self.errors: list[Exception] = []
        self.lost: list[Exception | None] = []
        self.writing: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport: UdpTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data)
        self.addresses.append(addr)
        if self.act is not None:
            self.act(self, data, addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.writing.append("pause")

    def resume_writing(self) -> None:
        self.writing.append("resume")


class Packets(Recorder):
    """Asks for mbufs."""

    def mbuf_received(self, m: Mbuf, addr: Any) -> None:
        self.datagram_received(bytes(m), addr)
        self.transport.sendto(m)


async def closed(*protocols: Recorder) -> None:
    """Close the transports, and wait until each protocol knows."""
    for protocol in protocols:
        protocol.transport.close()
    await until(lambda: all(protocol.lost for protocol in protocols))


async def make(pool: Pool, **options: Any) -> Recorder:
    act = options.pop("act", None)
    options = options or {"local_addr": ANY}
    return (await create_datagram_endpoint(pool, lambda: Recorder(act), **options))[1]


def echo(protocol: Recorder, data: bytes, addr: Any) -> None:
    protocol.transport.sendto(data, addr)


def test_an_echo_server_and_a_client_exchange_datagrams(pool: Pool, run: Run) -> None:
    sent = [bytes([n]) * (10 * n) for n in range(50)]

    async def main() -> None:
        server = await make(pool, act=echo)
        address = server.transport.get_extra_info("sockname")
        client = await make(pool, remote_addr=address)
        for data in sent:
            client.transport.sendto(data)
        await until(lambda: len(client.got) == 50)
        assert sorted(client.got) == sorted(sent) == sorted(server.got)
        assert set(client.addresses) == {address}
        assert set(server.addresses) == {client.transport.get_extra_info("sockname")}
        assert client.transport.get_extra_info("peername") == address
        await closed(server, client)
        assert (server.lost, client.lost, server.errors) == ([None], [None], [])

    run(main())
    assert pool.out == 0


def test_a_protocol_that_asks_for_mbufs_gets_them(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        transport, protocol = await create_datagram_endpoint(pool, Packets, ANY)
        for n in range(70):
            sink.sendto(b"%d" % n, transport.get_extra_info("sockname"))
        await until(lambda: len(protocol.got) == 70)
        assert protocol.addresses[0] == sink.getsockname()
        assert [sink.recv(10) for _ in range(70)] == [b"%d" % n for n in range(70)]
        transport.sendto(pool.wrap(b"new"), sink.getsockname())
        assert sink.recv(10) == b"new"
        await closed(protocol)

    run(main())
    assert pool.out == 0


def test_the_first_datagram_of_a_callback_is_sent_at_once_and_the_others_at_its_end(
    pool: Pool, run: Run, sink: socket.socket
) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        for n in range(20):
            transport.sendto(b"%d" % n, sink.getsockname())
        assert transport.port.stat().packets_out == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stat = transport.port.stat()
        assert (stat.packets_out, stat.calls_out) == (20, 2)
        assert [sink.recv(10) for _ in range(20)] == [b"%d" % n for n in range(20)]
        transport.sendto(b"a", sink.getsockname())
        transport.sendto(b"b", sink.getsockname())
        assert transport.get_write_buffer_size() == 0
        assert transport.port.stat().packets_out == 22
        await closed(protocol)

    run(main())


def test_answers_to_a_batch_are_sent_together(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool, act=echo)
        transport = protocol.transport
        transport.pause_reading()
        for _ in range(50):
            sink.sendto(b"x", transport.get_extra_info("sockname"))
        transport._reader.batch = 64
        transport.resume_reading()
        await until(lambda: len(protocol.got) == 50)
        assert transport.port.stat().calls_out < 10
        assert [sink.recv(10) for _ in range(50)] == [b"x"] * 50
        await closed(protocol)

    run(main())


def test_any_buffer_is_sent_and_an_empty_datagram_too(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        changed = bytearray(b"before")
        for data in (b"", b"bytes", changed, memoryview(b"view")):
            protocol.transport.sendto(data, sink.getsockname())
        changed[:] = b"after!"
        await asyncio.sleep(0)
        assert {sink.recv(10) for _ in range(4)} == {b"", b"bytes", b"before", b"view"}
        await closed(protocol)

    run(main())


def test_wrong_arguments_raise_what_the_socket_module_raises(pool: Pool, run: Run, sink: socket.socket) -> None:
    there = sink.getsockname()

    async def main() -> None:
        protocol = await make(pool)
        sendto = protocol.transport.sendto
        for data, address, error in (
            ("text", there, TypeError),
            (5, there, TypeError),
            (b"x", None, TypeError),
            (b"x", "127.0.0.1", TypeError),
            (b"x", list(there), TypeError),
            (b"x", ("127.0.0.1",), TypeError),
            (b"x", ("127.0.0.1", 1, 0, 0), TypeError),
            (b"x", (1, 1), TypeError),
            (b"x", ("127.0.0.1", 70000), OverflowError),
        ):
            with pytest.raises(error):
                sendto(data, address)
        assert (protocol.errors, protocol.transport.is_closing()) == ([], False)
        client = await make(pool, remote_addr=there)
        client.transport.sendto(b"x", there)
        with pytest.raises(ValueError, match="must be None or"):
            client.transport.sendto(b"x", ("127.0.0.1", 1))
        assert sink.recv(10) == b"x"
        m = pool.get()
        with pytest.raises(ValueError, match="no packet header"):
            sendto(m, there)
        m.free()
        packet = pool.gethdr()
        with pytest.raises(TypeError, match="must be tuple, not NoneType"):
            sendto(packet)
        packet.free()
        await closed(protocol, client)

    run(main())
    assert pool.out == 0


def test_names_of_hosts_are_looked_up(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        protocol.transport.sendto(b"name", ("localhost", sink.getsockname()[1]))
        assert sink.recv(10) == b"name"
        protocol.transport.sendto(b"x", ("::1", 1))
        assert [type(error) for error in protocol.errors] == [socket.gaierror]
        packet = pool.gethdr()
        protocol.transport.sendto(packet, ("::1", 1))
        with pytest.raises(Freed):
            packet.free()
        assert (len(protocol.errors), protocol.transport.dropped) == (2, 2)
        await closed(protocol)

    run(main())
    assert find_peer(socket.AF_INET, ("", 5)).address == ("0.0.0.0", 5)
    assert find_peer(socket.AF_INET, ("<broadcast>", 5)).address == ("255.255.255.255", 5)
    assert find_peer(socket.AF_INET6, ("::1", 5)).address == ("::1", 5, 0, 0)
    assert find_peer(socket.AF_INET6, ("fe80::1", 5, 7, 1)).address == ("fe80::1", 5, 7, 1)


def test_after_close_nothing_is_sent_and_nothing_is_received(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        transport.sendto(b"first", sink.getsockname())
        transport.sendto(b"second", sink.getsockname())
        transport.close()
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        transport.sendto(b"late", sink.getsockname())
        transport.sendto(pool.wrap(b"late"), sink.getsockname())
        with pytest.raises(TypeError):
            transport.sendto("text", sink.getsockname())
        assert [sink.recv(10), sink.recv(10)] == [b"first", b"second"]
        await until(lambda: protocol.lost)
        assert protocol.lost == [None]
        assert transport.dropped == 2
        assert transport.get_extra_info("socket").fileno() == -1
        transport.sendto(b"late", sink.getsockname())
        transport.abort()
        transport.resume_reading()
        assert "closed" in repr(transport)

    run(main())
    assert pool.out == 0


def full(protocol: Recorder) -> tuple[Callable[[], None], list[bytes]]:
    """Let the port of an endpoint accept nothing; what makes it accept again, and what it has sent."""
    sent: list[bytes] = []
    port, push = protocol.transport.port, protocol.transport.port.push

    def refuse(packets: list[Mbuf]) -> int:
        return 0

    port.push = refuse  # type: ignore[method-assign]

    def accept() -> None:
        port.push = push  # type: ignore[method-assign]

    return accept, sent


def test_a_full_socket_pauses_the_writer_and_close_sends_the_rest(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        transport.set_write_buffer_limits(high=3000)
        assert transport.get_write_buffer_limits() == (750, 3000)
        accept, _ = full(protocol)
        for n in range(4):
            transport.sendto(bytes([n]) * 1000, sink.getsockname())
        assert transport.get_write_buffer_size() == 4 * 1008
        assert protocol.writing == ["pause"]
        accept()
        await until(lambda: protocol.writing == ["pause", "resume"])
        assert transport.get_write_buffer_size() == 0
        accept, _ = full(protocol)
        transport.sendto(b"last", sink.getsockname())
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert protocol.lost == []
        accept()
        await until(lambda: protocol.lost)
        assert [sink.recv(2000)[:4] for _ in range(5)] == [b"\0" * 4, b"\1" * 4, b"\2" * 4, b"\3" * 4, b"last"]
        for bad in ({"high": -1}, {"high": 1, "low": 2}):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(**bad)

    run(main())


def test_abort_drops_and_counts_what_waits(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        full(protocol)
        for _ in range(3):
            protocol.transport.sendto(b"x", sink.getsockname())
        protocol.transport.abort()
        await until(lambda: protocol.lost)
        assert (protocol.lost, protocol.transport.dropped) == ([None], 3)

    run(main())
    assert pool.out == 0


def test_datagrams_behind_a_pause_wait_and_those_behind_close_are_counted(
    pool: Pool, run: Run, sink: socket.socket
) -> None:
    def pause(protocol: Recorder, data: bytes, addr: Any) -> None:
        if data == b"2":
            protocol.transport.pause_reading()
        if data == b"4":
            protocol.transport.close()

    async def main() -> None:
        protocol = await make(pool, act=pause)
        transport = protocol.transport
        transport.pause_reading()
        for n in range(6):
            sink.sendto(b"%d" % n, transport.get_extra_info("sockname"))
        transport._reader.batch = 64
        transport.resume_reading()
        await until(lambda: len(protocol.got) == 3)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (protocol.got, transport.is_reading()) == ([b"0", b"1", b"2"], False)
        transport.resume_reading()
        await until(lambda: protocol.lost)
        assert (protocol.got[3:], transport.discarded) == ([b"3", b"4"], 1)

    run(main())
    assert pool.out == 0


def test_an_exception_of_the_protocol_loses_one_datagram_and_is_reported(
    pool: Pool, run: Run, sink: socket.socket
) -> None:
    reported: list[dict[str, Any]] = []

    def fail(protocol: Recorder, data: bytes, addr: Any) -> None:
        if data == b"1":
            raise RuntimeError("mine")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        protocol = await make(pool, act=fail)
        protocol.transport.pause_reading()
        for n in range(4):
            sink.sendto(b"%d" % n, protocol.transport.get_extra_info("sockname"))
        protocol.transport._reader.batch = 64
        protocol.transport.resume_reading()
        await until(lambda: len(protocol.got) == 4)
        assert [str(context["exception"]) for context in reported] == ["mine"]
        assert reported[0]["protocol"] is protocol
        await closed(protocol)

    run(main())


def test_a_full_pool_is_back_pressure_in_both_directions(small: Small, run: Run, sink: socket.socket) -> None:
    pool = small(clusters=100, mbufs=200)

    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        taken = exhaust_pool(pool)
        for n in range(3):
            sink.sendto(b"in%d" % n, transport.get_extra_info("sockname"))
            transport.sendto(b"out%d" % n, sink.getsockname())
        await until(lambda: transport._reader.task is not None)
        assert (protocol.got, transport.get_write_buffer_size()) == ([], 3 * 12)
        pool.free_bulk(taken)
        await until(lambda: len(protocol.got) == 3 and not transport.get_write_buffer_size())
        assert [sink.recv(10) for _ in range(3)] == [b"out0", b"out1", b"out2"]
        assert (transport.port.stat().denied, transport.dropped, transport.discarded) == (0, 0, 0)
        taken = exhaust_pool(pool)
        transport.sendto(b"waits", sink.getsockname())
        sink.sendto(b"waits", transport.get_extra_info("sockname"))
        await until(lambda: transport._reader.task is not None)
        transport.abort()
        await until(lambda: protocol.lost)
        assert transport.dropped == 1
        pool.free_bulk(taken)

    run(main())
    assert pool.out == 0


def test_bytes_are_referred_to_if_there_are_mbufs_without_clusters(small: Small, run: Run, sink: socket.socket) -> None:
    pool = small()

    async def main() -> None:
        protocol = await make(pool)
        taken: list[Mbuf] = []
        with suppress(NoBufs):
            while True:
                taken.append(pool.getcl())
        data = b"d" * 1000
        protocol.transport.sendto(data, sink.getsockname())
        protocol.transport.sendto(data, sink.getsockname())
        assert protocol.transport.get_write_buffer_size() == 0
        assert sink.recv(2000) == sink.recv(2000) == data
        pool.free_bulk(taken)
        await closed(protocol)

    run(main())


def test_a_packet_that_the_program_frees_after_sending_it_is_reported(
    pool: Pool, run: Run, sink: socket.socket
) -> None:
    reported: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        protocol = await make(pool)
        accept, _ = full(protocol)
        m = pool.wrap(b"gone")
        protocol.transport.sendto(m, sink.getsockname())
        protocol.transport.sendto(b"stays", sink.getsockname())
        m.freem()
        accept()
        await until(lambda: reported)
        assert sink.recv(10) == b"stays"
        assert protocol.transport.dropped == 1
        await closed(protocol)

    run(main())


def test_the_protocol_can_be_changed(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol, other = await make(pool), Recorder()
        transport = protocol.transport
        assert transport.get_protocol() is protocol
        transport.set_protocol(other)
        sink.sendto(b"x", transport.get_extra_info("sockname"))
        await until(lambda: other.got)
        transport.close()
        await until(lambda: other.lost)
        assert (protocol.got, protocol.lost) == ([], [])

    run(main())


def test_an_idle_endpoint_holds_no_memory(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        transport.pause_reading()
        for _ in range(20):
            sink.sendto(b"x", transport.get_extra_info("sockname"))
        transport._reader.batch = 64
        transport.resume_reading()
        await until(lambda: len(protocol.got) == 20)
        assert pool.out
        await until(lambda: not pool.out)
        await closed(protocol)

    run(main())


def test_an_unclosed_transport_warns_and_frees_all(pool: Pool, run: Run) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        transport.pause_reading()
        del protocol.transport
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            transport.__del__()

    run(main())
    assert pool.out == 0


def test_an_error_of_the_port_ends_the_endpoint(pool: Pool, run: Run, sink: socket.socket) -> None:
    gone = OSError(errno.EBADF, "gone")

    def fail(*_: object) -> int:
        raise gone

    async def main() -> None:
        protocol = await make(pool)
        protocol.transport.port.push = fail  # type: ignore[method-assign]
        protocol.transport.sendto(b"x", sink.getsockname())
        await until(lambda: protocol.lost)
        other = await make(pool)
        other.transport._reader.pull = fail  # type: ignore[assignment]
        sink.sendto(b"x", other.transport.get_extra_info("sockname"))
        await until(lambda: other.lost)
        assert (protocol.lost, other.lost) == ([gone], [gone])

    run(main())
    assert pool.out == 0


def test_closing_the_pool_ends_an_endpoint_that_waits(small: Small, run: Run, sink: socket.socket) -> None:
    pool = small()

    async def main() -> None:
        protocol = await make(pool)
        taken = exhaust_pool(pool)
        sink.sendto(b"x", protocol.transport.get_extra_info("sockname"))
        await until(lambda: protocol.transport._reader.task is not None)
        with pytest.warns(ResourceWarning):
            pool.close()
        await until(lambda: protocol.lost)
        assert isinstance(protocol.lost[0], Inval)
        pool.free_bulk(taken)

    run(main())


def test_what_the_system_refuses_is_told_with_its_errno(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        sendto = protocol.transport.sendto
        for data, address in (
            (bytes(70_000), sink.getsockname()),
            (bytes(65_520), sink.getsockname()),
            (b"x", ("127.0.0.1", 0)),
            (b"x", ("255.255.255.255", 9)),
        ):
            sendto(data, address)
            sendto(b"after", sink.getsockname())
            protocol.transport.get_write_buffer_size()
            assert sink.recv(10) == b"after"
        errors: Any = protocol.errors
        assert [error.errno for error in errors] == [errno.EMSGSIZE, errno.EMSGSIZE, errno.EINVAL, errno.EACCES]
        assert isinstance(errors[-1], PermissionError)
        transport = protocol.transport
        assert transport.dropped + transport.port.stat().errors == len(errors)
        await closed(protocol)

    run(main())
    assert pool.out == 0


def test_a_refused_connection_is_told_and_no_datagram_is_lost_by_it(pool: Pool, run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(ANY)
            there = sock.getsockname()
        protocol = await make(pool, remote_addr=there)
        protocol.transport.sendto(b"nobody")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        protocol.transport.pause_reading()
        protocol.transport.sendto(b"nobody")
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(there)
            protocol.transport.sendto(b"somebody")
            protocol.transport.get_write_buffer_size()
            assert sock.recv(10) == b"somebody"
        await closed(protocol)

    run(main())
    assert pool.out == 0


def test_a_socket_without_a_peer_is_not_told_that_a_client_has_gone(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(ANY)
            gone = sock.getsockname()
        protocol.transport.sendto(b"nobody", gone)
        await asyncio.sleep(0.05)
        sink.sendto(b"x", protocol.transport.get_extra_info("sockname"))
        await until(lambda: protocol.got)
        assert protocol.errors == []
        assert protocol.transport.port.stat().faults == 1
        await closed(protocol)

    run(main())


def test_after_the_end_no_method_has_an_effect(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        full(protocol)
        transport.set_write_buffer_limits(high=1)
        transport.sendto(b"waits", sink.getsockname())
        transport.abort()
        await until(lambda: transport.get_protocol() is None)
        assert transport.get_write_buffer_size() == 0
        transport.set_write_buffer_limits(high=0)
        transport.pause_reading()
        transport.resume_reading()
        transport.sendto(b"x", sink.getsockname())
        transport.close()
        transport.abort()
        assert (protocol.lost, protocol.writing, transport.dropped) == ([None], ["pause"], 2)

    run(main())


def test_closing_the_port_ends_the_endpoint(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        protocol.transport.port.close()
        protocol.transport.sendto(b"x", sink.getsockname())
        await until(lambda: protocol.lost)
        assert [str(error) for error in protocol.lost] == ["push: the port is closed"]

    run(main())
    assert pool.out == 0


def test_a_packet_that_cannot_be_sent_does_not_stop_those_behind_it(pool: Pool, run: Run, sink: socket.socket) -> None:
    reported: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"]).__name__))
        protocol = await make(pool)
        sendto = protocol.transport.sendto
        partly, foreign, twice = pool.wrap(b"a").cat(pool.wrap(b"b")), pool.wrap(b"c"), pool.wrap(b"twice")
        # The first is sent at once, the others together.
        sendto(b"0", sink.getsockname())
        sendto(b"1", sink.getsockname())
        for m in (partly, foreign, twice, twice):
            sendto(m, sink.getsockname())
        assert partly.next is not None
        partly.next.free()
        foreign.peer = ("::1", 9)
        sendto(b"2", sink.getsockname())
        await until(lambda: len(reported) == 3)
        assert [sink.recv(10) for _ in range(5)] == [b"0", b"1", b"twice", b"twice", b"2"]
        assert protocol.transport.dropped == 2
        await closed(protocol)

    run(main())
    assert reported == ["Freed", "Inval", "Freed"]
    assert pool.out == 0


def test_what_is_sent_without_the_port_waits_for_a_full_socket(pool: Pool, run: Run, sink: socket.socket) -> None:
    class Full:
        """A socket that accepts nothing, and then what the real one does."""

        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.accepts = False

        def sendto(self, *args: Any) -> int:
            if not self.accepts:
                raise BlockingIOError
            return self.sock.sendto(*args)

        def close(self) -> None:
            self.sock.close()

    async def main() -> None:
        # A socket that may send to broadcast addresses isn't connected.
        protocol = await make(pool, remote_addr=sink.getsockname(), allow_broadcast=True)
        transport = protocol.transport
        full_socket = transport._sock = Full(transport._sock)
        transport.sendto(bytes(65_520))
        transport.sendto(b"after")
        assert (protocol.errors, transport.get_write_buffer_size()) == ([], 65_520 + 5 + 16)
        full_socket.accepts = True
        await until(lambda: protocol.errors)
        assert sink.recv(10) == b"after"
        assert [getattr(error, "errno", 0) for error in protocol.errors] == [errno.EMSGSIZE]
        await closed(protocol)

    run(main())
    assert pool.out == 0


def test_an_error_that_closes_the_endpoint_ends_sending(pool: Pool, run: Run, sink: socket.socket) -> None:
    class Closing(Recorder):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            self.transport.abort()

    async def main() -> None:
        _, protocol = await create_datagram_endpoint(pool, Closing, ANY)
        protocol.transport.sendto(b"first", sink.getsockname())
        protocol.transport.sendto(bytes(65_520), sink.getsockname())
        protocol.transport.sendto(b"behind", sink.getsockname())
        await until(lambda: protocol.lost)
        assert (protocol.lost, len(protocol.errors), protocol.transport.dropped) == ([None], 1, 2)

    run(main())
    assert pool.out == 0


def test_tasks_that_the_program_cancels_are_made_again(small: Small, run: Run, sink: socket.socket) -> None:
    pool = small(clusters=100, mbufs=200)

    async def main() -> None:
        protocol = await make(pool)
        transport = protocol.transport
        taken = exhaust_pool(pool)
        sink.sendto(b"in", transport.get_extra_info("sockname"))
        transport.sendto(b"out", sink.getsockname())
        await until(lambda: transport._reader.task is not None and transport._wait_task is not None)
        for task in (transport._reader.task, transport._wait_task):
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        pool.free_bulk(taken)
        await until(lambda: protocol.got == [b"in"] and not transport.get_write_buffer_size())
        assert sink.recv(10) == b"out"
        await closed(protocol)

    run(main())
    assert pool.out == 0


def test_a_closed_endpoint_is_no_reference_cycle(pool: Pool, run: Run, sink: socket.socket) -> None:
    async def main() -> None:
        protocol = await make(pool)
        got = protocol.got
        protocol.transport.sendto(b"x", sink.getsockname())
        protocol.transport.sendto(b"x", ("127.0.0.1", 0))
        sink.sendto(b"y", protocol.transport.get_extra_info("sockname"))
        await until(lambda: got)
        await closed(protocol)
        # What the loop has scheduled for the end is over.
        await asyncio.sleep(0.1)
        gone = [weakref.ref(protocol.transport), weakref.ref(protocol.transport.port), weakref.ref(protocol)]
        gc.collect()
        gc.disable()
        try:
            del protocol
            assert [each() for each in gone] == [None, None, None]
        finally:
            gc.enable()

    run(main())
