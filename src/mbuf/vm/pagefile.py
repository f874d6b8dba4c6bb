"""A file as pages: its descriptor, how long it is, who needs it.

Owns the descriptor, until it was closed and nobody uses a page of the file any more. Never reads a byte.
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
    """A regular file, open for reading, whose `fd` is this object's; `windows` show its pages.

    `size` is its length at this moment: what is added later isn't seen, what is cut off is found out when it
    is looked for. `take` and `drop` count who needs its pages.
    """

    __slots__ = ("_open", "fd", "name", "size", "users", "windows")

    def __init__(self, fd: int, name: str, windows: SfBufs) -> None:
        self._open = False
        self.fd = fd
        self.name = name
        self.windows = windows
        #: Who needs its pages.
        self.users = 0
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Inval(f"{name} is no regular file: only those have pages")
        self.size = status.st_size
        self._open = True

    @property
    def closed(self) -> bool:
        """True when it gives no pages any more."""
        return not self._open

    @property
    def pages(self) -> int:
        """Pages, of which the last may be filled in part only."""
        return -(-self.size // PAGE_SIZE)

    def take(self) -> None:
        """Somebody more needs pages of it."""
        if not self._open:
            raise Freed(f"{self.name} was closed: open it again")
        self.share()

    def share(self) -> None:
        """As `take`, by somebody who has what another needs already."""
        enter_commit()
        try:
            self.users += 1
        finally:
            leave_commit()

    def drop(self) -> None:
        """Somebody needs its pages no more."""
        if self._unused():
            try:
                self.windows.forget(self)
            finally:
                if not self._open and not self.users:
                    self._end()

    def _unused(self) -> bool:
        """One user less; true if that was the last."""
        enter_commit()
        try:
            users = self.users
            if users > 0:
                self.users -= 1
        finally:
            leave_commit()
        if users < 1:
            raise Corrupt(f"{self.name}: pages that nobody needs were dropped")
        return users == 1

    def window(self, index: int) -> SfBuf:
        """A page, mapped; the caller is one of its users until `windows.free`."""
        if self.fd < 0:
            raise Freed(f"{self.name}: the pages were freed while they were looked at")
        # The descriptor must stay: to look at the file lets other threads in.
        self.share()
        try:
            return self.windows.alloc(self, index)
        finally:
            self.drop()

    def close(self) -> None:
        """Give no pages any more; the descriptor goes when nobody needs one."""
        if self._open:
            self._open = False
            if self.users == 0:
                self._end()

    def there(self, end: int) -> None:
        """Raise `Inval` if the file has become shorter than `end` bytes: to touch those would end the program."""
        size = os.fstat(self.fd).st_size
        if size < end:
            raise Inval(f"{self.name} has become shorter: {size} bytes, where there were {self.size}")

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


def opened(file: Any, windows: SfBufs) -> PageFile:
    """A file by its path or a descriptor, which is duplicated."""
    if isinstance(file, int):
        fd, name = os.dup(file), f"descriptor {file}"
    else:
        name = os.fsdecode(file)
        # A pipe, which isn't wanted, must not be waited for either.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            raise Inval(f"{name} is open for writing only")
        made = PageFile(fd, name, windows)
    except BaseException:
        # (One that was made closes it by itself. Compiled, no signal handler runs in here.)
        os.close(fd)
        raise
    return made
