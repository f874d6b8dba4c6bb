"""The budget of pages: how many we may hold, which are free, and what to do when few are left.

Pages are numbered as on a machine with that much memory, so that a run of pages in a row can be
missing while single ones are free. Knows nothing of slabs, zones or mbufs.
"""

import time
from collections.abc import Callable
from operator import index
from pathlib import Path

from mbuf.const import PAGE_SIZE, VM_LOW_KMEM, VM_LOW_PAGES
from mbuf.errors import Inval, NoMemory
from mbuf.vm.arena import Arena
from mbuf.vm.cgroup import folders
from mbuf.vm.event import Event
from mbuf.vm.lock import Lock

#: Pages of one arena, 64 MiB: large, so that there are few; small, so that one is searched in a microsecond.
ARENA_PAGES = 16384

#: Least seconds between two low-memory events: the kernel's vm.lowmem_period.
LOWMEM_PERIOD = 10.0

#: The same where it is severely low. See uma_reclaim_worker.
SEVERE_PERIOD = 1.0

#: What the files with a control group's limit are called, in version 2 and 1.
LIMITS = ("memory.max", "memory.limit_in_bytes")


def host_memory(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group says so."""
    meminfo = Path(proc, "meminfo").read_text(encoding="ascii")
    total = next(int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    limits = (_limit_in(folder / name) for folder in folders(proc, cgroup) for name in LIMITS)
    return min([total, *(limit for limit in limits if limit is not None)])


def _limit_in(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


class Vm:
    """Pages of memory up to a budget.

    `Vm.host()` takes the machine's memory for its budget, `Vm(realmem=...)` any number of bytes. The
    memory itself is lent by the operating system when a page is first touched, and given back when it
    is freed.
    """

    def __init__(self, realmem: int, clock: Callable[[], float] = time.monotonic) -> None:
        if not hasattr(realmem, "__index__") or isinstance(realmem, bool):
            raise TypeError(f"realmem {realmem!r}: give the bytes of memory to manage, a whole number")
        realmem = index(realmem)
        if not 0 <= realmem < 1 << 62:
            raise Inval(f"realmem {realmem}: give the bytes of memory to manage, 0 or more")
        self.clock = clock
        #: Least seconds between two low-memory events. See vm.lowmem_period.
        self.lowmem_period = LOWMEM_PERIOD
        #: Bytes in the budget, as given; pages are whole.
        self.realmem = realmem
        #: Pages in the budget.
        self.pages = realmem // PAGE_SIZE
        #: Pages handed out, and the most that ever were.
        self.used = self.peak = 0
        #: Requests for pages that found none, and those that found none in a row though enough were free.
        self.fails = 0
        self.fragmented = 0
        #: Invoked with VM_LOW_PAGES or VM_LOW_KMEM when memory is low; listeners give some back.
        self.lowmem = Event()
        #: Invoked after that, with the same: whoever caches lets go of it. See uma_reclaim.
        self.reclaim = Event()
        #: Invoked when a request found no page, wherever that was: listeners must return at once.
        self.shortage = Event()
        #: Invoked after pages were freed.
        self.freed = Event()
        self._arenas: dict[int, Arena] = {}
        # One byte a page, for each arena: 0 free, 1 handed out.
        self._maps: list[bytearray] = []
        self._frees: list[int] = []
        self._first = 0
        self._lock = Lock()
        # When it was told last.
        self._told = {VM_LOW_PAGES: float("-inf"), VM_LOW_KMEM: float("-inf")}

    @classmethod
    def host(cls) -> "Vm":
        """The memory of this machine, or of the control group that this process is in."""
        return cls(host_memory())

    @property
    def free(self) -> int:
        """Pages not handed out."""
        return self.pages - self.used

    def take(self, count: int) -> int:
        """Hand out `count` pages in a row; the number of the first, or -1 when there is no such run."""
        with self._lock:
            for index in range(self._first, -(-self.pages // ARENA_PAGES)):
                if index == len(self._maps):
                    self._maps.append(bytearray(min(ARENA_PAGES, self.pages - index * ARENA_PAGES)))
                    self._frees.append(len(self._maps[index]))
                if self._frees[index] >= count:
                    page = self._take_from(index, count)
                    if page >= 0:
                        return page
                elif self._frees[index] == 0 and index == self._first:
                    self._first = index + 1
            self.fails += 1
            self.fragmented += self.free >= count
            return -1

    def _take_from(self, index: int, count: int) -> int:
        pages = self._maps[index]
        # Single pages from the low end, runs from the high end, so that singles don't break up the runs.
        at = pages.find(0) if count == 1 else pages.rfind(bytes(count))
        if at < 0 or not self._mapped(index):
            return -1
        pages[at : at + count] = b"\1" * count
        self._frees[index] -= count
        self.used += count
        self.peak = max(self.peak, self.used)
        return index * ARENA_PAGES + at

    def _mapped(self, index: int) -> bool:
        """True when the arena is there, or could be made."""
        if index not in self._arenas:
            try:
                self._arenas[index] = Arena(len(self._maps[index]))
            except OSError:
                return False
        return True

    def place(self, page: int) -> tuple[Arena, int]:
        """The arena that a page handed out lies in, and the offset there in bytes."""
        index, at = divmod(page, ARENA_PAGES)
        return self._arenas[index], at * PAGE_SIZE

    def give(self, runs: list[tuple[int, int]]) -> None:
        """Take runs of (first page, count) back, and give their memory to the operating system."""
        if not self._lock.enter():
            self._lock.defer(self.give, runs)
            return
        try:
            for page, count in _joined(runs):
                index, at = divmod(page, ARENA_PAGES)
                self._arenas[index].discard(at, count)
                self._maps[index][at : at + count] = bytes(count)
                self._frees[index] += count
                self.used -= count
                self._first = min(self._first, index)
        finally:
            self._lock.leave()
        self.freed.invoke()

    def largest_run(self) -> int:
        """Pages of the longest free run: what the largest contiguous request can be."""
        with self._lock:
            untouched = self.pages - len(self._maps) * ARENA_PAGES
            best = min(ARENA_PAGES, max(untouched, 0))
            for pages in self._maps:
                best = max(best, max(map(len, bytes(pages).split(b"\1"))))
        return best

    def low(self, why: int = VM_LOW_PAGES) -> bool:
        """Say that memory is low; true if listeners were called.

        VM_LOW_PAGES says so at most once in `lowmem_period` seconds. VM_LOW_KMEM says that it is severely low,
        when nothing is kept in caches, at most once a second. See vm_pageout_lowmem and uma_reclaim_worker.
        """
        if why not in self._told:
            raise Inval(f"low memory {why}: give VM_LOW_PAGES or VM_LOW_KMEM")
        period = self.lowmem_period if why == VM_LOW_PAGES else SEVERE_PERIOD
        now = self.clock()
        with self._lock:
            if now < self._told[why] + period:
                return False
            self._told[why] = now
        try:
            self.lowmem.invoke(why)
        finally:
            self.reclaim.invoke(why)
        return True

    def denied(self, count: int) -> NoMemory:
        """The error that says why `count` pages in a row can't be had."""
        if self.free < count:
            return NoMemory(f"out of pages: {self.used} of {self.pages} in use (Vm(realmem=...) sets the budget)")
        return NoMemory(
            f"out of runs of {count} pages: {self.free} of {self.pages} pages are free, "
            f"but no more than {self.largest_run()} in a row"
        )


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs in order, neighbours within an arena made one: fewer calls to the operating system."""
    joined: list[tuple[int, int]] = []
    for page, count in sorted(runs):
        if joined and sum(joined[-1]) == page and page % ARENA_PAGES:
            joined[-1] = (joined[-1][0], joined[-1][1] + count)
        else:
            joined.append((page, count))
    return joined
