# cython: annotation_typing=True
"""Raw bytes looked through: copied out, summed, searched.

Reads memories one after the other, as their owner calls for them, and never writes to one. Bytes that
don't lie in a row are copied first. Never knows what the bytes mean.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.vm.ints import fold, swapped
from mbuf.vm.loan import loan
from mbuf.vm.page import Memory

if cython.compiled:
    from cython.cimports.cpython.buffer import Py_buffer, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
    from cython.cimports.libc.stdint import uint32_t, uint64_t
    from cython.cimports.libc.string import memcpy, memmove
    from cython.cimports.mbuf.vm.scan import memmem

#: True where the low byte of a word comes first.
_LITTLE = sys.byteorder == "little"


def new_bytes(size: cython.Py_ssize_t) -> Any:
    """A `bytes` of that size whose bytes are still to be set, by `set_bytes`; uncompiled, a bytearray."""
    return PyBytes_FromStringAndSize(cython.NULL, size) if cython.compiled else bytearray(size)


def set_bytes(
    whole: Any, at: cython.Py_ssize_t, memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> None:
    """Copy `count` bytes at `off` of a memory to byte `at` of what `new_bytes` gave, and nobody else has seen yet."""
    if not memory.is_contiguous():
        memory, off = row(memory.read(off, count)), 0
    _within(memory, off, count)
    if at < 0 or at > len(whole) - count:
        raise IndexError(f"{count} bytes at {at} of {len(whole)}")
    if cython.compiled:
        memcpy(cython.cast(cython.p_uchar, PyBytes_AS_STRING(whole)) + at, memory.ptr + off, count)
    else:
        whole[at : at + count] = _bytes(memory)[off : off + count]


def pour(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, target: Any, at: cython.Py_ssize_t) -> None:
    """Copy `count` bytes at `off` of a memory into a writable buffer, to its byte `at`."""
    if not memory.is_contiguous():
        memory, off = row(memory.read(off, count)), 0
    _within(memory, off, count)
    if cython.compiled:
        buffer = cython.declare(Py_buffer)
        PyObject_GetBuffer(target, cython.address(buffer), PyBUF_WRITABLE)
        if at < 0 or at > buffer.len - count:
            PyBuffer_Release(cython.address(buffer))
            raise IndexError("the buffer is shorter than the bytes that should go there")
        if count:
            memmove(cython.cast(cython.p_uchar, buffer.buf) + at, memory.ptr + off, count)
        PyBuffer_Release(cython.address(buffer))
    else:
        view = memoryview(target)
        if view.readonly:
            raise BufferError("the buffer can't be written")
        if at < 0 or at > view.nbytes - count:
            raise IndexError("the buffer is shorter than the bytes that should go there")
        view.cast("B")[at : at + count] = _bytes(memory)[off : off + count]


def total(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> int:
    """The ones' complement sum of bytes taken as big-endian 16-bit numbers, the last one filled up with a zero.

    It is 0 for zeros alone; else 1 to 65535.
    """
    if not memory.is_contiguous():
        memory, off = row(memory.read(off, count)), 0
    _within(memory, off, count)
    if not cython.compiled:
        data = bytes(_bytes(memory)[off : off + count]) + bytes(count & 1)
        number = int.from_bytes(data, "big")
        return number % 0xFFFF or (0xFFFF if number else 0)
    # Two sums that don't wait for each other, and their carries: 2 to the power of 64 is 1 in this arithmetic.
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
    # Native halves add up to what big-endian ones do, but for the order of the two bytes.
    carries += (low >> 32) + cython.cast(uint32_t, low) + (high >> 32) + cython.cast(uint32_t, high)
    sum: cython.Py_ssize_t = fold(carries)
    return int(swapped(sum) if _LITTLE else sum)


@cython.no_gc
@cython.cclass
class Search:
    """Looks for some bytes in memories that follow each other. Made by `search`.

    Time grows with the bytes looked through, however they are cut. Long pieces are searched where
    they are; only what lies across their ends, and short pieces, is copied together.
    """

    #: `tail` holds the last of the `seen` bytes, which may be the start of a match.
    __slots__ = ("pattern", "seen", "tail")
    if TYPE_CHECKING:
        pattern: bytes
        seen: int
        tail: bytearray

    def feed(self, memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> int:
        """Look through `count` bytes more; where a match begins, counted from the first byte ever fed, or -1."""
        if not memory.is_contiguous():
            memory, off = row(memory.read(off, count)), 0
        _within(memory, off, count)
        size: cython.Py_ssize_t = len(self.pattern)
        start: cython.Py_ssize_t = self.seen
        if count < size:
            self.tail += memory.read(off, count)
            self.seen += count
            # Rarely enough that keeping what may be a start costs no more than reading did.
            return self.rest() if len(self.tail) >= 2 * size else -1
        self.tail += memory.read(off, size - 1)
        self.seen += size - 1
        at: cython.Py_ssize_t = self.rest()
        if at < 0:
            at = index(memory, off, count, self.pattern)
            if at >= 0:
                at += start
            self.tail = bytearray(memory.read(off + count - size + 1, size - 1))
            self.seen = start + count
        return int(at)

    def rest(self) -> int:
        """Look through what `feed` has put by."""
        at: cython.Py_ssize_t = self.tail.find(self.pattern)
        if at >= 0:
            return int(self.seen - len(self.tail) + at)
        del self.tail[: max(0, len(self.tail) - len(self.pattern) + 1)]
        return -1


def search(pattern: bytes) -> Search:
    """Make ready to look for at least one byte."""
    if not pattern:
        raise IndexError("there is nothing to look for")
    s: Search = Search.__new__(Search)
    s.pattern = pattern
    s.seen = 0
    s.tail = bytearray()
    return s


def index(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t, pattern: bytes) -> int:
    """Where a pattern begins in `count` bytes at `off` of a memory, counted from there, or -1."""
    _within(memory, off, count)
    if not cython.compiled:
        return bytes(_bytes(memory)[off : off + count]).find(pattern)
    start: cython.p_uchar = memory.ptr + off
    found: cython.p_uchar = cython.cast(
        cython.p_uchar, memmem(start, count, PyBytes_AS_STRING(pattern), PyBytes_GET_SIZE(pattern))
    )
    return -1 if found == cython.NULL else int(found - start)


def row(data: bytes) -> Memory:
    """A memory of some bytes: a copy of those that don't lie in a row."""
    memory: Memory = Memory.__new__(Memory)
    memory.borrow(loan(data))
    return memory


def _bytes(memory: Memory) -> memoryview:
    """Uncompiled, the bytes of a memory."""
    return memoryview(memory.raw).cast("B")


def _within(memory: Memory, off: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
    if off < 0 or count < 0 or off > memory.size - count:
        raise IndexError(f"{count} bytes at {off} of {memory.size}")
