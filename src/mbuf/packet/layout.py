"""The same bytes in other mbufs: fewer of them, larger ones, or such as can be written.

Asks the source for the mbufs that it needs. The head that its user holds stays the head.
"""

from __future__ import annotations

from random import randint
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import (
    M_NOWAIT,
    M_PKTHDR,
    MCLBYTES,
    MHLEN,
    MLEN,
    MT_DATA,
)
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.gather import Gather
from mbuf.packet.recipe import recipe
from mbuf.packet.shape import free_all, free_chain
from mbuf.packet.source import left, until
from mbuf.vm.number import clip


@cython.no_gc
@cython.cclass
class Layout(Gather):
    """An mbuf whose chain can be laid out anew."""

    __slots__ = ()

    def defrag(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in as few mbufs and clusters as it needs, all new. See m_defrag.

        The header's len becomes what there is. A chain without a header is left alone. Raises `NoBufs`,
        and then nothing has changed.
        """
        self.live()
        if not self.bits & M_PKTHDR:
            return self
        todo = self.length()
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        if todo > MHLEN:
            top = cython.cast(Layout, source.getcl(how, MT_DATA, M_PKTHDR, left(deadline)))
        else:
            top = cython.cast(Layout, source.gethdr(how, MT_DATA, left(deadline)))
        try:
            top.inherit(self, how)
            top.hdr.len = todo
            piece = min(todo, MCLBYTES)
            m: Layout = self
            m, skip = m._feed(0, piece, top)
            todo -= piece
            last: Layout = top
            while todo > 0:
                piece = min(todo, MCLBYTES)
                if piece > MLEN:
                    n = cython.cast(Layout, source.getcl(how, MT_DATA, 0, left(deadline)))
                else:
                    n = cython.cast(Layout, source.get(how, MT_DATA, left(deadline)))
                m, skip = m._feed(skip, piece, n)
                last.join(n)
                last = cython.cast(Layout, last.tail())
                todo -= piece
        except BaseException:
            free_chain(top)
            raise
        self.become(top)
        return self

    def _feed(self, skip: int, n: int, m: Layout) -> tuple[Layout, int]:
        """`lift`; returns where the next bytes are."""
        self.lift(skip, n, m)
        src: Layout = self
        while src._next is not None and n >= src.count - skip:
            n -= src.count - skip
            skip = 0
            src = cython.cast(Layout, src._next)
        return src, skip + n

    def become(self, top: Layout) -> None:
        """Stand for a new chain from now on; the old one is freed."""
        self.live()
        old, new = self.cut(), top.cut()
        self.swap(top)
        self._next = new
        top._next = old
        free_chain(top)

    def fragment(self, length: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in new clusters of `length` bytes each; to try code on. See m_fragment.

        With -1 the length is chosen at random, from 1 to 255, with -2 it is chosen anew for each cluster. A
        chain without a header is left alone. Raises `NoBufs`, and then nothing has changed.
        """
        self.live()
        size = clip(length)
        if size == 0 or not -2 <= size <= MCLBYTES:
            raise Inval(f"fragment: {length} bytes: give 1 to {MCLBYTES}, -1 or -2")
        if not self.bits & M_PKTHDR:
            return self
        if size == -1:
            size = randint(1, 255)
        todo = self.length()
        deadline = None if timeout is None else until(how, timeout)
        source = self.origin()
        top = cython.cast(Layout, source.getcl(how, MT_DATA, M_PKTHDR, left(deadline)))
        n = top
        try:
            top.inherit(self, how)
            top.hdr.len = todo
            m: Layout = self
            skip = 0
            while todo > 0:
                piece = min(todo, randint(1, 255) if size == -2 else size)
                if n.count:
                    n._next = source.getcl(how, MT_DATA, 0, left(deadline))
                    n = cython.cast(Layout, n._next)
                m, skip = m._feed(skip, piece, n)
                todo -= piece
        except BaseException:
            free_chain(top)
            raise
        self.become(top)
        return self

    def collapse(self, maxfrags: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in at most `maxfrags` mbufs, by merging neighbours. See m_collapse.

        An mbuf of loose pages counts as many times as it has pages, header and trailer.
        First into the room that there is, then two by two into new clusters; the first mbuf stays. Raises
        `NoBufs`, or `Inval` if that isn't enough, and then nothing has changed. If there are no more to
        begin with, two are merged all the same if they can be; if not, the kernel fails, and we don't. `Busy`
        if somebody changes the chain while the verb waits.
        """
        self.live()
        most = clip(maxfrags)
        if most < 1:
            raise Inval(f"collapse: {maxfrags} mbufs: give 1 or more")
        deadline = None if timeout is None else until(how, timeout)
        plan = recipe(self)
        enough = plan.collapse(most)
        try:
            stash = self._clusters(plan.wants, how, deadline)
        except (NoBufs, NoMemory):
            if enough:
                return self
            raise
        plan.cook(stash)
        return self

    def unshare(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have all bytes writable: storage that is shared or read-only is replaced by copies. See m_unshare.

        Small neighbours are merged on the way. A copy of what was marked M_RDONLY is so marked again, as
        in the kernel. Raises `NoBufs`, or `Busy` if somebody changes the chain while the verb waits, and then
        nothing has changed; the kernel frees the chain.
        """
        self.live()
        deadline = None if timeout is None else until(how, timeout)
        plan = recipe(self)
        plan.unshare()
        plan.cook(self._clusters(plan.wants, how, deadline))
        return self

    def _clusters(self, wants: list[tuple[int, int]], how: int, deadline: float | None) -> list[Any]:
        """Packets of those types and flags: all of them, or none and an exception."""
        stash: list[Any] = []
        try:
            for kind, flags in wants:
                stash.append(self.origin().getcl(how, kind, flags, left(deadline)))
        except BaseException:
            free_all(stash)
            raise
        return stash
