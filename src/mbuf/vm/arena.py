# cython: annotation_typing=True
"""Address space, in pages: where raw memory comes from.

An `Arena` is a large anonymous mapping, a `Run` some pages of it in a row. Never looks at a byte.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.string import memset
    from cython.cimports.mbuf.vm.asan import mbuf_unpoison
    from cython.cimports.posix.mman import MADV_DONTNEED, madvise

#: Pages of one arena at most, 64 MiB: large, so that there are few; small, so that one is searched in microseconds.
ARENA_PAGES = 16384


class Arena:
    """Pages of address space; the operating system lends memory for those that are touched."""

    __slots__ = ("_export", "map", "pages", "ptr")
    if TYPE_CHECKING:
        ptr: Any
        _export: Any

    def __init__(self, pages: cython.Py_ssize_t) -> None:
        self.pages = pages
        self.map = mmap.mmap(-1, pages * PAGE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if cython.compiled:
            # The export keeps the mapping in place for as long as the arena lives.
            PyObject_GetBuffer(self.map, cython.address(self._export), PyBUF_WRITABLE)
            self.ptr = cython.cast(cython.p_uchar, self._export.buf)

    def __dealloc__(self) -> None:
        if cython.compiled and self.ptr != cython.NULL:
            # The addresses may be somebody else's next.
            mbuf_unpoison(self.ptr, self._export.len)
            PyBuffer_Release(cython.address(self._export))

    def discard(self, page: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Give pages back to the operating system, if it takes them; either way they read as zeros from now on."""
        if page < 0 or count < 1 or count > self.pages - page:
            return
        if cython.compiled:
            start: cython.p_uchar = self.ptr + page * PAGE_SIZE
            if madvise(start, count * PAGE_SIZE, MADV_DONTNEED) != 0:
                # Locked in memory, for example.
                memset(start, 0, count * PAGE_SIZE)
        else:
            first, size = page * PAGE_SIZE, count * PAGE_SIZE
            try:
                self.map.madvise(mmap.MADV_DONTNEED, first, size)
            except OSError:
                self.map[first : first + size] = bytes(size)


@cython.no_gc
@cython.cclass
class Run:
    """Pages in a row. Made for pages that a `Vm` has handed out; to let go, give their number back to it."""

    __slots__ = ("arena", "count", "offset", "page")

    def __init__(self, arena: Any, offset: cython.Py_ssize_t, page: cython.Py_ssize_t, count: cython.int) -> None:
        if offset < 0 or count < 0 or offset > (arena.pages - count) * PAGE_SIZE:
            raise IndexError(f"{count} pages at {offset} of an arena of {arena.pages} pages")
        self.arena = arena
        self.offset = offset
        self.page = page
        self.count = count

    def raw(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> Any:
        """Some of the bytes, uncompiled."""
        return (ctypes.c_ubyte * size).from_buffer(self.arena.map, self.offset + start)
