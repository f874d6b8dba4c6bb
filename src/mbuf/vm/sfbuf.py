"""Windows: mapped pages of files. See sf_buf(9).

A page is mapped when its bytes are needed, and not before. The number of windows is bounded, and their uses are
counted. An unused window stays mapped until its place is needed for another. Taking and releasing a window are commits.
Mapping a page isn't, nor is dropping a window, which may drop its file. Never reads a byte.
"""

from __future__ import annotations

import mmap as system
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE
from mbuf.errors import Corrupt, Inval, NoBufs, NoMemory
from mbuf.vm.page import Memory

if TYPE_CHECKING:
    import cython

    from mbuf.vm.pagefile import PageFile
else:
    from mbuf.shadow import cython

if not cython.compiled:
    import ctypes

    from mbuf.vm.commit import enter_commit, leave_commit

if cython.compiled:
    from cython.cimports.posix.mman import MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap

#: Most windows: 1 MiB. Uncompiled, each needs a file descriptor too, of which a process has 1024 by default.
NSFBUFS = 256


class Mapping:
    """Uncompiled, the mapping of a page, with the method `raw` of a run."""

    __slots__ = ("map",)

    def __init__(self, fd: int, size: int, offset: int) -> None:
        # A private mapping, because ctypes needs a writable one. Nobody writes, so it shows the file.
        self.map = system.mmap(fd, size, access=system.ACCESS_COPY, offset=offset)

    def raw(self, start: int, size: int) -> Any:
        """Some of the bytes."""
        if cython.compiled:
            return None
        return (ctypes.c_ubyte * size).from_buffer(self.map, start)


@cython.no_gc
@cython.cclass
class SfBuf(Memory):
    """A mapped page of a file, read-only. `SfBufs.alloc` makes one."""

    #: `prev` and `next` link the unused windows. `owner` is the id of its `SfBufs`, which has it under `key`.
    __slots__ = ("file", "index", "key", "next", "owner", "prev", "users")
    if TYPE_CHECKING:
        next: Any
        prev: Any
        file: Any
        owner: int
        index: int
        key: Any
        users: int

    def map(self, file: PageFile, index: int) -> None:
        """Map a page, up to the end of the file. Once only."""
        if self._has_bytes():
            raise IndexError("this window has a page already")
        if not 0 <= index < file.pages:
            raise IndexError(f"{file.name} has {file.pages} pages, and no page {index}")
        offset = index * PAGE_SIZE
        size = min(PAGE_SIZE, file.size - offset)
        self.file = file
        self.index = index
        self.users = 0
        self.owner = 0
        self.next = self.prev = None
        if cython.compiled:
            where = mmap(cython.NULL, size, PROT_READ, MAP_SHARED, file.fd, offset)
            if where == MAP_FAILED:
                raise NoMemory(f"{file.name}: the system maps no more pages")
            self._set(file, 0, size, True)
            self.ptr = cython.cast(cython.p_uchar, where)
        else:
            try:
                mapping = Mapping(file.fd, size, offset)
            except OSError as error:
                raise NoMemory(f"{file.name}: the system maps no more pages") from error
            self._set(mapping, 0, size, True)

    def __dealloc__(self) -> None:
        if cython.compiled and self.ptr != cython.NULL:
            munmap(self.ptr, self.size)


@cython.cclass
class SfBufs:
    """Up to `most` windows. Any thread may use them."""

    __slots__ = ("_first", "_last", "_number", "_windows", "fails", "in_use", "most", "peak")
    if TYPE_CHECKING:
        _first: Any
        _last: Any
        _number: int
        _windows: Any
        fails: int
        in_use: int
        most: int
        peak: int

    def __init__(self, most: int = NSFBUFS) -> None:
        if not 0 < most < 1 << 31:
            raise Inval(f"nsfbufs {most}: give the most windows onto pages of files, 1 or more")
        #: Most windows.
        self.most = most
        #: Requests that found all windows in use.
        self.fails = 0
        #: The most windows that were in use at once.
        self.peak = 0
        #: Windows in use.
        self.in_use = 0
        # All mapped windows. The unused ones are linked, the one that is unused for longest first.
        self._windows = {}
        self._number = id(self)
        self._first = self._last = None

    @property
    def used(self) -> int:
        """Windows in use, those with views included."""
        count = self.in_use
        for sf in list(self._windows.values()):
            count += _is_unused_with_views(sf)
        return count

    @property
    def mapped(self) -> int:
        """Mapped windows, in use or not."""
        return len(self._windows)

    def alloc(self, file: PageFile, index: int) -> SfBuf:
        """A window of a page; `free` releases it. `NoBufs` if all are in use. See sf_buf_alloc.

        `Inval` if the file has become shorter, so that the page, or a part of it, isn't there any more.
        """
        file.require_size(min((index + 1) * PAGE_SIZE, file.size))
        key = (id(file), index)
        fresh: Any = None
        while True:
            evicted: Any = None
            enter_commit()
            try:
                sf: Any = self._windows.get(key)
                full = sf is None and len(self._windows) >= self.most
                if full:
                    evicted = self._evict()
                elif sf is None and fresh is not None:
                    self._windows[key] = sf = fresh
                    self._insert(fresh)
                if sf is not None:
                    self._use(sf)
                elif full and evicted is None:
                    self.fails += 1
            finally:
                leave_commit()
            if sf is not None:
                got: SfBuf = sf
                return got
            if full and evicted is None:
                raise NoBufs(
                    f"all {self.most} windows onto pages of files are in use: release views of them, "
                    "send the pages without reading them (sendfile), or allow more with Pool(nsfbufs=...)"
                )
            if fresh is None:
                fresh = SfBuf.__new__(SfBuf)
                fresh.map(file, index)
                fresh.key = key

    def _insert(self, sf: SfBuf) -> None:
        """In a commit: add a window that was mapped, as an unused one."""
        sf.owner = self._number
        self._link(sf)

    def _use(self, sf: SfBuf) -> None:
        """In a commit: count one use more."""
        if sf.users == 0:
            self._unlink(sf)
            self.in_use += 1
            self.peak = max(self.peak, self.in_use)
        sf.users += 1

    def _link(self, sf: SfBuf) -> None:
        """In a commit: add a window to the end of the unused ones."""
        sf.prev = self._last
        if self._last is None:
            self._first = sf
        else:
            self._last.next = sf
        self._last = sf

    def _unlink(self, sf: SfBuf) -> None:
        """In a commit: take a window out of the unused ones."""
        if sf.prev is None:
            self._first = sf.next
        else:
            sf.prev.next = sf.next
        if sf.next is None:
            self._last = sf.prev
        else:
            sf.next.prev = sf.prev
        sf.prev = sf.next = None

    def _evict(self) -> Any:
        """In a commit: drop the window that is unused for longest and has no views; None if there is none."""
        sf: Any = self._first
        while sf is not None and _has_views(sf):
            sf = sf.next
        if sf is not None:
            self._drop(sf)
        return sf

    def _drop(self, sf: SfBuf) -> None:
        """In a commit: drop an unused window; the caller holds a reference."""
        self._unlink(sf)
        sf.owner = 0
        del self._windows[sf.key]

    def free(self, window: SfBuf) -> None:
        """Count one use less. See sf_buf_free."""
        enter_commit()
        try:
            good = self.unref(window)
        finally:
            leave_commit()
        if not good:
            raise Corrupt("a window was freed more often than allocated")

    def unref(self, window: SfBuf) -> bool:
        """In a commit: count one use less; false if it isn't in use."""
        if window.owner != self._number or window.users < 1:
            return False
        window.users -= 1
        if window.users == 0:
            self.in_use -= 1
            self._link(window)
        return True

    def forget(self, file: PageFile) -> None:
        """Drop the unused windows of a file."""
        gone: Any = self
        while gone is not None:
            enter_commit()
            try:
                # A window with views is dropped later, by `_evict`.
                sf: Any = self._first
                while sf is not None and (sf.file is not file or _has_views(sf)):
                    sf = sf.next
                if sf is not None:
                    self._drop(sf)
            finally:
                leave_commit()
            gone = sf

    def audit(self) -> None:
        """Raise `Corrupt`, naming the first contradiction."""
        enter_commit()
        try:
            wrong = self._contradiction()
        finally:
            leave_commit()
        if wrong:
            raise Corrupt(f"windows: {wrong}")

    def _contradiction(self) -> str:
        used = 0
        for key, sf in self._windows.items():
            if key != sf.key or key != (id(sf.file), sf.index) or sf.owner != self._number:
                return f"the window of page {sf.index} is listed under another page"
            used += sf.users > 0
        spare = 0
        at: Any = self._first
        while at is not None and spare <= len(self._windows):
            if at.users:
                return f"the window of page {at.index} is in use, and listed as unused"
            spare += 1
            at = at.next
        if (used, spare + used) != (self.in_use, len(self._windows)):
            return f"{used} windows are in use, {spare} unused; {self.in_use} of {len(self._windows)} count as in use"
        return f"{len(self._windows)} windows are mapped, {self.most} may be" if len(self._windows) > self.most else ""


def _has_views(sf: SfBuf) -> bool:
    return bool(sf.exports) and bool(sf.has_views())


def _is_unused_with_views(sf: SfBuf) -> bool:
    return not sf.users and _has_views(sf)
