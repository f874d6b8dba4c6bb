"""Checksums and segmentation that one side leaves to the other: the header of virtio, and the same work in software.

A TUN or TAP interface with IFF_VNET_HDR has a header of 10 bytes before each packet (struct virtio_net_hdr in
linux/virtio_net.h). It says that a checksum is still to be computed, and that a packet of up to 64 KiB is to be cut
into segments. In an mbuf, `pkthdr.csum_flags` and `pkthdr.tso_segsz` say the same, as in FreeBSD:

    csum_flags                                  still to be done
    CSUM_IP_TCP, CSUM_IP_UDP                    the checksum of the TCP or UDP header
    CSUM_IP6_TCP, CSUM_IP6_UDP                  the same over IPv6
    with CSUM_IP_TSO or CSUM_IP6_TSO            segments of `tso_segsz` bytes of payload (TSO)
    CSUM_IP_UDP or CSUM_IP6_UDP, and tso_segsz  datagrams of `tso_segsz` bytes of payload (USO); not in FreeBSD
    CSUM_L4_CALC and CSUM_L4_VALID              nothing: the system has checked the checksum

The field of such a checksum has the sum of the pseudo header, of the packet as it is. `complete` does all of it here,
for ports that can't leave it to the system.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbuf.const import (
    CSUM_IP6_TCP,
    CSUM_IP6_TSO,
    CSUM_IP6_UDP,
    CSUM_IP_TCP,
    CSUM_IP_TSO,
    CSUM_IP_UDP,
    CSUM_L4_CALC,
    CSUM_L4_VALID,
    M_PKTHDR,
    M_VLANTAG,
)
from mbuf.errors import Inval
from mbuf.net.linux import ETH_P_8021AD, ETH_P_8021Q

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf

#: All that may be left to be done.
CSUM_OFFLOAD = CSUM_IP_TCP | CSUM_IP_UDP | CSUM_IP6_TCP | CSUM_IP6_UDP | CSUM_IP_TSO | CSUM_IP6_TSO
CSUM_TSO = CSUM_IP_TSO | CSUM_IP6_TSO

#: The header: flags, type of segmentation, bytes of all headers, of a segment's payload, where the checksum begins, and
#: where it is stored from there. Little-endian, see TUNSETVNETLE.
_HEADER = struct.Struct("<BBHHHH")
HEADER_LEN = _HEADER.size
_NOTHING = bytes(HEADER_LEN)
_NEEDS_CSUM = 1
_DATA_VALID = 2
_GSO_TCPV4, _GSO_TCPV6, _GSO_UDP_L4 = 1, 4, 5

TCP, UDP = 6, 17
#: Where the checksum is in the header of the protocol.
_CHECKSUM = {TCP: 16, UDP: 6}
#: By protocol and whether it is IPv6.
_CSUM = {
    (TCP, False): CSUM_IP_TCP,
    (UDP, False): CSUM_IP_UDP,
    (TCP, True): CSUM_IP6_TCP,
    (UDP, True): CSUM_IP6_UDP,
}
_GSO = {(TCP, False): _GSO_TCPV4, (TCP, True): _GSO_TCPV6, (UDP, False): _GSO_UDP_L4, (UDP, True): _GSO_UDP_L4}

#: Extension headers of IPv6: hop-by-hop options, routing, destination options.
_EXTENSIONS = frozenset({0, 43, 60})
_TPIDS = frozenset({ETH_P_8021Q.to_bytes(2, "big"), ETH_P_8021AD.to_bytes(2, "big")})
#: Bytes in which all headers must be.
_HEADERS_MAX = 256

_TCP_FIN_PSH = 0x09
_TCP_CWR = 0x80


@dataclass(frozen=True, slots=True)
class _Layers:
    """Where the headers of a packet are."""

    #: Offsets of the IP header, of that of TCP or UDP, and of the payload.
    l3: int
    l4: int
    payload: int
    protocol: int
    ipv6: bool


def left_to_do(m: Mbuf) -> int:
    """The flags of `csum_flags` that are still to be done."""
    return m.pkthdr.csum_flags & CSUM_OFFLOAD if m.flags & M_PKTHDR else 0


def check_complete(m: Mbuf) -> None:
    """Raise `Inval` if a checksum or segmentation is left to a port that can't do it."""
    if left_to_do(m):
        raise Inval("push: the packet's checksum is still to be computed (csum_flags): call complete(m) first")


def vnet_header(m: Mbuf, tap: bool) -> bytes:
    """The header that tells the system what is to be done. `Inval` if the packet's flags don't fit its bytes."""
    flags = left_to_do(m)
    if not flags:
        return _NOTHING
    if m.flags & M_VLANTAG:
        raise Inval("push: a packet with csum_flags has a VLAN tag beside its bytes (M_VLANTAG): encapsulate it first")
    layers = _layers_of(m, tap, flags)
    size = _segment_size(m, layers)
    gso = _GSO[layers.protocol, layers.ipv6] if size else 0
    return _HEADER.pack(_NEEDS_CSUM, gso, layers.payload, size, layers.l4, _CHECKSUM[layers.protocol])


def apply_vnet_header(m: Mbuf, header: bytes | bytearray, tap: bool) -> None:
    """Set `csum_flags` and `tso_segsz` as the header of a received packet says."""
    flags, gso, _, size, start, field = _HEADER.unpack(header)
    if flags & _NEEDS_CSUM:
        try:
            layers = _find_layers(m, tap)
        except Inval:
            # Not TCP or UDP: computed here.
            m.pack("!H", start + field, m.in_cksum(len(m), start))
            return
        m.pkthdr.csum_flags |= _CSUM[layers.protocol, layers.ipv6]
        if gso:
            m.pkthdr.tso_segsz = size
        if gso and layers.protocol == TCP:
            m.pkthdr.csum_flags |= CSUM_IP6_TSO if layers.ipv6 else CSUM_IP_TSO
    elif flags & _DATA_VALID:
        m.pkthdr.csum_flags |= CSUM_L4_CALC | CSUM_L4_VALID


def complete(m: Mbuf, tap: bool = False) -> list[Mbuf]:
    """Compute the checksum of a packet, and cut it into segments, as `csum_flags` and `tso_segsz` say; return all.

    The packet belongs to this; the returned ones belong to the caller. `tap`: it begins with an Ethernet header. Their
    payload is shared, not copied. See in_delayed_cksum in FreeBSD, which has no segmentation in software. Raises
    `Inval` if the flags don't fit the bytes, `ReadOnly` if the checksum is in shared bytes, `NoBufs`; then nothing has
    changed, and the packet still belongs to the caller.
    """
    flags = left_to_do(m)
    if not flags:
        return [m]
    layers = _layers_of(m, tap, flags)
    size = _segment_size(m, layers)
    if not size:
        _store_checksum(m, layers)
        m.pkthdr.csum_flags &= ~CSUM_OFFLOAD
        return [m]
    head = m.copydata(0, layers.payload)
    rest = m.copypacket()
    segments = [rest]
    try:
        segments = rest.adj(layers.payload).segment(size)
        for n, segment in enumerate(segments):
            _add_headers(segment, head, layers, n, n * size, n == len(segments) - 1)
    except BaseException:
        for segment in segments:
            segment.freem()
        raise
    m.freem()
    return segments


def _layers_of(m: Mbuf, tap: bool, flags: int) -> _Layers:
    """Where the headers are; `Inval` if the flags are of another protocol."""
    layers = _find_layers(m, tap)
    if not flags & _CSUM[layers.protocol, layers.ipv6]:
        raise Inval(f"push: csum_flags {flags:#x} don't fit the packet, which has another protocol")
    return layers


def _segment_size(m: Mbuf, layers: _Layers) -> int:
    """Bytes of payload of a segment; 0 if the packet isn't to be cut."""
    wanted = layers.protocol == UDP or m.pkthdr.csum_flags & CSUM_TSO
    size = m.pkthdr.tso_segsz if wanted else 0
    return size if len(m) > layers.payload + size else 0


def _find_layers(m: Mbuf, tap: bool) -> _Layers:
    data = m.copydata(0, min(len(m), _HEADERS_MAX))
    try:
        l3 = 0
        if tap:
            l3 = 12
            while data[l3 : l3 + 2] in _TPIDS:
                l3 += 4
            l3 += 2
        ipv6 = data[l3] >> 4 == 6
        if ipv6:
            l4, protocol = l3 + 40, data[l3 + 6]
            while protocol in _EXTENSIONS:
                protocol, l4 = data[l4], l4 + 8 * (data[l4 + 1] + 1)
        else:
            l4, protocol = l3 + 4 * (data[l3] & 15), data[l3 + 9]
        payload = l4 + (4 * (data[l4 + 12] >> 4) if protocol == TCP else 8)
    except IndexError:
        protocol = payload = 0
    if protocol not in _CHECKSUM or payload > len(m):
        raise Inval("csum_flags: the packet has no whole headers of IP and of TCP or UDP")
    return _Layers(l3, l4, payload, protocol, ipv6)


def _store_checksum(m: Mbuf, layers: _Layers) -> None:
    """Replace the sum of the pseudo header by the checksum. In UDP, 0 means that there is none."""
    checksum = m.in_cksum(len(m), layers.l4)
    m.pack("!H", layers.l4 + _CHECKSUM[layers.protocol], checksum or (0xFFFF if layers.protocol == UDP else 0))


def _add_headers(m: Mbuf, head: bytes, layers: _Layers, number: int, offset: int, last: bool) -> None:
    """Put the headers of the whole packet in front of the payload of a segment, and make them right for it."""
    header = bytearray(head)
    l3, l4 = layers.l3, layers.l4
    size = len(header) + len(m) - l4
    if layers.ipv6:
        struct.pack_into("!H", header, l3 + 4, l4 + size - l3 - 40)
        addresses = header[l3 + 8 : l3 + 40]
    else:
        identification = struct.unpack_from("!H", header, l3 + 4)[0]
        struct.pack_into("!HH", header, l3 + 2, l4 + size - l3, identification + number & 0xFFFF)
        struct.pack_into("!H", header, l3 + 10, 0)
        struct.pack_into("!H", header, l3 + 10, 0xFFFF - _sum(header[l3:l4]))
        addresses = header[l3 + 12 : l3 + 20]
    if layers.protocol == TCP:
        sequence = struct.unpack_from("!I", header, l4 + 4)[0]
        struct.pack_into("!I", header, l4 + 4, sequence + offset & 0xFFFFFFFF)
        header[l4 + 13] &= ~((0 if last else _TCP_FIN_PSH) | (_TCP_CWR if number else 0))
    else:
        struct.pack_into("!H", header, l4 + 4, size)
    pseudo = _sum(addresses + struct.pack("!HH", layers.protocol, size))
    struct.pack_into("!H", header, l4 + _CHECKSUM[layers.protocol], pseudo)
    m.prepend(len(header))
    m.copyback(0, header)
    _store_checksum(m, layers)
    m.pkthdr.csum_flags &= ~CSUM_OFFLOAD
    m.pkthdr.tso_segsz = 0


def _sum(data: bytearray) -> int:
    """The sum of 16-bit numbers in ones' complement, of RFC 1071: 2**16 is 1 modulo 2**16 - 1."""
    return int.from_bytes(data, "big") % 0xFFFF
