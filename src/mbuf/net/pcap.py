"""The classic capture format: a file header, then records.

Parses the views it's handed, which may end anywhere; reads no file and copies no packet.
See pcap-savefile(5). A time's fraction may be a second or more, as libpcap lets it be.
"""

from collections.abc import Iterator
from struct import Struct

MAXIMUM_SNAPLEN = 262144
"""The longest packet where the capture doesn't announce longer ones: libpcap's bound of the same name."""

MAXIMUM_BLOCK = 16 << 20
"""The longest packet or block whatever is announced, as in libpcap's pcapng: bounds a stream's window."""

MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16),
    b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24),
    b"\xa1\xb2\xcd\x34": (">", 1000, 24),
}
"""By a file's first bytes: byte order, nanoseconds to a fraction, a record's header (24: modified)."""

_HEADER = 24

Packet = tuple[int, memoryview, int]
"""Nanoseconds since the epoch, the bytes captured, the length on the wire."""


class Fault(Exception):
    """What is wrong with the bytes at a reader's `at`; whoever knows the file names it."""


def longest(snaplen: int) -> int:
    """The longest captured length to believe, given the snaplen announced (0: none)."""
    return max(MAXIMUM_SNAPLEN, min(snaplen, MAXIMUM_BLOCK))


class Pcap:
    """One pass over a classic capture, handed to it view by view.

    Make one per pass; `prepare` it with a view from the start of the file, then `scan`. Whenever one of
    these is done, the next view has to begin at `at` of the last and to hold `need` bytes or more.
    `packets` counts those yielded, and like `at` is exact whenever no scan is under way.
    """

    format = "pcap"

    def __init__(self) -> None:
        self.unit = "file header"
        self.at = 0
        self.need = _HEADER
        self.packets = 0
        self.linktype: int | None = None

    def prepare(self, view: memoryview) -> bool:
        """Take in the file header; False if more of it is needed."""
        if len(view) < _HEADER:
            return False
        order, self._scale, self._head = MAGICS[bytes(view[:4])]
        major, minor, snaplen, linktype = Struct(order + "4xHH8xII").unpack_from(view)
        if major != 2:
            raise Fault(f"pcap version {major}.{minor} is not known")
        self._unpack = Struct(order + "IIII").unpack_from
        self._longest = longest(snaplen)
        self.linktype = linktype & 0x03FFFFFF  # above it: the length of the frame check sequence
        self.unit = "record"
        self.at = _HEADER
        self.need = self._head
        return True

    def scan(self, view: memoryview) -> Iterator[Packet]:
        """Yield the packets of the records that are whole in view."""
        unpack, scale, head, longest = self._unpack, self._scale, self._head, self._longest
        size = len(view)
        last = size - head
        at = packets = 0
        self.need = head
        try:
            while at <= last:
                seconds, fraction, captured, length = unpack(view, at)
                start = at + head
                end = start + captured
                if captured > longest:
                    raise Fault(f"captured length {captured} is above {longest}")
                if end > size:
                    self.need = head + captured
                    return
                at = end
                packets += 1
                yield seconds * 1_000_000_000 + fraction * scale, view[start:end], length
        finally:
            self.at = at
            self.packets += packets
