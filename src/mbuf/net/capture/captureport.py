"""Capture files as ports: `CapturePort` gives the packets of a file, `CaptureWriter` writes packets to a file."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from mbuf.const import M_PKTHDR, M_TSTMP
from mbuf.errors import CaptureError, Inval, MbufError, NoBufs, NoMemory, NotSupported
from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import MAX_SNAPLEN, Packet
from mbuf.net.link.vlan import frame_views
from mbuf.net.linux import IOV_MAX
from mbuf.net.port.base import BasePort
from mbuf.net.port.rules import check_ready, check_untagged, free_sent
from mbuf.net.sockets import check_pool
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: The magic number of a file with timestamps in nanoseconds, the file header and a record's header, in this machine's
#: byte order. See pcap-savefile(5).
_MAGIC = 0xA1B23C4D
#: The link type of Ethernet frames.
LINKTYPE_ETHERNET = 1

_FILE_HEADER = struct.Struct("=IHHiIII")
_RECORD_HEADER = struct.Struct("=IIII")

#: The tag of a packet that was cut when it was captured: its module, and its kind. The value is the length on the wire.
_MTAG_CAPTURE = 1764547200
_WIRE_LENGTH = 1

#: Blocks of pcapng: the section, the interface with timestamps in nanoseconds, and the head of a packet.
_SECTION = struct.pack("=IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
_INTERFACE = struct.Struct("=IIHHIHHB3xHHI")
_PACKET = struct.Struct("=IIIIIII")
_PACKET_TAIL = 4


class CapturePort(BasePort):
    """A port that gives the packets of a capture file, pcap or pcapng, as fast as they are pulled.

    The file at `path` stays open until `close`. The packets come from `pool` and belong to the caller of `pull`; their
    bytes are copied from the file. `m.pkthdr.rcv_tstmp` is the timestamp in nanoseconds since the epoch (M_TSTMP), and
    `wire_length(m)` the length of the packet before it was cut to the snaplen of the capture. `ended` is True when all
    packets were pulled. If the pool has no memory, `pull` returns fewer packets, and the next call continues. Raises
    the errors of `Capture` (`CaptureError`, `OSError`), after all packets before the error. `push` raises
    `NotSupported`.
    """

    def __init__(self, pool: Pool, path: str | os.PathLike[str]) -> None:
        check_pool("CapturePort", pool)
        super().__init__()
        self._pool = pool
        #: The capture that is read.
        self.capture = Capture(path)
        self._packets: Iterator[Packet] = iter(self.capture)
        self._next: Packet | None = None
        self._error: CaptureError | OSError | None = None
        self.ended = False

    def pull(self, n: int) -> list[Mbuf]:
        count = self._begin_pull(n)
        packets: list[Mbuf] = []
        with self._pull_lock:
            try:
                while len(packets) < count and self._has_next():
                    packets.append(self._build())
            except (NoBufs, NoMemory):
                self._count(short=1)
            except (CaptureError, OSError) as error:
                self._error = error
            if self._error is not None and not packets:
                raise self._error
            return self._count_pulled(packets)

    def push(self, packets: list[Mbuf]) -> int:
        raise NotSupported("push: a CapturePort only gives packets: push them to a CaptureWriter")

    def close(self) -> None:
        super().close()
        self._next = None
        self.capture.close()

    def _has_next(self) -> bool:
        """Read the next packet into `_next`, unless one is there; False if there is none."""
        if self._next is None and self._error is None:
            self._next = next(self._packets, None)
            self.ended = self._next is None
        return self._next is not None

    def _build(self) -> Mbuf:
        """Return `_next` as an mbuf. If the pool has no memory, it stays there."""
        assert self._next is not None
        timestamp, view, length = self._next
        m = self._pool.frombytes(view)
        m.pkthdr.rcv_tstmp = max(timestamp, 0)
        m.flags |= M_TSTMP
        if length > len(view):
            m.tag_prepend(self._pool.tag_alloc(_MTAG_CAPTURE, _WIRE_LENGTH, length))
        self._next = None
        return m


def wire_length(m: Mbuf) -> int:
    """Return the bytes that a packet of a `CapturePort` had on the wire; of any other, the bytes that it has.

    If the packet was cut when it was captured, the number is in a tag, which copies of the packet have, too.
    """
    tag = m.tag_locate(_MTAG_CAPTURE, _WIRE_LENGTH) if m.flags & M_PKTHDR else None
    return len(m) if tag is None else int(tag.value)


class CaptureWriter(BasePort):
    """A port that writes the packets pushed to it to a capture file, with timestamps in nanoseconds.

    The file at `path` is made, or overwritten, and stays open until `close`. Its format is pcap, or with `pcapng` that
    of pcapng, which newer programs write. `linktype` is the LINKTYPE_ number of what the packets begin with: 1 is
    Ethernet, 101 an IP header. An Ethernet frame that is M_VLANTAG is written with its tag; `push` raises `Inval` for
    it with another link type. Of each packet at most `snaplen` bytes are written; its length is recorded, or its
    `wire_length` if that is larger. Its timestamp is `rcv_tstmp` if it has one (M_TSTMP), else the time when it is
    written. `push` frees the packets that it has written, and removes them from the list. The bytes are written from
    their mbufs (from a copy if the packet is truncated), and nothing is buffered in this process. Raises `OSError` if
    the file can't be written: then a regular file has whole records only (a pipe may have got a part of one), and the
    other packets still belong to the caller. `pull` raises `NotSupported`.
    """

    def __init__(
        self, path: str | os.PathLike[str], linktype: int = 1, snaplen: int = MAX_SNAPLEN, pcapng: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= integer(linktype, "linktype") < 1 << 16:
            raise Inval(f"linktype {linktype}: give a LINKTYPE_ number from 0 to 65535")
        if not 0 < integer(snaplen, "snaplen") <= MAX_SNAPLEN:
            raise Inval(f"snaplen {snaplen}: give 1 to {MAX_SNAPLEN} bytes")
        self.snaplen = snaplen
        self._linktype = linktype
        self._pcapng = pcapng
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._size = 0
        if pcapng:
            header = _SECTION + _INTERFACE.pack(1, 32, linktype, 0, snaplen, 9, 1, 9, 0, 0, 32)
        else:
            header = _FILE_HEADER.pack(_MAGIC, 2, 4, 0, 0, snaplen, linktype)
        try:
            self._write([memoryview(header)])
        except BaseException:
            os.close(self._fd)
            raise

    def pull(self, n: int) -> list[Mbuf]:
        raise NotSupported("pull: a CaptureWriter only takes packets: pull them from a CapturePort")

    def push(self, packets: list[Mbuf]) -> int:
        offered = self._begin_push(packets)
        with self._push_lock:
            return self._write_packets(offered, packets)

    def close(self) -> None:
        if not self.closed:
            super().close()
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _write_packets(self, offered: Iterator[Mbuf], packets: list[Mbuf]) -> int:
        """Write packets, and free those written; how many. An error is raised after that."""
        written = 0
        sizes: list[int] = []
        buffers: list[memoryview] = []
        record: list[memoryview] = []
        refused: MbufError | None = None
        try:
            try:
                for m in offered:
                    check_ready("push", m)
                    record, length = self._record(m)
                    if buffers and len(buffers) + len(record) > IOV_MAX:
                        self._write(buffers)
                        written, buffers = len(sizes), []
                    buffers += record
                    sizes.append(length)
            except MbufError as error:
                # First the packets before this one are written.
                refused = error
            self._write(buffers)
            written = len(sizes)
        finally:
            # A traceback must not keep references to the mbufs' memory.
            buffers.clear()
            record.clear()
            self._count(packets_out=written, bytes_out=sum(sizes[:written]))
            free_sent(packets, written)
        if refused is not None:
            raise refused
        return written

    def _record(self, m: Mbuf) -> tuple[list[memoryview], int]:
        """Return a packet's record as a list of buffers, and the bytes of the packet."""
        if self._linktype != LINKTYPE_ETHERNET:
            check_untagged(m)
        views = frame_views(m)
        whole = sum(map(len, views))
        length = max(whole, wire_length(m))
        captured = min(whole, self.snaplen)
        timestamp = m.pkthdr.rcv_tstmp if m.flags & M_TSTMP else time.time_ns()
        if captured < whole or len(views) >= IOV_MAX - 1:
            views = [memoryview(b"".join(views)[:captured])]
        if not self._pcapng:
            seconds, fraction = divmod(timestamp, 10**9)
            header = _RECORD_HEADER.pack(seconds & 0xFFFFFFFF, fraction, captured, length)
            return [memoryview(header), *views], whole
        padding = -captured % 4
        size = _PACKET.size + captured + padding + _PACKET_TAIL
        header = _PACKET.pack(6, size, 0, timestamp >> 32, timestamp & 0xFFFFFFFF, captured, length)
        return [memoryview(header), *views, memoryview(bytes(padding) + struct.pack("=I", size))], whole

    def _write(self, buffers: list[memoryview]) -> None:
        """Write all buffers, or none: after an error a regular file is as it was."""
        self._count(calls_out=1)
        total = sum(map(len, buffers))
        try:
            written = os.writev(self._fd, buffers) if total else 0
            if written < total:
                rest = memoryview(b"".join(buffers))[written:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except BaseException:
            # Raise the error of the write: a pipe has no position, and only a regular file can be truncated.
            with suppress(OSError):
                os.lseek(self._fd, self._size, os.SEEK_SET)
                os.ftruncate(self._fd, self._size)
            raise
        self._size += total
