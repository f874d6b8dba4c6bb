"""What a verb that rebuilds a chain must put back if it runs out of memory on the way.

Remembers how the mbufs of a chain were linked and where their data was; mbufs that were taken out wait
here until the verb is done. Bytes are not remembered: a verb writes only where no data is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_FREED
from mbuf.packet.shape import Shape


@cython.cclass
class Undo:
    """A chain as it was. End it with `commit` or `rollback`, once."""

    __slots__ = ("_before", "_fresh", "_retired")

    def __init__(self, m: Shape) -> None:
        self._before: list[Any] = []
        self._fresh: list[Any] = []
        self._retired: list[Any] = []
        self._remember(m)

    def _remember(self, m: Shape) -> None:
        n: Shape | None = m
        while n is not None:
            self._before.append((n, n._next, n.count))
            n = cython.cast(Shape, n.follow())

    def mbufs(self) -> int:
        """How many mbufs the chain had."""
        return len(self._before)

    def fresh(self, m: Shape) -> None:
        """An mbuf that the chain didn't have: freed if nothing comes of it."""
        self._fresh.append(m)

    def retire(self, m: Shape) -> None:
        """An mbuf that the chain has no more: freed at the end, though its storage counts it out now."""
        self._retired.append(m)
        if m.bits & M_EXT:
            m.store().adjust(-1)

    def merge(self, m: Shape, n: Shape) -> None:
        """Append the bytes of `n`, which comes next, to those of `m`, where they fit."""
        m.live()
        n.live()
        m.buf.copy(m.off + m.count, n.buf, n.off, n.count)
        m.count += n.count
        m._next = n._next
        self.retire(n)

    def replace(self, m: Shape, n: Shape) -> None:
        """What was to be freed as `m` is `n` now: they have swapped bodies."""
        self._retired = [n if retired is m else retired for retired in self._retired]

    def commit(self) -> None:
        """Free what was taken out."""
        self._readmit()
        for m in self._retired:
            n: Shape = m
            if not n.bits & M_FREED:
                n._next = None
                n.shed()

    def rollback(self) -> None:
        """Have it all as it was, and free what was added."""
        self._readmit()
        for m, after, count in self._before:
            n: Shape = m
            n._next = after
            n.count = count
        for m in self._fresh:
            n = m
            n._next = None
            n.shed()

    def _readmit(self) -> None:
        for m in self._retired:
            n: Shape = m
            if n.bits & M_EXT:
                n.store().adjust(1)
