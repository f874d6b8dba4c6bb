"""Builds captures byte by byte, and reads them."""

import struct
from collections.abc import Iterable, Iterator

from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import Packet

MAGICS = {"micro": 0xA1B2C3D4, "nano": 0xA1B23C4D, "modified": 0xA1B2CD34}
PACKETS = [
    (1_700_000_000_123_456_000, b"one", 3),
    (1_700_000_001_000_001_000, b"", 60),
    (1_700_000_001_000_002_000, b"three!!", 1500),
    (1_600_000_000_999_999_000, bytes(range(256)), 256),
]
"""Timestamp, bytes and length on the wire. Whole microseconds, which every format can express."""

Plain = tuple[int, bytes, int]


def pcap(packets: Iterable[Plain] = PACKETS, order: str = "<", kind: str = "micro", snaplen: int = 262144) -> bytes:
    """A pcap file of Ethernet frames."""
    return pcap_header(order, kind, snaplen) + b"".join(pcap_record(packet, order, kind) for packet in packets)


def pcap_header(
    order: str = "<", kind: str = "micro", snaplen: int = 262144, major: int = 2, linktype: int = 1
) -> bytes:
    return struct.pack(order + "IHHiIII", MAGICS[kind], major, 4, 0, 0, snaplen, linktype)


def pcap_record(packet: Plain, order: str = "<", kind: str = "micro", captured: int | None = None) -> bytes:
    """A record; `captured` is the captured length that it announces."""
    timestamp, data, length = packet
    seconds, fraction = divmod(timestamp, 1_000_000_000)
    if kind != "nano":
        fraction //= 1000
    if captured is None:
        captured = len(data)
    extra = bytes(8) if kind == "modified" else b""
    return struct.pack(order + "IIII", seconds, fraction, captured, length) + extra + data


def pcapng(packets: Iterable[Plain] = PACKETS, order: str = "<") -> bytes:
    """A section with one interface and an enhanced packet block for each packet."""
    return section(order) + interface(order) + b"".join(enhanced(packet, order) for packet in packets)


def block(kind: int, body: bytes, order: str = "<", first: int | None = None, last: int | None = None) -> bytes:
    """A block; `first` and `last` are the total lengths that it announces at its start and at its end."""
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    header = struct.pack(order + "II", kind, size if first is None else first)
    return header + body + struct.pack(order + "I", size if last is None else last)


def section(order: str = "<", major: int = 1, magic: int = 0x1A2B3C4D) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", magic, major, 0, -1), order)


def interface(order: str = "<", linktype: int = 1, snaplen: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", linktype, 0, snaplen) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def resolution(value: int, order: str = "<") -> bytes:
    """An if_tsresol option, and the end of options."""
    return option(9, bytes([value]), order) + option(0, b"", order)


def enhanced(
    packet: Plain, order: str = "<", interface_id: int = 0, units: int | None = None, captured: int | None = None
) -> bytes:
    """An enhanced packet block; its timestamp is in microseconds unless `units` are given."""
    timestamp, data, length = packet
    units = timestamp // 1000 if units is None else units
    captured = len(data) if captured is None else captured
    header = struct.pack(order + "5I", interface_id, units >> 32, units & 0xFFFFFFFF, captured, length)
    return block(6, header + data, order)


def obsolete(packet: Plain, order: str = "<", interface_id: int = 0, drops: int = 0) -> bytes:
    timestamp, data, length = packet
    units = timestamp // 1000
    header = struct.pack(order + "HHIIII", interface_id, drops, units >> 32, units & 0xFFFFFFFF, len(data), length)
    return block(2, header + data, order)


def simple(data: bytes, length: int | None = None, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(data) if length is None else length) + data, order)


def plain(packets: Iterable[Packet]) -> Iterator[Plain]:
    """Iterate over packets whose views are replaced by copies of their bytes."""
    return ((timestamp, bytes(data), length) for timestamp, data, length in packets)


def read(path: object) -> list[Plain]:
    """Return all packets of a valid file."""
    with Capture(str(path)) as capture:
        packets = list(plain(capture))
        assert capture.packets == len(packets)
        assert capture.position == capture.size or not capture.size
    return packets
