"""Files in which Linux counts how often memory was short.

Reads small files given by their paths, and asks for triggers on them. A file that is missing, garbled or
forbidden counts nothing; never raises, never waits.
"""

import os
import select
from collections.abc import Callable
from pathlib import Path

from mbuf.const import VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.vm.cgroup import folders

#: What Linux is asked to tell of: tasks that stand still for want of memory, 15 % of a second. The second is for
#: those whom it grants windows of whole 2 seconds only, as it does to ordinary users since 6.5.
WINDOWS = (b"150000 1000000\0", b"300000 2000000\0")

#: The same for who looks for himself: microseconds since he last looked.
STALL = 150_000

#: Bytes of a file that are looked at; those of Linux have a few thousand.
MOST = 1 << 16


def stalled(text: str) -> int:
    """Microseconds that tasks have stood still for want of memory. See Documentation/accounting/psi.rst."""
    return _total(text, "some ")


def frozen(text: str) -> int:
    """Microseconds that all tasks at once have stood still: nobody got anything done."""
    return _total(text, "full ")


def _total(text: str, start: str) -> int:
    line = next(line for line in text.splitlines() if line.startswith(start))
    return int(line.partition("total=")[2])


def hits(text: str) -> int:
    """How often a group of version 2 met memory.high, memory.max, or had nothing left."""
    return _sum(text, lambda name: name in ("high", "max", "oom"))


def ooms(text: str) -> int:
    """How often a group of version 2 had nothing left, whatever Linux tried."""
    return _sum(text, lambda name: name == "oom")


def fails(text: str) -> int:
    """How often a group of version 1 met its limit."""
    return int(text)


def reclaims(text: str) -> int:
    """How often somebody on this machine who asked for memory had to look for it himself."""
    return _sum(text, lambda name: name.startswith("allocstall"))


def _sum(text: str, wanted: Callable[[str], bool]) -> int:
    counts = [line.split()[1] for line in text.splitlines() if wanted(line.partition(" ")[0])]
    if not counts:
        raise LookupError("none of them is here")
    return sum(map(int, counts))


class Gauge:
    """A file with a count that rises while memory is short; `step` is by how much it must, to mean anything.

    `why` is VM_LOW_KMEM where that means that memory is severely short.
    """

    __slots__ = ("_last", "_read", "path", "step", "why")

    def __init__(self, path: Path, read: Callable[[str], int], step: int = 1, why: int = VM_LOW_PAGES) -> None:
        self.path = path
        self.why = why
        self.step = step
        self._read = read
        self._last = self.count()

    def count(self) -> int | None:
        """The number now, None when there is none to be read."""
        try:
            with open(self.path, "rb", opener=_opened) as file:
                return self._read((file.read(MOST) or b"").decode("ascii"))
        except (OSError, ValueError, LookupError, StopIteration, MemoryError):
            return None

    def look(self) -> bool:
        """True when memory was short since the last look. A file that was away, or began anew, is a first look."""
        before, self._last = self._last, self.count()
        return before is not None and self._last is not None and self._last - before >= self.step

    def arm(self) -> int:
        """A descriptor on which Linux tells by EPOLLPRI that memory is short; -1 where it tells nothing."""
        if self._read not in (stalled, frozen):
            return -1
        what = b"some " if self._read is stalled else b"full "
        return next((fd for fd in (self._armed(what + window) for window in WINDOWS) if fd >= 0), -1)

    def _armed(self, trigger: bytes) -> int:
        fd = -1
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            # A file that nobody can wait for, not one of Linux's, is found out before anything is written to it.
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


def gauges(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> list[Gauge]:
    """Those of this machine, and of the control groups that this process is in, as far as they can be read."""
    groups = folders(proc, cgroup)
    stalls = Path(proc, "pressure/memory")
    machine = [Gauge(stalls, stalled, STALL), Gauge(Path(proc, "vmstat"), reclaims)]
    found = [
        # Who has the first needs no second, which comes without any load to speak of.
        *[gauge for gauge in machine if gauge.count() is not None][:1],
        *(Gauge(folder / "memory.pressure", stalled, STALL) for folder in groups),
        *(Gauge(folder / "memory.events", hits) for folder in groups),
        *(Gauge(folder / "memory.failcnt", fails) for folder in groups),
        Gauge(stalls, frozen, STALL, VM_LOW_KMEM),
        *(Gauge(folder / "memory.pressure", frozen, STALL, VM_LOW_KMEM) for folder in groups),
        *(Gauge(folder / "memory.events", ooms, 1, VM_LOW_KMEM) for folder in groups),
    ]
    return [gauge for gauge in found if gauge.count() is not None]
