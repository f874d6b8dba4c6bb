# cython: annotation_typing=True
"""Windows onto pages of files, each mapped when somebody touches its bytes and no sooner.

A bounded number of them, counted by use. One that nobody uses stays mapped until another is wanted.
Never reads a byte.
"""

from __future__ import annotations

import ctypes
import mmap as system
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.vm.lock import Lock
from mbuf.vm.page import Memory

if TYPE_CHECKING:
    import cython

    from mbuf.vm.pagefile import PageFile
else:
    from mbuf.shadow import cython

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

    __slots__ = ("file", "index", "users")
    file: Any
    index: int
    users: int

    def map(self, file: PageFile, index: cython.Py_ssize_t) -> None:
        """Map the page, as much of it as the file has; once."""
        if getattr(self, "run", None) is not None:
            raise IndexError("this window is a page's already")
        if not 0 <= index < file.pages:
            raise IndexError(f"{file.name} has no page {index}")
        offset: cython.Py_ssize_t = index * PAGE_SIZE
        size: cython.Py_ssize_t = min(PAGE_SIZE, file.size - offset)
        self.file = file
        self.index = index
        self.users = 1
        if cython.compiled:
            fd: cython.int = file.fd
            where: cython.p_void = mmap(cython.NULL, size, PROT_READ, MAP_SHARED, fd, offset)
            if where == MAP_FAILED:
                raise NoMemory(f"{file.name}: the system maps no more pages")
            self.ptr = cython.cast(cython.p_uchar, where)
            self._be(file, 0, size, True)
        else:
            try:
                mapping = Mapping(file.fd, size, offset)
            except OSError as error:
                raise NoMemory(f"{file.name}: the system maps no more pages") from error
            self._be(mapping, 0, size, True)

    def __dealloc__(self) -> None:
        if cython.compiled and self.ptr != cython.NULL:
            munmap(self.ptr, self.size)


class SfBufs:
    """At most `most` windows. Any thread may use them."""

    __slots__ = ("_lock", "_spare", "_used", "fails", "most", "peak")

    def __init__(self, most: int = NSFBUFS) -> None:
        if not 0 < most < 1 << 31:
            raise Inval(f"nsfbufs {most}: give the most windows onto pages of files, 1 or more")
        self.most = most
        #: Requests that found no window free, and the most that were in use at once.
        self.fails = 0
        self.peak = 0
        self._lock = Lock()
        # In use, and mapped still: the one unused for longest first.
        self._used: dict[tuple[int, int], Any] = {}
        self._spare: dict[tuple[int, int], Any] = {}

    @property
    def used(self) -> int:
        """Windows that somebody uses; a view of the bytes is a use."""
        return len(self._used) + sum(1 for sf in list(self._spare.values()) if _watched(sf))

    @property
    def mapped(self) -> int:
        """Windows, in use or not."""
        return len(self._used) + len(self._spare)

    def alloc(self, file: PageFile, index: int) -> SfBuf:
        """A window onto a page, for reading; let it go with `free`. `NoBufs` if all are in use. See sf_buf_alloc.

        `Inval` if the file ends before what it had of the page when it was opened.
        """
        file.there(min((index + 1) * PAGE_SIZE, file.size))
        key = (id(file), index)
        with self._lock:
            sf: SfBuf = cython.cast(SfBuf, self._used.get(key))
            if sf is not None:
                sf.users += 1
                return sf
            sf = cython.cast(SfBuf, self._spare.pop(key, None))
            if sf is not None:
                sf.users = 1
            else:
                if self.mapped >= self.most and not self._evict():
                    self.fails += 1
                    raise NoBufs(
                        f"all {self.most} windows onto pages of files are in use: release views of them, "
                        "send without looking (sendfile), or have more with Pool(nsfbufs=...)"
                    )
                sf = SfBuf.__new__(SfBuf)
                sf.map(file, index)
            self._used[key] = sf
            self.peak = max(self.peak, len(self._used))
            return sf

    def _evict(self) -> bool:
        """Unmap the window that nobody has used for longest; false if all are looked at."""
        for key, sf in self._spare.items():
            if not _watched(sf):
                del self._spare[key]
                return True
        return False

    def free(self, window: SfBuf) -> None:
        """One use less. See sf_buf_free."""
        if not self._lock.enter():
            self._lock.defer(self.free, window)
            return
        try:
            sf: SfBuf = window
            sf.users -= 1
            if sf.users == 0:
                key = (id(sf.file), sf.index)
                del self._used[key]
                self._spare[key] = sf
        finally:
            self._lock.leave()

    def forget(self, file: PageFile) -> None:
        """Unmap what nobody uses of a file."""
        if not self._lock.enter():
            self._lock.defer(self.forget, file)
            return
        try:
            # One that is looked at takes up its place until it isn't.
            for key, sf in list(self._spare.items()):
                if key[0] == id(file) and not _watched(sf):
                    del self._spare[key]
        finally:
            self._lock.leave()


def _watched(window: SfBuf) -> bool:
    sf: SfBuf = window
    return bool(sf.exports) and bool(sf.watched())
