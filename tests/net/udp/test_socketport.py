"""A port of any datagram socket receives the datagrams that were sent, in each address family."""

import ctypes
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mbuf import CSUM_IP_UDP, M_NOTREADY, Busy, Freed, Inval, Mbuf, Pool, TooLong
from mbuf.net.linux import SOL_UDP, UDP_GRO, UDP_SEGMENT
from mbuf.net.udp.senderrors import SendError
from mbuf.net.udp.socketport import SocketPort
from mbuf.packet.peer import Peer, packed_path, peer_of

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["udp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "unix":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    else:
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (ours, theirs):
            sock.bind(("127.0.0.1", 0))
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507])
def test_what_is_pulled_is_what_was_pushed(pool: Pool, pair: Pair, size: int) -> None:
    data = os.urandom(size)
    with SocketPort(pool, pair[0]) as ours, SocketPort(pool, pair[1]) as theirs:
        for _ in range(3):
            assert ours.push([pool.frombytes(data)]) == 1
            (m,) = theirs.pull(9)
            assert m.sanity()
            assert bytes(m) == data
            m.freem()
        assert (ours.stat().bytes_out, theirs.stat().bytes_in) == (3 * size, 3 * size)
        assert theirs.fileno() == pair[1].fileno()


def test_packets_go_back_to_their_senders(pool: Pool, tmp_path: Path) -> None:
    for family, names in (
        (socket.AF_INET, [("127.0.0.1", 0)] * 2),
        (socket.AF_UNIX, [str(tmp_path / "one"), str(tmp_path / "two")]),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as here, socket.socket(family, socket.SOCK_DGRAM) as there:
            here.bind(names[0])
            there.bind(names[1])
            there.sendto(b"ping", here.getsockname())
            with SocketPort(pool, here) as port:
                packets = port.pull(1)
                peer = packets[0].peer
                assert peer is not None
                assert peer.address == there.getsockname()
                assert port.push(packets) == 1
            assert there.recv(9) == b"ping"


def test_a_datagram_from_the_longest_path_is_received(pool: Pool, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    server = str(tmp_path / "server")
    # Longer than any name that the socket module binds, in a folder by its short name.
    folder = os.open(tmp_path, os.O_RDONLY)
    path = f"/proc/self/fd/{folder}/".ljust(108, "x").encode()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        far.bind(server)
        name = socket.AF_UNIX.to_bytes(2, sys.byteorder) + path
        assert libc.bind(near.fileno(), name, len(name)) == 0
        near.sendto(b"x", server)
        with SocketPort(pool, far) as port:
            (m,) = port.pull(1)
            assert m.peer is not None
            assert (bytes(m), m.peer.address) == (b"x", path.decode())
            m.freem()
    os.close(folder)


def test_longer_datagrams_are_discarded_and_counted(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[1], size=5000) as port:
        for size in (5000, 5001, 3):
            pair[0].send(bytes(size))
        got = port.pull(9)
        assert [len(m) for m in got] == [5000, 3]
        assert port.stat().truncated == 1
        pool.free_bulk(got)


def test_refused_packets_are_counted_and_those_that_cannot_be_sent_now_stay(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[0]) as port:
        sent = [pool.frombytes(bytes(9)) for _ in range(2000)]
        count = port.push(sent)
        if pair[0].family == socket.AF_UNIX:
            # Its queue is full.
            assert 0 < count < 2000
        assert count + len(sent) == 2000
        pool.free_bulk(sent)
        if pair[0].family == socket.AF_INET:
            long = [pool.frombytes(bytes(70_000))]
            with pytest.raises(TooLong, match="70000 bytes"):
                port.push(long)
            pool.free_bulk(long)


def test_faults_are_counted_and_errors_of_the_program_raised(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[0]) as port:
        pair[1].close()
        port.push([pool.frombytes(b"to a closed socket")])
        assert port.pull(1) == []
        assert port.stat().faults + port.stat().errors > 0
        pair[0].close()
        sent = [pool.frombytes(b"closed")]
        for call in (lambda: port.push(sent), lambda: port.pull(1)):
            with pytest.raises(OSError, match="descriptor") as caught:
                call()
            assert caught.value.errno == errno.EBADF
        pool.free_bulk(sent)


def test_no_datagram_is_lost_when_the_pool_refuses(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=3, mbufs=12, jumbop=1, jumbo9=1, jumbo16=1)
    with SocketPort(pool, pair[1], size=2000) as port:
        for n in range(8):
            pair[0].send(bytes([n]))
        found = []
        while len(found) < 8:
            got = port.pull(9)
            found += [m.copydata(0, 1)[0] for m in got]
            pool.free_bulk(got)
        assert found == list(range(8))
        assert port.stat().short > 0


def test_only_datagram_sockets_are_accepted(pool: Pool, pair: Pair) -> None:
    with socket.socket() as stream, pytest.raises(Inval, match="datagram socket"):
        SocketPort(pool, stream)
    with pytest.raises(Inval, match="longest datagram"):
        SocketPort(pool, pair[0], size=0)
    with pytest.raises(Inval, match=r"give a socket\.socket"):
        SocketPort(pool, 5)  # type: ignore[arg-type]


class Hooked(socket.socket):
    """A socket that calls a function when it is about to send or to receive."""

    hook: Callable[[], None]

    def sendmsg(self, *arguments: Any) -> int:
        self.hook()
        return super().sendmsg(*arguments)

    def recvmsg_into(self, *arguments: Any) -> Any:
        self.hook()
        return super().recvmsg_into(*arguments)


def test_one_thread_is_in_each_call(pool: Pool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, Hooked(fileno=ours.detach()) as sock, SocketPort(pool, sock) as port:

        def push() -> None:
            for call in (lambda: port.push([]), port.close):
                with pytest.raises(Busy):
                    call()

        def pull() -> None:
            for call in (lambda: port.pull(1), port.release_buffers, port.close):
                with pytest.raises(Busy):
                    call()

        sock.hook = push
        assert port.push([pool.frombytes(b"out")]) == 1
        assert theirs.recv(9) == b"out"
        theirs.send(b"in")
        sock.hook = pull
        (m,) = port.pull(1)
        assert bytes(m) == b"in"
        m.freem()


def test_buffers_are_released_until_the_next_pull(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[1]) as port:
        assert port.pull(1) == []
        assert pool.out > 0
        port.release_buffers()
        assert pool.out == 0
        pair[0].send(b"later")
        (m,) = port.pull(1)
        assert bytes(m) == b"later"
        m.freem()


def test_a_packet_that_is_not_ready_or_no_packet_is_refused(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[0]) as port:
        freed = pool.getcl()
        freed.free()
        unready = pool.frombytes(b"plain text")
        unready.flags |= M_NOTREADY
        for bad, error in ((b"bytes", Inval), (freed, Freed), (unready, Inval)):
            mixed: list[Any] = [pool.frombytes(b"first"), bad]
            with pytest.raises(error):
                port.push(mixed)
            assert mixed[0] is bad
        unready.freem()
        assert port.stat().packets_out == 3


def test_packets_that_were_sent_are_freed_even_if_one_is_freed_meanwhile(pool: Pool, pair: Pair) -> None:
    with SocketPort(pool, pair[0]) as port:
        twice: Mbuf = pool.frombytes(b"twice")
        packets = [twice, twice, pool.frombytes(b"once")]
        with pytest.raises(Freed):
            port.push(packets)
        assert packets == []
    assert (pool.out, pool.stat().drops) == (0, 0)


def test_a_closed_port_is_not_used_and_release_buffers_has_no_effect_on_it(pool: Pool, pair: Pair) -> None:
    port = SocketPort(pool, pair[0])
    assert port.pull(1) == []
    assert pool.out > 0
    port.release_buffers()
    assert pool.out == 0
    port.close()
    port.close()
    port.release_buffers()
    for call in (lambda: port.pull(1), lambda: port.push([])):
        with pytest.raises(Inval, match="the port is closed"):
            call()
    assert (port.closed, pool.out) == (True, 0)


def test_packets_that_were_not_pulled_are_counted_when_it_is_closed(pool: Pool) -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as ours,
        socket.socket(type=socket.SOCK_DGRAM) as theirs,
        SocketPort(pool, theirs) as port,
    ):
        theirs.bind(("127.0.0.1", 0))
        theirs.setsockopt(SOL_UDP, UDP_GRO, 1)
        ours.connect(theirs.getsockname())
        ours.sendmsg([bytes(1000)], [(SOL_UDP, UDP_SEGMENT, (100).to_bytes(2, "little"))])
        pool.free_bulk(port.pull(4))
        port.close()
        assert (port.stat().packets_in, port.stat().discarded) == (4, 6)


def test_a_child_of_a_fork_can_close_a_port_that_a_thread_was_using(pool: Pool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    inside, go = threading.Event(), threading.Event()
    with theirs, Hooked(fileno=ours.detach()) as sock, SocketPort(pool, sock) as port:

        def wait() -> None:
            inside.set()
            go.wait(20)

        sock.hook = wait
        thread = threading.Thread(target=port.pull, args=(1,))
        thread.start()
        assert inside.wait(20)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                port.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with pytest.raises(Busy):
            port.close()
        go.set()
        thread.join()


@pytest.mark.parametrize("address", ["/x", "\0x", ("::1", 5)])
def test_a_peer_of_another_family_is_raised(pool: Pool, address: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, SocketPort(pool, sock) as port, pool.frombytes(b"x") as m:
        m.peer = address
        packets = [m]
        with pytest.raises(Inval, match="of another family"):
            port.push(packets)
        assert (packets, port.stat().errors) == ([m], 0)


def test_coalesced_datagrams_are_cut_apart(pool: Pool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.setsockopt(SOL_UDP, UDP_GRO, 1)
        near.connect(far.getsockname())
        with SocketPort(pool, far) as port:
            near.sendmsg([bytes(9500)], [(SOL_UDP, UDP_SEGMENT, (1000).to_bytes(2, sys.byteorder))])
            sizes = []
            while got := port.pull(4):
                sizes += [len(m) for m in got]
                assert {m.peer for m in got} == {Peer(near.getsockname())}
                assert port.ready == 10 - len(sizes)
                pool.free_bulk(got)
            assert sizes == [1000] * 9 + [500]
            near.sendmsg([bytes(9500)], [(SOL_UDP, UDP_SEGMENT, (1000).to_bytes(2, sys.byteorder))])
            port.pull(1)[0].freem()
        assert pool.out == 0


def test_a_pending_error_loses_no_packet_and_is_told(pool: Pool) -> None:
    told: list[SendError] = []
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        there = far.getsockname()
        near.connect(there)
        far.close()
        with SocketPort(pool, near, on_error=told.append) as port, socket.socket(type=socket.SOCK_DGRAM) as again:
            assert port.push([pool.frombytes(b"lost")]) == 1
            again.bind(there)
            assert port.push([pool.frombytes(b"sent")]) == 1
            assert again.recv(9) == b"sent"
            assert (port.stat().packets_out, port.stat().errors, port.stat().faults) == (2, 0, 1)
    assert [(error.errno, error.peer) for error in told] == [(errno.ECONNREFUSED, Peer(there))]


@pytest.mark.parametrize("address", [("127.0.0.1", 0)])
def test_a_packet_that_cannot_be_sent_is_counted_and_freed(pool: Pool, address: Any) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(20)
        with SocketPort(pool, sock) as port:
            packets = [pool.frombytes(b"lost"), pool.frombytes(b"sent")]
            packets[0].peer = address
            packets[1].peer = Peer(far.getsockname())
            assert (port.push(packets), packets, pool.out) == (2, [], 0)
            assert (port.stat().errors, port.stat().packets_out, far.recv(9)) == (1, 1, b"sent")


def test_a_packet_of_a_unix_socket_needs_an_address_too(pool: Pool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, SocketPort(pool, sock) as port:
        packets = [pool.frombytes(b"lost"), pool.frombytes(b"x")]
        packets[0].peer = peer_of(packed_path(str(tmp_path / "nobody")))
        with pytest.raises(Inval, match="this packet has no peer"):
            port.push(packets)
        assert (len(packets), port.stat().errors) == (1, 1)
        pool.free_bulk(packets)


def test_a_packet_that_the_system_refuses_as_invalid_is_counted_as_by_a_udp_port(pool: Pool) -> None:
    class Refusing(socket.socket):
        def sendmsg(self, *_: object) -> int:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with Refusing(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", 9))
        with SocketPort(pool, sock) as port:
            assert port.push([pool.frombytes(b"x")]) == 1
            assert (port.stat().errors, pool.out) == (1, 0)


def test_a_packet_without_an_address_stays_with_the_caller(pool: Pool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, SocketPort(pool, sock) as port:
        packets = [pool.frombytes(b"x") for _ in range(3)]
        packets[0].peer = Peer(("127.0.0.1", 9))
        rest = packets[1:]
        with pytest.raises(Inval, match="this packet has no peer"):
            port.push(packets)
        assert (packets, port.stat().packets_out, port.stat().errors) == (rest, 1, 0)
        pool.free_bulk(packets)


def test_a_packet_whose_checksum_is_still_to_be_computed_is_refused(pool: Pool) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, SocketPort(pool, sock) as port:
        packets = [pool.frombytes(b"x")]
        packets[0].peer = Peer(("127.0.0.1", 9))
        packets[0].pkthdr.csum_flags = CSUM_IP_UDP
        with pytest.raises(Inval, match=r"call complete\(m\)"):
            port.push(packets)
        assert len(packets) == 1
        pool.free_bulk(packets)
