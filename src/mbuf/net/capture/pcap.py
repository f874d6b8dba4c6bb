"""The classic capture format, pcap: a file header, then a record for each packet. See pcap-savefile(5).

`Pcap` parses views of a file, which may end anywhere; it reads no file and copies no packet. `Records` is the interface
that it shares with other sources of packets. The fraction of a timestamp may be a second or more, as in libpcap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

#: The longest packet that is accepted if the file doesn't announce longer ones: libpcap's MAXIMUM_SNAPLEN.
MAX_SNAPLEN = 262144

#: The longest packet or block that is accepted, whatever the file announces, as in libpcap: bounds a view's memory.
MAX_BLOCK_SIZE = 16 << 20

#: By a file's first four bytes: byte order, nanoseconds in a unit of the fraction, bytes of a record's header. A header
#: of 24 bytes is that of the modified format of old Linux distributions.
MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16),
    b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24),
    b"\xa1\xb2\xcd\x34": (">", 1000, 24),
}

_HEADER_LEN = 24

#: The largest timestamp, in nanoseconds, that `Records` has: about the year 2116.
_MAX_TIMESTAMP = 1 << 62

#: (timestamp, data, length): nanoseconds since the epoch, the captured bytes, the length on the wire.
Packet = tuple[int, memoryview, int]


class FormatError(Exception):
    """The bytes at a reader's `offset` aren't valid. `Capture` raises it as a `CaptureError`, with path and offset."""


def max_captured(snaplen: int) -> int:
    """The longest captured length to accept in a file that announces this snaplen; 0 announces none."""
    return max(MAX_SNAPLEN, min(snaplen, MAX_BLOCK_SIZE))


class Records:
    """Packets one after the other, without an object for each. Call `step` until it returns False.

    After a `step` that returned True, `timestamp` (nanoseconds since the epoch) and `length` (on the wire) are those of
    the packet, and its captured bytes are `view[start : start + captured]`.
    """

    timestamp: int
    length: int
    captured: int
    start: int
    view: memoryview

    def step(self) -> bool:
        """Go to the next packet; False if there is none."""
        raise NotImplementedError


class IterableRecords(Records):
    """The packets of an iterable of `Packet`."""

    def __init__(self, packets: Iterable[Packet]) -> None:
        self._packets = iter(packets)
        self.start = 0

    def step(self) -> bool:
        """See Records."""
        packet = next(self._packets, None)
        if packet is None:
            return False
        timestamp, self.view, self.length = packet
        # pcapng has timestamps that don't fit into 64 bits.
        self.timestamp = max(min(timestamp, _MAX_TIMESTAMP), -_MAX_TIMESTAMP)
        self.captured = len(self.view)
        return True


class Pcap(Records):
    """A reader of one pcap file, which gets it view by view.

    Call `read_header` with views that begin at the start of the file until it returns True, then `scan` or `records`
    with one view after the other. After each call, `offset` is where the first byte that wasn't parsed is in the view,
    and `needed` how many bytes the next view must have, which begins there. `element` is what begins there: "file
    header" or "record". `packets` counts packets; it and `offset` are exact when no scan is under way.
    """

    format = "pcap"
    if TYPE_CHECKING:
        _bytes: memoryview

    def __init__(self) -> None:
        self.element = "file header"
        self.offset = 0
        self.needed = _HEADER_LEN
        self.packets = 0
        self.linktype: int | None = None

    def read_header(self, view: memoryview) -> bool:
        """Read the file header; False if it isn't whole in the view."""
        if len(view) < _HEADER_LEN:
            return False
        order, self._scale, self._record_header_len = MAGICS[bytes(view[:4])]
        major, minor, snaplen, linktype = Struct(order + "4xHH8xII").unpack_from(view)
        if major != 2:
            raise FormatError(f"pcap version {major}.{minor} is not supported")
        self._big_endian = order == ">"
        self._unpack = Struct(order + "IIII").unpack_from
        self._max_captured = max_captured(snaplen)
        # The bits above the link type are for the length of the frame check sequence.
        self.linktype = linktype & 0x03FFFFFF
        self.element = "record"
        self.offset = _HEADER_LEN
        self.needed = self._record_header_len
        return True

    def scan(self, view: memoryview) -> Iterator[Packet]:
        """Iterate over the packets of the records that are whole in the view."""
        self.set_view(view)
        while self.step():
            yield self.timestamp, view[self.start : self.start + self.captured], self.length

    def records(self, view: memoryview) -> Records:
        """Return the packets of the records that are whole in the view, for `step`."""
        self.set_view(view)
        return self

    def set_view(self, view: memoryview) -> None:
        """Parse this view from now on."""
        self.view = view
        self.offset = 0
        self._size = len(view)
        if cython.compiled:
            self._bytes = view

    def step(self) -> bool:
        """Go to the next record that is whole in the view; False if there is none."""
        start = self.offset + self._record_header_len
        if start > self._size:
            self.needed = self._record_header_len
            return False
        if cython.compiled:
            seconds = self._u32(self.offset)
            fraction = self._u32(self.offset + 4)
            captured = self._u32(self.offset + 8)
            length = self._u32(self.offset + 12)
        else:
            seconds, fraction, captured, length = self._unpack(self.view, self.offset)
        if captured > self._max_captured:
            raise FormatError(f"captured length {captured} is above {self._max_captured}")
        if captured > self._size - start:
            self.needed = self._record_header_len + captured
            return False
        self.timestamp = seconds * 1_000_000_000 + fraction * self._scale
        self.start = start
        self.captured = captured
        self.length = length
        self.offset = start + captured
        self.packets += 1
        return True

    def _u32(self, at: int) -> int:
        """The unsigned number in four bytes."""
        if self._big_endian:
            return self._bytes[at] << 24 | self._bytes[at + 1] << 16 | self._bytes[at + 2] << 8 | self._bytes[at + 3]
        return self._bytes[at + 3] << 24 | self._bytes[at + 2] << 16 | self._bytes[at + 1] << 8 | self._bytes[at]
