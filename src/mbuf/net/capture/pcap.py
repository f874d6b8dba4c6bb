"""The classic capture format: a file header, then records.

Parses the views it's handed, which may end anywhere; reads no file and copies no packet.
See pcap-savefile(5). A time's fraction may be a second or more, as libpcap lets it be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

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
_MOST = 1 << 62

Packet = tuple[int, memoryview, int]
"""Nanoseconds since the epoch, the bytes captured, the length on the wire."""


class Fault(Exception):
    """What is wrong with the bytes at a reader's `at`; whoever knows the file names it."""


def longest(snaplen: int) -> int:
    """The longest captured length to believe, given the snaplen announced (0: none)."""
    return max(MAXIMUM_SNAPLEN, min(snaplen, MAXIMUM_BLOCK))


class Records:
    """Packets one by one, without an object for each: what a loop in a hurry wants.

    `when` and `length` tell of the packet that `step` went to; its bytes are the `captured` ones from `start`
    of `view`.
    """

    when: int
    length: int
    captured: int
    start: int
    view: memoryview

    def step(self) -> bool:
        """Go on to the next packet; False if there is none."""
        raise NotImplementedError


class Listed(Records):
    """The packets of an iterable."""

    def __init__(self, packets: Iterable[Packet]) -> None:
        self._packets = iter(packets)
        self.start = 0

    def step(self) -> bool:
        """See Records."""
        packet = next(self._packets, None)
        if packet is None:
            return False
        when, self.view, self.length = packet
        # pcapng can say times that no clock has room for.
        self.when = max(min(when, _MOST), -_MOST)
        self.captured = len(self.view)
        return True


class Pcap(Records):
    """One pass over a classic capture, handed to it view by view.

    Make one per pass; `prepare` it with a view from the start of the file, then `scan`. Whenever one of
    these is done, the next view has to begin at `at` of the last and to hold `need` bytes or more.
    `packets` counts those yielded, and like `at` is exact whenever no scan is under way.
    """

    format = "pcap"
    if TYPE_CHECKING:
        _bytes: memoryview

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
        self._big = order == ">"
        self._unpack = Struct(order + "IIII").unpack_from
        self._longest = longest(snaplen)
        self.linktype = linktype & 0x03FFFFFF  # above it: the length of the frame check sequence
        self.unit = "record"
        self.at = _HEADER
        self.need = self._head
        return True

    def scan(self, view: memoryview) -> Iterator[Packet]:
        """Yield the packets of the records that are whole in view."""
        self.look(view)
        while self.step():
            yield self.when, view[self.start : self.start + self.captured], self.length

    def records(self, view: memoryview) -> Records:
        """The packets of the records that are whole in view, to be stepped through."""
        self.look(view)
        return self

    def look(self, view: memoryview) -> None:
        """Turn to a view, for `step` to go through."""
        self.view = view
        self.at = 0
        self._size = len(view)
        if cython.compiled:
            self._bytes = view

    def step(self) -> bool:
        """Go on to the next record that is whole in view; False if there is none."""
        start = self.at + self._head
        if start > self._size:
            self.need = self._head
            return False
        if cython.compiled:
            seconds = self._word(self.at)
            fraction = self._word(self.at + 4)
            captured = self._word(self.at + 8)
            length = self._word(self.at + 12)
        else:
            seconds, fraction, captured, length = self._unpack(self.view, self.at)
        if captured > self._longest:
            raise Fault(f"captured length {captured} is above {self._longest}")
        if captured > self._size - start:
            self.need = self._head + captured
            return False
        self.when = seconds * 1_000_000_000 + fraction * self._scale
        self.start = start
        self.captured = captured
        self.length = length
        self.at = start + captured
        self.packets += 1
        return True

    def _word(self, at: int) -> int:
        """The unsigned number in four bytes."""
        if self._big:
            return self._bytes[at] << 24 | self._bytes[at + 1] << 16 | self._bytes[at + 2] << 8 | self._bytes[at + 3]
        return self._bytes[at + 3] << 24 | self._bytes[at + 2] << 16 | self._bytes[at + 1] << 8 | self._bytes[at]
