"""Bytes between two sides: a chain that grows at its end and shrinks at its front.

Owns its mbufs, and counts their bytes and memory as the kernel's struct sockbuf does. What a verb costs depends
on the mbufs that it moves, never on those that stay. Allocates one mbuf at most, for one that `take` cuts through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_EXTPG, M_FREED, M_NOFREE, M_NOTREADY, M_NOWAIT, M_RDONLY, MCLBYTES, MLEN, MSIZE
from mbuf.errors import Busy, Inval
from mbuf.packet.marks import SPACE, Marks
from mbuf.packet.mbuf import Mbuf
from mbuf.vm.number import clip

#: Flags of an mbuf that stay when it becomes part of a stream.
_KEPT = M_EXT | M_RDONLY | M_NOFREE | M_EXTPG


@cython.cclass
class SockBuf(Marks):
    """A queue of bytes with marks. See struct sockbuf in socket(9).

    `full` from the moment that `hiwat` bytes, or `mbmax` bytes of memory, are in it, until no more than `lowat` (by
    default a quarter) of both are left. `pause` is called, without arguments, when it becomes full, `resume`
    when it is full no longer, each after the verb has done its work. For one thread, or loop, at a time. Dropped,
    it drops its mbufs; `clear` frees them.
    """

    #: `mcnt` mbufs, `ccnt` of them with external storage.
    __slots__ = ("_last", "ccnt", "first", "mcnt")

    def __init__(
        self,
        hiwat: int = SPACE,
        lowat: int | None = None,
        mbmax: int | None = None,
        pause: Callable[[], object] | None = None,
        resume: Callable[[], object] | None = None,
    ) -> None:
        Marks.__init__(self, hiwat, lowat, mbmax, pause, resume)
        #: The mbuf with the first byte, None if there is none.
        self.first: Mbuf | None = None
        self._last: Mbuf | None = None
        self.mcnt = self.ccnt = 0

    def __len__(self) -> int:
        return self.cc

    def __bool__(self) -> bool:
        return self.cc > 0

    def __iter__(self) -> Iterator[memoryview]:
        """One memoryview for each piece of the bytes: `sock.sendmsg(buffer)` works. They stay the buffer's."""
        return iter(()) if self.first is None else iter(self.first)

    def __bytes__(self) -> bytes:
        """A copy of all bytes."""
        return b"" if self.first is None else bytes(self.first)

    def append(self, m: Mbuf, settle: bool = True) -> None:
        """Put a chain at the end; it is the buffer's from then on. See sbappendstream.

        Its packet headers go. Up to 512 bytes are copied if they fit behind the last ones, and the mbuf that they
        were in freed, as sbcompress does. A full buffer takes what is appended all the same: see `space`. Who is
        about to send it at once says `settle=False`, and calls `settle` when it has: most often it is not full then.
        """
        self.admit(m)
        if m.bits & ~_KEPT or m._next is not None:
            m.demote(True, 0)
        while m is not None:
            rest = cython.cast(Mbuf, m.cut())
            self._add(m)
            m = rest
        if settle:
            self.settle()

    def admit(self, m: Mbuf) -> int:
        """Refuse what can't be appended; how many bytes it has."""
        if m is None:
            raise Inval("append: give the chain to append")
        m.live()
        total = 0
        while m is not None:
            if m is self._last:
                raise Inval("append: this chain is in the buffer already")
            if m._nextpkt is not None:
                raise Inval("append: the chain leads to a next packet: unlink that first")
            if m.bits & M_NOTREADY:
                raise Inval("append: the chain has bytes that aren't ready: they are still to be encrypted, or read")
            total += m.count
            m = cython.cast(Mbuf, m.follow())
        return total

    def _add(self, m: Mbuf) -> None:
        """One mbuf more at the end. See sbcompress and sballoc."""
        last = self._last
        more = m.count
        if more == 0:
            m.shed()
            return
        if last is None:
            self.first = m
        elif self._fits(last, m):
            last.buf.copy(last.off + last.count, m.buf, m.off, more)
            last.count += more
            self.cc += more
            m.shed()
            return
        else:
            last._next = m
        self._last = m
        self.cc += more
        self._charge(m, 1)

    def _fits(self, last: Mbuf, m: Mbuf) -> bool:
        if m.count > MCLBYTES // 4 or (m.bits | last.bits) & (M_EXTPG | M_FREED) or last.kind != m.kind:
            return False
        return m.count <= last.space()

    def _charge(self, m: Mbuf, sign: int) -> None:
        """Count an mbuf's memory in, or with -1 out. See sballoc and sbfree."""
        self.mcnt += sign
        self.mbcnt += sign * MSIZE
        if m.bits & M_EXT:
            self.ccnt += sign
            self.mbcnt += sign * m.store().ext_size()

    def drop(self, n: int) -> None:
        """Free the first `n` bytes. See sbdrop."""
        left = self.within(n, "drop")
        self.gone(left)
        m = self.first
        while left and m is not None:
            if m.count > left:
                m.off += left
                m.count -= left
                self.cc -= left
                break
            rest = cython.cast(Mbuf, m.follow())
            left -= m.count
            self.cc -= m.count
            m._next = None
            self._charge(m, -1)
            self.first = rest
            if rest is None:
                self._last = None
            m.shed()
            m = self.first
        self.fell()

    def take(self, n: int) -> Mbuf | None:
        """The first `n` bytes, as a chain without a packet header, which is the caller's; None for no bytes.

        Where an mbuf is cut through, its storage is shared, but up to 224 bytes are copied into the one mbuf
        that is needed for it: so that a few bytes don't hold a large cluster. Raises `NoBufs` when there is none,
        and then nothing has changed: `peek` and `drop` need none.
        """
        size = self.within(n, "take")
        if size == 0:
            return None
        m: Any = self.first
        before: Mbuf = cython.cast(Mbuf, None)
        left = size
        while m is not None and m.count <= left:
            left -= m.count
            before = m
            m = cython.cast(Mbuf, m.follow())
        if m is None and left:
            raise Busy("take: the mbufs of this buffer were changed by somebody else")
        piece = cython.cast(Mbuf, None)
        if left:
            piece = self._spare(m, size - left, left)
        self.gone(size)
        head: Any = self.first
        rest = m
        if left:
            rest = self._cut(m, piece, left)
        each = head
        while each is not m:
            self._charge(each, -1)
            each = cython.cast(Mbuf, each._next)
        self.cc -= size
        self.first = rest
        if rest is None:
            self._last = None
        if left:
            # The mbuf that was cut is the first of what stays, or the last of what goes.
            end = piece if rest is m else m
            if before is None:
                head = end
            else:
                before._next = end
        elif before is not None:
            before._next = None
        self.fell()
        taken: Mbuf = head
        return taken

    def _spare(self, m: Mbuf, at: int, left: int) -> Mbuf:
        """The mbuf needed to cut through `m`, which begins with byte `at`, after `left` bytes.

        Asking may make others do anything: who has used this buffer, or its mbufs, loses.
        """
        source: Source = m.origin()
        first, cc = self.first, self.cc
        piece: Mbuf = cython.cast(Mbuf, source.get(M_NOWAIT, m.kind))
        if self.first is not first or self.cc != cc or not self._begins(m, at) or m.count <= left:
            piece.shed()
            raise Busy("take: the buffer was used while it asked for an mbuf")
        return piece

    def _begins(self, m: Mbuf, at: int) -> bool:
        """Whether a live mbuf is in the buffer, with byte `at` as its first."""
        n: Any = self.first
        while n is not None and not n.bits & M_FREED:
            if n is m:
                return at == 0
            at -= n.count
            n = n._next
        return False

    def _cut(self, m: Mbuf, piece: Mbuf, left: int) -> Mbuf:
        """Divide an mbuf, `left` of whose bytes go, with another; which of the two stays."""
        rest = m.count - left
        whole = (m.bits & M_EXTPG) != 0
        if left > MLEN and rest <= MLEN and not whole:
            piece.buf.copy(piece.off, m.buf, m.off + left, rest)
            piece.count = rest
            piece._next = m.cut()
            m.count = left
            if m is self._last:
                self._last = piece
            self._charge(m, -1)
            self._charge(piece, 1)
            return piece
        if left <= MLEN and not whole:
            piece.buf.copy(piece.off, m.buf, m.off, left)
            piece.count = left
        else:
            piece.share(m, m.off, left)
        m.off += left
        m.count -= left
        return m

    def peek(self, n: int) -> bytes:
        """A copy of the first `n` bytes, or of all if there are fewer; they stay."""
        size = min(max(clip(n), 0), self.cc)
        return b"" if self.first is None else self.first.copydata(0, size)

    def views(self, count: int, size: int) -> list[memoryview]:
        """Views of the first bytes, for one call of sendmsg: see `views_of`."""
        return [] if self.first is None else views_of(self.first, count, size)

    def clear(self) -> None:
        """Free all. See sbflush."""
        m = self.first
        self.gone(self.cc)
        self.first = self._last = None
        self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        while m is not None and not m.bits & M_FREED:
            rest = cython.cast(Mbuf, m.cut())
            m.shed()
            m = rest
        self.fell()

    def within(self, n: int, verb: str) -> int:
        """The number of bytes to move from the front, if there are as many."""
        size = clip(n)
        if not 0 <= size <= self.cc:
            raise Inval(f"{verb} {n} bytes: the buffer has {self.cc}")
        return size

    def gone(self, size: int) -> None:
        """So many bytes are about to leave at the front: for who keeps places in the buffer."""


def views_of(m: Mbuf | None, count: int, size: int) -> list[memoryview]:
    """Views of a chain's first bytes: at most `count` pieces, and of no mbuf that begins after `size` bytes."""
    views: list[memoryview] = []
    left = size
    while m is not None and left > 0 and len(views) < count:
        m.live()
        if m.bits & M_EXTPG:
            views += m.pieces()
            # They may be cut off, for what goes is counted in bytes.
            del views[count:]
        elif m.count:
            views.append(m.data)
        left -= m.count
        m = cython.cast(Mbuf, m.follow())
    return views
