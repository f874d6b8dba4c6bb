import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from chains import exhaust_pool
from mbuf import (
    CSUM_IP_TCP,
    M_EXT,
    M_EXTPG,
    M_NOTREADY,
    MCLBYTES,
    MJUM16BYTES,
    Busy,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    NotSupported,
    Pool,
    SockBuf,
)
from mbuf.net.linux import IOV_MAX
from mbuf.net.stream import streamport
from mbuf.net.stream.read_sizer import READ_SIZES
from mbuf.net.stream.streamport import BATCH_BYTES, StreamPort

Pair = tuple[socket.socket, socket.socket]


def tcp() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@pytest.fixture(params=[socket.socketpair, tcp], ids=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The two ends of a connection."""
    near, far = request.param()
    with near, far:
        yield near, far


@pytest.fixture
def port(pool: Pool, pair: Pair) -> Iterator[StreamPort]:
    port = StreamPort(pool, pair[0])
    yield port
    port.close()


@pytest.fixture
def far(pair: Pair) -> socket.socket:
    pair[1].settimeout(20)
    return pair[1]


def pull_bytes(port: StreamPort, size: int) -> list[Mbuf]:
    """Pull chains until they have `size` bytes, or the stream ends."""
    chains: list[Mbuf] = []
    while sum(map(len, chains)) < size and not port.eof:
        assert select.select([port], [], [], 20)[0]
        chains += port.pull(4)
    return chains


def free_all(chains: list[Mbuf]) -> bytes:
    data = b"".join(map(bytes, chains))
    while chains:
        chains.pop().freem()
    return data


def recv_bytes(far: socket.socket, size: int, step: Callable[[], object] = lambda: None) -> bytes:
    """Receive `size` bytes at the other end, and call `step` meanwhile."""
    data, end = bytearray(), time.monotonic() + 30
    while len(data) < size and time.monotonic() < end:
        # Until TCP acknowledges what was sent before, `step` may send nothing.
        if select.select([far], [], [], 0.05)[0]:
            data += far.recv(1 << 20)
        step()
    return bytes(data)


def wrap_all(pool: Pool, *parts: bytes) -> list[Mbuf]:
    return [pool.wrap(part) for part in parts]


# In.


def test_recv_and_pull_return_what_was_sent(port: StreamPort, far: socket.socket) -> None:
    far.sendall(b"hello")
    assert free_all(pull_bytes(port, 5)) == b"hello"
    assert port.pull(1) == []
    assert port.recv() is None
    assert not port.eof


def test_up_to_224_bytes_use_no_cluster(port: StreamPort, far: socket.socket) -> None:
    far.sendall(b"x" * 100)
    (m,) = pull_bytes(port, 100)
    assert not m.flags & M_EXT
    m.freem()


def test_an_idle_port_holds_no_mbuf(port: StreamPort, pool: Pool) -> None:
    assert port.recv() is None
    assert port.pull(10) == []
    assert pool.out == 0


def test_reads_grow_with_traffic_and_shrink_again(port: StreamPort, far: socket.socket) -> None:
    sizes = []
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    for size in (*READ_SIZES, READ_SIZES[-1], 100, 100, 100, 100):
        sizes.append(port._sizer.size)
        sent = far.send(b"x" * size)
        while sent:
            assert select.select([port], [], [], 20)[0]
            m = port.recv()
            sent -= len(m)
            m.freem()
    assert sizes[0] == READ_SIZES[0]
    assert max(sizes) > READ_SIZES[0]
    assert port._sizer.size == READ_SIZES[0]


def test_one_read_fills_several_clusters(port: StreamPort, far: socket.socket) -> None:
    data = bytes(n * n % 251 for n in range(300_000))
    chains: list[Mbuf] = []
    view = memoryview(data)
    while view:
        view = view[far.send(view[:60_000]) :]
        chains += pull_bytes(port, 1)
    chains += pull_bytes(port, len(data) - sum(map(len, chains)))
    assert any(m.next is not None and m.size == MJUM16BYTES for m in chains)
    assert all(n.len for m in chains for n in mbufs_of(m))
    assert free_all(chains) == data


def mbufs_of(m: Mbuf | None) -> Iterator[Mbuf]:
    while m is not None:
        yield m
        m = m.next


def test_recv_returns_at_most_nbytes(port: StreamPort, far: socket.socket) -> None:
    far.sendall(b"0123456789" * 500)
    select.select([port], [], [], 20)
    pieces = []
    for nbytes in (1, 3, 300, 2047):
        m = port.recv(nbytes)
        assert len(m) == nbytes
        pieces.append(m)
    assert free_all(pieces) + free_all(pull_bytes(port, 5000 - 2351)) == b"0123456789" * 500
    for nbytes in (0, -1):
        with pytest.raises(Inval, match=f"recv: {nbytes} bytes"):
            port.recv(nbytes)


def test_eof_is_true_after_all_bytes_were_read(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    far.sendall(b"last")
    far.shutdown(socket.SHUT_WR)
    chains = pull_bytes(port, 5)
    assert (free_all(chains), port.eof) == (b"last", True)
    assert (port.recv(), port.pull(3), pool.out) == (None, [], 0)


def test_without_mbufs_the_bytes_stay_in_the_socket(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small()
    port, far = StreamPort(pool, pair[0]), pair[1]
    far.sendall(b"hello")
    others = exhaust_pool(pool)
    select.select([port], [], [], 20)
    with pytest.raises(NoBufs):
        port.recv()
    assert (port.pull(3), port.stat().short) == ([], 2)
    pool.free_bulk(others)
    assert free_all(pull_bytes(port, 5)) == b"hello"
    port.close()


def test_with_few_mbufs_reads_are_shorter(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=3, jumbo16=1, mbufs=20)
    port, far = StreamPort(pool, pair[0]), pair[1]
    data = bytes(range(256)) * 400
    view, got, chains = memoryview(data), bytearray(), []
    far.setblocking(False)
    while len(got) < len(data):
        if view:
            with suppress(BlockingIOError):
                view = view[far.send(view) :]
        short = port.stat().short
        chains += port.pull(1)
        if port.stat().short > short or len(got) + sum(map(len, chains)) == len(data):
            assert chains
            got += free_all(chains)
    assert got == data
    port.close()


def test_a_reset_is_raised_after_the_bytes_before_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = tcp()
    port = StreamPort(pool, near)
    far.sendall(b"x" * MCLBYTES)
    select.select([port], [], [], 20)
    real = streamport._recv_into

    def read_then_reset(*args: Any) -> int:
        monkeypatch.setattr(streamport, "_recv_into", reset)
        return real(*args)

    def reset(*_: Any) -> int:
        raise ConnectionResetError

    monkeypatch.setattr(streamport, "_recv_into", read_then_reset)
    assert free_all(port.pull(9)) == b"x" * MCLBYTES
    monkeypatch.setattr(streamport, "_recv_into", real)
    with pytest.raises(ConnectionResetError):
        port.recv()
    assert port.recv() is None
    far.close()
    port.close()
    near.close()


def test_recv_frees_its_mbufs_when_it_raises(pool: Pool) -> None:
    near, far = tcp()
    port = StreamPort(pool, near)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    select.select([port], [], [], 20)
    with pytest.raises(ConnectionResetError):
        port.recv()
    assert pool.out == 0
    port.close()
    near.close()


# Out.


def test_push_sends_packets_and_frees_them(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    assert port.push(wrap_all(pool, b"one", b"two", b"three")) == 3
    assert recv_bytes(far, 11) == b"onetwothree"
    assert (pool.out, port.push([])) == (0, 0)


def test_push_accepts_empty_packets(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    assert port.push([pool.gethdr(), *wrap_all(pool, b"x"), pool.getcl()]) == 3
    assert port.push([pool.gethdr()]) == 1
    assert recv_bytes(far, 1) == b"x"


def test_push_sends_any_kind_of_chain(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    data = bytes(range(256)) * 100
    kinds = [pool.frombytes(data), pool.wrap(data), pool.frombytes(data, flags=M_EXTPG)]
    assert port.push(kinds) == 3
    assert recv_bytes(far, 3 * len(data)) == data * 3


def test_more_mbufs_than_iov_max_are_sent(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    m = first = pool.get().append(b"a")
    for n in range(2 * IOV_MAX):
        m.next = pool.get().append(bytes([n & 0xFF]))
        m = m.next
    data = bytes(first)
    todo = [first, *(pool.get().append(b"z") for _ in range(2 * IOV_MAX))]
    got = recv_bytes(far, len(data) + 2 * IOV_MAX, lambda: port.push(todo))
    assert got == data + b"z" * (2 * IOV_MAX)
    assert not todo
    assert not port.write_buffer


@pytest.mark.parametrize("verb", ["push", "send"])
def test_unmapped_pages_never_exceed_iov_max(port: StreamPort, far: socket.socket, pool: Pool, verb: str) -> None:
    with pool.frombytes(bytes(range(250)) * 80) as m:
        pages = m.mapped_to_unmapped(len(m))
    assert pages is not None
    data = bytes(pages)
    packets = [pool.getcl(flags=0).append(bytes(600)) for _ in range(IOV_MAX - 2)]
    buffer = SockBuf(1 << 20)
    if verb == "push":
        packets.append(pages)
    else:
        for m in (*packets, pages):
            buffer.append(m)

    def step() -> None:
        if verb == "send":
            port.send(buffer)
        elif packets:
            port.push(packets)
        else:
            port.flush()

    assert recv_bytes(far, 600 * (IOV_MAX - 2) + len(data), step) == bytes(600 * (IOV_MAX - 2)) + data
    assert not buffer
    assert not port.write_buffer


def test_the_rest_of_a_packet_is_sent_before_the_next_packet(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    parts = [bytes([n]) * 100_000 for n in range(60)]
    todo = wrap_all(pool, *parts)
    pushed = port.push(todo)
    assert 0 < pushed < 60
    assert pool.out
    assert len(todo) == 60 - pushed
    assert port.push(todo) == 0 or not port.write_buffer
    assert recv_bytes(far, 6_000_000, lambda: port.push(todo)) == b"".join(parts)
    assert (len(port.write_buffer), todo, pool.out) == (0, [], 0)


def test_send_sends_what_the_socket_accepts(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    buffer = SockBuf(1 << 30)
    data = os.urandom(5_000_000)
    buffer.append(pool.wrap(data))
    sent = port.send(buffer)
    assert 0 < sent < len(data)
    assert len(buffer) == len(data) - sent
    assert recv_bytes(far, len(data), lambda: port.send(buffer)) == data
    assert (len(buffer), port.send(buffer)) == (0, 0)


def test_the_rest_of_a_packet_is_sent_before_a_buffer(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    buffer = SockBuf()
    buffer.append(pool.wrap(b"end"))
    assert port.push(wrap_all(pool, b"x" * 5_000_000)) == 1
    assert port.send(buffer) == 0
    assert recv_bytes(far, 5_000_003, lambda: port.send(buffer)) == b"x" * 5_000_000 + b"end"


def test_after_the_peer_has_closed_packets_still_belong_to_the_caller(
    port: StreamPort, far: socket.socket, pool: Pool
) -> None:
    far.close()
    # TCP finds out from the answer to the first bytes.
    first = wrap_all(pool, b"first")
    with suppress(BrokenPipeError):
        port.push(first)
    pool.free_bulk(first)
    select.select([port], [], [], 20)
    todo = wrap_all(pool, b"x" * 1000, b"y")
    with pytest.raises(OSError, match="Broken pipe|reset"):
        port.push(todo)
    assert list(map(len, todo)) == [1000, 1]
    pool.free_bulk(todo)


def test_an_error_after_some_packets_is_raised_by_the_next_call(port: StreamPort, pool: Pool) -> None:
    class Failing:
        calls = 0

        def sendmsg(self, views: list[memoryview], *_: object) -> int:
            self.calls += 1
            if self.calls > 1:
                raise BrokenPipeError
            return sum(map(len, views))

    sock, port.sock = port.sock, Failing()  # type: ignore[assignment]
    todo = wrap_all(pool, b"x" * BATCH_BYTES, b"y")
    assert (port.push(todo), len(todo)) == (1, 1)
    with pytest.raises(BrokenPipeError):
        port.push(todo)
    assert bytes(todo[0]) == b"y"
    todo[0].freem()
    port.sock = sock


class OtherSocket:
    """A socket of a port in whose place `call` is called; other attributes are those of the real one."""

    def __init__(self, port: StreamPort, call: Callable[[Any], int]) -> None:
        self.real = port.sock
        self.recv_into = lambda view, *_: call(view)
        self.recvmsg_into = lambda views, *_: (call(views), None)
        self.sendmsg = lambda views, *_: call(views)
        port.sock = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM])
def test_without_memory_in_the_kernel_a_call_moves_nothing(port: StreamPort, pool: Pool, number: int) -> None:
    def call(_: Any) -> int:
        raise OSError(number, "later")

    sock = OtherSocket(port, call)
    todo = wrap_all(pool, b"x")
    assert (port.push(todo), port.recv(), port.pull(2), len(todo)) == (0, None, [], 1)
    assert not port.eof
    port.sock = sock.real
    pool.free_bulk(todo)


def test_one_thread_receives_and_one_sends_at_a_time(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    refused: list[str] = []

    def call(_: Any) -> int:
        for verb in (port.recv, lambda: port.pull(1), lambda: port.push([]), lambda: port.send(SockBuf()), port.close):
            try:
                verb()
            except Busy as error:
                refused.append(str(error).split(":")[0])
        raise BlockingIOError(errno.EAGAIN, "later")

    sock = OtherSocket(port, call)
    todo = wrap_all(pool, b"x")
    for verb, others in ((lambda: port.push(todo), ["push", "push", "close"]), (port.recv, ["pull", "pull", "close"])):
        # At the end of the stream, `recv` doesn't use the socket.
        port.eof = verb != port.recv
        assert not verb()
        assert refused == others
        refused.clear()
    port.sock = sock.real
    pool.free_bulk(todo)


def test_what_cannot_be_sent_is_refused_and_stays_in_the_list(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    unready, freed = pool.getcl().append(b"x"), pool.getcl()
    unready.flags |= M_NOTREADY
    freed.free()
    things: list[Any] = [unready, freed, b"bytes"]
    for thing, error in zip(things, (Inval, Freed, Inval), strict=True):
        todo = [thing, pool.wrap(b"behind")]
        with pytest.raises(error):
            port.push(todo)
        assert (len(todo), todo[0]) == (2, thing)
        todo[1].freem()
    with pytest.raises(TypeError, match="^push: give a list"):
        port.push((unready,))  # type: ignore[arg-type]
    unready.freem()
    assert (pool.out, port.stat().packets_out) == (0, 0)


def test_a_packet_that_is_freed_while_it_is_sent_is_an_error_and_the_others_are_freed(
    port: StreamPort, pool: Pool
) -> None:
    todo = wrap_all(pool, b"one", b"two", b"three")

    def call(views: list[memoryview]) -> int:
        todo[1].freem()
        return sum(map(len, views)) - 2

    sock = OtherSocket(port, call)
    with pytest.raises(Freed):
        port.push(todo)
    assert (todo, bytes(port.write_buffer), port.stat().packets_out) == ([], b"ee", 3)
    port.sock = sock.real
    port.write_buffer.clear()
    assert pool.out == 0


def test_close_frees_what_was_not_sent(pool: Pool, pair: Pair) -> None:
    port = StreamPort(pool, pair[0])
    assert port.push(wrap_all(pool, b"x" * 5_000_000)) == 1
    assert pool.out
    port.close()
    port.close()
    assert pool.out == 0
    for verb in (port.recv, lambda: port.pull(0), lambda: port.push([]), lambda: port.send(SockBuf())):
        with pytest.raises(Inval, match="the port is closed"):
            verb()


def test_close_restores_the_timeout_and_leaves_the_socket_open(pool: Pool, pair: Pair) -> None:
    pair[0].settimeout(7)
    with StreamPort(pool, pair[0]) as port:
        assert (pair[0].gettimeout(), port.fileno()) == (0, pair[0].fileno())
    assert pair[0].gettimeout() == 7
    with StreamPort(pool, pair[0]):
        pair[0].close()


def test_stat_counts_packets_bytes_and_calls(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    far.sendall(b"hello")
    free_all(pull_bytes(port, 5))
    port.push(wrap_all(pool, b"one", b"two"))
    stat = port.stat()
    assert (stat.packets_in, stat.bytes_in, stat.calls_in) == (1, 5, 1)
    assert (stat.packets_out, stat.bytes_out, stat.calls_out) == (2, 6, 1)
    with pytest.raises(Inval, match="pull: -1 packets"):
        port.pull(-1)
    with pytest.raises(TypeError, match="give a list"):
        port.push(())  # type: ignore[arg-type]


def test_shutdown_ends_the_stream_for_the_peer(port: StreamPort, far: socket.socket) -> None:
    port.shutdown()
    assert far.recv(1) == b""


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_only_stream_sockets_are_accepted(pool: Pool, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as sock, pytest.raises(NotSupported, match="stream"):
        StreamPort(pool, sock)
    with pytest.raises(Inval, match="give a socket.socket"):
        StreamPort(pool, 3)  # type: ignore[arg-type]


def test_a_tls_socket_is_refused(pool: Pool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    near, far = socket.socketpair()
    tls = context.wrap_socket(near, do_handshake_on_connect=False)
    with far, tls, pytest.raises(NotSupported, match="TLS"):
        StreamPort(pool, tls)


def test_no_call_waits_on_a_descriptor_that_was_made_blocking(port: StreamPort, pool: Pool) -> None:
    os.set_blocking(port.sock.fileno(), True)
    assert port.pull(1) == []
    assert port.recv() is None
    for _ in READ_SIZES:
        port._sizer.adapt(MCLBYTES, MCLBYTES)
    assert port.pull(1) == []
    packets = [pool.wrap(bytes(1 << 20)) for _ in range(20)]
    while port.push(packets):
        pass
    assert packets
    assert port.write_buffer
    pool.free_bulk(packets)


class Sending(socket.socket):
    """A socket that calls a function when it has sent something."""

    hook: Callable[[], object]

    def sendmsg(self, *arguments: Any) -> int:
        count = super().sendmsg(*arguments)
        self.hook()
        return count


@pytest.mark.parametrize("change", ["clear", "append", "insert", "pop"])
def test_a_list_that_is_changed_during_a_send_loses_no_bytes(pool: Pool, change: str) -> None:
    near, far = socket.socketpair()
    far.settimeout(20)
    with far, Sending(fileno=near.detach()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        port = StreamPort(pool, sock)
        more = pool.frombytes(b"more")
        packets = [pool.frombytes(b"first"), pool.frombytes(b"x" * 40_000)]
        changes: dict[str, Callable[[], object]] = {
            "clear": packets.clear,
            "append": lambda: packets.append(more),
            "insert": lambda: packets.insert(0, more),
            "pop": lambda: packets.pop(0),
        }

        def change_once() -> None:
            sock.hook = int
            changes[change]()

        sock.hook = change_once
        assert port.push(packets) == 2
        assert packets == ([more] if change in ("append", "insert") else [])
        assert port.write_buffer
        assert recv_bytes(far, 40_005, port.flush) == b"first" + b"x" * 40_000
        assert pool.out == 1
        more.freem()
        port.close()


def test_a_closed_port_sends_and_receives_nothing(port: StreamPort) -> None:
    port.close()
    for call in (port.recv, lambda: port.pull(1), lambda: port.push([]), lambda: port.send(SockBuf()), port.flush):
        with pytest.raises(Inval, match="the port is closed"):
            call()


def test_the_packets_before_one_that_cannot_be_sent_are_sent(port: StreamPort, far: socket.socket, pool: Pool) -> None:
    for field in ("flags", "csum"):
        packets = [pool.frombytes(b"%d" % n) for n in range(5)]
        if field == "flags":
            packets[3].flags |= M_NOTREADY
        else:
            packets[3].pkthdr.csum_flags = CSUM_IP_TCP
        with pytest.raises(Inval):
            port.push(packets)
        assert len(packets) == 2
        assert recv_bytes(far, 3) == b"012"
        pool.free_bulk(packets)
