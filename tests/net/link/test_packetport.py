"""A packet port receives and sends the frames of a link: every byte, every tag; none that this system sends."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chains import contents
from faults import FaultInjector
from mbuf import M_TSTMP, M_VLANTAG, Freed, Inval, Mbuf, Pool
from mbuf.net.link import packetport
from mbuf.net.link.packetport import FRAME_MAX, PacketPort
from mbuf.net.link.tunport import TunPort
from net import namespace

ADDRESSES = b"\xff" * 6 + b"\x02" + bytes(5)
#: An EtherType for experiments: no system answers it.
ETHERTYPE = 0x88B5

Link = tuple[TunPort, str]


@pytest.fixture
def link(make: Callable[..., Pool], netns: None) -> Iterator[Link]:
    """The far end of a link, and the name of the interface at this end."""
    with TunPort(make(), "link%d", tap=True) as far:
        namespace.up(far.interface.name)
        yield far, far.interface.name


def frame(size: int, data: bytes = b"") -> bytes:
    return ADDRESSES + ETHERTYPE.to_bytes(2, "big") + (data or os.urandom(size - 14))


def send(link: Link, *frames: bytes) -> None:
    """Send frames from the far end."""
    far = link[0]
    assert far.push([far._pool.frombytes(data) for data in frames]) == len(frames)
    assert far.stat().errors == 0


def received(link: Link) -> list[bytes]:
    """The frames that the far end has received."""
    far = link[0]
    got = far.pull(1000)
    found = [bytes(m) for m in got]
    far._pool.free_bulk(got)
    return found


def test_frames_go_both_ways_unchanged(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        data = [frame(size) for size in (60, 14, 1514, 999, 60)]
        send(link, *data)
        got = port.pull(3)
        got += port.pull(9)
        assert all(m.pkthdr.rcvif is port.interface for m in got)
        assert not any(m.flags & (M_TSTMP | M_VLANTAG) for m in got)
        assert port.interface.name == link[1]
        # Sent back, each is the same.
        assert [bytes(m) for m in got] == data
        assert port.push(got) == 5
        assert got == []
        assert received(link) == data
        # Sent frames aren't pulled.
        assert port.pull(9) == []
        stat = port.stat()
        assert (stat.packets_in, stat.packets_out) == (5, 5)
        assert stat.bytes_in == stat.bytes_out == sum(map(len, data))
        assert (stat.dropped, stat.errors, stat.faults, stat.truncated) == (0, 0, 0, 0)


def test_a_vlan_tag_is_in_the_header_and_is_sent_again(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        plain = frame(80)
        tagged = [plain[:12] + bytes.fromhex(tag) + plain[12:] for tag in ("8100e123", "88a80fff", "81000000")]
        send(link, *tagged, plain)
        got = port.pull(9)
        assert [bytes(m) for m in got] == [plain] * 4
        assert [bool(m.flags & M_VLANTAG) for m in got] == [True, True, True, False]
        assert [m.pkthdr.ether_vtag for m in got] == [0xE123, 0x0FFF, 0, 0]
        assert [m.pkthdr.PH_per >> 16 for m in got] == [0x8100, 0x88A8, 0x8100, 0]
        assert port.push(got) == 4
        assert received(link) == [*tagged, plain]
        m = pool.frombytes(plain)
        m.flags |= M_VLANTAG
        m.pkthdr.ether_vtag = 5
        assert port.push([m]) == 1
        assert received(link) == [plain[:12] + b"\x81\0\0\x05" + plain[12:]]


def test_a_frame_waits_for_the_mbuf_of_its_tag_and_so_do_those_after_it(pool: Pool, link: Link) -> None:
    def tagged() -> Mbuf:
        m = pool.getcl().append(frame(60))
        m.flags |= M_VLANTAG
        return m

    with PacketPort(pool, link[1]) as port:
        sent = [pool.frombytes(frame(60)), tagged(), pool.frombytes(frame(60))]
        kept, before = sent[1:], [bytes(m) for m in sent]
        with FaultInjector(pool).failing(1, True):
            assert port.push(sent) == 1
            assert sent == kept
            assert port.push(sent) == 0
        assert [bytes(m) for m in sent] == before[1:]
        assert port.push(sent) == 2
        assert sent == []
        assert [len(data) for data in received(link)] == [60, 64, 60]


def test_frames_before_one_that_can_take_no_tag_are_sent(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        short, freed = pool.frombytes(bytes(5)), pool.get()
        short.flags |= M_VLANTAG
        sent = [pool.frombytes(frame(60)), short]
        assert port.push(sent) == 1
        assert sent == [short]
        with pytest.raises(Inval, match="5 bytes"):
            port.push(sent)
        short.freem()
        freed.free()
        with pytest.raises(Freed):
            port.push([freed])
        assert [len(data) for data in received(link)] == [60]


def test_frames_that_this_system_sends_are_pulled_on_request(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1], outgoing=True) as every, PacketPort(pool, link[1]) as port:
        assert (every.features["outgoing"], port.features["outgoing"]) == ("pulled", "ignored")
        data = frame(100)
        assert port.push([pool.frombytes(data)]) == 1
        assert contents(pool, every.pull(9)) == [data]
        assert port.pull(9) == []


def test_only_frames_of_the_protocol_are_pulled(pool: Pool, link: Link) -> None:
    other = ADDRESSES + b"\x88\xb6" + bytes(50)
    with PacketPort(pool, link[1], protocol=ETHERTYPE) as port, PacketPort(pool, link[1], protocol=0) as none:
        mine = frame(64)
        send(link, other, mine, other)
        assert contents(pool, port.pull(9)) == [mine]
        assert none.pull(9) == []
        assert none.push([pool.frombytes(mine)]) == 1
        assert received(link) == [mine]


def test_a_promiscuous_port_pulls_frames_for_other_stations(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1], promiscuous=True) as port:
        assert namespace.promiscuity(link[1]) == 1
        send(link, frame(60))
        assert len(contents(pool, port.pull(9))) == 1
    assert namespace.promiscuity(link[1]) == 0


def test_a_frame_has_its_time_of_arrival(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1], timestamps=True) as port:
        send(link, frame(60), frame(70))
        got = port.pull(9)
        assert port.features["timestamps"] == "yes"
        assert all(m.flags & M_TSTMP and m.pkthdr.rcv_tstmp > 10**18 for m in got)
        assert len(contents(pool, got)) == 2


def test_a_frame_longer_than_the_room_is_discarded_and_counted(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1], size=1000) as port:
        send(link, *(frame(size) for size in (1000, 1001, 2048, 1514, 60)))
    with PacketPort(pool, link[1], size=1000) as port:
        namespace.down(link[1])
        namespace.up(link[1], mtu=4000)
        assert port.pull(1) == []
        send(link, *(frame(size) for size in (1000, 1001, 2049, 2048, 4014, 60)))
        assert [len(data) for data in contents(pool, port.pull(9))] == [1000, 60]
        assert port.stat().truncated == 4


def test_coalesced_tcp_segments_are_received_whole(pool: Pool, netns: None) -> None:
    namespace.up("lo")
    data = os.urandom(200_000)
    with PacketPort(pool, "lo") as port, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as near, server.accept()[0] as far:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sizes = []
            sent = 0
            while sent < len(data):
                sent += near.send(data[sent:])
                assert far.recv(1 << 20)
                got = port.pull(1000)
                sizes += [len(m) for m in got]
                pool.free_bulk(got)
        assert max(sizes) > 9000
        assert port.stat().truncated == 0


def test_frames_that_the_socket_drops_are_counted(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        port.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for n in range(100):
            send(link, frame(0, bytes([n]) * 1000))
        got = []
        while some := port.pull(100):
            got += some
        first = len(contents(pool, got))
        assert 0 < first < 100
        assert port.stat().dropped == port.stat().dropped == 100 - first
        send(link, frame(60))
        (m,) = port.pull(9)
        assert m.pkthdr.PH_loc == 100 - first
        m.freem()
    assert port.stat().dropped == 100 - first


def test_an_interface_that_is_down_or_deleted_loses_only_the_packets_sent_to_it(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        namespace.down(link[1])
        assert port.pull(9) == []
        assert port.pull(9) == []
        assert port.stat().faults == 1
        assert port.push([pool.frombytes(frame(60)) for _ in range(3)]) == 3
        assert port.stat().errors == 3
        namespace.up(link[1])
        send(link, frame(60))
        assert len(contents(pool, port.pull(9))) == 1
        namespace.delete(link[1])
        assert port.pull(9) == []
        assert port.stat().faults == 2
        assert port.push([pool.frombytes(frame(60))]) == 1
        assert port.stat().errors == 4


def test_frames_that_the_system_refuses_are_counted_and_the_others_sent(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        mixed = [pool.frombytes(data) for data in (frame(60), bytes(5), b"", frame(2000), frame(60))]
        assert port.push(mixed) == 5
        stat = port.stat()
        assert (stat.packets_out, stat.errors) == (2, 3)
        assert len(received(link)) == 2


def test_what_is_no_packet_is_refused_and_the_packets_stay(pool: Pool, link: Link) -> None:
    with PacketPort(pool, link[1]) as port:
        freed = pool.getcl()
        freed.free()
        for bad, error in ((b"bytes", Inval), (freed, Freed)):
            mixed: list[Any] = [pool.frombytes(frame(60)), bad, pool.frombytes(frame(60))]
            with pytest.raises(error):
                port.push(mixed)
            assert (len(mixed), mixed[0]) == (2, bad)
            assert port.push(mixed[1:]) == 1
        assert len(received(link)) == 4
        with pytest.raises(TypeError, match="list"):
            port.push(())  # type: ignore[arg-type]


def test_fewer_frames_are_received_when_the_pool_refuses_and_none_is_lost(
    small: Callable[..., Pool], link: Link
) -> None:
    pool = small(clusters=40, mbufs=200)
    with PacketPort(pool, link[1]) as port:
        data = [frame(0, bytes([n]) * 100) for n in range(60)]
        send(link, *data)
        found: list[bytes] = []
        while got := port.pull(60):
            found += contents(pool, got)
        assert found == data
        assert port.stat().short > 0
        assert port.stat().denied == 0


def test_a_closed_port_has_freed_all_mbufs(pool: Pool, link: Link) -> None:
    port = PacketPort(pool, link[1])
    assert port.fileno() == port.sock.fileno() >= 0
    send(link, frame(60), frame(60))
    (m,) = port.pull(1)
    m.freem()
    port.close()
    port.close()
    assert port.fileno() == -1
    with pytest.raises(Inval, match="closed"):
        port.pull(1)
    with pytest.raises(Inval, match="closed"):
        port.push([])


def test_bad_arguments_are_refused_in_one_line(make: Callable[..., Pool], netns: None) -> None:
    pool = make()
    for size in (0, -1, FRAME_MAX + 1):
        with pytest.raises(Inval, match="longest frame"):
            PacketPort(pool, "lo", size=size)
    for protocol in (-1, 1 << 16):
        with pytest.raises(Inval, match="EtherType"):
            PacketPort(pool, "lo", protocol=protocol)
    with pytest.raises(Inval, match="15 bytes"):
        PacketPort(pool, "x" * 16)
    with pytest.raises(OSError, match="interface 'nowhere': there is no interface of that name") as caught:
        PacketPort(pool, "nowhere")
    assert caught.value.errno == errno.ENODEV


def test_a_missing_privilege_is_an_error_of_one_line(
    make: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(packetport.socket, "socket", refuse)
    with pytest.raises(PermissionError, match="no permission to open a packet socket: be root, or have CAP_NET_RAW"):
        PacketPort(make(), "lo")
