"""Files in which Linux counts how often memory was short: PSI, control groups and vmstat.

Reads small files given by their paths, and sets PSI triggers on them. A file that is missing, malformed or forbidden
counts nothing. Never raises, never waits.
"""

import os
import select
from collections.abc import Callable
from pathlib import Path

from mbuf.const import VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.vm.cgroup import folders

#: PSI triggers, in microseconds: tasks are stalled on memory for 15 % of a window of 1 s. The second trigger, with a
#: window of 2 s, is for unprivileged users, who may use no other window since Linux 6.5.
TRIGGERS = (b"150000 1000000\0", b"300000 2000000\0")

#: The same where the file is polled: microseconds stalled since the last poll.
STALL_US = 150_000

#: Most bytes of a file that are read; the files of Linux have a few thousand.
MAX_BYTES = 1 << 16


def some_total(text: str) -> int:
    """Microseconds in which some task was stalled on memory. See Documentation/accounting/psi.rst."""
    return _total(text, "some ")


def full_total(text: str) -> int:
    """Microseconds in which all tasks at once were stalled on memory."""
    return _total(text, "full ")


def _total(text: str, start: str) -> int:
    line = next(line for line in text.splitlines() if line.startswith(start))
    return int(line.partition("total=")[2])


def limit_hits(text: str) -> int:
    """How often a group of version 2 reached memory.high or memory.max, or was out of memory."""
    return _sum(text, lambda name: name in ("high", "max", "oom"))


def oom_count(text: str) -> int:
    """How often a group of version 2 was out of memory."""
    return _sum(text, lambda name: name == "oom")


def failcnt(text: str) -> int:
    """How often a group of version 1 reached its limit."""
    return int(text)


def allocstalls(text: str) -> int:
    """How often an allocation on this machine had to reclaim memory itself."""
    return _sum(text, lambda name: name.startswith("allocstall"))


def _sum(text: str, wanted: Callable[[str], bool]) -> int:
    counts = [line.split()[1] for line in text.splitlines() if wanted(line.partition(" ")[0])]
    if not counts:
        raise LookupError("the file has none of these counters")
    return sum(map(int, counts))


class PressureFile:
    """A file with a counter that rises while memory is short. An increase below `step` is ignored.

    `why` is VM_LOW_PAGES, or VM_LOW_KMEM if the counter means that memory is severely short.
    """

    __slots__ = ("_last", "_read", "path", "step", "why")

    def __init__(self, path: Path, read: Callable[[str], int], step: int = 1, why: int = VM_LOW_PAGES) -> None:
        self.path = path
        self.why = why
        self.step = step
        self._read = read
        self._last = self.count()

    def count(self) -> int | None:
        """The counter now; None if it can't be read."""
        try:
            with open(self.path, "rb", opener=_opened) as file:
                return self._read((file.read(MAX_BYTES) or b"").decode("ascii"))
        except (OSError, ValueError, LookupError, StopIteration, MemoryError):
            return None

    def has_risen(self) -> bool:
        """True if memory was short since the last call. The first call that can read the file returns false."""
        before, self._last = self._last, self.count()
        return before is not None and self._last is not None and self._last - before >= self.step

    def open_trigger(self) -> int:
        """Set a PSI trigger: a descriptor that gets EPOLLPRI when memory is short; -1 if that isn't possible."""
        if self._read not in (some_total, full_total):
            return -1
        what = b"some " if self._read is some_total else b"full "
        return next((fd for fd in (self._open(what + window) for window in TRIGGERS) if fd >= 0), -1)

    def _open(self, trigger: bytes) -> int:
        fd = -1
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            # An ordinary file can't be polled: find that out before writing to it.
            with select.epoll() as epoll:
                epoll.register(fd, 0)
            os.write(fd, trigger)
        except OSError:
            if fd >= 0:
                os.close(fd)
            return -1
        return fd


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def pressure_files(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> list[PressureFile]:
    """The readable files of this machine and of the control groups of this process."""
    groups = folders(proc, cgroup)
    stalls = Path(proc, "pressure/memory")
    machine = [PressureFile(stalls, some_total, STALL_US), PressureFile(Path(proc, "vmstat"), allocstalls)]
    found = [
        # vmstat only if there is no PSI: its counter also rises under little load.
        *[file for file in machine if file.count() is not None][:1],
        *(PressureFile(folder / "memory.pressure", some_total, STALL_US) for folder in groups),
        *(PressureFile(folder / "memory.events", limit_hits) for folder in groups),
        *(PressureFile(folder / "memory.failcnt", failcnt) for folder in groups),
        PressureFile(stalls, full_total, STALL_US, VM_LOW_KMEM),
        *(PressureFile(folder / "memory.pressure", full_total, STALL_US, VM_LOW_KMEM) for folder in groups),
        *(PressureFile(folder / "memory.events", oom_count, 1, VM_LOW_KMEM) for folder in groups),
    ]
    return [file for file in found if file.count() is not None]
