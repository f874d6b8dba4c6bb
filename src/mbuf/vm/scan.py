# cython: annotation_typing=True
"""Reading raw bytes: copy them out, compare them, sum them for a checksum, search them.

The caller passes one memory after the other. Nothing here writes to a memory, or interprets its bytes. Bytes that are
not contiguous are copied first.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.ints import fold, swapped
from mbuf.vm.page import Memory

if cython.compiled:
    from cython.cimports.cpython.buffer import Py_buffer, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
    from cython.cimports.libc.stdint import uint32_t, uint64_t
    from cython.cimports.libc.string import memcmp, memcpy, memmove
    from cython.cimports.mbuf.vm.scan import memmem

#: True where the low byte of a word comes first.
_LITTLE = sys.byteorder == "little"


def new_bytes(size: cython.Py_ssize_t) -> Any:
    """A new `bytes` (uncompiled, a bytearray) of that size, whose bytes `set_bytes` then sets."""
    return PyBytes_FromStringAndSize(cython.NULL, size) if cython.compiled else bytearray(size)


def set_bytes(
    whole: Any, at: cython.Py_ssize_t, memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> None:
    """Copy `count` bytes at `off` of a memory to byte `at` of a `new_bytes` that no other code has seen yet."""
    if not memory.is_contiguous():
        memory, off = contiguous(memory.read(off, count)), 0
    _within(memory, off, count)
    if at < 0 or at > len(whole) - count:
        raise IndexError(f"{count} bytes at {at} of {len(whole)}")
    if cython.compiled:
        memcpy(cython.cast(cython.p_uchar, PyBytes_AS_STRING(whole)) + at, memory.ptr + off, count)
    else:
        whole[at : at + count] = _bytes(memory)[off : off + count]


def copy_out(
    memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, target: Any, at: cython.Py_ssize_t
) -> None:
    """Copy `count` bytes at `off` of a memory into a writable buffer, to its byte `at`."""
    if not memory.is_contiguous():
        memory, off = contiguous(memory.read(off, count)), 0
    if cython.compiled:
        buffer = cython.declare(Py_buffer)
        PyObject_GetBuffer(target, cython.address(buffer), PyBUF_WRITABLE)
        try:
            # Only now: to export the buffer may have run user code.
            _within(memory, off, count)
            if at < 0 or at > buffer.len - count:
                raise IndexError("the buffer is too short for the bytes")
            if count:
                memmove(cython.cast(cython.p_uchar, buffer.buf) + at, memory.ptr + off, count)
        finally:
            PyBuffer_Release(cython.address(buffer))
    else:
        view = memoryview(target)
        _within(memory, off, count)
        if view.readonly:
            raise BufferError("the buffer can't be written")
        if at < 0 or at > view.nbytes - count:
            raise IndexError("the buffer is too short for the bytes")
        view.cast("B")[at : at + count] = _bytes(memory)[off : off + count]


def compare(
    memory: Memory, off: cython.Py_ssize_t, other: Memory, start: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> int:
    """-1, 0 or 1: `count` bytes of a contiguous memory come before those of another one, are equal, or come after."""
    _within(memory, off, count)
    _within(other, start, count)
    if not cython.compiled:
        return _order(bytes(_bytes(memory)[off : off + count]), bytes(_bytes(other)[start : start + count]))
    order: cython.int = memcmp(memory.ptr + off, other.ptr + start, count) if count else 0
    return int((order > 0) - (order < 0))


def compare_bytes(
    memory: Memory, off: cython.Py_ssize_t, data: bytes, start: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> int:
    """`compare` with `count` bytes of data, from its byte `start` on. The memory need not be contiguous."""
    if not memory.is_contiguous():
        memory, off = contiguous(memory.read(off, count)), 0
    _within(memory, off, count)
    if start < 0 or start > len(data) - count:
        raise IndexError(f"{count} bytes at {start} of {len(data)}")
    if not cython.compiled:
        return _order(bytes(_bytes(memory)[off : off + count]), data[start : start + count])
    order: cython.int = (
        memcmp(memory.ptr + off, cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)) + start, count) if count else 0
    )
    return int((order > 0) - (order < 0))


def sum16(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> int:
    """The ones' complement sum of the bytes as big-endian 16-bit numbers; an odd last byte is padded with a zero.

    It is 0 only if all bytes are 0, else 1 to 65535.
    """
    if not memory.is_contiguous():
        memory, off = contiguous(memory.read(off, count)), 0
    _within(memory, off, count)
    if not cython.compiled:
        data = bytes(_bytes(memory)[off : off + count]) + bytes(count & 1)
        number = int.from_bytes(data, "big")
        return number % 0xFFFF or (0xFFFF if number else 0)
    # Two independent sums, and their carries: modulo 0xFFFF, 2 to the power of 64 is 1.
    p: cython.p_uchar = memory.ptr + off
    end: cython.p_uchar = p + count
    word: uint64_t = 0
    other: uint64_t = 0
    low: uint64_t = 0
    high: uint64_t = 0
    carries: uint64_t = 0
    while end - p >= 16:
        memcpy(cython.address(word), p, 8)
        memcpy(cython.address(other), p + 8, 8)
        low += word
        carries += low < word
        high += other
        carries += high < other
        p += 16
    while p < end:
        word = 0
        memcpy(cython.address(word), p, min(end - p, 8))
        low += word
        carries += low < word
        p += 8
    # The sum of native 16-bit numbers is that of big-endian ones with its bytes swapped (RFC 1071).
    carries += (low >> 32) + cython.cast(uint32_t, low) + (high >> 32) + cython.cast(uint32_t, high)
    sum: cython.Py_ssize_t = fold(carries)
    return int(swapped(sum) if _LITTLE else sum)


@cython.no_gc
@cython.cclass
class Search:
    """Searches a sequence of memories for a pattern. `search` makes one.

    The time is linear in the bytes, however they are split. Long pieces are searched in place; short pieces, and the
    bytes around the ends of long ones, are copied together first.
    """

    #: `tail` is a copy of the last of the `seen` bytes, where a match may begin.
    __slots__ = ("pattern", "seen", "tail")
    if TYPE_CHECKING:
        pattern: bytes
        seen: int
        tail: bytearray

    def feed(self, memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> int:
        """Search `count` more bytes. Returns where a match begins, counted from the first byte fed, or -1."""
        if not memory.is_contiguous():
            memory, off = contiguous(memory.read(off, count)), 0
        _within(memory, off, count)
        size: cython.Py_ssize_t = len(self.pattern)
        start: cython.Py_ssize_t = self.seen
        tail = self.tail
        if count < size:
            tail += memory.read(off, count)
            self.seen += count
            # Rarely, so that the cost stays linear.
            return self.rest() if len(tail) >= 2 * size else -1
        tail += memory.read(off, size - 1)
        self.seen += size - 1
        at: cython.Py_ssize_t = self.rest()
        if at < 0:
            at = find(memory, off, count, self.pattern)
            if at >= 0:
                at += start
            self.tail = bytearray(memory.read(off + count - size + 1, size - 1))
            self.seen = start + count
        return int(at)

    def rest(self) -> int:
        """Search the bytes that `feed` has copied."""
        tail = self.tail
        at: cython.Py_ssize_t = tail.find(self.pattern)
        if at >= 0:
            return int(self.seen - len(tail) + at)
        del tail[: max(0, len(tail) - len(self.pattern) + 1)]
        return -1


def search(pattern: bytes) -> Search:
    """A `Search` for a pattern of at least one byte."""
    if not pattern:
        raise IndexError("the pattern is empty")
    s: Search = Search.__new__(Search)
    s.pattern = pattern
    s.seen = 0
    s.tail = bytearray()
    return s


def find(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, pattern: bytes) -> int:
    """Where a pattern begins in `count` bytes at `off` of a memory, counted from `off`, or -1."""
    _within(memory, off, count)
    if not cython.compiled:
        return bytes(_bytes(memory)[off : off + count]).find(pattern)
    start: cython.p_uchar = memory.ptr + off
    found: cython.p_uchar = cython.cast(
        cython.p_uchar, memmem(start, count, PyBytes_AS_STRING(pattern), PyBytes_GET_SIZE(pattern))
    )
    return -1 if found == cython.NULL else int(found - start)


def contiguous(data: bytes) -> Memory:
    """A contiguous memory with these bytes."""
    memory: Memory = Memory.__new__(Memory)
    memory.use_export(export_buffer(data))
    return memory


def _order(data: bytes, other: bytes) -> int:
    """Uncompiled, `compare` of two byte strings."""
    return (data > other) - (data < other)


def _bytes(memory: Memory) -> memoryview:
    """Uncompiled, the bytes of a memory."""
    return memoryview(memory.raw).cast("B")


def _within(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
    if off < 0 or count < 0 or off > memory.size - count:
        raise IndexError(f"{count} bytes at {off} of {memory.size}")
