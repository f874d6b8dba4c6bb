"""A TUN port pulls what the system sends to its interface; the system receives what the port pushes."""

import errno
import fcntl
import os
import pickle
import select
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from mbuf import CSUM_IP_TCP, CSUM_IP_TSO, CSUM_IP_UDP, M_NOTREADY, M_PKTHDR, M_VLANTAG, Freed, Inval, Mbuf, Pool
from mbuf.net.link import tunport as tun
from mbuf.net.link.offload import complete
from mbuf.net.link.tunport import TunPort
from mbuf.net.linux import SOL_UDP, UDP_SEGMENT
from mbuf.packet.build import from_rx
from net import namespace

OURS, THEIRS = "10.9.0.1", "10.9.0.2"
#: Bytes of the IP and UDP headers before a datagram.
HEADERS = 28

TUNSETPERSIST = 0x400454CB

Sock = Callable[[], socket.socket]


@pytest.fixture
def sock(netns: None) -> Iterator[Sock]:
    """Makes UDP sockets in the namespace."""
    made: list[socket.socket] = []

    def sock() -> socket.socket:
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[-1].settimeout(20)
        return made[-1]

    yield sock
    for other in made:
        other.close()


def ready(port: TunPort) -> TunPort:
    namespace.up(port.interface.name, OURS)
    return port


def reply_to(m: Mbuf) -> bytes:
    """A datagram as its peer would send it back: addresses and ports are swapped, which keeps the checksums right."""
    data = bytes(m)
    return data[:12] + data[16:20] + data[12:16] + data[22:24] + data[20:22] + data[24:]


def test_datagrams_are_pulled_and_replies_are_received(pool: Pool, sock: Sock) -> None:
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
            back = [pool.frombytes(reply_to(m))]
            m.freem()
            assert port.push(back) == 1
            assert back == []
            assert peer.recv(9999) == data
        stat = port.stat()
        assert (stat.packets_in, stat.packets_out) == (4, 4)
        assert stat.bytes_in == stat.bytes_out == 1573 + 4 * HEADERS
        assert (stat.errors, stat.truncated, stat.faults, stat.short) == (0, 0, 0, 0)


def test_at_most_n_packets_are_pulled_and_the_others_wait(pool: Pool, sock: Sock) -> None:
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
def test_a_packet_of_any_number_of_pieces_is_sent(pool: Pool, sock: Sock, pieces: int) -> None:
    """Also a packet of more pieces than one call accepts."""
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        data = os.urandom(1472)
        peer.send(data)
        (m,) = port.pull(1)
        whole = reply_to(m)
        m.freem()
        cuts = [len(whole) * n // pieces for n in range(pieces + 1)]
        chain = pool.frombytes(whole[: cuts[1]])
        for start, end in zip(cuts[1:], cuts[2:], strict=False):
            chain.cat(pool.get().append(whole[start:end]))
        chain.pkthdr.len = len(whole)
        assert port.push([chain]) == 1
        assert peer.recv(9999) == data


def test_unmapped_pages_and_shared_bytes_are_sent(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        data = os.urandom(1000)
        peer.send(data)
        (m,) = port.pull(1)
        whole = reply_to(m)
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
        # The port reads the MTU when it is made; later its room grows as longer packets arrive.
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


def test_ethernet_frames_go_through_a_tap(pool: Pool, netns: None) -> None:
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


def test_packets_that_the_system_refuses_are_counted_and_the_others_sent(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool)) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        peer.send(b"right")
        (m,) = port.pull(1)
        right = reply_to(m)
        m.freem()
        # One is no IP packet, one has no bytes.
        mixed = [pool.frombytes(data) for data in (right, bytes(100), b"", right)]
        assert port.push(mixed) == 4
        stat = port.stat()
        assert (stat.packets_out, stat.errors) == (2, 2)
        assert [peer.recv(99) for _ in range(2)] == [b"right"] * 2
        namespace.down(port.interface.name)
        assert port.push([pool.frombytes(right)]) == 1
        assert port.stat().errors == 3


def test_a_deleted_interface_is_an_error_and_no_packet_is_lost(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool, "gone0")) as port:
        peer = sock()
        peer.connect((THEIRS, 7))
        peer.send(b"before")
        namespace.delete("gone0")
        sent = [pool.frombytes(b"\x45" + bytes(40)) for _ in range(3)]
        with pytest.raises(OSError, match="gone0: the interface was deleted: close this port") as caught:
            port.push(sent)
        assert caught.value.errno == errno.EBADFD
        assert len(sent) == 3
        pool.free_bulk(sent)
        with pytest.raises(OSError, match="gone0: the interface was deleted"):
            pool.free_bulk(port.pull(5))


def test_packets_that_arrived_before_an_error_are_returned_after_it(
    pool: Pool, sock: Sock, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        with pytest.raises(OSError, match="deleted"):
            port.pull(9)
        assert port.ready == 2
        got = [port.pull(1), port.pull(9), port.pull(9), port.pull(9), port.pull(9)]
        # The third call met an error that is only counted.
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


def test_packets_that_cannot_be_sent_now_stay_with_the_caller(
    pool: Pool, netns: None, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_what_is_no_packet_is_refused_after_the_packets_before_it(pool: Pool, netns: None) -> None:
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


def test_fewer_packets_are_received_when_the_pool_refuses_and_none_is_lost(
    small: Callable[..., Pool], sock: Sock
) -> None:
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


def test_a_closed_port_has_freed_all_mbufs_and_its_interface_is_deleted(pool: Pool, sock: Sock) -> None:
    port = ready(TunPort(pool, "mine%d"))
    peer = sock()
    peer.connect((THEIRS, 7))
    peer.send(b"one")
    (m,) = port.pull(1)
    m.freem()
    peer.send(b"two")
    assert port.pull(0) == []
    assert pool.out == 0
    with pytest.raises(OSError, match="interface 'mine0': another program is using it") as caught:
        TunPort(pool, "mine0")
    assert caught.value.errno == errno.EBUSY
    with pytest.raises(OSError, match="no TAP: give another name"):
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


def test_a_port_whose_descriptor_was_closed_elsewhere_frees_its_mbufs(pool: Pool, netns: None) -> None:
    port = TunPort(pool)
    assert port.pull(1) == []
    assert pool.out == 1
    os.close(port.fileno())
    with pytest.raises(OSError, match="descriptor"):
        port.close()
    assert (port.closed, pool.out) == (True, 0)
    port.close()


def test_names_that_no_interface_can_have_are_refused(make: Callable[..., Pool], netns: None) -> None:
    pool = make()
    with pytest.raises(Inval, match="15 bytes"):
        TunPort(pool, "x" * 16)
    with pytest.raises(Inval, match="as in 'eth0'"):
        TunPort(pool, 5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="'a/b': this is no valid name"):
        TunPort(pool, "a/b")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOENT, "/dev/net/tun: there is no such device: load the kernel module"),
        (errno.ENXIO, "/dev/net/tun: there is no such device: load the kernel module"),
        (errno.EACCES, "/dev/net/tun: no permission to open it for reading and writing: be root"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_device_that_cannot_be_opened_is_an_error_of_one_line(
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
def test_an_interface_that_cannot_be_created_is_an_error_of_one_line(
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


def test_close_works_in_a_child_of_a_fork_whose_parent_reads(pool: Pool, netns: None) -> None:
    port = TunPort(pool)
    assert port.pull(1) == []
    # As the readv of a thread that doesn't exist in the child.
    reading = pickle.PickleBuffer(port._views[0])
    port.close()
    port.close()
    assert (port.closed, port.fileno()) == (True, -1)
    reading.release()
    assert pool.out == 0


def reflect(m: Mbuf) -> Mbuf:
    """Swap the IP addresses: what this system has sent to THEIRS comes back from there. All checksums stay right."""
    source, target = m.unpack("!4s4s", 12)
    m.pack("!4s4s", 12, target, source)
    return m


def transfer(port: TunPort, data: bytes, send: Callable[[list[Mbuf]], object]) -> list[int]:
    """Send bytes over a TCP connection through the port to this system itself; the sizes of all packets."""
    sizes: list[int] = []
    got = bytearray()
    with socket.create_server((OURS, 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        client.connect_ex((THEIRS, listener.getsockname()[1]))
        left, server = memoryview(data), None
        while len(got) < len(data):
            packets = port.pull(64)
            sizes += [len(m) for m in packets]
            send([reflect(m) for m in packets])
            try:
                left = left[client.send(left) :] if left else left
            except (BlockingIOError, BrokenPipeError):
                select.select([port], [], [], 0.01)
            try:
                if server is None:
                    server, _ = listener.accept()
                    server.setblocking(False)
                got += server.recv(1 << 20)
            except BlockingIOError:
                continue
        if server is not None:
            server.close()
    assert bytes(got) == data
    return sizes


@pytest.mark.parametrize("software", [False, True])
def test_with_a_virtio_header_packets_longer_than_the_mtu_are_pulled_and_pushed(
    pool: Pool, netns: None, software: bool
) -> None:
    with ready(TunPort(pool, "mbuf%d", vnet_hdr=True)) as port:
        assert port.features["offload"] in ("csum tso", "csum tso uso")
        seen = set()

        def send(packets: list[Mbuf]) -> None:
            seen.update(m.pkthdr.csum_flags for m in packets)
            if software:
                packets = [segment for m in packets for segment in complete(m)]
                assert all(len(m) <= 1500 for m in packets)
            while packets:
                port.push(packets)

        sizes = transfer(port, os.urandom(1 << 20), send)
        assert max(sizes) > 1500
        assert CSUM_IP_TCP | CSUM_IP_TSO in seen
        stat = port.stat()
        assert (stat.errors, stat.truncated, stat.bytes_in) == (0, 0, sum(sizes))
        if not software:
            assert stat.bytes_out == sum(sizes)


def test_datagrams_to_be_cut_are_pulled_whole(pool: Pool, sock: Sock) -> None:
    with ready(TunPort(pool, "mbuf%d", vnet_hdr=True)) as port:
        if "uso" not in port.features["offload"]:
            pytest.skip("this system can't leave UDP segmentation to a program")
        peer, other = sock(), sock()
        other.bind((OURS, 0))
        peer.bind((OURS, 0))
        other.connect((THEIRS, peer.getsockname()[1]))
        peer.connect((THEIRS, other.getsockname()[1]))
        peer.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
        data = os.urandom(4500)
        peer.send(data)
        (m,) = port.pull(9)
        assert (len(m), m.pkthdr.csum_flags, m.pkthdr.tso_segsz) == (4528, CSUM_IP_UDP, 1000)
        assert port.push([reflect(m)]) == 1
        assert b"".join(other.recv(9999) for _ in range(5)) == data


@pytest.mark.parametrize("tap", [False, True])
def test_a_port_without_a_virtio_header_pulls_whole_packets_whoever_had_the_interface(
    pool: Pool, sock: Sock, tap: bool
) -> None:
    name = "mbufp"
    kind = tun.IFF_TAP if tap else tun.IFF_TUN
    fd = os.open(tun.DEVICE, os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", name.encode(), kind | tun.IFF_NO_PI | tun.IFF_VNET_HDR)
    fcntl.ioctl(fd, tun.TUNSETIFF, request)
    fcntl.ioctl(fd, tun.TUNSETOFFLOAD, tun.TUN_F_CSUM | tun.TUN_F_TSO)
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
    os.close(fd)
    with ready(TunPort(pool, name, tap)) as port:
        fcntl.ioctl(port.fileno(), TUNSETPERSIST, 0)
        assert port.features["offload"] == "no"
        if tap:
            return
        peer = sock()
        peer.sendto(bytes(1000), (THEIRS, 7))
        (m,) = port.pull(9)
        data = bytes(m)
        m.pack("!H", 26, 0)
        pseudo = pool.frombytes(data[12:20] + struct.pack("!HH", socket.IPPROTO_UDP, len(data) - 20) + bytes(m)[20:])
        assert pseudo.in_cksum() == struct.unpack_from("!H", data, 26)[0]
        pool.free_bulk([m, pseudo])

        def send(packets: list[Mbuf]) -> None:
            while packets:
                port.push(packets)

        assert max(transfer(port, os.urandom(1 << 17), send)) <= 1500


def test_what_is_left_to_do_is_refused_without_a_virtio_header(pool: Pool, netns: None) -> None:
    with ready(TunPort(pool, "mbuf%d")) as port:
        m = pool.gethdr()
        m.pkthdr.csum_flags = CSUM_IP_TCP
        with pytest.raises(Inval, match="call complete"):
            port.push([m])
        m.pkthdr.csum_flags = 0
        m.flags |= M_VLANTAG
        with pytest.raises(Inval, match="M_VLANTAG"):
            port.push([m])
        m.freem()


def test_a_vlan_tag_beside_the_bytes_of_a_frame_is_sent(pool: Pool, netns: None) -> None:
    with TunPort(pool, "mbuf%d", tap=True) as port, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        namespace.up(port.interface.name)
        sock.bind((port.interface.name, 3))
        sock.settimeout(20)
        sock.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        frame = b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(46)
        m = pool.frombytes(frame)
        m.flags |= M_VLANTAG
        m.pkthdr.ether_vtag = 7
        assert port.push([m]) == 1
        data, ancillary, _, _ = sock.recvmsg(2000, 100)
        # The system has put the tag beside the bytes again.
        (auxdata,) = [value for level, kind, value in ancillary if (level, kind) == (263, 8)]
        assert (data, struct.unpack("IIIHHHH", auxdata)[5]) == (frame, 7)
