"""The files below a folder, found by request target.

What is checked is the opened file, not its name. So a symbolic link that leads out of the folder gives no access, nor
does a file that is replaced between check and use. Opens only regular files and folders.
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

#: The beginning of a target in absolute form. See RFC 9112, 3.2.2.
_ORIGIN = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)

#: The forms of a request target: origin-form, *, authority-form, absolute-form. See RFC 9112, 3.2.
_FORMS = re.compile(rb"/.*|\*|[^/?#@]+:[0-9]*|[a-z][a-z0-9+.-]*:[^#]+", re.IGNORECASE | re.DOTALL)


class DocRoot:
    """The files below the folder `root`. Its descriptor is open until `close`. Raises `OSError` if there is none."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the folder. Calling it again has no effect."""
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    @contextmanager
    def find(self, segments: list[bytes]) -> Iterator[tuple[int, os.stat_result]]:
        """Within it, an O_PATH descriptor of the file at this path, which can't be read, and its status.

        Raises `OSError`: `FileNotFoundError` also if the file isn't below the folder.
        """
        path = b"/".join(segments) or b"."
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=self._root)
        try:
            root = _real_path(self._root).rstrip(b"/")
            if not (_real_path(fd) + b"/").startswith(root + b"/"):
                raise FileNotFoundError(errno.ENOENT, "the path leads out of the folder")
            yield fd, os.fstat(fd)
        finally:
            os.close(fd)

    def open(self, fd: int) -> int:
        """Return a new descriptor to read the regular file or folder that `find` found; the caller closes it."""
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise PermissionError(errno.EACCES, "neither a regular file nor a folder")
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)

    def list_folder(self, fd: int, max_names: int) -> tuple[list[bytes], bool]:
        """Return at most `max_names` names in a folder, sorted, and True if these are all.

        The names of folders end with a /.
        """
        reader = self.open(fd)
        try:
            with os.scandir(reader) as entries:
                names = [_listed_name(entry) for entry in islice(entries, max_names + 1)]
        finally:
            os.close(reader)
        return sorted(names[:max_names]), len(names) <= max_names


def is_target(target: bytes) -> bool:
    """Return True if a request target has one of the four forms."""
    return _FORMS.fullmatch(target) is not None


def segments_of(target: bytes) -> list[bytes]:
    """Return the decoded path segments of a request target; the last is empty if the path ends with a /.

    Raises `Inval` if it isn't a path, or has a segment `..`.
    """
    origin = _ORIGIN.match(target)
    path = target[origin.end() if origin else 0 :].partition(b"?")[0].partition(b"#")[0]
    if origin and not path:
        path = b"/"
    decoded = unquote_to_bytes(path)
    if not path.startswith(b"/") or b"\0" in decoded:
        raise Inval("the request target isn't a path")
    parts = decoded[1:].split(b"/")
    if b".." in parts:
        raise Inval("the request target has a segment ..")
    segments = [part for part in parts if part not in (b"", b".")]
    return [*segments, b""] if parts[-1] in (b"", b".") else segments


def target_of(segments: list[bytes]) -> str:
    """Return a request target with these path segments."""
    return "/" + "/".join(quote_from_bytes(segment) for segment in segments)


def _listed_name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")


def _real_path(fd: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % fd)
