"""The file in which a process publishes the numbers of a pool: its name, its format, and whether its writer lives.

`mbuf.<pid>.<name>` in /dev/shm, or in the folder that XDG_RUNTIME_DIR names if there is no /dev/shm: memory, not disk.

    header   "mbufstat", version, bytes of a slot, pid, start time of the process, seconds between two updates
    slot 0   update number, time, length, checksum; the snapshot as JSON
    slot 1   the same

The writer writes update n to slot n % 2 and never touches the other one, and the checksum covers the whole slot. So at
each moment one slot is whole, whatever the reader meets or wherever the writer was killed: the reader takes the one
with the higher number. Nobody waits, and no order of memory accesses is needed.

A pid can be used again. So the page has the start time of its process (/proc/<pid>/stat): a page is *stale* unless a
process with that pid and start time lives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from errno import EINVAL, EPERM
from pathlib import Path
from stat import S_ISREG
from struct import Struct
from typing import Any, NamedTuple

from mbuf.errors import Inval
from mbuf.pool.stat import PoolStat
from mbuf.uma.stat import ZoneStat

MAGIC = b"mbufstat"
VERSION = 1
#: Most bytes of a slot, so that a damaged file doesn't make a reader allocate more.
MAX_SLOT = 1 << 20
#: magic, version, bytes of a slot, pid, start time in clock ticks since boot, interval.
HEADER = Struct("=8sIIQQd")
#: update number, Unix time, length of the text, CRC-32 of the rest of the slot.
_SLOT = Struct("=QdII")


class Header(NamedTuple):
    """Who writes a page, and how often."""

    slot: int
    pid: int
    started: int
    #: Seconds; 0 if the program updates the page itself.
    interval: float


class Update(NamedTuple):
    """What one slot has."""

    number: int
    time: float
    stat: PoolStat


def folders() -> Iterator[Path]:
    """Where pages are: a writer uses the first of them, a reader looks in all."""
    for folder in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "")):
        if folder and os.path.isdir(folder):
            yield Path(folder)


def file_name(pid: int, name: str) -> str:
    """The file of a pool's page."""
    return f"mbuf.{pid}.{name}"


def parts_of(file: str) -> tuple[int, str] | None:
    """The pid and the name in the name of a file; None if that is no page."""
    prefix, _, rest = file.partition(".")
    pid, _, name = rest.partition(".")
    return (int(pid), name) if prefix == "mbuf" and pid.isdecimal() and name else None


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    # The second field, the program's name, may have spaces and brackets in it.
    return int(stat.rpartition(b")")[2].split()[19])


def is_stale(path: Path) -> bool:
    """True if a file is the page of a process that has ended. Raises OSError if it can't be read."""
    found = parts_of(path.name)
    if found is None:
        return False
    now = started(found[0])
    if now == 0:
        return True
    header = unpack_header(read_file(path, HEADER.size))
    # Without a header: the process is just making it.
    return header is not None and header.started != now


def read_file(path: Path, most: int) -> bytes:
    """Up to `most` bytes of a page. Any user can make files in /dev/shm: only those of the process's user count."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        file = os.fstat(fd)
        if not S_ISREG(file.st_mode):
            raise OSError(EINVAL, "this is no regular file", str(path))
        pid, _ = parts_of(path.name) or (0, "")
        if file.st_uid not in {0, os.geteuid(), *_users(pid)}:
            raise PermissionError(EPERM, f"this file isn't of the user that runs process {pid}", str(path))
        return os.pread(fd, most, 0)
    finally:
        os.close(fd)


def _users(pid: int) -> list[int]:
    """The real, effective, saved and file system user of a process; none if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return []
    return [int(user) for line in status.splitlines() if line.startswith(b"Uid:") for user in line.split()[1:]]


def pack_header(header: Header) -> bytes:
    """The first bytes of a page."""
    return HEADER.pack(MAGIC, VERSION, *header)


def unpack_header(page: bytes) -> Header | None:
    """Who writes this page; None if these bytes are no page, or one that isn't complete yet."""
    if len(page) < HEADER.size:
        return None
    magic, version, *rest = HEADER.unpack_from(page)
    header = Header(*rest)
    return header if (magic, version) == (MAGIC, VERSION) and header.slot <= MAX_SLOT else None


def pack_slot(number: int, time: float, stat: PoolStat) -> bytes:
    """The bytes of an update."""
    # Imported here: only programs that publish need them.
    from json import dumps
    from zlib import crc32

    numbers = {field.name: getattr(stat, field.name) for field in fields(stat)}
    numbers["zones"] = [{field.name: getattr(zone, field.name) for field in fields(zone)} for zone in stat.zones]
    text = dumps(numbers, separators=(",", ":")).encode()
    start = _SLOT.pack(number, time, len(text), 0)
    return _SLOT.pack(number, time, len(text), crc32(start + text)) + text


def unpack(page: bytes, header: Header) -> Update | None:
    """The last update that is whole; None if the writer has changed both slots while the page was read.

    Raises `Inval` if another version of this package wrote the page, with other numbers.
    """
    from json import loads

    last: tuple[int, float, bytes] | None = None
    for at in (HEADER.size, HEADER.size + header.slot):
        found = _whole(page[at : at + header.slot])
        if found is not None and (last is None or found[0] > last[0]):
            last = found
    if last is None:
        return None
    number, time, text = last
    try:
        numbers = loads(text)
        zones = tuple(ZoneStat(**_known(ZoneStat, zone)) for zone in numbers["zones"])
        return Update(number, time, PoolStat(**_known(PoolStat, numbers) | {"zones": zones}))
    except (KeyError, TypeError, ValueError) as error:
        raise Inval("this page was written by another version of mbuf: read it with that one") from error


def _whole(slot: bytes) -> tuple[int, float, bytes] | None:
    """Number, time and text of a slot; None if a part of it is of another update."""
    from zlib import crc32

    if len(slot) < _SLOT.size:
        return None
    number, time, length, checksum = _SLOT.unpack_from(slot)
    text = slot[_SLOT.size : _SLOT.size + length]
    start = _SLOT.pack(number, time, length, 0)
    return (number, time, text) if number and crc32(start + text) == checksum else None


def _known(kind: type[PoolStat] | type[ZoneStat], numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers that this version of the package knows."""
    return {field.name: numbers[field.name] for field in fields(kind) if field.name in numbers}
