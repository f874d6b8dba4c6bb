"""The pcapng capture format: sections of blocks. See draft-ietf-opsawg-pcapng.

`Pcapng` parses views of a file, which may end anywhere; it reads no file and copies no packet. It reads section header
and interface description blocks and the three kinds of packet blocks, and skips all others. Each section has a byte
order and interfaces of its own; each interface has a link type, a snaplen and a resolution of its timestamps.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from mbuf.net.capture.pcap import (
    MAX_BLOCK_SIZE,
    MAX_SNAPLEN,
    FormatError,
    IterableRecords,
    Packet,
    Records,
    max_captured,
)

#: A file's first bytes: the type of a section header block, which is the same in either byte order.
MAGIC = b"\x0a\x0d\x0d\x0a"

#: Interfaces in a section, as many as an obsolete packet block can number: bounds their memory.
MAX_INTERFACES = 65536

# Block types.
_SECTION_HEADER = 0x0A0D0D0A
_INTERFACE_DESCRIPTION = 1
_OBSOLETE_PACKET = 2
_SIMPLE_PACKET = 3
_ENHANCED_PACKET = 6

#: The least total length of a block of each type, and of any block: type, total length, and total length again.
_MIN_LENGTH = {
    _SECTION_HEADER: 28,
    _INTERFACE_DESCRIPTION: 20,
    _OBSOLETE_PACKET: 32,
    _SIMPLE_PACKET: 16,
    _ENHANCED_PACKET: 32,
}
_MIN_BLOCK = 12

# Option codes.
_OPT_ENDOFOPT = 0
_IF_TSRESOL = 9
_IF_TSOFFSET = 14


class _ByteOrder:
    """The functions that unpack fields in one byte order."""

    def __init__(self, order: str) -> None:
        self.block = Struct(order + "II").unpack_from
        self.u32 = Struct(order + "I").unpack_from
        self.u16_pair = Struct(order + "HH").unpack_from
        self.interface = Struct(order + "8xHxxI").unpack_from
        self.i64 = Struct(order + "q").unpack_from
        self.packet = Struct(order + "7I").unpack_from


_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": _ByteOrder("<"), b"\x1a\x2b\x3c\x4d": _ByteOrder(">")}


class _Interface(NamedTuple):
    """How to read an interface's packets: nanoseconds = units * numerator // denominator + offset."""

    numerator: int
    denominator: int
    offset: int
    snaplen: int


class Pcapng:
    """A reader of one pcapng file, which gets it view by view.

    Used as `Pcap` is; here the header goes as far as the first interface, or the end of a file without one.
    """

    format = "pcapng"
    element = "block"

    def __init__(self) -> None:
        self.offset = 0
        self.needed = _MIN_BLOCK
        self.packets = 0
        self.linktype: int | None = None
        self._order = _ByteOrder("<")
        self._interfaces: list[_Interface] = []
        self._timestamp = 0

    def read_header(self, view: memoryview) -> bool:
        """Read the blocks up to the first interface; False if it isn't whole in the view."""
        self.offset = 0
        while self.linktype is None:
            size = self._block_size(view, self.offset)
            if not size:
                return False
            self._read_block(view, self.offset, size)
            self.offset += size
        self.needed = _MIN_BLOCK
        return True

    def records(self, view: memoryview) -> Records:
        """Return the packets of the blocks that are whole in the view, for `step`."""
        return IterableRecords(self.scan(view))

    def scan(self, view: memoryview) -> Iterator[Packet]:
        """Iterate over the packets of the blocks that are whole in the view."""
        self.offset = 0
        while True:
            yield from self._scan_enhanced(view)
            size = self._block_size(view, self.offset)
            if not size:
                return
            packet = self._read_block(view, self.offset, size)
            self.offset += size
            if packet:
                self._timestamp = packet[0]
                self.packets += 1
                yield packet

    def _scan_enhanced(self, view: memoryview) -> Iterator[Packet]:
        """Iterate over enhanced packet blocks, up to the first block of another type, or that needs a closer check."""
        unpack, u32, interfaces = self._order.packet, self._order.u32, self._interfaces
        view_size = len(view)
        last = view_size - 32
        at, packets, timestamp = self.offset, 0, self._timestamp
        try:
            while at <= last:
                kind, size, interface_id, high, low, captured, length = unpack(view, at)
                end = at + size
                if kind != _ENHANCED_PACKET or size & 3 or captured + 32 > size or size > MAX_SNAPLEN:
                    return
                if end > view_size or u32(view, end - 4)[0] != size or interface_id >= len(interfaces):
                    return
                numerator, denominator, offset, _ = interfaces[interface_id]
                timestamp = (high << 32 | low) * numerator // denominator + offset
                start = at + 28
                at = end
                packets += 1
                yield timestamp, view[start : start + captured], length
        finally:
            self.offset, self._timestamp = at, timestamp
            self.packets += packets

    def _block_size(self, view: memoryview, at: int) -> int:
        """The total length of the block at `at`, 0 if it isn't whole. Sets the byte order if a section begins there."""
        available = len(view) - at
        self.needed = _MIN_BLOCK
        if available < _MIN_BLOCK:
            return 0
        kind, size = self._order.block(view, at)
        if kind == _SECTION_HEADER:
            self._set_byte_order(bytes(view[at + 8 : at + 12]))
            kind, size = self._order.block(view, at)
        min_size = _MIN_LENGTH.get(kind, _MIN_BLOCK)
        if size < min_size or size & 3 or size > MAX_BLOCK_SIZE:
            raise FormatError(f"block length {size} is not a multiple of 4 from {min_size} to {MAX_BLOCK_SIZE}")
        self.needed = size
        if available < size:
            return 0
        at_end = self._order.u32(view, at + size - 4)[0]
        if at_end != size:
            raise FormatError(f"block length is {size} at its start, {at_end} at its end")
        return int(size)

    def _set_byte_order(self, magic: bytes) -> None:
        if magic not in _BYTE_ORDERS:
            raise FormatError(f"byte-order magic {magic.hex()} is unknown")
        self._order = _BYTE_ORDERS[magic]

    def _read_block(self, view: memoryview, at: int, size: int) -> Packet | None:
        """Read a whole block of any type; its packet, or None."""
        kind = self._order.block(view, at)[0]
        if kind == _SECTION_HEADER:
            self._read_section_header(view, at)
        elif kind == _INTERFACE_DESCRIPTION:
            self._read_interface(view, at, size)
        elif kind == _SIMPLE_PACKET:
            return self._read_simple_packet(view, at, size)
        elif kind in (_ENHANCED_PACKET, _OBSOLETE_PACKET):
            return self._read_packet(view, at, size)
        return None

    def _read_section_header(self, view: memoryview, at: int) -> None:
        """Begin a section; the interfaces of the previous one are forgotten."""
        major, minor = self._order.u16_pair(view, at + 12)
        if major != 1:
            raise FormatError(f"pcapng version {major}.{minor} is not supported")
        self._interfaces = []

    def _read_interface(self, view: memoryview, at: int, size: int) -> None:
        """Add an interface. Its timestamps are in microseconds unless an option has another resolution."""
        linktype, snaplen = self._order.interface(view, at)
        numerator, denominator, offset = 1000, 1, 0
        for code, value in self._options(view, at + 16, at + size - 4):
            if code == _IF_TSRESOL:
                numerator, denominator = _resolution(_checked_size(value, 1, "if_tsresol")[0])
            elif code == _IF_TSOFFSET:
                offset = self._order.i64(_checked_size(value, 8, "if_tsoffset"))[0] * 1_000_000_000
        if len(self._interfaces) == MAX_INTERFACES:
            raise FormatError(f"more than {MAX_INTERFACES} interfaces in a section")
        self._interfaces.append(_Interface(numerator, denominator, offset, snaplen))
        if self.linktype is None:
            self.linktype = linktype

    def _options(self, view: memoryview, at: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """Iterate over code and value of the options from `at` on."""
        while at + 4 <= end:
            code, size = self._order.u16_pair(view, at)
            if code == _OPT_ENDOFOPT:
                return
            if at + 4 + size > end:
                raise FormatError(f"option {code} of {size} bytes runs past its block")
            yield code, view[at + 4 : at + 4 + size]
            at += 4 + (size + 3 & ~3)

    def _read_packet(self, view: memoryview, at: int, size: int) -> Packet:
        """The packet of an enhanced or an obsolete packet block."""
        kind, _, interface_id, high, low, captured, length = self._order.packet(view, at)
        if kind == _OBSOLETE_PACKET:
            # The other 16 bits count packets that were dropped.
            interface_id = self._order.u16_pair(view, at + 8)[0]
        interface = self._interface_of(interface_id)
        _check_captured(captured, interface, size - 32)
        timestamp = (high << 32 | low) * interface.numerator // interface.denominator + interface.offset
        return timestamp, view[at + 28 : at + 28 + captured], length

    def _read_simple_packet(self, view: memoryview, at: int, size: int) -> Packet:
        """The packet of a simple packet block, which has no timestamp: it gets that of the previous packet."""
        length = self._order.u32(view, at + 8)[0]
        interface = self._interface_of(0)
        captured = min(length, interface.snaplen or length)
        _check_captured(captured, interface, size - 16)
        return self._timestamp, view[at + 12 : at + 12 + captured], length

    def _interface_of(self, interface_id: int) -> _Interface:
        if interface_id >= len(self._interfaces):
            raise FormatError(f"interface {interface_id} is not described")
        return self._interfaces[interface_id]


def _check_captured(captured: int, interface: _Interface, room: int) -> None:
    """Refuse a captured length that can't be right in a block with `room` bytes for the packet."""
    if captured > room:
        raise FormatError(f"captured length {captured} is above the {room} bytes of its block")
    longest = max_captured(interface.snaplen)
    if captured > longest:
        raise FormatError(f"captured length {captured} is above {longest}")


def _resolution(value: int) -> tuple[int, int]:
    """Nanoseconds in a unit of a timestamp, as a fraction. `value` is that of the option if_tsresol."""
    exponent = value & 0x7F
    if value & 0x80:
        return 1_000_000_000, 1 << exponent
    if exponent <= 9:
        return 10 ** (9 - exponent), 1
    return 1, 10 ** (exponent - 9)


def _checked_size(value: memoryview, size: int, name: str) -> memoryview:
    """Return the value of an option if it has the right size."""
    if len(value) != size:
        raise FormatError(f"{name} has a length of {len(value)}, not {size}")
    return value
