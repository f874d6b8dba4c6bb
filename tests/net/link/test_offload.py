"""Checksums and segmentation that are left to somebody else, and the same work in software."""

import os
import socket
import struct
from collections.abc import Callable

import pytest

from mbuf import (
    CSUM_IP6_TCP,
    CSUM_IP6_TSO,
    CSUM_IP6_UDP,
    CSUM_IP_TCP,
    CSUM_IP_TSO,
    CSUM_IP_UDP,
    CSUM_L4_CALC,
    CSUM_L4_VALID,
    M_VLANTAG,
    Inval,
    Mbuf,
    NoBufs,
    Pool,
    ReadOnly,
)
from mbuf.net.link.offload import apply_vnet_header, check_complete, complete, left_to_do, vnet_header

HEADER = struct.Struct("<BBHHHH")
TCP, UDP = 6, 17
V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
ETHERNET = bytes(range(12))
FLAGS = {(TCP, False): CSUM_IP_TCP, (UDP, False): CSUM_IP_UDP, (TCP, True): CSUM_IP6_TCP, (UDP, True): CSUM_IP6_UDP}
KINDS = [(protocol, ipv6, tap) for protocol in (TCP, UDP) for ipv6 in (False, True) for tap in (False, True)]


def total(data: bytes) -> int:
    """The sum of RFC 1071, one number after the other."""
    padded = data + b"\0" * (len(data) % 2)
    number = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while number >> 16:
        number = (number & 0xFFFF) + (number >> 16)
    return number


def pseudo(addresses: bytes, protocol: int, size: int) -> int:
    return total(addresses + struct.pack("!II", size, protocol))


def packet(protocol: int, ipv6: bool, payload: bytes, link: bytes = b"", extension: bytes = b"") -> bytes:
    """A packet whose checksum field has the sum of the pseudo header."""
    size = (32 if protocol == TCP else 8) + len(payload)
    partial = pseudo(V6 if ipv6 else V4, protocol, size)
    if protocol == TCP:
        l4 = struct.pack("!HHIIBBHHH", 1000, 80, 0xFFFFFF00, 5, 0x80, 0x99, 1024, partial, 0) + b"\1" * 12
    else:
        l4 = struct.pack("!HHHH", 1000, 53, size, partial)
    if ipv6:
        following = 60 if extension else protocol
        ip = struct.pack("!IHBB", 6 << 28, size + len(extension), following, 64) + V6 + extension
    else:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0xFFFF, 0, 64, protocol, 0) + V4
        ip = ip[:10] + struct.pack("!H", 0xFFFF ^ total(ip)) + ip[12:]
    return link + ip + l4 + payload


def check(data: bytes, tap: bool, protocol: int, ipv6: bool) -> tuple[bytes, bytes]:
    """Check lengths and checksums of a packet; its header of TCP or UDP, and its payload."""
    ip = data[14:] if tap else data
    if ipv6:
        assert struct.unpack_from("!H", ip, 4)[0] == len(ip) - 40
        addresses, l4 = ip[8:40], ip[40:]
    else:
        assert struct.unpack_from("!H", ip, 2)[0] == len(ip)
        assert total(ip[:20]) == 0xFFFF
        addresses, l4 = ip[12:20], ip[20:]
    assert total(struct.pack("!HH", pseudo(addresses, protocol, len(l4)), total(l4))) == 0xFFFF
    if protocol == UDP:
        assert struct.unpack_from("!H", l4, 4)[0] == len(l4)
        return l4[:8], l4[8:]
    return l4[:32], l4[32:]


def link(ipv6: bool, tap: bool) -> bytes:
    return ETHERNET + (b"\x86\xdd" if ipv6 else b"\x08\0") if tap else b""


def whole(pool: Pool, data: bytes) -> Mbuf:
    return pool.frombytes(data)


def many_mbufs(pool: Pool, data: bytes) -> Mbuf:
    m = pool.frombytes(data[:7])
    for at in range(7, len(data), 100):
        m.cat(pool.get().append(data[at : at + 100]))
    m.fixhdr()
    return m


@pytest.mark.parametrize("build", [whole, many_mbufs])
@pytest.mark.parametrize(("protocol", "ipv6", "tap"), KINDS)
def test_a_checksum_is_computed_in_software(
    pool: Pool, protocol: int, ipv6: bool, tap: bool, build: Callable[[Pool, bytes], Mbuf]
) -> None:
    for size in (0, 1, 1000):
        payload = os.urandom(size)
        m = build(pool, packet(protocol, ipv6, payload, link(ipv6, tap)))
        m.pkthdr.csum_flags = FLAGS[protocol, ipv6]
        assert left_to_do(m)
        (same,) = complete(m, tap)
        assert same is m
        assert check(bytes(m), tap, protocol, ipv6)[1] == payload
        assert (m.pkthdr.csum_flags, complete(m, tap)) == (0, [m])
        m.freem()


@pytest.mark.parametrize("build", [whole, many_mbufs])
@pytest.mark.parametrize(("protocol", "ipv6", "tap"), KINDS)
def test_a_packet_is_cut_into_segments_in_software(
    pool: Pool, protocol: int, ipv6: bool, tap: bool, build: Callable[[Pool, bytes], Mbuf]
) -> None:
    payload = os.urandom(5500)
    m = build(pool, packet(protocol, ipv6, payload, link(ipv6, tap)))
    m.pkthdr.csum_flags = FLAGS[protocol, ipv6] | (CSUM_IP_TSO if protocol == TCP else 0)
    m.pkthdr.tso_segsz = 1000
    segments = complete(m, tap)
    found = [check(bytes(segment), tap, protocol, ipv6) for segment in segments]
    assert b"".join(data for _, data in found) == payload
    assert [len(data) for _, data in found] == [1000] * 5 + [500]
    assert not any(left_to_do(segment) or segment.pkthdr.tso_segsz for segment in segments)
    if protocol == TCP:
        sequence = [struct.unpack_from("!I", head, 4)[0] for head, _ in found]
        assert sequence == [0xFFFFFF00 + 1000 * n & 0xFFFFFFFF for n in range(6)]
        assert [head[13] for head, _ in found] == [0x90, 0x10, 0x10, 0x10, 0x10, 0x19]
    if not ipv6:
        numbers = [struct.unpack_from("!H", bytes(segment), 4 + 14 * tap)[0] for segment in segments]
        assert numbers == [0xFFFF, 0, 1, 2, 3, 4]
    pool.free_bulk(segments)


@pytest.mark.parametrize(("protocol", "ipv6", "tap"), KINDS)
def test_the_virtio_header_says_the_same_in_both_directions(pool: Pool, protocol: int, ipv6: bool, tap: bool) -> None:
    tso = (CSUM_IP6_TSO if ipv6 else CSUM_IP_TSO) if protocol == TCP else 0
    l4 = (14 if tap else 0) + (40 if ipv6 else 20)
    gso = 5 if protocol == UDP else 4 if ipv6 else 1
    sizes = (32, 16) if protocol == TCP else (8, 6)
    for flags, size in ((FLAGS[protocol, ipv6], 0), (FLAGS[protocol, ipv6] | tso, 1000)):
        m = pool.frombytes(packet(protocol, ipv6, bytes(3000), link(ipv6, tap)))
        m.pkthdr.csum_flags = flags
        m.pkthdr.tso_segsz = size
        header = vnet_header(m, tap)
        assert HEADER.unpack(header) == (1, gso if size else 0, l4 + sizes[0], size, l4, sizes[1])
        m.pkthdr.csum_flags = m.pkthdr.tso_segsz = 0
        assert vnet_header(m, tap) == bytes(10)
        apply_vnet_header(m, header, tap)
        assert (m.pkthdr.csum_flags, m.pkthdr.tso_segsz) == (flags, size)
        with pytest.raises(Inval, match="call complete"):
            check_complete(m)
        m.freem()


def test_a_packet_that_fits_a_segment_is_not_cut(pool: Pool) -> None:
    m = pool.frombytes(packet(TCP, False, bytes(1000)))
    m.pkthdr.csum_flags = CSUM_IP_TCP | CSUM_IP_TSO
    m.pkthdr.tso_segsz = 1000
    assert HEADER.unpack(vnet_header(m, False))[1:4] == (0, 52, 0)
    assert complete(m) == [m]
    m.freem()


def test_a_checked_checksum_and_one_of_another_protocol(pool: Pool) -> None:
    m = pool.frombytes(packet(TCP, False, b""))
    apply_vnet_header(m, HEADER.pack(2, 0, 0, 0, 0, 0), False)
    assert m.pkthdr.csum_flags == CSUM_L4_CALC | CSUM_L4_VALID
    assert complete(m) == [m]
    m.freem()
    data = bytearray(packet(UDP, False, bytes(range(100))))
    data[9] = 200
    m = pool.frombytes(bytes(data))
    apply_vnet_header(m, HEADER.pack(1, 0, 0, 0, 20, 6), False)
    assert m.pkthdr.csum_flags == 0
    assert m.unpack("!H", 26) == (0xFFFF ^ total(bytes(data[20:])),)
    m.freem()


@pytest.mark.parametrize("tagged", [b"\x81\0\0\7", b"\x88\xa8\0\1\x81\0\0\7"])
def test_headers_behind_vlan_tags_and_extension_headers_are_found(pool: Pool, tagged: bytes) -> None:
    extension = bytes([UDP, 0, 0, 0, 0, 0, 0, 0])
    m = pool.frombytes(packet(UDP, True, b"hello", ETHERNET + tagged + b"\x86\xdd", extension))
    m.pkthdr.csum_flags = CSUM_IP6_UDP
    l4 = 14 + len(tagged) + 48
    assert HEADER.unpack(vnet_header(m, True)) == (1, 0, l4 + 8, 0, l4, 6)
    m.freem()


@pytest.mark.parametrize(
    ("size", "flags"),
    [(52, CSUM_IP_UDP), (52, CSUM_IP6_TCP), (40, CSUM_IP_TCP), (10, CSUM_IP_TCP), (0, CSUM_IP_TCP)],
)
def test_flags_that_do_not_fit_the_packet_are_refused(pool: Pool, size: int, flags: int) -> None:
    data = packet(TCP, False, b"")[:size]
    m = pool.frombytes(data)
    m.pkthdr.csum_flags = flags
    with pytest.raises(Inval, match="csum_flags"):
        vnet_header(m, False)
    with pytest.raises(Inval, match="csum_flags"):
        complete(m)
    assert bytes(m) == data
    m.freem()


def test_a_tag_beside_the_bytes_is_refused(pool: Pool) -> None:
    m = pool.frombytes(packet(TCP, False, b""))
    m.pkthdr.csum_flags = CSUM_IP_TCP
    m.flags |= M_VLANTAG
    with pytest.raises(Inval, match="VLAN"):
        vnet_header(m, False)
    m.freem()


def test_a_failure_changes_nothing(small: Callable[..., Pool]) -> None:
    pool = small(mbufs=20)
    m = pool.getcl().append(packet(TCP, False, bytes(1900)))
    m.pkthdr.csum_flags = CSUM_IP_TCP | CSUM_IP_TSO
    m.pkthdr.tso_segsz = 50
    before, out = bytes(m), pool.out
    with pytest.raises(NoBufs):
        complete(m)
    assert (bytes(m), pool.out) == (before, out)
    m.pkthdr.csum_flags = CSUM_IP_TCP
    other = m.copypacket()
    with pytest.raises(ReadOnly):
        complete(m)
    assert (bytes(m), left_to_do(m)) == (before, CSUM_IP_TCP)
    pool.free_bulk([m, other])


def test_a_wrong_segment_size_is_refused(pool: Pool) -> None:
    m = pool.gethdr()
    for bad in (-1, 1 << 16, None, 1.0):
        with pytest.raises(Inval, match="tso_segsz"):
            m.pkthdr.tso_segsz = bad  # type: ignore[assignment]
    m.pkthdr.PH_per = 0x1234_5678_9ABC_DEF0
    m.pkthdr.tso_segsz = 0x0FFF
    assert m.pkthdr.PH_per == 0x1234_5678_0FFF_DEF0
    m.free()
