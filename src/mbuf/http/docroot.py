"""The files beneath a folder, as requests name them.

Looks at what was opened, not at what its name says: a link that leads out, or a file exchanged at the last
moment, gives nothing away. Opens nothing but regular files and folders.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from urllib.parse import quote_from_bytes, unquote_to_bytes

from mbuf.errors import Inval

_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class DocRoot:
    """The files beneath a folder, which is open until `close`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Find nothing any more."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    @contextmanager
    def find(self, names: list[bytes]) -> Iterator[tuple[int, os.stat_result]]:
        """A descriptor of what is there, which can't be read and isn't touched yet, and what it is; or an OSError."""
        path = b"/".join(names) or b"."
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=self._root)
        try:
            root = _real(self._root).rstrip(b"/")
            if not (_real(fd) + b"/").startswith(root + b"/"):
                raise FileNotFoundError(errno.ENOENT, "it leads out of the folder")
            yield fd, os.fstat(fd)
        finally:
            os.close(fd)

    def open(self, fd: int) -> int:
        """Open what was found for reading; for a regular file or a folder."""
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise PermissionError(errno.EACCES, "neither a file nor a folder")
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)

    def names_in(self, fd: int, most: int) -> tuple[list[bytes], bool]:
        """The names in a folder that was found, at most so many, folders with a / behind; and if that is all."""
        reader = self.open(fd)
        try:
            with os.scandir(reader) as entries:
                found = [_shown(entry) for entry in islice(entries, most + 1)]
        finally:
            os.close(reader)
        return sorted(found[:most]), len(found) <= most


def names_of(target: bytes) -> list[bytes]:
    """The names, one beneath the other, in a request's target; the last is empty if a folder is meant."""
    path = _ABSOLUTE.sub(b"", target, count=1).partition(b"?")[0].partition(b"#")[0] or b"/"
    decoded = unquote_to_bytes(path)
    if not path.startswith(b"/") or b"\0" in decoded:
        raise Inval("the target is no path")
    parts = decoded[1:].split(b"/")
    if b".." in parts:
        raise Inval("the target leads upwards")
    names = [name for name in parts if name not in (b"", b".")]
    return [*names, b""] if parts[-1] in (b"", b".") else names


def target_of(names: list[bytes]) -> str:
    """A target with these names, the other way round."""
    return "/" + "/".join(quote_from_bytes(name) for name in names)


def _shown(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")


def _real(fd: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % fd)
