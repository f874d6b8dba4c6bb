"""Bytes brought together: in one mbuf, in a row, for whoever reads headers.

Moves no more than it must, and asks the source for at most one mbuf. The head that its user holds stays
the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import (
    EXT_CLUSTER,
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    MCLBYTES,
    MHLEN,
    MHSIZE,
    MLEN,
    MPKTHSIZE,
    MSIZE,
)
from mbuf.errors import Inval
from mbuf.packet.growth import Growth
from mbuf.packet.shape import free_chain
from mbuf.vm.number import clip, count
from mbuf.vm.page import Memory


@cython.no_gc
@cython.cclass
class Gather(Growth):
    """An mbuf into which, or behind which, bytes can be brought together."""

    __slots__ = ()

    def pullup(self, len: int) -> Self:
        """Have the first `len` bytes of the packet, at most 168, in this mbuf, inside it. See m_pullup.

        Up to `max_protohdr` bytes come along. Raises `NoBufs`, or `Inval` if there are fewer bytes, and
        then nothing has changed; the kernel frees the chain.
        """
        self.live()
        n = clip(len)
        self.gatherable(n, "pullup")
        if not self.bits & M_EXT and self._next is not None and self.off + n < MSIZE:
            if self.count < n:
                rest = cython.cast(Gather, self._next)
                at = self.off + self.count
                self._swallow(rest._collect(n - self.count, self.origin().max_protohdr, self.buf, at))
            return self
        if n > MHLEN:
            raise Inval(f"pullup: {n} bytes: an mbuf holds {MHLEN} of them: see pulldown")
        self._new_front(n, 0)
        return self

    def copyup(self, len: int, dstoff: int = 0) -> Self:
        """Have the first `len` bytes in a new mbuf in front, with `dstoff` bytes of room before them.

        Both together at most 168. Raises like `pullup`. See m_copyup.
        """
        self.live()
        n = clip(len)
        room = clip(dstoff)
        self.gatherable(n, "copyup")
        if not 0 <= room <= MHLEN or n > MHLEN - room:
            raise Inval(f"copyup: {len} bytes behind {dstoff}: an mbuf holds {MHLEN} together")
        self._new_front(n, room)
        return self

    def gatherable(self, n: int, verb: str) -> None:
        """Refuse bytes that there aren't, or that can't be copied."""
        if self.bits & M_EXTPG:
            raise Inval(f"{verb}: the bytes are in loose pages: see unmapped_to_ext")
        self.span(verb, 0, n)

    def _new_front(self, n: int, room: int) -> None:
        source = self.origin()
        m = cython.cast(Gather, source.get(M_NOWAIT, self.kind))
        try:
            self.live()
            at = (MPKTHSIZE if self.bits & M_PKTHDR else MHSIZE) + room
            taken = self._collect(n, source.max_protohdr, m.buf, at)
        except BaseException:
            free_chain(m)
            raise
        self.follow_in(m)
        self.off += room
        self._swallow(taken)

    def _collect(self, need: int, most: int, target: Memory, at: int) -> int:
        """Copy `need` bytes from here on to `at` of an mbuf's memory, and more while they are at hand; how many."""
        taken = 0
        m: Gather | None = self
        while m is not None:
            piece = min(max(need, most), MSIZE - at - taken, m.count)
            target.copy(at + taken, m.buf, m.off, piece)
            taken += piece
            need -= piece
            if need <= 0:
                break
            m = cython.cast(Gather, m.follow())
        return taken

    def _swallow(self, taken: int) -> None:
        """Have so many bytes of the next mbufs, which were copied behind those here."""
        self.count += taken
        m: Gather | None = cython.cast(Gather, self._next)
        while m is not None:
            piece = min(taken, m.count)
            taken -= piece
            m.count -= piece
            m.off += piece
            if m.count == 0:
                rest = m.cut()
                self._next = rest
                m.shed()
                m = cython.cast(Gather, rest)
            if taken <= 0:
                break

    def pulldown(self, off: int, len: int, at_start: bool = False) -> tuple[Mbuf, int]:
        """Have `len` bytes from byte `off` on, at most 2048, in one mbuf; what is before them stays put.

        Returns that mbuf, and where in its data they begin: at 0 with `at_start`. Raises `NoBufs`, or
        `Inval` if there are fewer bytes, and then nothing has changed; the kernel frees the chain. See
        m_pulldown.
        """
        self.live()
        skip = count(off, "pulldown at")
        n = clip(len)
        if not 0 <= n <= MCLBYTES:
            raise Inval(f"pulldown: {len} bytes: give 0 to {MCLBYTES}")
        self.span("pulldown", skip, n)
        m: Any = self
        while m is not None and skip > 0 and m.count <= skip:
            skip -= m.count
            m = cython.cast(Gather, m.follow())
        while m is not None and m.count == 0:
            m = cython.cast(Gather, m.follow())
        if m is None:
            raise Inval(f"pulldown at {off}: there are no bytes")
        m.follow()
        if n > m.count - skip:
            found: tuple[Mbuf, int] = m._bring(self, skip, n, skip == 0 or not at_start)
            return found
        if m.bits & M_EXTPG:
            raise Inval("pulldown: the bytes are in loose pages: see unmapped_to_ext")
        if skip and at_start:
            return m._chop(skip), 0
        return m, skip

    def _chop(self, keep: int) -> Any:
        """Move the bytes from `keep` on into a new mbuf after this one. See m_dup1."""
        rest = self.count - keep
        if rest > MCLBYTES:
            raise Inval(f"pulldown: {rest} bytes would have to move into one cluster: see split")
        source = self.origin()
        if rest > MHLEN:
            m = cython.cast(Gather, source.getcl(M_NOWAIT, self.kind, 0))
        else:
            m = cython.cast(Gather, source.get(M_NOWAIT, self.kind))
        self.live()
        m.buf.copy(m.off, self.buf, self.off + keep, rest)
        m.count = rest
        self.count = keep
        m._next = self._next
        self._next = m
        return m

    def _bring(self, head: Gather, skip: int, n: int, anywhere: bool) -> tuple[Any, int]:
        """Bring `n` bytes together that begin here, at `skip`, and end in another mbuf."""
        here = self.count - skip
        there = n - here
        after = cython.cast(Gather, self._next)
        writable = not self.bits & M_EXT or (self.store().type == EXT_CLUSTER and self.free_to_write())
        if anywhere and writable and self.space() >= there:
            after.lift(0, there, self)
            after.adj(there)
            return self, skip
        if anywhere and writable and after.front() >= here and after.count >= there:
            after.off -= here
            after.count += here
            after.buf.copy(after.off, self.buf, self.off + skip, here)
            self.count -= here
            return after, 0
        source = self.origin()
        if n > MLEN:
            m = cython.cast(Gather, source.getcl(M_NOWAIT, head.kind, 0))
        else:
            m = cython.cast(Gather, source.get(M_NOWAIT, head.kind))
        try:
            self.live()
            after.live()
            m.buf.copy(m.off, self.buf, self.off + skip, here)
            m.count = here
            after.lift(0, there, m)
        except BaseException:
            free_chain(m)
            raise
        self.count -= here
        after.adj(there)
        m._next = after
        self._next = m
        return m, 0

    def front(self) -> int:
        """`leading`, of an mbuf known to be live."""
        return self.off - self.start() if self.free_to_write() else 0

    def lift(self, skip: int, n: int, m: Gather) -> None:
        """Append `n` bytes of the chain from here on, from byte `skip`, to what `m` holds."""
        src: Gather = self
        end = m.count
        while n > 0:
            piece = min(src.count - skip, n)
            m.buf.copy(m.off + end, src.buf, src.off + skip, piece)
            end += piece
            n -= piece
            skip = 0
            if n:
                src = cython.cast(Gather, src.after())
        m.count = end
