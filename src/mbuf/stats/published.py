"""Reads the numbers that other processes publish with `pool.publish()`, without stopping them.

A page belongs to one user, and only that user and root can read it. `read` returns the last snapshot of a living
process; `pages` lists all pages, also those that killed processes left behind.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from errno import ENOENT, ESRCH
from pathlib import Path

from mbuf.errors import Inval
from mbuf.fielddocs import documented
from mbuf.pool.stat import PoolStat
from mbuf.pool.statpage import HEADER, folders, parts_of, read_file, started, unpack, unpack_header

#: How often a page is read if both slots change meanwhile, and seconds between two of these.
_TRIES, _PAUSE = 20, 0.001

_Folder = str | os.PathLike[str] | None


@documented
@dataclass(frozen=True, slots=True)
class Published:
    """A page as it was when it was read."""

    #: The process that writes it, or wrote it.
    pid: int
    #: The name of the pool, as given to `pool.publish`.
    name: str
    #: The numbers.
    stat: PoolStat
    #: When they were written, in seconds since 1970 (`time.time()`).
    time: float
    #: Seconds between two updates; 0 if the program updates the page by itself.
    interval: float
    #: False if the process has ended: the page is stale.
    alive: bool
    #: The file.
    path: Path


def read(pid: int, name: str | None = None, folder: _Folder = None) -> PoolStat:
    """Return what `pool.stat()` returned in process `pid` when it updated its page last.

    Without a `name`, the process must have published one pool. `folder` is the argument of `pool.publish`. Raises
    FileNotFoundError if the process has no such page, ProcessLookupError if it has ended, PermissionError if it runs as
    another user, `Inval` if it has several pages, or another version of mbuf.
    """
    if not isinstance(pid, int):
        raise TypeError(f"pid: give a whole number, not {pid!r}")
    found = [path for number, label, path in _files(folder) if number == pid and name in (None, label)]
    if not found:
        where = f"as {name!r}" if name is not None else "with pool.publish()"
        raise FileNotFoundError(ENOENT, f"process {pid} has published no pool {where}")
    if len(found) > 1:
        names = sorted(path.name.split(".", 2)[2] for path in found)
        raise Inval(f"read: process {pid} has published several pools: give a name, one of {', '.join(names)}")
    page = _page(found[0])
    if not page.alive:
        raise ProcessLookupError(ESRCH, f"process {pid} has ended, and left a page behind", str(page.path))
    return page.stat


def pages(folder: _Folder = None) -> list[Published]:
    """Return all pages that this user can read, in the order of their pids and names."""
    found: list[Published] = []
    for _, _, path in sorted(_files(folder)):
        try:
            found.append(_page(path))
        except (OSError, Inval):
            # Of another user or version, or removed meanwhile.
            continue
    return found


def _files(folder: _Folder) -> list[tuple[int, str, Path]]:
    """Pid, name and path of each file that is named like a page."""
    paths = (path for each in (folders() if folder is None else [Path(folder)]) for path in each.glob("mbuf.*.*"))
    return [(*found, path) for path in paths if (found := parts_of(path.name)) is not None]


def _page(path: Path) -> Published:
    pid, name = parts_of(path.name) or (0, "")
    # First: if the process ends now, the page that it leaves is one of a living process.
    now = started(pid)
    for _ in range(_TRIES):
        header = unpack_header(read_file(path, HEADER.size))
        update = None if header is None else unpack(read_file(path, HEADER.size + 2 * header.slot), header)
        if header is not None and update is not None:
            return Published(pid, name, update.stat, update.time, header.interval, now == header.started, path)
        time.sleep(_PAUSE)
    raise FileNotFoundError(ENOENT, "this file is no page of a pool, or was never complete", str(path))
