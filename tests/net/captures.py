"""Builds capture files, pcap and pcapng, byte by byte."""

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
"""Time, bytes and length on the wire. Times are whole microseconds, which every format can hold."""

Plain = tuple[int, bytes, int]


def pcap(packets: Iterable[Plain] = PACKETS, order: str = "<", kind: str = "micro", snaplen: int = 262144) -> bytes:
    """A classic capture of Ethernet frames."""
    return pcap_header(order, kind, snaplen) + b"".join(pcap_record(packet, order, kind) for packet in packets)


def pcap_header(
    order: str = "<", kind: str = "micro", snaplen: int = 262144, major: int = 2, linktype: int = 1
) -> bytes:
    return struct.pack(order + "IHHiIII", MAGICS[kind], major, 4, 0, 0, snaplen, linktype)


def pcap_record(packet: Plain, order: str = "<", kind: str = "micro", captured: int | None = None) -> bytes:
    """A record; `captured` is the captured length in its header, that of the bytes if None."""
    when, data, length = packet
    seconds, fraction = divmod(when, 1_000_000_000)
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
    """A block of any type; `first` and `last` are the two lengths in it, the true one if None."""
    body += bytes(-len(body) % 4)
    span = len(body) + 12
    head = struct.pack(order + "II", kind, span if first is None else first)
    return head + body + struct.pack(order + "I", span if last is None else last)


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
    packet: Plain, order: str = "<", number: int = 0, ticks: int | None = None, captured: int | None = None
) -> bytes:
    """An enhanced packet block; its time is in microseconds unless ticks are given."""
    when, data, length = packet
    ticks = when // 1000 if ticks is None else ticks
    captured = len(data) if captured is None else captured
    head = struct.pack(order + "5I", number, ticks >> 32, ticks & 0xFFFFFFFF, captured, length)
    return block(6, head + data, order)


def old(packet: Plain, order: str = "<", number: int = 0, drops: int = 0) -> bytes:
    when, data, length = packet
    ticks = when // 1000
    head = struct.pack(order + "HHIIII", number, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block(2, head + data, order)


def simple(data: bytes, length: int | None = None, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(data) if length is None else length) + data, order)


def plain(packets: Iterable[Packet]) -> Iterator[Plain]:
    """Packets with copies of their bytes in place of views."""
    return ((when, bytes(data), length) for when, data, length in packets)


def read(path: object) -> list[Plain]:
    """All packets of a valid file."""
    with Capture(str(path)) as capture:
        packets = list(plain(capture))
        assert capture.packets == len(packets)
        assert capture.position == capture.total or not capture.total
    return packets
