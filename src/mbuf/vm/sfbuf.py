"""Windows onto pages of files, each mapped when somebody touches its bytes and no sooner.

A bounded number of them, counted by use. One that nobody uses stays mapped until another is wanted. Taking and
letting go are commits; mapping a page is none, nor is dropping a window, whose file may go with it.
Never reads a byte.
"""

from __future__ import annotations

import ctypes
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
    from mbuf.vm.commit import enter_commit, leave_commit

if cython.compiled:
    from cython.cimports.posix.mman import MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap

#: Windows at most: 1 MiB. Uncompiled, each takes a file descriptor too, of which programs have 1024.
NSFBUFS = 256


class Mapping:
    """Uncompiled, a mapping of a page; here as the owner of raw bytes that a memory asks for them."""

    __slots__ = ("map",)

    def __init__(self, fd: int, size: int, offset: int) -> None:
        # A private mapping, which ctypes asks for; never written, it shows the file.
        self.map = system.mmap(fd, size, access=system.ACCESS_COPY, offset=offset)

    def raw(self, start: int, size: int) -> Any:
        """Some of the bytes."""
        return (ctypes.c_ubyte * size).from_buffer(self.map, start)


@cython.no_gc
@cython.cclass
class SfBuf(Memory):
    """A page of a file, mapped: for reading only. From `SfBufs.alloc`. See sf_buf(9)."""

    #: `before` and `after` are its neighbours among those that nobody uses; `home` is the number of its `SfBufs`,
    #: which has it under `key`.
    __slots__ = ("after", "before", "file", "home", "index", "key", "users")
    if TYPE_CHECKING:
        after: Any
        before: Any
        file: Any
        home: int
        index: int
        key: Any
        users: int

    def map(self, file: PageFile, index: int) -> None:
        """Map the page, as much of it as the file has; once."""
        if self._taken():
            raise IndexError("this window is a page's already")
        if not 0 <= index < file.pages:
            raise IndexError(f"{file.name} has no page {index}")
        offset = index * PAGE_SIZE
        size = min(PAGE_SIZE, file.size - offset)
        self.file = file
        self.index = index
        self.users = 0
        self.home = 0
        self.after = self.before = None
        if cython.compiled:
            where = mmap(cython.NULL, size, PROT_READ, MAP_SHARED, file.fd, offset)
            if where == MAP_FAILED:
                raise NoMemory(f"{file.name}: the system maps no more pages")
            self._be(file, 0, size, True)
            self.ptr = cython.cast(cython.p_uchar, where)
        else:
            try:
                mapping = Mapping(file.fd, size, offset)
            except OSError as error:
                raise NoMemory(f"{file.name}: the system maps no more pages") from error
            self._be(mapping, 0, size, True)

    def __dealloc__(self) -> None:
        if cython.compiled and self.ptr != cython.NULL:
            munmap(self.ptr, self.size)


@cython.cclass
class SfBufs:
    """At most `most` windows. Any thread may use them."""

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
        self.most = most
        #: Requests that found no window free, and the most that were in use at once.
        self.fails = 0
        self.peak = 0
        #: Windows that were allocated and not let go.
        self.in_use = 0
        # All that are mapped; those that nobody uses are linked, the one unused for longest first.
        self._windows = {}
        self._number = id(self)
        self._first = self._last = None

    @property
    def used(self) -> int:
        """Windows that somebody uses; a view of the bytes is a use."""
        count = self.in_use
        for sf in list(self._windows.values()):
            count += _is_watched_spare(sf)
        return count

    @property
    def mapped(self) -> int:
        """Windows, in use or not."""
        return len(self._windows)

    def alloc(self, file: PageFile, index: int) -> SfBuf:
        """A window onto a page, for reading; let it go with `free`. `NoBufs` if all are in use. See sf_buf_alloc.

        `Inval` if the file ends before what it had of the page when it was opened.
        """
        file.there(min((index + 1) * PAGE_SIZE, file.size))
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
                    self._begin(fresh)
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
                    "send without looking (sendfile), or have more with Pool(nsfbufs=...)"
                )
            if fresh is None:
                fresh = SfBuf.__new__(SfBuf)
                fresh.map(file, index)
                fresh.key = key

    def _begin(self, sf: SfBuf) -> None:
        """In a commit: a window was mapped."""
        sf.home = self._number
        self._link(sf)

    def _use(self, sf: SfBuf) -> None:
        """In a commit: one use more."""
        if sf.users == 0:
            self._unlink(sf)
            self.in_use += 1
            self.peak = max(self.peak, self.in_use)
        sf.users += 1

    def _link(self, sf: SfBuf) -> None:
        """In a commit: be the last of those that nobody uses."""
        sf.before = self._last
        if self._last is None:
            self._first = sf
        else:
            self._last.after = sf
        self._last = sf

    def _unlink(self, sf: SfBuf) -> None:
        """In a commit: be none of those that nobody uses."""
        if sf.before is None:
            self._first = sf.after
        else:
            sf.before.after = sf.after
        if sf.after is None:
            self._last = sf.before
        else:
            sf.after.before = sf.before
        sf.before = sf.after = None

    def _evict(self) -> Any:
        """In a commit: forget the window that nobody has used for longest; None if all are looked at."""
        sf: Any = self._first
        while sf is not None and _is_watched(sf):
            sf = sf.after
        if sf is not None:
            self._drop(sf)
        return sf

    def _drop(self, sf: SfBuf) -> None:
        """In a commit: forget a window that nobody uses; the caller holds it."""
        self._unlink(sf)
        sf.home = 0
        del self._windows[sf.key]

    def free(self, window: SfBuf) -> None:
        """One use less. See sf_buf_free."""
        enter_commit()
        try:
            good = self.let_go(window)
        finally:
            leave_commit()
        if not good:
            raise Corrupt("a window that nobody uses was let go")

    def let_go(self, window: SfBuf) -> bool:
        """In a commit: one use less; false if it isn't in use."""
        if window.home != self._number or window.users < 1:
            return False
        window.users -= 1
        if window.users == 0:
            self.in_use -= 1
            self._link(window)
        return True

    def forget(self, file: PageFile) -> None:
        """Unmap what nobody uses of a file."""
        gone: Any = self
        while gone is not None:
            enter_commit()
            try:
                # One that is looked at takes up its place until it isn't.
                sf: Any = self._first
                while sf is not None and (sf.file is not file or _is_watched(sf)):
                    sf = sf.after
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
            if key != sf.key or key != (id(sf.file), sf.index) or sf.home != self._number:
                return f"the window onto page {sf.index} is kept for another page"
            used += sf.users > 0
        spare = 0
        at: Any = self._first
        while at is not None and spare <= len(self._windows):
            if at.users:
                return f"the window onto page {at.index} is in use, and listed as unused"
            spare += 1
            at = at.after
        if (used, spare + used) != (self.in_use, len(self._windows)):
            return f"{used} windows are in use, {spare} unused; {self.in_use} of {len(self._windows)} count as in use"
        return f"{len(self._windows)} windows are mapped, {self.most} may be" if len(self._windows) > self.most else ""


def _is_watched(sf: SfBuf) -> bool:
    return bool(sf.exports) and bool(sf.has_views())


def _is_watched_spare(sf: SfBuf) -> bool:
    return not sf.users and _is_watched(sf)
