# cython: annotation_typing=True
"""Address space, in pages.

An `Arena` is a large anonymous mapping; a `Run` is some contiguous pages of it. Never reads a byte.

Pages that are handed out are tracked for `tracemalloc`, in a domain of their own, each as one allocation. If it isn't
tracing, that is one test of a flag for each run of pages. Pages that were handed out before it started are unknown to
it, as all memory is.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE, TRACEMALLOC_DOMAIN

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

if not cython.compiled:
    import ctypes

    _track = ctypes.pythonapi.PyTraceMalloc_Track
    _track.argtypes = (ctypes.c_uint, ctypes.c_size_t, ctypes.c_size_t)
    _untrack = ctypes.pythonapi.PyTraceMalloc_Untrack
    _untrack.argtypes = (ctypes.c_uint, ctypes.c_size_t)

if cython.compiled:
    from cython.cimports.cpython.buffer import PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
    from cython.cimports.libc.stdint import uintptr_t
    from cython.cimports.libc.string import memset
    from cython.cimports.mbuf.vm.asan import mbuf_unpoison
    from cython.cimports.mbuf.vm.tracing import PyTraceMalloc_Track, PyTraceMalloc_Untrack
    from cython.cimports.posix.mman import MADV_DONTNEED, madvise

#: Most pages of an arena (64 MiB): so many that there are few arenas, so few that one is searched in microseconds.
ARENA_PAGES = 16384


class Arena:
    """Pages of address space; the operating system gives a page memory when it is first touched."""

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
        else:
            self.ptr = ctypes.addressof(ctypes.c_ubyte.from_buffer(self.map))

    def __dealloc__(self) -> None:
        if cython.compiled and self.ptr != cython.NULL:
            # Another mapping may get these addresses.
            mbuf_unpoison(self.ptr, self._export.len)
            self.untrack(0, self.pages)
            PyBuffer_Release(cython.address(self._export))

    def track(self, page: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Tell `tracemalloc`, if it is tracing, that pages are handed out to the caller."""
        n: cython.Py_ssize_t
        for n in range(page, page + count):
            if cython.compiled:
                at: uintptr_t = cython.cast(uintptr_t, self.ptr + n * PAGE_SIZE)
                if PyTraceMalloc_Track(TRACEMALLOC_DOMAIN, at, PAGE_SIZE) < 0:
                    return
            elif _track(TRACEMALLOC_DOMAIN, self.ptr + n * PAGE_SIZE, PAGE_SIZE) < 0:
                return

    def untrack(self, page: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """In a commit: tell `tracemalloc` that pages were given back. Some of them may be unknown to it."""
        n: cython.Py_ssize_t
        for n in range(page, page + count):
            if cython.compiled:
                at: uintptr_t = cython.cast(uintptr_t, self.ptr + n * PAGE_SIZE)
                if PyTraceMalloc_Untrack(TRACEMALLOC_DOMAIN, at) < 0:
                    return
            elif _untrack(TRACEMALLOC_DOMAIN, self.ptr + n * PAGE_SIZE) < 0:
                return

    def discard(self, page: cython.Py_ssize_t, count: cython.Py_ssize_t) -> None:
        """Give the memory of pages back to the operating system. From now on they read as zeros."""
        if page < 0 or count < 1 or count > self.pages - page:
            return
        if cython.compiled:
            start: cython.p_uchar = self.ptr + page * PAGE_SIZE
            if madvise(start, count * PAGE_SIZE, MADV_DONTNEED) != 0:
                # It refuses pages that are locked in memory, for example.
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
    """Contiguous pages that a `Vm` has handed out. `Vm.give` takes them back, by their number."""

    __slots__ = ("arena", "count", "offset", "page")

    def __init__(self, arena: Any, offset: cython.Py_ssize_t, page: cython.Py_ssize_t, count: cython.int) -> None:
        if offset < 0 or count < 0 or offset > (arena.pages - count) * PAGE_SIZE:
            raise IndexError(f"{count} pages at {offset} of an arena of {arena.pages} pages")
        self.arena = arena
        self.offset = offset
        self.page = page
        self.count = count

    def raw(self, start: cython.Py_ssize_t, size: cython.Py_ssize_t) -> Any:
        """Uncompiled, some of the bytes."""
        if cython.compiled:
            return None
        return (ctypes.c_ubyte * size).from_buffer(self.arena.map, self.offset + start)
