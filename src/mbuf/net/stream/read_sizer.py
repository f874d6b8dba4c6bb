"""Clusters for a stream socket to read into: as large, and as many, as the last read makes worth while.

Asks its pool alone. What a read doesn't fill goes back at once, and so does a large cluster with few bytes in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, MCLBYTES, MJUM16BYTES, MLEN, MT_DATA
from mbuf.errors import NoBufs, NoMemory
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.vm.page import view_of

if not cython.compiled:
    from mbuf.packet.chain import cut, free_chain, link
    from mbuf.packet.mbuf import use_whole_storage
    from mbuf.packet.segment import capacity, check_alive, space
    from mbuf.vm.commit import run_releases

#: Bytes that a read asks for: as many as in the next step if it got all, in the step before if it got less than those.
STEPS = (MCLBYTES, MJUM16BYTES, 4 * MJUM16BYTES, 16 * MJUM16BYTES, 64 * MJUM16BYTES)


@cython.cclass
class ReadSizer:
    """Sees how much comes, and asks for as much the next time."""

    __slots__ = ("_pool", "_step", "size")

    def __init__(self, pool: Pool) -> None:
        if pool is None:
            raise TypeError("Intake: give a pool")
        self._pool: Any = pool
        self._step = 0
        #: Bytes that the next read should ask for.
        self.size: int = STEPS[0]

    def room(self, size: int) -> Mbuf:
        """Empty mbufs for `size` bytes, or for fewer if there are no more; `NoBufs` or `NoMemory` if there is none.

        The last of them may have room for more than that.
        """
        if self._pool is None:
            raise TypeError("room: this intake was never made")
        first: Any = cython.cast(Mbuf, None)
        last: Any = first
        left = size
        # Refused once, large clusters aren't asked for again: each time is a hit of their limit.
        large = True
        while left > 0 or first is None:
            m = self._jumbo() if large and left > MCLBYTES else None
            if m is None:
                large = False
                try:
                    m = self._small(left)
                except (NoBufs, NoMemory):
                    if first is None:
                        raise
                    break
            if first is None:
                first = m
            else:
                link(last, m)
            last = m
            left -= capacity(m)
        chain: Mbuf = first
        return chain

    def _jumbo(self) -> Mbuf | None:
        try:
            m: Mbuf = self._pool.getjcl(M_NOWAIT, MT_DATA, 0, MJUM16BYTES)
        except (NoBufs, NoMemory):
            return None
        return m

    def _small(self, size: int) -> Mbuf:
        """An mbuf for up to `size` bytes, of up to 2048."""
        if size > MLEN:
            m = cython.cast(Mbuf, self._pool.getcl(M_NOWAIT, MT_DATA, 0))
        else:
            m = cython.cast(Mbuf, self._pool.get(M_NOWAIT))
        found: Mbuf = m
        return found

    def filled(self, m: Mbuf, got: int, asked: int) -> Mbuf:
        """The chain of what a read has put into such mbufs; see how much that was.

        Those left over are freed, and so is a large one with little in it.
        """
        if m is None:
            raise TypeError("filled: give the chain that was read into")
        self.saw(got, asked)
        before: Any = None
        last: Any = m
        while got > capacity(last) and last._next is not None:
            got -= capacity(last)
            use_whole_storage(last)
            before = last
            last = last._next
        last.grow(got)
        spare = cut(last)
        if spare is not None:
            free_chain(spare)
            run_releases()
        if before is None:
            return self._fitting(last)
        cut(before)
        link(before, self._fitting(last))
        return m

    def saw(self, got: int, asked: int) -> None:
        """A read of `asked` bytes has got so many."""
        if got >= asked:
            self._step = min(self._step + 1, len(STEPS) - 1)
        elif self._step and got < STEPS[self._step - 1]:
            self._step -= 1
        self.size = STEPS[self._step]

    def _fitting(self, m: Mbuf) -> Mbuf:
        """The mbuf, or a smaller one with its bytes if they are few."""
        most = MLEN if m.count <= MLEN else MCLBYTES
        if m.count > most or capacity(m) <= most:
            return m
        try:
            small: Mbuf = self._small(m.count)
        except (NoBufs, NoMemory):
            return m
        target: Memory = small.buf
        target.copy(small.off, m.buf, m.off, m.count)
        small.count = m.count
        free_chain(m)
        run_releases()
        return small


def rooms_of(m: Mbuf | None, size: int) -> list[memoryview]:
    """Views of the room in the mbufs of a chain, `size` bytes at most: to be let go of, lest they keep the memory."""
    rooms: list[memoryview] = []
    while m is not None and size > 0:
        check_alive(m)
        most = min(space(m), size)
        rooms.append(view_of(m.buf, m.off + m.count, most, False))
        size -= most
        m = cython.cast(Mbuf, m._next)
    return rooms
