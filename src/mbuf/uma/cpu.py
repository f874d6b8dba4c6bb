# cython: cdivision=True
"""The CPU of a thread.

A CPU is a number, and each zone has a cache for it. A thread is assigned the next number when it first allocates or
frees, and can be moved to another. Compiled, a hash table in C has the numbers, so that a lookup is plain C.
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
    from cython.cimports.mbuf.uma.cpu import Slot


@cython.no_gc
@cython.cclass
class Cpus:
    """`count` CPUs, numbered from 0."""

    __slots__ = ("_next", "_room", "_table", "_used", "count")
    _table: Any
    _room: int
    _used: int

    def __init__(self, count: int) -> None:
        if not 1 <= count <= 1024:
            raise Inval(f"ncpu {count}: give 1 to 1024")
        #: The number of CPUs.
        self.count = count
        self._next = 0
        if not cython.compiled:
            self._table = {}

    def __dealloc__(self) -> None:
        if cython.compiled:
            PyMem_Free(self._table)

    def here(self) -> int:
        """The CPU of the calling thread; compiled, plain C."""
        if self.count <= 1:
            return 0
        thread = current_thread()
        if not cython.compiled:
            if thread not in self._table:
                self._table[thread] = self._next
                self._next = (self._next + 1) % self.count
            cpu: int = self._table[thread]
            return cpu
        # The table is at most half full, so that a search always ends at a free slot.
        if self._used * 2 >= self._room and not self._grow():
            # The next call tries again.
            return thread % self.count
        slot = self._find(thread)
        if slot.thread != thread:
            slot.thread = thread
            slot.cpu = self._next
            self._next = (self._next + 1) % self.count
            self._used += 1
        at: int = slot.cpu
        return at

    def _find(self, thread: int) -> Any:
        """The slot of a thread in the table, or the free slot for it. The table isn't full."""
        at = (thread ^ (thread >> 12)) & (self._room - 1)
        while self._table[at].thread != 0 and self._table[at].thread != thread:
            at = (at + 1) & (self._room - 1)
        return self._table + at

    def _grow(self) -> bool:
        """Make the table larger; false if there is no memory for it."""
        old = self._table
        room = self._room
        slot = cython.cast(cython.pointer(Slot), PyMem_Calloc(room * 4 or 64, cython.sizeof(Slot)))
        if slot == cython.NULL:
            return False
        self._table = slot
        self._room = room * 4 or 64
        for n in range(room):
            if old[n].thread != 0:
                slot = self._find(old[n].thread)
                slot.thread = old[n].thread
                slot.cpu = old[n].cpu
        PyMem_Free(old)
        return True

    def current(self) -> int:
        """The CPU of the calling thread."""
        return self.here()

    def move(self, cpu: int) -> int:
        """Move the calling thread to a CPU. Returns the CPU it was on."""
        if not 0 <= cpu < self.count:
            raise Inval(f"cpu {cpu}: this pool has {self.count}, numbered from 0")
        before = self.here()
        if not cython.compiled:
            self._table[current_thread()] = cpu
        elif self.count > 1 and self._room:
            self._find(current_thread()).cpu = cpu
        return before
