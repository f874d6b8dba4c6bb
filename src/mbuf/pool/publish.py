"""Publishing a pool's numbers to other processes: see `pool.publish`, and `statpage` for the file.

A thread takes a snapshot at intervals, as `pool.stat()` does, and writes it to the page. Allocating and freeing do
nothing for it. The thread refers to the parts of the pool and not to the pool, which therefore still closes when it is
dropped; closing ends the thread and removes the page. In the child of a fork there is no such thread, and the page is
closed there: it is the parent's.
"""

from __future__ import annotations

import os
import re
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mbuf.errors import Inval
from mbuf.pool.statpage import HEADER, Header, file_name, folders, is_stale, pack_header, pack_slot, started
from mbuf.vm.lock import Lock
from mbuf.vm.log_errors import LogErrors

if TYPE_CHECKING:
    from typing import Self

    from mbuf.pool.subsystem import Subsystem

#: Least seconds between two updates. A snapshot takes some 0.1 ms, so that this is 0.1 % of a CPU.
MIN_INTERVAL = 0.1

#: Least bytes of a slot. A snapshot has some 2500.
MIN_SLOT = 8192


class StatPage:
    """The numbers of a pool where other processes read them, from `pool.publish()`.

    Close it with `close`, or use it in a `with` statement; the pool closes it, too, and so does the end of the program.
    """

    __slots__ = ("__weakref__", "_file", "_lock", "_number", "_parts", "_pid", "_slot", "_stop", "_unlink", "path")

    def __init__(
        self, parts: Subsystem, name: str, interval: float | None, folder: str | os.PathLike[str] | None
    ) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,64}", name, re.ASCII):
            raise Inval(f"publish: name {name!r}: give 1 to 64 letters, digits, or any of the characters . _ -")
        seconds = 0.0 if interval is None else float(interval)
        if interval is not None and not MIN_INTERVAL <= seconds < threading.TIMEOUT_MAX:
            raise Inval(f"publish: interval {interval}: give {MIN_INTERVAL} seconds or more, or None")
        where = next(folders(), None) if folder is None else Path(folder)
        if where is None:
            raise Inval("publish: there is no /dev/shm, and XDG_RUNTIME_DIR isn't set: give a folder")
        self._parts = parts
        self._lock = Lock()
        self._pid = os.getpid()
        self._number = 0
        #: The file.
        self.path = where / file_name(self._pid, name)
        _remove_stale(where)
        self._file: _Descriptor | None = _Descriptor(self._create(seconds))
        self._unlink = weakref.finalize(self, _unlink, self.path, self._pid)
        self._stop = threading.Event()
        parts.published = (*parts.published, self)
        if interval is not None:
            threading.Thread(target=self._run, args=(seconds,), name=f"mbuf-{name}", daemon=True).start()

    def _create(self, interval: float) -> int:
        """Make the file, with the first update in it; return its descriptor."""
        first = self._next()
        self._slot = max(MIN_SLOT, 2 * len(first))
        header = pack_header(Header(self._slot, self._pid, started(self._pid), interval))
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise Inval(
                f"publish: {self.path} exists: a pool is published under this name: give another, or close that"
            ) from None
        try:
            # All bytes, so that there is memory for later updates. The second slot is that of update 1.
            os.pwrite(fd, header + bytes(self._slot) + first.ljust(self._slot, b"\0"), 0)
        except OSError:
            os.close(fd)
            os.unlink(self.path)
            raise
        return fd

    def _next(self) -> bytes:
        """The next update."""
        self._number += 1
        return pack_slot(self._number, time.time(), self._parts.stat())

    def update(self) -> None:
        """Write the numbers as they are now. Raises `Inval` if the page is closed."""
        if not self._update():
            raise Inval("update: this page is closed: publish the pool again")

    def _update(self) -> bool:
        """Write the numbers; false if the page is closed."""
        # Kept here: closing, which may happen meanwhile, closes the descriptor when nobody uses it.
        file = self._file
        if file is not None and self._lock.enter():
            try:
                update = self._next()
                os.pwrite(file.fd, update, HEADER.size + self._number % 2 * self._slot)
            finally:
                self._lock.leave()
        return file is not None

    def _run(self, interval: float) -> None:
        """The thread."""
        while not self._stop.wait(interval):
            with LogErrors("publishing to %s, which ends now,", self.path, logger="mbuf.pool") as call:
                if not self._update():
                    return
            if call.failed:
                return

    @property
    def closed(self) -> bool:
        """True after `close`, and in the child of a fork."""
        return self._file is None

    def close(self) -> None:
        """Remove the page. Calling it again has no effect."""
        self._file = None
        self._unlink()
        self._stop.set()
        self._parts.published = tuple(page for page in self._parts.published if page is not self)

    def forked(self) -> None:
        """In the child of a fork: the page and its thread are the parent's."""
        self._file = None
        self._unlink.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Descriptor:
    """A descriptor that is closed when the last reference is dropped."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _unlink(path: Path, pid: int) -> None:
    """Remove a page, unless this is another process than the one that made it."""
    if os.getpid() == pid:
        path.unlink(missing_ok=True)


def _remove_stale(folder: Path) -> None:
    """Remove the pages of processes that ended without removing them. Those of other users can't be removed."""
    for path in folder.glob("mbuf.*.*"):
        with suppress(OSError):
            if is_stale(path):
                path.unlink()
