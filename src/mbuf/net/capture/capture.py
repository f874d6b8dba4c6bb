"""Capture files, read packet by packet: pcap and pcapng, plain or compressed with gzip.

    file --> window (mapped, streamed or gzip) --view--> reader (pcap.Pcap or pcapng.Pcapng) --> packets

The format is recognized by the first four bytes. A *window* shows a part of the file as a memoryview; a *reader* parses
the records that are whole in that view, and never sees the file. `Capture` moves the window and calls the reader.

How the window moves
    file    |--------------------------------------------------------------------|
    view                 |r1|r2|r3|r4|beginning of r5|
                         ^base       ^base + offset
                                     |<----- needed: the length of r5, or of its header if that isn't whole ----->|

The reader scans the view and stops at the first record that isn't whole in it. It leaves `offset`, where this record
begins in the view, and `needed`, how many bytes it must see from there to go on. `advance(offset, needed)` then moves
the window: its next view begins at that record, and has at least `needed` bytes, or all that are left of the file. If
those are fewer, but some, the file is truncated. So only that record's header is read again, and nothing is copied,
except in a stream, where the rest of a view is copied to the beginning of the next one: less than one record.

A record may announce any length. A reader accepts at most `MAX_BLOCK_SIZE`, so `needed` is bounded; and a window grows
only by bytes that the file really has, so a wrong length costs no memory.

Which memory the views refer to
A plain file is mapped once; its views are slices of the mapping, which stays until the last of them is gone. For a
stream (a FIFO, or gzip data) each view has bytes of its own, never written to again. So packets stay valid for as long
as the caller keeps them, and what is kept is their mapping, or the whole view that they came in (about `WINDOW` bytes).

Errors of the content are `CaptureError`, one line with the offset; errors of the file are `OSError`.
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
from mbuf.net.capture.pcap import FormatError, Packet, Records

#: Bytes to show or to read at once, if no record needs more: more than most records have, and little memory.
WINDOW = 256 << 10

_GZIP = b"\x1f\x8b"
#: zlib's `wbits` for a stream with a gzip header and checksum.
_GZIP_WBITS = 16 + zlib.MAX_WBITS


class Capture:
    """A capture file: pcap or pcapng, plain or in gzip.

    Open one by its path, and close it, or use it in a `with` statement. Iterate over it for `(timestamp, data, length)`
    of each packet: nanoseconds since the epoch, a read-only memoryview of the captured bytes, and the length on the
    wire in bytes. No packet is copied. The views stay valid after `close`; each keeps the mapping of the file, or some
    256 KiB of a stream. A plain file must not be truncated while it is mapped: reading it would end the process
    (SIGBUS). Each iteration begins at the first packet; a stream, such as a FIFO, can be iterated only once.

    Raises `CaptureError` if the content isn't valid, after all packets before that place, and `OSError` if the file
    can't be read. The offset in the message is that of the invalid record or block; in a gzip file it counts the
    decompressed bytes, unless the gzip data itself isn't valid.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        #: The path, as given.
        self.path = os.fspath(path)
        #: Bytes of the file; 0 if unknown.
        self.size = 0
        self._seekable = True
        self._closed = False
        self._window, self._reader = self._begin()
        self._unread = True
        #: "pcap" or "pcapng".
        self.format = self._reader.format
        #: The link type (LINKTYPE_) of the first interface; None if a pcapng file has no interface.
        self.linktype = self._reader.linktype

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no more packets can be read. Views stay valid. Calling it again has no effect."""
        self._closed = True
        self._window.close()

    @property
    def packets(self) -> int:
        """Packets read by the last iteration: exact when it has ended, else up to one window behind."""
        return self._reader.packets

    @property
    def position(self) -> int:
        """Bytes of the file that have been read, of gzip compressed bytes: as exact as `packets`."""
        return self._window.position(self._reader.offset)

    def __iter__(self) -> Iterator[Packet]:
        """Iterate over `(timestamp, data, length)` of each packet."""
        with self._iteration() as (window, reader):
            while self._advance(window, reader):
                yield from reader.scan(window.view)

    def feed(self, sink: Callable[[Records], None]) -> None:
        """Call `sink` with the packets of one window after the other, as `Records`: faster than iterating."""
        with self._iteration() as (window, reader):
            while self._advance(window, reader):
                sink(reader.records(window.view))

    @contextmanager
    def _iteration(self) -> "Iterator[tuple[_Window, _Reader]]":
        """Begin at the first packet; within it, an error of the format is raised as a `CaptureError`."""
        if self._closed:
            raise Inval(f"{self.path} is closed")
        if not self._unread:
            self._window, self._reader = self._begin()
        self._unread = False
        window, reader = self._window, self._reader
        try:
            yield window, reader
        except FormatError as error:
            raise _error(self.path, window.base + reader.offset, str(error)) from None
        finally:
            window.close()

    def _begin(self) -> "tuple[_Window, _Reader]":
        """Open the file, and read up to the first interface."""
        with ExitStack() as on_error:
            window = self._open(on_error)
            reader = self._reader_for(bytes(window.view[:4]))
            try:
                while not reader.read_header(window.view) and self._advance(window, reader):
                    pass
            except FormatError as error:
                raise _error(self.path, window.base + reader.offset, str(error)) from None
            on_error.pop_all()
        return window, reader

    def _open(self, on_error: ExitStack) -> "_Window":
        """Return a window on the first bytes of the file; `on_error` closes it."""
        if not self._seekable:
            raise _error(self.path, self.position, "is a stream, so it can't be read a second time")
        file = on_error.enter_context(FileIO(self.path))
        self._seekable = file.seekable()
        self.size = os.fstat(file.fileno()).st_size
        window: _Window = _StreamWindow(file)
        window.advance(0, 4)
        if window.view[:2] == _GZIP:
            window = _GzipWindow(file, self.path, bytes(window.view))
        elif self.size:
            window = _MappedWindow(file)
            file.close()
        window.advance(0, 4)
        return window

    def _reader_for(self, magic: bytes) -> "_Reader":
        """Return the reader for a file that begins with these bytes."""
        if magic in pcap.MAGICS:
            return pcap.Pcap()
        if magic == pcapng.MAGIC:
            return pcapng.Pcapng()
        if not magic:
            raise _error(self.path, 0, "is empty, not a capture")
        raise _error(self.path, 0, f"is not a pcap or pcapng file: it begins with {magic.hex()}")

    def _advance(self, window: "_Window", reader: "_Reader") -> bool:
        """Move the window to what the reader needs next; False at the end of the file."""
        window.advance(reader.offset, reader.needed)
        reader.offset = 0
        size = len(window.view)
        if 0 < size < reader.needed:
            raise _error(self.path, window.base, f"{reader.element} is truncated: {size} of {reader.needed} bytes")
        return size > 0


class _MappedWindow:
    """A window on a mapped file: `view` is what it shows, and `base` the offset at which that begins."""

    def __init__(self, file: FileIO) -> None:
        self._file = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.view = self._file[:0]
        self.base = 0

    def advance(self, offset: int, needed: int) -> None:
        """Move to `offset` of this view, and show at least `needed` bytes, if the file has them."""
        self.base += offset
        self.view = self._file[self.base : self.base + max(needed, WINDOW)]

    def position(self, offset: int) -> int:
        """Bytes of the file before `offset` of this view."""
        return self.base + offset

    def close(self) -> None:
        """Move no further. The mapping stays until its last view is gone."""
        self._file.release()


class _StreamWindow:
    """A window on the bytes that a file yields. Each view has bytes of its own, which are never written to again."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.view = memoryview(b"")
        self.base = 0

    def advance(self, offset: int, needed: int) -> None:
        """Move to `offset` of this view; wait for `needed` bytes, or the end. Copies what follows `offset`."""
        data = bytearray(self.view[offset:])
        self.base += offset
        while len(data) < needed and (piece := self._read()):
            data += piece
        self.view = memoryview(data).toreadonly()

    def position(self, offset: int) -> int:
        """Bytes of the file before `offset` of this view."""
        return self.base + offset

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> bytes:
        """Return the next bytes, as many as there are, at most `WINDOW`; none at the end."""
        return self._file.read(WINDOW)


class _GzipWindow(_StreamWindow):
    """A window on decompressed bytes: of one gzip member or several, with zeros after them."""

    def __init__(self, file: FileIO, path: str, first: bytes) -> None:
        super().__init__(file)
        self._path = path
        # Compressed bytes that were read from the file, and how many before them were decompressed.
        self._input = first
        self._consumed = 0
        # An error that is raised when the bytes before it have been returned.
        self._error = ""
        self._decompressor = zlib.decompressobj(_GZIP_WBITS)

    def position(self, offset: int) -> int:
        """Compressed bytes that were decompressed; `offset` isn't used."""
        return self._consumed

    def _read(self) -> bytes:
        piece = b""
        while not piece and self._has_input():
            piece = self._decompress()
        return piece

    def _has_input(self) -> bool:
        """Read compressed bytes if there are none; False at the end of the file."""
        if self._error:
            raise _error(self._path, self._consumed, self._error)
        while True:
            self._input = self._input or self._file.read(WINDOW)
            if not self._input:
                break
            if not self._decompressor.eof:
                return True
            rest = self._input.lstrip(b"\0")
            self._consumed += len(self._input) - len(rest)
            self._input = rest
            if rest:
                self._decompressor = zlib.decompressobj(_GZIP_WBITS)
        if not self._decompressor.eof:
            raise _error(self._path, self._consumed, "gzip data is truncated")
        return False

    def _decompress(self) -> bytes:
        """Return at most `WINDOW` decompressed bytes."""
        saved = self._decompressor.copy()
        try:
            piece = self._decompressor.decompress(self._input, WINDOW)
        except zlib.error as error:
            self._decompressor = saved
            self._error = f"gzip data is corrupt: {str(error).rpartition(': ')[2]}"
            return self._decompress_bytewise()
        rest = self._decompressor.unused_data or self._decompressor.unconsumed_tail
        self._consumed += len(self._input) - len(rest)
        self._input = rest
        return piece

    def _decompress_bytewise(self) -> bytes:
        """Return the decompressed bytes before an error: in larger pieces zlib discards them."""
        piece = bytearray()
        with suppress(zlib.error):
            for byte in self._input:
                piece += self._decompressor.decompress(bytes((byte,)))
                self._consumed += 1
        return bytes(piece)


_Window = _MappedWindow | _StreamWindow
_Reader = pcap.Pcap | pcapng.Pcapng


def _error(path: str, offset: int, what: str) -> CaptureError:
    return CaptureError(f"{path}: offset {offset}: {what}")
