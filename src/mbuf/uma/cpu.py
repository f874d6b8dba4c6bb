# cython: cdivision=True
"""Which CPU a thread stands for.

A CPU is a number, and with it a cache in every zone. A thread is given the next one when it first asks,
and may be moved to another. Compiled, threads are found in a table of C, so that asking is plain C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval

if not cython.compiled:
    from mbuf.uma.waitq import current_thread

if cython.compiled:
    from cython.cimports.cpython.mem import PyMem_Calloc, PyMem_Free
    from cython.cimports.mbuf.uma.cpu import Place


@cython.no_gc
@cython.cclass
class Cpus:
    """`count` CPUs, numbered from 0."""

    __slots__ = ("_next", "_of", "_room", "_used", "count")
    _of: Any
    _room: int
    _used: int

    def __init__(self, count: int) -> None:
        if not 1 <= count <= 1024:
            raise Inval(f"ncpu {count}: give 1 to 1024")
        self.count = count
        self._next = 0
        if not cython.compiled:
            self._of = {}

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyMem_Free(self._of)

    def here(self) -> int:
        """The CPU of the calling thread, as a step of plain C."""
        if self.count <= 1:
            return 0
        thread = current_thread()
        if not cython.compiled:
            if thread not in self._of:
                self._of[thread] = self._next
                self._next = (self._next + 1) % self.count
            cpu: int = self._of[thread]
            return cpu
        # At most half full, so that there is always a free place to end at.
        if self._used * 2 >= self._room and not self._grow():
            # The next call tries again.
            return thread % self.count
        place = self._find(thread)
        if place.thread != thread:
            place.thread = thread
            place.cpu = self._next
            self._next = (self._next + 1) % self.count
            self._used += 1
        at: int = place.cpu
        return at

    def _find(self, thread: int) -> Any:
        """The place of a thread in the table, or a free one; the table isn't full."""
        at = (thread ^ (thread >> 12)) & (self._room - 1)
        while self._of[at].thread != 0 and self._of[at].thread != thread:
            at = (at + 1) & (self._room - 1)
        return self._of + at

    def _grow(self) -> bool:
        """Make the table larger; false where there is no memory for it."""
        old = self._of
        room = self._room
        place = cython.cast(cython.pointer(Place), PyMem_Calloc(room * 4 or 64, cython.sizeof(Place)))
        if place == cython.NULL:
            return False
        self._of = place
        self._room = room * 4 or 64
        for n in range(room):
            if old[n].thread != 0:
                place = self._find(old[n].thread)
                place.thread = old[n].thread
                place.cpu = old[n].cpu
        PyMem_Free(old)
        return True

    def current(self) -> int:
        """The CPU of the calling thread."""
        return self.here()

    def move(self, cpu: int) -> int:
        """Move the calling thread to a CPU; the one it was on."""
        if not 0 <= cpu < self.count:
            raise Inval(f"cpu {cpu}: this pool has {self.count}, numbered from 0")
        before = self.here()
        if not cython.compiled:
            self._of[current_thread()] = cpu
        elif self.count > 1 and self._room:
            self._find(current_thread()).cpu = cpu
        return before
