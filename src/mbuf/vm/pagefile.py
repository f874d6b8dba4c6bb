"""A file as a sequence of pages: its descriptor, its size, and the number of its users.

Owns the descriptor, and closes it when the file is closed and has no users any more. Never reads a byte.
"""

from __future__ import annotations

import os
import stat
from fcntl import F_GETFL, fcntl
from typing import TYPE_CHECKING, Any

from mbuf.const import PAGE_SIZE
from mbuf.errors import Corrupt, Freed, Inval

if TYPE_CHECKING:
    import cython

    from mbuf.vm.sfbuf import SfBuf, SfBufs
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit


@cython.cclass
class PageFile:
    """A regular file that is open for reading. It owns `fd`; its pages are mapped through `windows`.

    `size` is the length when it is opened. Bytes that are added later are ignored; a page of a file that has become
    shorter raises `Inval` when it is mapped. `take` and `drop` count the users of its pages.
    """

    __slots__ = ("_open", "fd", "name", "size", "users", "windows")

    def __init__(self, fd: int, name: str, windows: SfBufs) -> None:
        self._open = False
        self.fd = fd
        self.name = name
        self.windows = windows
        #: The users of its pages.
        self.users = 0
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Inval(f"{name} is no regular file: give a regular file")
        self.size = status.st_size
        self._open = True

    @property
    def closed(self) -> bool:
        """True after `close`: there are no new users."""
        return not self._open

    @property
    def pages(self) -> int:
        """The number of pages; the last one may be partial."""
        return -(-self.size // PAGE_SIZE)

    def take(self) -> None:
        """Count a new user."""
        if not self._open:
            raise Freed(f"{self.name} was closed: open it again")
        self.share()

    def share(self) -> None:
        """Count one more user, where there is one already. The file may be closed."""
        enter_commit()
        try:
            self.users += 1
        finally:
            leave_commit()

    def drop(self) -> None:
        """Count one user less. After the last one, unused windows are unmapped."""
        if self._unused():
            try:
                self.windows.forget(self)
            finally:
                if not self._open and not self.users:
                    self._end()

    def _unused(self) -> bool:
        """Count one user less; true if it was the last."""
        enter_commit()
        try:
            users = self.users
            if users > 0:
                self.users -= 1
        finally:
            leave_commit()
        if users < 1:
            raise Corrupt(f"{self.name}: dropped more often than taken")
        return users == 1

    def window(self, index: int) -> SfBuf:
        """Map a page. The caller is a user of the window until `windows.free`."""
        if self.fd < 0:
            raise Freed(f"{self.name}: the pages were freed while they were read")
        # Keeps the descriptor open: other threads run during system calls.
        self.share()
        try:
            return self.windows.alloc(self, index)
        finally:
            self.drop()

    def close(self) -> None:
        """Accept no new users. The descriptor is closed when there are no users any more."""
        if self._open:
            self._open = False
            if self.users == 0:
                self._end()

    def require_size(self, end: int) -> None:
        """Raise `Inval` if the file is now shorter than `end` bytes: touching those would end the program (SIGBUS)."""
        size = os.fstat(self.fd).st_size
        if size < end:
            raise Inval(f"{self.name} has become shorter: {size} bytes, where there were {self.size}: open it again")

    def _end(self) -> None:
        """Close the descriptor, once."""
        enter_commit()
        try:
            fd, self.fd = self.fd, -1
        finally:
            leave_commit()
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def open_file(file: Any, windows: SfBufs) -> PageFile:
    """Open a file by its path, or by a descriptor, which is duplicated."""
    if isinstance(file, int):
        fd, name = os.dup(file), f"descriptor {file}"
    else:
        name = os.fsdecode(file)
        # O_NONBLOCK: opening a pipe, which is refused below, must not wait.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise Inval(f"{name} is open for writing only")
        made = PageFile(fd, name, windows)
    except BaseException:
        # A `PageFile` that was made closes it by itself. Compiled, no signal handler runs in here.
        os.close(fd)
        raise
    return made
