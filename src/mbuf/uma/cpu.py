"""Which CPU a thread stands for.

A CPU is a number, and with it a cache in every zone. A thread is given the next one when it first asks,
and may be moved to another.
"""

from __future__ import annotations

from threading import get_ident

from mbuf.errors import Inval


class Cpus:
    """`count` CPUs, numbered from 0."""

    __slots__ = ("_next", "_of", "count")

    def __init__(self, count: int) -> None:
        if not 1 <= count <= 1024:
            raise Inval(f"ncpu {count}: give 1 to 1024")
        self.count = count
        self._of: dict[int, int] = {}
        self._next = 0

    def current(self) -> int:
        """The CPU of the calling thread."""
        thread = get_ident()
        cpu = self._of.get(thread)
        if cpu is None:
            cpu = self._of[thread] = self._next
            self._next = (self._next + 1) % self.count
        return cpu

    def move(self, cpu: int) -> int:
        """Move the calling thread to a CPU; the one it was on."""
        if not 0 <= cpu < self.count:
            raise Inval(f"cpu {cpu}: this pool has {self.count}, numbered from 0")
        before = self.current()
        self._of[get_ident()] = cpu
        return before
