"""A VLAN tag goes from the header into the frame, whatever its mbufs; without memory nothing changes."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import FaultInjector
from mbuf import M_VLANTAG, Inval, Mbuf, NoBufs, Pool
from mbuf.net.capture.captureport import CaptureWriter
from mbuf.net.link.vlan import encapsulate, frame_views
from mbuf.net.linux import IOV_MAX
from mbuf.net.pacing.pacedsocket import PacedSocket
from mbuf.net.stream.streamport import StreamPort
from mbuf.net.udp.socketport import SocketPort
from mbuf.net.udp.udpport import UdpPort

ADDRESSES = bytes(range(12))
REST = b"\x08\x00" + bytes(range(100, 160))
FRAME = ADDRESSES + REST


def whole(pool: Pool) -> Mbuf:
    return pool.frombytes(FRAME)


def roomy(pool: Pool) -> Mbuf:
    return pool.frombytes(bytes(20) + FRAME).adj(20)


def cluster(pool: Pool) -> Mbuf:
    return pool.getcl().append(FRAME)


def shared(pool: Pool) -> Mbuf:
    m = cluster(pool)
    other = m.copypacket()
    m.freem()
    return other


def many_mbufs(pool: Pool) -> Mbuf:
    m = pool.frombytes(FRAME[:5])
    for at in range(5, len(FRAME), 6):
        m.cat(pool.get().append(FRAME[at : at + 6]))
    m.pkthdr.len = len(FRAME)
    return m


BUILDERS: dict[str, Callable[[Pool], Mbuf]] = {fn.__name__: fn for fn in (whole, roomy, cluster, shared, many_mbufs)}


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(("number", "tag"), [(0x1005, "81001005"), (0x88A8_E001, "88a8e001"), (0, "81000000")])
def test_a_tag_is_inserted_after_the_addresses(pool: Pool, build: str, number: int, tag: str) -> None:
    m = BUILDERS[build](pool)
    m.flags |= M_VLANTAG
    m.pkthdr.PH_per = number
    encapsulate(m)
    assert bytes(m) == ADDRESSES + bytes.fromhex(tag) + REST
    assert m.sanity()
    assert not m.flags & M_VLANTAG
    m.freem()


def test_packets_that_share_the_bytes_get_no_tag(pool: Pool) -> None:
    m = cluster(pool)
    other = m.copypacket()
    m.flags |= M_VLANTAG
    m.pkthdr.ether_vtag = 7
    encapsulate(m)
    assert bytes(other) == FRAME
    assert bytes(m) == ADDRESSES + b"\x81\0\0\x07" + REST
    pool.free_bulk([m, other])


@pytest.mark.parametrize("build", BUILDERS)
def test_without_memory_nothing_changes(pool: Pool, build: str) -> None:
    for turn in (1, 2, 3):
        m = BUILDERS[build](pool)
        m.flags |= M_VLANTAG
        faults = FaultInjector(pool)
        with faults.failing(turn, False):
            try:
                encapsulate(m)
            except NoBufs:
                assert bytes(m) == FRAME
                assert m.flags & M_VLANTAG
        assert m.sanity()
        m.freem()


@pytest.mark.parametrize("size", [0, 11, 12])
def test_a_frame_without_a_header_is_refused(pool: Pool, size: int) -> None:
    m = pool.frombytes(FRAME[:size])
    m.flags |= M_VLANTAG
    for call in (encapsulate, frame_views):
        with pytest.raises(Inval, match=f"a frame of {size} bytes has a VLAN tag"):
            call(m)
    assert (bytes(m), m.flags & M_VLANTAG) == (FRAME[:size], M_VLANTAG)
    m.freem()


@pytest.mark.parametrize("build", BUILDERS)
def test_views_of_a_frame_have_its_tag_and_the_frame_is_not_changed(pool: Pool, build: str) -> None:
    m = BUILDERS[build](pool)
    assert b"".join(frame_views(m)) == FRAME
    m.flags |= M_VLANTAG
    m.pkthdr.PH_per = 0x88A8_E001
    assert b"".join(frame_views(m)) == ADDRESSES + bytes.fromhex("88a8e001") + REST
    assert (bytes(m), m.flags & M_VLANTAG) == (FRAME, M_VLANTAG)
    m.freem()


def test_views_of_a_frame_whose_mbufs_end_where_the_tag_begins(pool: Pool) -> None:
    m = pool.frombytes(ADDRESSES)
    m.cat(pool.get().append(REST))
    m.pkthdr.len = len(FRAME)
    m.flags |= M_VLANTAG
    m.pkthdr.ether_vtag = 7
    assert list(map(bytes, frame_views(m))) == [ADDRESSES, b"\x81\0\0\x07", REST]
    m.freem()


def test_ports_without_ethernet_refuse_a_tagged_packet(pool: Pool, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    udp = socket.socket(type=socket.SOCK_DGRAM)
    unix = socket.socketpair(type=socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.connect(udp.getsockname())
    with ours, theirs, udp, unix[0], unix[1]:
        unix[0].setblocking(False)
        ports = [
            StreamPort(pool, ours),
            UdpPort(pool, udp),
            SocketPort(pool, unix[0]),
            PacedSocket(unix[0]),
            CaptureWriter(tmp_path / "capture", linktype=101),
        ]
        for port in ports:
            for build in (whole, many_mbufs):
                m = build(pool)
                m.flags |= M_VLANTAG
                packets = [m]
                with pytest.raises(Inval, match="M_VLANTAG"):
                    port.push(packets)
                assert packets == [m]
                m.freem()
            port.close()
        huge = pool.frombytes(b"x")
        for _ in range(IOV_MAX):
            huge.cat(pool.get().append(b"x"))
        huge.fixhdr()
        huge.flags |= M_VLANTAG
        with UdpPort(pool, udp) as other, pytest.raises(Inval, match="M_VLANTAG"):
            other.push([huge])
        huge.freem()


def test_ether_vtag_is_part_of_ph_per(pool: Pool) -> None:
    m = pool.gethdr()
    m.pkthdr.PH_per = 0x1234_5678_9ABC_DEF0
    assert m.pkthdr.ether_vtag == 0xDEF0
    m.pkthdr.ether_vtag = 0x0FFF
    assert m.pkthdr.PH_per == 0x1234_5678_9ABC_0FFF
    for bad in (-1, 1 << 16, None, 1.0):
        with pytest.raises(Inval, match="ether_vtag"):
            m.pkthdr.ether_vtag = bad  # type: ignore[assignment]
    assert m.pkthdr.ether_vtag == 0x0FFF
    m.free()
