"""What the system sends to an interface of one's own is what is pulled; what is pushed, it receives."""

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from mbuf import M_NOTREADY, M_PKTHDR, Freed, Inval, Mbuf, Pool
from mbuf.net.link import tunport as tun
from mbuf.net.link.tunport import TunPort
from mbuf.packet.build import from_rx
from net import namespace

OURS, THEIRS = "10.9.0.1", "10.9.0.2"
#: Bytes before those of a datagram: of IP and UDP.
HEADERS = 28

Sock = Callable[[], socket.socket]


@pytest.fixture
def sock(alone: None) -> Iterator[Sock]:
    """Makes UDP sockets in the namespace."""
    made: list[socket.socket] = []

    def sock() -> socket.socket:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].settimeout(20)
        return made[-1]

    yield sock
    for one in made:
        one.close()


def ready(port: TunPort) -> TunPort:
    namespace.up(port.interface.name, OURS)
    return port


def answered(m: Mbuf) -> bytes:
    """A datagram as its peer would send it back: addresses and ports change places, which keeps all sums right."""
    data = bytes(m)
    return data[:12] + data[16:20] + data[12:16] + data[22:24] + data[20:22] + data[24:]


def test_datagrams_go_out_through_the_port_and_answers_come_back(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool, "mbuf%d")) as port:
        assert port.interface.name == "mbuf0"
        peer = sock()
        peer.connect((THEIRS, 7))
        assert port.pull(10) == []
        for size in (0, 1, 100, 1472):
            data = os.urandom(size)
            peer.send(data)
            assert select.select([port], [], [], 20)[0]
            (m,) = port.pull(10)
            assert m.sanity()
            assert m.pkthdr.len == len(m) == size + HEADERS
            assert m.flags & M_PKTHDR
            assert m.pkthdr.rcvif is port.interface
            assert bytes(m)[HEADERS:] == data
            back = [pool.frombytes(answered(m))]
            m.freem()
            assert port.push(back) == 1
            assert back == []
            assert peer.recv(9999) == data
        stat = port.stat()
        assert (stat.packets_in, stat.packets_out) == (4, 4)
        assert stat.bytes_in == stat.bytes_out == 1573 + 4 * HEADERS
        assert (stat.errors, stat.truncated, stat.faults, stat.short) == (0, 0, 0, 0)


def test_at_most_so_many_packets_are_pulled_and_the_others_wait(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        for n in range(20):
            peer.send(bytes([n]))
        got = [port.pull(n) for n in (0, 1, 4, 99, 99)]
        assert [len(some) for some in got] == [0, 1, 4, 15, 0]
        assert [m.copydata(HEADERS, 1)[0] for some in got for m in some] == list(range(20))
        for some in got:
            pool.free_bulk(some)


@pytest.mark.parametrize("pieces", [1, 2, 7, 1400])
def test_a_packet_goes_in_as_many_pieces_as_it_has(pool: Pool, sock: Sock, pieces: int) -> None:
    """Also in more than the system takes in one call."""
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        data = os.urandom(1472)
        peer.send(data)
        (m,) = port.pull(1)
        whole = answered(m)
        m.freem()
        cuts = [len(whole) * n // pieces for n in range(pieces + 1)]
        chain = pool.frombytes(whole[: cuts[1]])
        for start, end in zip(cuts[1:], cuts[2:], strict=False):
            chain.cat(pool.get().append(whole[start:end]))
        chain.pkthdr.len = len(whole)
        assert port.push([chain]) == 1
        assert peer.recv(9999) == data


def test_unmapped_pages_and_shared_bytes_go_as_any_others(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        data = os.urandom(1000)
        peer.send(data)
        (m,) = port.pull(1)
        whole = answered(m)
        m.freem()
        head = pool.frombytes(whole[:HEADERS])
        pages = pool.alloc_ext_plus_pages(1000)
        pages.epg.last_len = 1000
        pages.len = 1000
        pages.page(0)[:1000] = whole[HEADERS:]
        head.cat(pages)
        head.pkthdr.len = len(whole)
        other = head.copypacket()
        assert port.push([head, other]) == 2
        assert [peer.recv(9999) for _ in range(2)] == [data] * 2


def test_a_packet_of_a_larger_mtu_is_a_chain_of_clusters(pool: Pool, sock: Sock) -> None:
    with TunPort(pool, "big0") as port:
        # The MTU is looked at when the port is made; the room grows when it has become larger.
        namespace.up("big0", OURS, mtu=9000)
        peer = sock()
        peer.connect((THEIRS, 7))
        for lost in count():
            data = os.urandom(8972)
            peer.send(data)
            if got := port.pull(1):
                break
            assert lost < 5
        assert bytes(got[0])[HEADERS:] == data
        assert got[0].sanity()
        pool.free_bulk(got)
        assert port.stat().truncated == lost > 0
        for size in (8972, 8000, 2020, 2021, 2048, 10):
            peer.send(bytes(size))
            (m,) = port.pull(9)
            assert len(m) == size + HEADERS
            assert len(list(m)) == -(-len(m) // 2048)
            m.freem()
        assert port.stat().truncated == lost


def test_ethernet_frames_go_through_a_tap(pool: Pool, alone: None) -> None:
    with ready(TunPort(pool, tap=True)) as port:
        name = port.interface.name
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as peer:
            peer.settimeout(20)
            peer.bind((name, 0x88B5))
            frame = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + os.urandom(100)
            peer.send(frame)
            (m,) = port.pull(9)
            assert bytes(m) == frame
            assert port.push([m]) == 1
            assert peer.recv(9999) == frame
            peer.send(frame[:12] + struct.pack("!HH", 0x8100, 5) + frame[12:] + bytes(1400))
            (m,) = port.pull(9)
            assert len(m) == 1500 + 18
            m.freem()


def test_refusals_are_counted_and_the_rest_goes_on(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        peer.send(b"right")
        (m,) = port.pull(1)
        right = answered(m)
        m.freem()
        # No version of IP, and nothing at all.
        mixed = [pool.frombytes(data) for data in (right, bytes(100), b"", right)]
        assert port.push(mixed) == 4
        stat = port.stat()
        assert (stat.packets_out, stat.errors) == (2, 2)
        assert [peer.recv(99) for _ in range(2)] == [b"right"] * 2
        namespace.down(port.interface.name)
        assert port.push([pool.frombytes(right)]) == 1
        assert port.stat().errors == 3


def test_an_interface_that_was_deleted_is_told_and_nothing_is_lost(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool, "gone0")) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        peer.send(b"before")
        namespace.delete("gone0")
        sent = [pool.frombytes(b"\x45" + bytes(40)) for _ in range(3)]
        with pytest.raises(OSError, match="gone0: the interface is gone: close this port") as caught:
            port.push(sent)
        assert caught.value.errno == errno.EBADFD
        assert len(sent) == 3
        pool.free_bulk(sent)
        with pytest.raises(OSError, match="gone0: the interface is gone"):
            pool.free_bulk(port.pull(5))


def test_what_came_before_an_error_is_given_after_it(pool: Pool, sock: Sock, monkeypatch: pytest.MonkeyPatch) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        calls = count()
        readv = os.readv

        def failing(fd: int, views: Any) -> int:
            turn = next(calls)
            if turn in (2, 3):
                raise OSError((errno.EBADFD, errno.EIO)[turn - 2], "failed")
            return readv(fd, views)

        monkeypatch.setattr(os, "readv", failing)
        for n in range(4):
            peer.send(bytes([n]))
        with pytest.raises(OSError, match="gone"):
            port.pull(9)
        got = [port.pull(1), port.pull(9), port.pull(9), port.pull(9), port.pull(9)]
        # Of those the third is one that failed in passing.
        assert [[m.copydata(HEADERS, 1)[0] for m in some] for some in got] == [[0], [1], [], [2, 3], []]
        assert port.stat().faults == 1
        for some in got:
            pool.free_bulk(some)


def test_an_interrupt_loses_one_packet_at_most(pool: Pool, sock: Sock, monkeypatch: pytest.MonkeyPatch) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        calls = count()

        def interrupted(mbufs: list[Any], size: int) -> Mbuf:
            m = from_rx(mbufs, size)
            if next(calls) == 1:
                m.freem()
                raise KeyboardInterrupt
            return m

        monkeypatch.setattr(tun, "from_rx", interrupted)
        for n in range(4):
            peer.send(bytes([n]))
        with pytest.raises(KeyboardInterrupt):
            port.pull(9)
        got = [*port.pull(9), *port.pull(9)]
        assert [m.copydata(HEADERS, 1)[0] for m in got] == [0, 2, 3]
        pool.free_bulk(got)


def test_what_cannot_go_now_stays_the_callers(pool: Pool, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with ready(TunPort(pool)) as port:
        calls = count()
        writev = os.writev

        def full(fd: int, views: Any) -> int:
            if next(calls) == 2:
                raise OSError(errno.ENOBUFS, "full")
            return writev(fd, views)

        monkeypatch.setattr(os, "writev", full)
        sent = [pool.frombytes(b"\x45" + bytes([n]) * 40) for n in range(4)]
        kept = sent[2:]
        assert port.push(sent) == 2
        assert sent == kept
        assert port.push(sent) == 2
        assert sent == []


def test_what_is_no_packet_is_refused_after_those_before_it_went(pool: Pool, alone: None) -> None:
    with ready(TunPort(pool)) as port:
        freed = pool.getcl()
        freed.free()
        unready = pool.frombytes(bytes(9))
        unready.flags |= M_NOTREADY
        for bad, error in ((b"bytes", Inval), (freed, Freed), (unready, Inval)):
            mixed: list[Any] = [pool.frombytes(b"\x45" + bytes(40)), bad, pool.frombytes(b"\x45" + bytes(40))]
            with pytest.raises(error):
                port.push(mixed)
            assert len(mixed) == 2
            mixed[1].freem()
        unready.freem()
        with pytest.raises(TypeError, match="list"):
            port.push(())  # type: ignore[arg-type]


def test_the_pools_refusal_makes_the_batch_shorter_and_loses_nothing(small: Callable[..., Pool], sock: Sock) -> None:
    pool = small(clusters=8)
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        for n in range(30):
            peer.send(bytes([n]))
        seen: list[int] = []
        rounds = 0
        while got := port.pull(99):
            assert len(got) <= 8
            seen += [m.copydata(HEADERS, 1)[0] for m in got]
            pool.free_bulk(got)
            rounds += 1
        assert seen == list(range(30))
        assert rounds >= 4
        stat = port.stat()
        assert stat.short >= 3
        assert (stat.denied, stat.packets_in) == (0, 30)


def test_a_closed_port_gives_all_back_and_its_interface_goes(pool: Pool, sock: Sock) -> None:
    port = ready(TunPort(pool, "mine%d"))
    peer = sock()
    peer.connect((THEIRS, 7))
    peer.send(b"one")
    (m,) = port.pull(1)
    m.freem()
    peer.send(b"two")
    assert port.pull(0) == []
    assert pool.out == 0
    with pytest.raises(OSError, match="interface 'mine0': somebody else has it") as caught:
        TunPort(pool, "mine0")
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(OSError, match="no TAP: give another"):
        TunPort(pool, "mine0", tap=True)
    with pytest.raises(Inval, match="0 or more"):
        port.pull(-1)
    port.close()
    port.close()
    assert port.fileno() == -1
    assert "mine0" not in [name for _, name in socket.if_nameindex()]
    with pytest.raises(Inval, match="closed"):
        port.pull(1)
    with pytest.raises(Inval, match="closed"):
        port.push([])


def test_names_that_can_be_none_are_refused(make: Callable[..., Pool], alone: None) -> None:
    pool = make()
    with pytest.raises(Inval, match="15 bytes"):
        TunPort(pool, "x" * 16)
    with pytest.raises(Inval, match="as in 'eth0'"):
        TunPort(pool, 5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="'a/b': that is no name"):
        TunPort(pool, "a/b")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOENT, "/dev/net/tun isn't there: load the kernel's module"),
        (errno.ENXIO, "/dev/net/tun isn't there: load the kernel's module"),
        (errno.EACCES, "/dev/net/tun may not be opened: be root"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_device_that_cannot_be_opened_is_told_in_one_line(
    make: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=says) as caught:
        TunPort(make())
    assert caught.value.errno == number
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EPERM, "be root, or have CAP_NET_ADMIN"), (errno.EIO, "Input/output error")]
)
def test_an_interface_that_may_not_be_made_is_told_in_one_line(
    make: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(*_: Any) -> bytes:
        raise OSError(number, os.strerror(number))

    null = os.open(os.devnull, os.O_RDWR)
    monkeypatch.setattr(os, "open", lambda *_: null)
    monkeypatch.setattr(fcntl, "ioctl", refuse)
    with pytest.raises(OSError, match=f"interface 'mbuf0': .*{says}"):
        TunPort(make(), "mbuf0")
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(null)
