"""The budget of pages: how many there are, which are free, and the events of low memory.

Pages are numbered as on a machine with that much memory, so that there may be no run of contiguous pages while single
pages are free.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import PAGE_SIZE, VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.errors import Corrupt, Inval, NoMemory
from mbuf.vm.arena import ARENA_PAGES, Arena
from mbuf.vm.event import Event
from mbuf.vm.log_errors import log
from mbuf.vm.pagemap import PageMap

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit

#: Least seconds between two low-memory events: the kernel's vm.lowmem_period.
LOWMEM_PERIOD = 10.0

#: The same when memory is severely low. See uma_reclaim_worker.
SEVERE_PERIOD = 1.0

#: The names of the files with the limit of a control group, in version 2 and 1.
LIMITS = ("memory.max", "memory.limit_in_bytes")


def host_memory(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> int:
    """Bytes of memory that this process may use: the machine's memory, or the lowest limit of its control groups."""
    from pathlib import Path

    from mbuf.vm.cgroup import folders

    meminfo = Path(proc, "meminfo").read_text(encoding="ascii")
    total = next(int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    limits = (_limit_in(folder / name) for folder in folders(proc, cgroup) for name in LIMITS)
    return min(total, min((limit for limit in limits if limit is not None), default=total))


def _limit_in(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def in_bytes(count: int) -> str:
    """A number of bytes for people: 512 bytes, 64 MiB, 1.5 GiB."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"


@cython.cclass
class Vm:
    """Pages of memory up to a budget.

    The budget of `Vm.host()` is the memory of this machine, that of `Vm(realmem=...)` any number of bytes. The
    operating system provides the memory of a page when it is first touched, and gets it back when the page is freed.
    """

    __slots__ = (
        "_told_kmem",
        "_told_pages",
        "clock",
        "freed",
        "lowmem",
        "lowmem_period",
        "map",
        "realmem",
        "reclaim",
        "shortage",
    )
    map: PageMap

    def __cinit__(self, *_: object, **__: object) -> None:
        # A Vm whose `__init__` never ran has no pages.
        #: Which pages are handed out.
        self.map = PageMap(0)
        #: Invoked with VM_LOW_PAGES or VM_LOW_KMEM when memory is low; listeners give some back.
        self.lowmem = Event()
        #: Invoked after that, with the same argument; listeners drain their caches. See uma_reclaim.
        self.reclaim = Event()
        #: Invoked when a request found no page; listeners must return at once.
        self.shortage = Event()
        #: Invoked after pages were freed.
        self.freed = Event()

    def __init__(self, realmem: int, clock: Callable[[], float] = time.monotonic) -> None:
        if not cython.compiled:
            self.__cinit__()
        if not hasattr(realmem, "__index__") or isinstance(realmem, bool):
            raise TypeError(f"realmem {realmem!r}: give the bytes of memory to manage, a whole number")
        bytes_ = index(realmem)
        if not 0 <= bytes_ < 1 << 62:
            raise Inval(f"realmem {realmem}: give the bytes of memory to manage, 0 or more")
        #: Returns the time in seconds.
        self.clock = clock
        #: Least seconds between two low-memory events. See vm.lowmem_period.
        self.lowmem_period: float = LOWMEM_PERIOD
        #: Bytes in the budget, as given; pages are whole.
        self.realmem = bytes_
        self.map = PageMap(bytes_ // PAGE_SIZE)
        # When `low` last invoked the events, for each reason.
        self._told_pages = self._told_kmem = float("-inf")

    def __repr__(self) -> str:
        # Uncompiled, one whose `__init__` never ran has no map.
        pages = self.map if cython.compiled else getattr(self, "map", None)
        if pages is None:
            return f"<{type(self).__name__}, never made>"
        return (
            f"<{type(self).__name__} of {in_bytes(pages.pages * PAGE_SIZE)}, {in_bytes(pages.used * PAGE_SIZE)} used>"
        )

    @classmethod
    def host(cls) -> Vm:
        """A Vm with the memory of this machine, or of the control group of this process."""
        return cls(host_memory())

    @property
    def pages(self) -> int:
        """Pages in the budget."""
        return self.map.pages

    @property
    def used(self) -> int:
        """Pages handed out."""
        return self.map.used

    @property
    def peak(self) -> int:
        """The most pages that were handed out at once."""
        return self.map.peak

    @property
    def free(self) -> int:
        """Pages not handed out."""
        return self.map.pages - self.map.used

    @property
    def fails(self) -> int:
        """Requests for pages that found none."""
        return self.map.fails

    @property
    def fragmented(self) -> int:
        """Requests that found no contiguous run although enough pages were free."""
        return self.map.fragmented

    def take(self, count: int) -> int:
        """Hand out `count` contiguous pages: the number of the first, or -1 if there is no such run."""
        if count < 1:
            raise Inval(f"take: {count} pages: ask for 1 or more")
        return self.map.take(count)

    def place(self, page: int) -> tuple[Arena, int]:
        """The arena of a page, and its offset there in bytes."""
        return self.map.arena(page), page % ARENA_PAGES * PAGE_SIZE

    def give(self, runs: Iterable[tuple[int, int]]) -> None:
        """Take runs of (first page, count) back, and give their memory to the operating system.

        `Corrupt` if one of them isn't handed out; the others are taken back all the same.
        """
        pages: list[tuple[int, int]] = []
        for page, count in runs:
            pages.append((index(page), index(count)))
        wrong: list[tuple[int, int]] = []
        for page, count in pages:
            if not self._give(page, count):
                wrong.append((page, count))
        self.sweep()
        if wrong:
            raise Corrupt(f"pages given back that are not handed out: {wrong[0][1]} from {wrong[0][0]} on")

    def _give(self, page: int, count: int) -> bool:
        """Mark pages as given back; false if they aren't handed out."""
        enter_commit()
        try:
            return self.map.give(page, count)
        finally:
            leave_commit()

    def sweep(self) -> None:
        """Give the memory of the marked pages to the operating system, and invoke `freed`."""
        enter_commit()
        try:
            self.map.sweep()
        finally:
            leave_commit()
        self.freed.invoke()

    def largest_run(self) -> int:
        """Pages of the longest free run: the largest request that can succeed."""
        enter_commit()
        try:
            best = self.map.longest()
        finally:
            leave_commit()
        return best

    def low(self, why: int = VM_LOW_PAGES) -> bool:
        """Invoke `lowmem` and `reclaim`, because memory is low; true if they were invoked.

        VM_LOW_PAGES does so at most once in `lowmem_period` seconds. VM_LOW_KMEM means that memory is severely low: all
        caches are emptied. It does so at most once a second. See vm_pageout_lowmem and uma_reclaim_worker.
        """
        if why not in (VM_LOW_PAGES, VM_LOW_KMEM):
            raise Inval(f"low memory {why}: give VM_LOW_PAGES or VM_LOW_KMEM")
        if not self._due(why == VM_LOW_PAGES, self.clock(), self.lowmem_period):
            return False
        if why == VM_LOW_PAGES:
            log("info", "memory is low: drains run, and caches are trimmed", logger="mbuf.pool")
        else:
            log("info", "memory is severely low: drains run, and caches are emptied", logger="mbuf.pool")
        try:
            self.lowmem.invoke(why)
        finally:
            self.reclaim.invoke(why)
        return True

    def _due(self, pages: bool, now: float, period: float) -> bool:
        """True if the last time is longer ago than the period; then this is the last time."""
        enter_commit()
        try:
            if now < (self._told_pages + period if pages else self._told_kmem + SEVERE_PERIOD):
                return False
            if pages:
                self._told_pages = now
            else:
                self._told_kmem = now
            return True
        finally:
            leave_commit()

    def denied(self, count: int) -> NoMemory:
        """The error for a request of `count` contiguous pages that failed."""
        free, used, pages = self.free, self.used, self.pages
        if free < count:
            return NoMemory(f"out of pages: {used} of {pages} in use (Vm(realmem=...) sets the budget)")
        return NoMemory(
            f"out of runs of {count} contiguous pages: {free} of {pages} pages are free, "
            f"but no more than {self.largest_run()} contiguous: use smaller clusters, or raise Vm(realmem=...)"
        )

    def audit(self, runs: Iterable[tuple[int, int]] | None = None) -> None:
        """Raise `Corrupt` with the first contradiction in the map of pages.

        `runs`, if given, are the runs (first page, count) that the caller has: all that are handed out.
        """
        known = None if runs is None else list(runs)
        enter_commit()
        try:
            wrong = self.map.contradiction() or self._unknown(known)
        finally:
            leave_commit()
        if wrong:
            raise Corrupt(f"pages: {wrong}")

    def _unknown(self, runs: list[Any] | None) -> str:
        """The first contradiction between these runs and the pages that are handed out, or ""."""
        if runs is None:
            return ""
        total = 0
        after = 0
        for page, count in sorted(runs):
            if page < after:
                return f"page {page} is held twice"
            if not self.map.holds(page, count):
                return f"{count} pages from {page} on are held, and not handed out"
            after = page + count
            total += count
        if total != self.map.used:
            return f"{self.map.used} pages are handed out, and {total} are held by kegs"
        return ""
