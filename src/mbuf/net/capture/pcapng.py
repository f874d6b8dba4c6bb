"""The pcapng capture format: sections of blocks.

Parses the views it's handed, which may end anywhere; reads no file and copies no packet.
Knows sections, interfaces and the three kinds of packet block, and steps over all others.
See draft-ietf-opsawg-pcapng.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from mbuf.net.capture.pcap import MAXIMUM_BLOCK, MAXIMUM_SNAPLEN, Fault, Listed, Packet, Records, longest

MAGIC = b"\x0a\x0d\x0d\x0a"
"""A file's first bytes: the type of a section's header, the same in either byte order."""

MAXIMUM_INTERFACES = 65536
"""Interfaces in a section: as many as the old packet block can number; stops a file of nothing else."""

_SECTION = 0x0A0D0D0A
_INTERFACE = 1
_OLD = 2
_SIMPLE = 3
_ENHANCED = 6

_LEAST = {_SECTION: 28, _INTERFACE: 20, _OLD: 32, _SIMPLE: 16, _ENHANCED: 32}
_FRAME = 12  # type, length and length again: the least of any block

_END_OF_OPTIONS = 0
_TSRESOL = 9
_TSOFFSET = 14


class _Layout:
    """What unpacks the fields of a byte order."""

    def __init__(self, order: str) -> None:
        self.block = Struct(order + "II").unpack_from
        self.word = Struct(order + "I").unpack_from
        self.pair = Struct(order + "HH").unpack_from
        self.interface = Struct(order + "8xHxxI").unpack_from
        self.seconds = Struct(order + "q").unpack_from
        self.packet = Struct(order + "7I").unpack_from


_LAYOUTS = {b"\x4d\x3c\x2b\x1a": _Layout("<"), b"\x1a\x2b\x3c\x4d": _Layout(">")}


class _Interface(NamedTuple):
    """How to read its packets: nanoseconds are ticks * up // down + offset."""

    up: int
    down: int
    offset: int
    snaplen: int


class Pcapng:
    """One pass over a pcapng capture, handed to it view by view.

    Used as `Pcap` is; here `prepare` goes as far as the first interface, or the end of a file without one.
    """

    format = "pcapng"
    unit = "block"

    def __init__(self) -> None:
        self.at = 0
        self.need = _FRAME
        self.packets = 0
        self.linktype: int | None = None
        self._layout = _Layout("<")
        self._interfaces: list[_Interface] = []
        self._when = 0

    def prepare(self, view: memoryview) -> bool:
        """Take in the blocks up to the first interface; False if more of them is needed."""
        self.at = 0
        while self.linktype is None:
            span = self._measure(view, self.at)
            if not span:
                return False
            self._take(view, self.at, span)
            self.at += span
        self.need = _FRAME
        return True

    def records(self, view: memoryview) -> Records:
        """The packets of the blocks that are whole in view, to be stepped through."""
        return Listed(self.scan(view))

    def scan(self, view: memoryview) -> Iterator[Packet]:
        """Yield the packets of the blocks that are whole in view."""
        self.at = 0
        while True:
            yield from self._run(view)
            span = self._measure(view, self.at)
            if not span:
                return
            packet = self._take(view, self.at, span)
            self.at += span
            if packet:
                self._when = packet[0]
                self.packets += 1
                yield packet

    def _run(self, view: memoryview) -> Iterator[Packet]:
        """Yield the packets of a run of enhanced packet blocks, up to the first that needs a closer look."""
        unpack, word, interfaces = self._layout.packet, self._layout.word, self._interfaces
        size = len(view)
        last = size - 32
        at, packets, when = self.at, 0, self._when
        try:
            while at <= last:
                kind, span, number, high, low, captured, length = unpack(view, at)
                end = at + span
                if kind != _ENHANCED or span & 3 or captured + 32 > span or span > MAXIMUM_SNAPLEN:
                    return
                if end > size or word(view, end - 4)[0] != span or number >= len(interfaces):
                    return
                up, down, offset, _ = interfaces[number]
                when = (high << 32 | low) * up // down + offset
                start = at + 28
                at = end
                packets += 1
                yield when, view[start : start + captured], length
        finally:
            self.at, self._when = at, when
            self.packets += packets

    def _measure(self, view: memoryview, at: int) -> int:
        """The length of the block at `at`, or 0 if it isn't whole; turns to the byte order of a section."""
        have = len(view) - at
        self.need = _FRAME
        if have < _FRAME:
            return 0
        kind, span = self._layout.block(view, at)
        if kind == _SECTION:
            self._turn(bytes(view[at + 8 : at + 12]))
            kind, span = self._layout.block(view, at)
        least = _LEAST.get(kind, _FRAME)
        if span < least or span & 3 or span > MAXIMUM_BLOCK:
            raise Fault(f"block length {span} is not a multiple of 4 from {least} to {MAXIMUM_BLOCK}")
        self.need = span
        if have < span:
            return 0
        again = self._layout.word(view, at + span - 4)[0]
        if again != span:
            raise Fault(f"block length is {span} at its start, {again} at its end")
        return int(span)

    def _turn(self, magic: bytes) -> None:
        """Read on in the byte order that a section's magic tells."""
        if magic not in _LAYOUTS:
            raise Fault(f"byte-order magic {magic.hex()} is not known")
        self._layout = _LAYOUTS[magic]

    def _take(self, view: memoryview, at: int, span: int) -> Packet | None:
        """Take in one whole block of any kind: its packet, or None."""
        kind = self._layout.block(view, at)[0]
        if kind == _SECTION:
            self._section(view, at)
        elif kind == _INTERFACE:
            self._interface(view, at, span)
        elif kind == _SIMPLE:
            return self._simple(view, at, span)
        elif kind in (_ENHANCED, _OLD):
            return self._packet(view, at, span)
        return None

    def _section(self, view: memoryview, at: int) -> None:
        """Begin a section: the interfaces of the one before are gone."""
        major, minor = self._layout.pair(view, at + 12)
        if major != 1:
            raise Fault(f"pcapng version {major}.{minor} is not known")
        self._interfaces = []

    def _interface(self, view: memoryview, at: int, span: int) -> None:
        """Add an interface; its times are microseconds unless an option says otherwise."""
        linktype, snaplen = self._layout.interface(view, at)
        up, down, offset = 1000, 1, 0
        for code, value in self._options(view, at + 16, at + span - 4):
            if code == _TSRESOL:
                up, down = _resolution(_sized(value, 1, "if_tsresol")[0])
            elif code == _TSOFFSET:
                offset = self._layout.seconds(_sized(value, 8, "if_tsoffset"))[0] * 1_000_000_000
        if len(self._interfaces) == MAXIMUM_INTERFACES:
            raise Fault(f"more than {MAXIMUM_INTERFACES} interfaces in a section")
        self._interfaces.append(_Interface(up, down, offset, snaplen))
        if self.linktype is None:
            self.linktype = linktype

    def _options(self, view: memoryview, at: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """Yield code and value of the options from `at`."""
        while at + 4 <= end:
            code, size = self._layout.pair(view, at)
            if code == _END_OF_OPTIONS:
                return
            if at + 4 + size > end:
                raise Fault(f"option {code} of {size} bytes runs past its block")
            yield code, view[at + 4 : at + 4 + size]
            at += 4 + (size + 3 & ~3)

    def _packet(self, view: memoryview, at: int, span: int) -> Packet:
        """The packet of an enhanced or an old packet block."""
        kind, _, number, high, low, captured, length = self._layout.packet(view, at)
        if kind == _OLD:
            number = self._layout.pair(view, at + 8)[0]  # the other half counts drops
        interface = self._numbered(number)
        self._fits(captured, interface, span - 32)
        when = (high << 32 | low) * interface.up // interface.down + interface.offset
        return when, view[at + 28 : at + 28 + captured], length

    def _simple(self, view: memoryview, at: int, span: int) -> Packet:
        """The packet of a simple packet block: it has no time, so takes that of the packet before."""
        length = self._layout.word(view, at + 8)[0]
        interface = self._numbered(0)
        captured = min(length, interface.snaplen or length)
        self._fits(captured, interface, span - 16)
        return self._when, view[at + 12 : at + 12 + captured], length

    def _numbered(self, number: int) -> _Interface:
        """The interface of that number in this section."""
        if number >= len(self._interfaces):
            raise Fault(f"interface {number} is not described")
        return self._interfaces[number]

    def _fits(self, captured: int, interface: _Interface, room: int) -> None:
        """Refuse a captured length that can't be."""
        if captured > room:
            raise Fault(f"captured length {captured} is above the {room} bytes of its block")
        most = longest(interface.snaplen)
        if captured > most:
            raise Fault(f"captured length {captured} is above {most}")


def _resolution(value: int) -> tuple[int, int]:
    """Nanoseconds to a tick, as a fraction."""
    exponent = value & 0x7F
    if value & 0x80:
        return 1_000_000_000, 1 << exponent
    if exponent <= 9:
        return 10 ** (9 - exponent), 1
    return 1, 10 ** (exponent - 9)


def _sized(value: memoryview, size: int, name: str) -> memoryview:
    """The option's value, if it's as long as it must be."""
    if len(value) != size:
        raise Fault(f"{name} has a length of {len(value)}, not {size}")
    return value
