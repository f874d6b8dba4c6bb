# cython: boundscheck=False, wraparound=False, cdivision=True
"""The map of the pages of a budget: which of them are handed out.

Each page has a byte with its state. An area has the states of ARENA_PAGES pages, and their arena; it is created when a
request needs it. Single pages are taken from the low end, longer runs from the high end, so that single pages don't
fragment the runs. Pages that are given back are marked first and swept later, so that neighbours go to the operating
system in one call. Taking and giving are commits. Only the creation of an arena calls Python, before a page is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.arena import Run
else:
    from mbuf.shadow import cython

from mbuf.const import PAGE_SIZE
from mbuf.vm.arena import ARENA_PAGES, Arena

if not cython.compiled:
    from mbuf.vm.commit import enter_commit, leave_commit

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free, PyMem_Realloc
    from cython.cimports.cpython.ref import Py_INCREF, Py_XDECREF, PyObject
    from cython.cimports.libc.string import memset

# States of a page: free, handed out, given back and still to be swept.
_FREE, _USED, _GIVEN = 0, 1, 2

# Returned by `_take` if another area may have the pages.
_GROW = -3


@cython.no_gc
@cython.cclass
class Area:
    """ARENA_PAGES pages, or the rest of a budget. Only pages from `low` up to `high` may still have to be swept."""

    __slots__ = ("arena", "free", "high", "low", "pages", "states")
    states: Any

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.free = pages
        self.low = pages
        self.high = 0
        if cython.compiled:
            self.states = cython.cast(cython.p_uchar, PyMem_Calloc(pages, 1))
            if self.states == cython.NULL:
                raise MemoryError
        else:
            self.states = bytearray(pages)
        self.arena = Arena(pages)

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyMem_Free(self.states)

    def find(self, count: int) -> int:
        """The first free page, or, for several pages, the last free run; -1 if there is none."""
        if not cython.compiled:
            return int(self.states.find(0) if count == 1 else self.states.rfind(bytes(count)))
        if count == 1:
            for at in range(self.pages):
                if self.states[at] == _FREE:
                    return at
            return -1
        run = 0
        for at in range(self.pages - 1, -1, -1):
            run = run + 1 if self.states[at] == _FREE else 0
            if run == count:
                return at
        return -1

    def mark(self, at: int, count: int, state: int) -> None:
        """Set the state of pages."""
        if cython.compiled:
            memset(self.states + at, state, count)
        else:
            self.states[at : at + count] = bytes([state]) * count

    def has(self, at: int, count: int, state: int) -> bool:
        """True if all of these pages are in this state."""
        if count > self.pages - at:
            return False
        for n in range(at, at + count):  # noqa: SIM110 (a generator is an object of Python's)
            if self.states[n] != state:
                return False
        return True

    def sweep(self) -> int:
        """Give the memory of the marked pages to the operating system. Returns their number."""
        freed = 0
        at = self.low
        while at < self.high:
            end = at
            while end < self.high and self.states[end] == _GIVEN:
                end += 1
            if end > at:
                self.arena.discard(at, end - at)
                self.mark(at, end - at, _FREE)
                freed += end - at
            at = end + 1
        self.low = self.pages
        self.high = 0
        self.free += freed
        return freed

    def longest(self) -> int:
        """Pages of the longest free run."""
        if not cython.compiled:
            return max(map(len, bytes(self.states).replace(b"\2", b"\1").split(b"\1")))
        best = run = 0
        for at in range(self.pages):
            run = run + 1 if self.states[at] == _FREE else 0
            best = max(best, run)
        return best

    def runs(self, count: int) -> int:
        """How many runs of `count` pages the free pages make at once."""
        if not cython.compiled:
            return sum(len(run) // count for run in bytes(self.states).replace(b"\2", b"\1").split(b"\1"))
        runs = run = 0
        for at in range(self.pages):
            run = run + 1 if self.states[at] == _FREE else 0
            if run == count:
                runs += 1
                run = 0
        return runs


@cython.no_gc
@cython.cclass
class PageMap:
    """`used` of `pages` are handed out. `fails` requests failed, `fragmented` of them with enough pages free.

    `sweeps` counts how often pages became free.
    """

    __slots__ = (
        "_areas",
        "_count",
        "_first",
        "_high",
        "_low",
        "fails",
        "fragmented",
        "pages",
        "peak",
        "sweeps",
        "used",
    )
    _areas: Any

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.used = 0
        self.peak = 0
        self.fails = 0
        self.fragmented = 0
        self.sweeps = 0
        self._count = 0
        # No area before `_first` has a free page. Areas from `_low` up to `_high` may have pages to sweep.
        self._first = 0
        self._low = self._high = 0
        if not cython.compiled:
            self._areas = []

    def __dealloc__(self) -> None:
        if cython.compiled:
            while self._count:
                self._count -= 1
                Py_XDECREF(self._areas[self._count])
            PyMem_Free(self._areas)

    def take(self, count: int) -> int:
        """Hand out `count` contiguous pages: the number of the first, or -1 if there is no such run."""
        while True:
            enter_commit()
            try:
                page = self._take(count)
            finally:
                leave_commit()
            if page != _GROW:
                if page >= 0:
                    self._track(page, count)
                return page
            if not self._grow():
                self._failed(count)
                return -1

    def _track(self, page: int, count: int) -> None:
        area = cython.cast(Area, self._areas[page // ARENA_PAGES])
        area.arena.track(page % ARENA_PAGES, count)

    def _take(self, count: int) -> int:
        for index in range(self._first, self._count):
            area = cython.cast(Area, self._areas[index])
            if area.free >= count:
                at = area.find(count)
                if at >= 0:
                    area.mark(at, count, _USED)
                    area.free -= count
                    self.used += count
                    self.peak = max(self.peak, self.used)
                    page: int = index * ARENA_PAGES + at
                    return page
            elif area.free == 0 and index == self._first:
                self._first = index + 1
        if count <= min(ARENA_PAGES, self.pages - self._count * ARENA_PAGES):
            return _GROW
        self._failed(count)
        return -1

    def _failed(self, count: int) -> None:
        self.fails += 1
        if self.pages - self.used >= count:
            self.fragmented += 1

    def _grow(self) -> bool:
        """Create another area; false if the system has no memory for it."""
        index = self._count
        pages = min(ARENA_PAGES, self.pages - index * ARENA_PAGES)
        if pages <= 0:
            # Another thread has created the last one meanwhile.
            return True
        try:
            area = Area(pages)
        except (OSError, MemoryError):
            return False
        enter_commit()
        try:
            # Another thread may have been faster.
            return index != self._count or self._append(area)
        finally:
            leave_commit()

    def _append(self, area: Area) -> bool:
        if cython.compiled:
            areas = cython.cast(
                cython.pointer(cython.pointer(PyObject)), PyMem_Realloc(self._areas, (self._count + 1) * 8)
            )
            if areas == cython.NULL:
                return False
            self._areas = areas
            Py_INCREF(area)
            self._areas[self._count] = cython.cast(cython.pointer(PyObject), area)
        else:
            self._areas.append(area)
        self._count += 1
        return True

    def give(self, page: int, count: int) -> bool:
        """In a commit: take pages of one area back. They are free after `sweep`. False if they aren't handed out."""
        if page < 0 or count < 1 or page >= self._count * ARENA_PAGES:
            return False
        index = page // ARENA_PAGES
        at = page - index * ARENA_PAGES
        area = cython.cast(Area, self._areas[index])
        if not area.has(at, count, _USED):
            return False
        area.mark(at, count, _GIVEN)
        area.arena.untrack(at, count)
        area.low = min(area.low, at)
        area.high = max(area.high, at + count)
        if self._low == self._high:
            self._low = index
            self._high = index + 1
        self._low = min(self._low, index)
        self._high = max(self._high, index + 1)
        return True

    def sweep(self) -> None:
        """In a commit: sweep the pages that were given back: their memory goes to the operating system."""
        self.sweeps += 1
        for index in range(self._low, self._high):
            area = cython.cast(Area, self._areas[index])
            if area.low < area.high:
                self.used -= area.sweep()
                self._first = min(self._first, index)
        self._low = self._high = 0

    def set_run(self, run: Run, page: int, count: int) -> None:
        """In a commit: set the pages of a run, which were handed out."""
        area = cython.cast(Area, self._areas[page // ARENA_PAGES])
        run.arena = area.arena
        run.offset = page % ARENA_PAGES * PAGE_SIZE
        run.page = page
        run.count = count

    def arena(self, page: int) -> Arena:
        """The arena of a page."""
        if page < 0 or page >= self._count * ARENA_PAGES:
            raise IndexError(f"page {page} was never handed out")
        area = cython.cast(Area, self._areas[page // ARENA_PAGES])
        arena: Arena = area.arena
        return arena

    def longest(self) -> int:
        """Pages of the longest free run."""
        best = min(ARENA_PAGES, max(self.pages - self._count * ARENA_PAGES, 0))
        for index in range(self._count):
            area = cython.cast(Area, self._areas[index])
            best = max(best, area.longest())
        return best

    def runs(self, count: int) -> int:
        """In a commit: how many runs of `count` pages the free pages make at once."""
        left = max(self.pages - self._count * ARENA_PAGES, 0)
        found = left // ARENA_PAGES * (ARENA_PAGES // count) + left % ARENA_PAGES // count
        for index in range(self._count):
            area = cython.cast(Area, self._areas[index])
            if area.free >= count:
                found += area.runs(count)
        return found

    def snapshot(self) -> bytearray:
        """A byte for each page: 0 if it is free."""
        whole = bytearray(self.pages)
        for index in range(self._count):
            area = cython.cast(Area, self._areas[index])
            at: int = index * ARENA_PAGES
            for n in range(area.pages):
                whole[at + n] = area.states[n]
        return whole

    def holds(self, page: int, count: int) -> bool:
        """True if these pages are handed out."""
        if page < 0 or count < 1 or page >= self._count * ARENA_PAGES:
            return False
        area = cython.cast(Area, self._areas[page // ARENA_PAGES])
        held: bool = area.has(page % ARENA_PAGES, count, _USED)
        return held

    def contradiction(self) -> str:
        """The first contradiction in the map, or ""."""
        used = 0
        for index in range(self._count):
            area = cython.cast(Area, self._areas[index])
            free = 0
            for at in range(area.pages):
                if area.states[at] == _FREE:
                    free += 1
                elif area.states[at] != _USED:
                    return f"page {index * ARENA_PAGES + at} was given back and never swept"
            if free != area.free:
                return f"area {index} counts {area.free} free pages, and has {free}"
            if free and index < self._first:
                return f"area {index} has free pages, and is skipped"
            used += area.pages - free
        if used != self.used:
            return f"{self.used} pages count as handed out, and {used} are"
        return ""
