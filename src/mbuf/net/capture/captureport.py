"""Capture files as ports: one to pull packets from, one to push packets into."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbuf.const import M_TSTMP
from mbuf.errors import CaptureError, Inval, NoBufs, NoMemory, NotSupported
from mbuf.net.capture.capture import Capture
from mbuf.net.capture.pcap import Packet
from mbuf.net.port.base import BasePort
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    from mbuf.packet.mbuf import Mbuf
    from mbuf.pool.pool import Pool

#: The header of a file with times in nanoseconds, and that of a record. See pcap-savefile(5).
_MAGIC = 0xA1B23C4D
_FILE = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
#: Bytes of the longest packet that every reader takes.
SNAPLEN = 262144
#: Pieces of one write: Linux takes 1024 in a call.
PIECES = 1000


class CapturePort(BasePort):
    """The packets of a capture file, pcap or pcapng, as fast as they are pulled.

    Each has its time as `m.pkthdr.rcv_tstmp` (M_TSTMP). `ended` is true when all were pulled. What is wrong with the
    file is raised as `Capture` raises it, after the packets before that were given. Nothing can be pushed.
    """

    def __init__(self, pool: Pool, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._pool = pool
        self.capture = Capture(path)
        self._packets: Iterator[Packet] = iter(self.capture)
        self._next: Packet | None = None
        self._error: CaptureError | OSError | None = None
        self.ended = False

    def pull(self, n: int) -> list[Mbuf]:
        most = self._begin_pull(n)
        packets: list[Mbuf] = []
        try:
            while len(packets) < most and self._read():
                packets.append(self._take())
        except (NoBufs, NoMemory):
            self._count(short=1)
        except (CaptureError, OSError) as error:
            self._error = error
        if self._error is not None and not packets:
            raise self._error
        return self._count_pulled(packets)

    def push(self, packets: list[Mbuf]) -> int:
        raise NotSupported("push: a capture that is read takes no packets: push them to a CaptureWriter")

    def close(self) -> None:
        super().close()
        self._next = None
        self.capture.close()

    def _read(self) -> bool:
        """Have the next packet at hand; false if there is none."""
        if self._next is None and self._error is None:
            self._next = next(self._packets, None)
            self.ended = self._next is None
        return self._next is not None

    def _take(self) -> Mbuf:
        """The packet at hand; it stays there if the pool refuses."""
        assert self._next is not None
        when, view, _ = self._next
        m = self._pool.frombytes(view)
        m.pkthdr.rcv_tstmp = max(when, 0)
        m.flags |= M_TSTMP
        self._next = None
        return m


class CaptureWriter(BasePort):
    """Writes what is pushed to a capture file: pcap, with times in nanoseconds.

    A packet's time is its `rcv_tstmp` if it has one (M_TSTMP), else now. `linktype` says what the packets begin with: 1
    is Ethernet, 101 an IP header. Of a packet longer than `snaplen` only so much is written. What goes is on its way to
    the file at once; an error of the file is raised, and leaves a file of whole records. Nothing can be pulled.
    """

    def __init__(self, path: str | os.PathLike[str], linktype: int = 1, snaplen: int = SNAPLEN) -> None:
        super().__init__()
        if not 0 <= clip(linktype) < 1 << 16:
            raise Inval(f"linktype {linktype}: give a LINKTYPE_ number, from 0 to 65535")
        if not 0 < clip(snaplen) <= SNAPLEN:
            raise Inval(f"snaplen {snaplen}: give 1 to {SNAPLEN} bytes")
        self.snaplen = snaplen
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._size = 0
        try:
            self._write([memoryview(_FILE.pack(_MAGIC, 2, 4, 0, 0, snaplen, linktype))])
        except BaseException:
            os.close(self._fd)
            raise

    def pull(self, n: int) -> list[Mbuf]:
        raise NotSupported("pull: a capture that is written gives no packets: pull them from a CapturePort")

    def push(self, packets: list[Mbuf]) -> int:
        offered = self._begin_push(packets)
        done = 0
        pieces: list[memoryview] = []
        try:
            for n, m in enumerate(offered):
                record = self._record(m)
                if pieces and len(pieces) + len(record) > PIECES:
                    self._write(pieces)
                    done, pieces = n, []
                pieces += record
            self._write(pieces)
            done = len(packets)
        finally:
            # Who looks at the traceback mustn't keep the memory.
            pieces.clear()
            gone = packets[:done]
            del packets[:done]
            self._count(packets_out=done, bytes_out=sum(map(len, gone)))
            for m in gone:
                m.freem()
        return done

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)

    def _record(self, m: Mbuf) -> list[memoryview]:
        """The pieces of a packet's record."""
        length = len(m)
        captured = min(length, self.snaplen)
        when = m.pkthdr.rcv_tstmp if m.flags & M_TSTMP else time.time_ns()
        seconds, fraction = divmod(when, 10**9)
        pieces = [memoryview(_RECORD.pack(seconds & 0xFFFFFFFF, fraction, captured, length))]
        views = list(m)
        if captured < length or len(views) >= PIECES:
            views = [memoryview(m.copydata(0, captured))]
        return pieces + views

    def _write(self, pieces: list[memoryview]) -> None:
        """Write pieces, all of them or none."""
        self._count(calls_out=1)
        total = sum(map(len, pieces))
        try:
            done = os.writev(self._fd, pieces) if total else 0
            if done < total:
                rest = memoryview(b"".join(pieces))[done:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except BaseException:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
            raise
        self._size += total
