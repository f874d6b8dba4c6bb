"""Captures of network traffic, read packet by packet.

Finds out by its first bytes what a file is, and hands it view by view to the reader of its format.
Maps plain files; streams gzip and FIFOs through a window that grows only by bytes that are there.
What is wrong with the content is a CaptureError of one line; what is wrong with the file, an OSError.
"""

import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from typing import Self

from mbuf.errors import CaptureError, Inval
from mbuf.net.capture import pcap, pcapng
from mbuf.net.capture.pcap import Fault, Packet, Records

WINDOW = 256 << 10
"""Bytes to read or to scan at once: takes the longest usual packet, and costs nothing beside its packets."""

_GZIP = b"\x1f\x8b"
_GZIP_ONLY = 16 + zlib.MAX_WBITS  # zlib's way to ask for a gzip header and its checksum


class Capture:
    """A capture file: pcap or pcapng, plain or in gzip.

    Open it by its path; close it, or use it in a `with`. Iterate for `(when, data, length)` of each packet:
    nanoseconds since the epoch, a view of the bytes captured, the length on the wire. Each iteration starts
    at the beginning, but a stream (a FIFO, say) has only one. A view stays valid for as long as it's held,
    and keeps the mapping or its window of the stream. A plain file mustn't be cut short while it's mapped.

    `linktype` is the first interface's, or None if a pcapng file has none; `total` the file's size, 0 if
    unknown. An error's offset is that of the faulty record or block; in a gzip file it counts the
    decompressed bytes, unless gzip itself is at fault.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.total = 0
        self._rewindable = True
        self._closed = False
        self._window, self._reader = self._begin()
        self._fresh = True
        self.format = self._reader.format
        self.linktype = self._reader.linktype

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, for good; views stay valid."""
        self._closed = True
        self._window.close()

    @property
    def packets(self) -> int:
        """Packets read in the current or last iteration: exact once it ended, a window behind before."""
        return self._reader.packets

    @property
    def position(self) -> int:
        """Bytes of the file used up, compressed ones if it's gzip: as exact as `packets`."""
        return self._window.position(self._reader.at)

    def __iter__(self) -> Iterator[Packet]:
        """Yield when, data and length of each packet."""
        with self._pass() as (window, reader):
            while self._advance(window, reader):
                yield from reader.scan(window.view)

    def feed(self, sink: Callable[[Records], None]) -> None:
        """Call sink with the packets of one window after the other, for it to step through."""
        with self._pass() as (window, reader):
            while self._advance(window, reader):
                sink(reader.records(window.view))

    @contextmanager
    def _pass(self) -> "Iterator[tuple[_Window, _Reader]]":
        """Go through the file once more; whoever does names its faults."""
        if self._closed:
            raise Inval(f"{self.path} is closed")
        if not self._fresh:
            self._window, self._reader = self._begin()
        self._fresh = False
        window, reader = self._window, self._reader
        try:
            yield window, reader
        except Fault as fault:
            raise _error(self.path, window.base + reader.at, str(fault)) from None
        finally:
            window.close()

    def _begin(self) -> "tuple[_Window, _Reader]":
        """Open the file and read as far as the first interface."""
        with ExitStack() as undo:
            window = self._open(undo)
            reader = self._recognise(bytes(window.view[:4]))
            try:
                while not reader.prepare(window.view) and self._advance(window, reader):
                    pass
            except Fault as fault:
                raise _error(self.path, window.base + reader.at, str(fault)) from None
            undo.pop_all()
        return window, reader

    def _open(self, undo: ExitStack) -> "_Window":
        """A window on the first bytes of the file, mapped if it can be; undo closes the file."""
        if not self._rewindable:
            raise _error(self.path, self.position, "is a stream, so it can't be read a second time")
        file = undo.enter_context(FileIO(self.path))
        self._rewindable = file.seekable()
        self.total = os.fstat(file.fileno()).st_size
        window: _Window = _Stream(file)
        window.advance(0, 4)
        if window.view[:2] == _GZIP:
            window = _Gzip(file, self.path, bytes(window.view))
        elif self.total:
            window = _Mapped(file)
            file.close()
        window.advance(0, 4)
        return window

    def _recognise(self, magic: bytes) -> "_Reader":
        """The reader for a file that begins so."""
        if magic in pcap.MAGICS:
            return pcap.Pcap()
        if magic == pcapng.MAGIC:
            return pcapng.Pcapng()
        if not magic:
            raise _error(self.path, 0, "is empty, not a capture")
        raise _error(self.path, 0, f"is not a capture, as it begins with {magic.hex()}")

    def _advance(self, window: "_Window", reader: "_Reader") -> bool:
        """Move the window on to what the reader needs next; False at the end of the file."""
        window.advance(reader.at, reader.need)
        reader.at = 0
        have = len(window.view)
        if 0 < have < reader.need:
            raise _error(self.path, window.base, f"{reader.unit} is cut short: {have} of {reader.need} bytes")
        return have > 0


class _Mapped:
    """A window that moves over a mapped file; `view` is what it shows, `base` where that begins."""

    def __init__(self, file: FileIO) -> None:
        self._file = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.view = self._file[:0]
        self.base = 0

    def advance(self, at: int, need: int) -> None:
        """Begin at `at` of this view, and show need bytes if they are there."""
        self.base += at
        self.view = self._file[self.base : self.base + max(need, WINDOW)]

    def position(self, at: int) -> int:
        """Bytes of the file before `at` of this view."""
        return self.base + at

    def close(self) -> None:
        """Advance no further; the mapping goes with its last view."""
        self._file.release()


class _Stream:
    """A window that moves over what a file yields; each view has bytes of its own, which nothing changes."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.view = memoryview(b"")
        self.base = 0

    def advance(self, at: int, need: int) -> None:
        """Begin at `at` of this view, and wait for need bytes, or the end; copies what stays in view."""
        grown = bytearray(self.view[at:])
        self.base += at
        while len(grown) < need and (piece := self._read()):
            grown += piece
        self.view = memoryview(grown).toreadonly()

    def position(self, at: int) -> int:
        """Bytes of the file before `at` of this view."""
        return self.base + at

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read(self) -> bytes:
        """The next bytes, as many as are there; none at the end."""
        return self._file.read(WINDOW)


class _Gzip(_Stream):
    """A stream whose bytes come out of gzip: one member or several, and zeros after them."""

    def __init__(self, file: FileIO, path: str, first: bytes) -> None:
        super().__init__(file)
        self._path = path
        self._packed = first
        self._used = 0
        self._fault = ""
        self._inflate = zlib.decompressobj(_GZIP_ONLY)

    def position(self, at: int) -> int:
        """Compressed bytes used up, wherever in this view `at` is."""
        return self._used

    def _read(self) -> bytes:
        piece = b""
        while not piece and self._refilled():
            piece = self._inflated()
        return piece

    def _refilled(self) -> bool:
        """Have packed bytes of a member at hand; False at the end of the file."""
        if self._fault:
            raise _error(self._path, self._used, self._fault)
        while True:
            self._packed = self._packed or self._file.read(WINDOW)
            if not self._packed:
                break
            if not self._inflate.eof:
                return True
            rest = self._packed.lstrip(b"\0")
            self._used += len(self._packed) - len(rest)
            self._packed = rest
            if rest:
                self._inflate = zlib.decompressobj(_GZIP_ONLY)
        if not self._inflate.eof:
            raise _error(self._path, self._used, "gzip data is cut short")
        return False

    def _inflated(self) -> bytes:
        """Unpack at most a window."""
        saved = self._inflate.copy()
        try:
            piece = self._inflate.decompress(self._packed, WINDOW)
        except zlib.error as error:
            self._inflate = saved
            self._fault = f"gzip data is corrupt: {str(error).rpartition(': ')[2]}"
            return self._rescued()
        rest = self._inflate.unused_data or self._inflate.unconsumed_tail
        self._used += len(self._packed) - len(rest)
        self._packed = rest
        return piece

    def _rescued(self) -> bytes:
        """Unpack byte by byte up to a fault, which the next read raises: zlib throws away what led to it."""
        piece = bytearray()
        with suppress(zlib.error):
            for byte in self._packed:
                piece += self._inflate.decompress(bytes((byte,)))
                self._used += 1
        return bytes(piece)


_Window = _Mapped | _Stream
_Reader = pcap.Pcap | pcapng.Pcapng


def _error(path: str, offset: int, what: str) -> CaptureError:
    """The one line that tells of a fault in the content."""
    return CaptureError(f"{path}: offset {offset}: {what}")
