"""Bytes between two sides: a chain that grows at its end and shrinks at its front.

Owns its mbufs, and counts their bytes and memory as the kernel's struct sockbuf does. What a verb costs depends
on the mbufs that it moves, never on those that stay. Allocates one mbuf at most, for one that `take` cuts through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_EXTPG, M_NOFREE, M_NOTREADY, M_NOWAIT, M_RDONLY, MCLBYTES, MLEN, MSIZE
from mbuf.errors import Busy, Inval
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.watermarks import SPACE, Watermarks
from mbuf.vm.ints import clip
from mbuf.vm.page import pane

if not cython.compiled:
    from mbuf.packet.chain import cut, free_chain, link, next_checked, release, release_chain
    from mbuf.packet.copy import acquire_share, share
    from mbuf.packet.header import ROUNDS, changing, demote_all
    from mbuf.packet.read import excerpt, pieces, views
    from mbuf.packet.segment import check_alive, space, store, taken, writable
    from mbuf.packet.source import origin
    from mbuf.vm.commit import LATCH, check_latch, enter_commit, leave_commit, put
    from mbuf.vm.commit import settle as settle_list

#: Flags of an mbuf that stay when it becomes part of a stream.
_KEPT = M_EXT | M_RDONLY | M_NOFREE | M_EXTPG


@cython.cclass
class SockBuf(Watermarks):
    """A queue of bytes with marks. See struct sockbuf in socket(9).

    `full` from the moment that `hiwat` bytes, or `mbmax` bytes of memory, are in it, until no more than `lowat` (by
    default a quarter) of both are left. `pause` is called, without arguments, when it becomes full, `resume`
    when it is full no longer, each after the verb has done its work. For one thread, or loop, at a time. Dropped,
    it drops its mbufs; `clear` frees them. An mbuf that somebody frees in it, or unlinks by hand, ends it there.
    """

    #: `mcnt` mbufs, `ccnt` of them with external storage.
    __slots__ = ("_cuts", "_first", "_into", "_last", "ccnt", "mcnt")
    _cuts: int
    _first: Mbuf | None
    _into: int
    _last: Mbuf | None

    def __init__(
        self,
        hiwat: int = SPACE,
        lowat: int | None = None,
        mbmax: int | None = None,
        pause: Callable[[], object] | None = None,
        resume: Callable[[], object] | None = None,
    ) -> None:
        Watermarks.__init__(self, hiwat, lowat, mbmax, pause, resume)

    def __del__(self) -> None:
        m = self._first
        if m is not None:
            m.held = False
            self._first = self._last = None

    @property
    def first(self) -> Mbuf | None:
        """The mbuf with the first byte, None if there is none."""
        self._look()
        return self._first

    def __len__(self) -> int:
        self._look()
        return self.cc

    def __bool__(self) -> bool:
        self._look()
        return self.cc > 0

    def __iter__(self) -> Iterator[memoryview]:
        """One memoryview for each piece of the bytes: `sock.sendmsg(buffer)` works. They stay the buffer's."""
        self._look()
        return iter(()) if self._first is None else iter(views(self._first))

    def __bytes__(self) -> bytes:
        """A copy of all bytes."""
        return self.peek(self.cc)

    def append(self, m: Mbuf, settle: bool = True) -> None:
        """Put a chain at the end; it is the buffer's from then on. See sbappendstream.

        Its packet headers go. Up to 512 bytes are copied if they fit behind the last ones, and the mbuf that they
        were in freed, as sbcompress does. A full buffer takes what is appended all the same: see `space`. Who is
        about to send it at once says `settle=False`, and calls `settle` when it has: most often it is not full then.
        """
        ending = bool(settle)
        check_latch()
        self._look()
        self.admit(m)
        enter_commit()
        if m.bits & ~_KEPT or m._next is not None:
            demote_all(m, 0)
        n: Any = m
        while n is not None:
            rest: Any = cut(n)
            self._add(n)
            n = rest
        leave_commit()
        settle_list()
        if ending:
            self.settle()

    def admit(self, m: Mbuf) -> int:
        """Refuse what can't be appended; how many bytes it has."""
        if m is None:
            raise Inval("append: give the chain to append")
        check_alive(m)
        if taken(m):
            raise Inval("append: this chain is linked, or in a buffer or queue, already: take it out first")
        total = 0
        n: Any = m
        while n is not None:
            if n._nextpkt is not None:
                raise Inval("append: the chain leads to a next packet: unlink that first")
            if n.bits & M_NOTREADY:
                raise Inval("append: the chain has bytes that aren't ready: they are still to be encrypted, or read")
            total += n.count
            n = next_checked(n)
        return total

    def _look(self) -> int:
        """Count anew, and find the end again, if mbufs were freed or unlinked where they were."""
        if not self.hiwat:
            raise Inval("this buffer was never made: call super().__init__() in a subclass")
        last = self._last
        if self._cuts == LATCH.cuts and (last is None or (last.alive and last._next is None)):
            return 0
        self._cuts = LATCH.cuts
        before = self.cc
        enter_commit()
        gone: Any = None
        m: Any = self._first
        if m is not None and not m.alive:
            gone = m  # noqa: F841 (its last reference, until the commit is over)
            m.held = False
            m = self._first = None
        self._last = None
        self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        while m is not None:
            self._last = m
            self.cc += m.count
            self._charge(m, 1)
            n: Any = m._next
            if n is not None and not n.alive:
                cut(m)
                n = None
            m = n
        if last is not None and last is not self._last:
            # May be the last reference.
            put(last)
        leave_commit()
        self.gone(before)
        settle_list()
        return 0

    def _add(self, m: Mbuf) -> None:
        """In a commit: one mbuf more at the end. See sbcompress and sballoc."""
        last = self._last
        more = m.count
        if more == 0:
            release(m)
            return
        if last is None:
            self._first = m
            m.held = True
        elif self._fits(last, m):
            last.buf.move(last.off + last.count, m.buf, m.off, more)
            last.count += more
            self.cc += more
            release(m)
            return
        else:
            link(last, m)
        self._last = m
        self.cc += more
        self._charge(m, 1)

    def _fits(self, last: Mbuf, m: Mbuf) -> bool:
        if m.count > MCLBYTES // 4 or (m.bits | last.bits) & M_EXTPG or last.kind != m.kind:
            return False
        return m.count <= space(last)

    def _charge(self, m: Mbuf, sign: int) -> None:
        """Count an mbuf's memory in, or with -1 out. See sballoc and sbfree."""
        self.mcnt += sign
        self.mbcnt += sign * MSIZE
        if m.bits & M_EXT:
            self.ccnt += sign
            self.mbcnt += sign * store(m).ext_size()

    def drop(self, n: int) -> None:
        """Free the first `n` bytes. See sbdrop."""
        size = clip(n)
        check_latch()
        left = self.within(size, "drop")
        self.gone(left)
        enter_commit()
        m: Any = self._first
        while left and m is not None:
            if m.count > left:
                m.off += left
                m.count -= left
                self.cc -= left
                break
            left -= m.count
            self.cc -= m.count
            self._charge(m, -1)
            rest: Any = self._pop()
            release(m)
            m = rest
        if self._first is None:
            self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        leave_commit()
        settle_list()
        self.fell()

    def _pop(self) -> Any:
        """In a commit: take the first mbuf out; the next one, which is the first now."""
        m: Any = self._first
        m.held = False
        rest: Any = cut(m)
        self._first = rest
        if rest is None:
            self._last = None
        else:
            rest.held = True
        return rest

    def take(self, n: int) -> Mbuf | None:
        """The first `n` bytes, as a chain without a packet header, which is the caller's; None for no bytes.

        Where an mbuf is cut through, its storage is shared, but up to 224 bytes are copied into the one mbuf
        that is needed for it: so that a few bytes don't hold a large cluster. Raises `NoBufs` when there is none,
        and then nothing has changed: `peek` and `drop` need none.
        """
        asked = clip(n)
        check_latch()
        for _ in range(ROUNDS):
            size = self.within(asked, "take")
            if size == 0:
                return None
            m: Any = self._reached(size)
            left = self._into
            piece: Any = None
            if left:
                first = self._first
                piece = origin(m).get(M_NOWAIT, m.kind, 0, None)
                try:
                    if m.bits & M_EXTPG or (m.bits & M_EXT and left > MLEN and m.count - left > MLEN):
                        acquire_share(piece, m)
                    # To ask for an mbuf may have run anything.
                    self._look()
                    same = first is self._first and size <= self.cc and self._reached(size) is m and self._into == left
                except BaseException:
                    free_chain(piece)
                    settle_list()
                    raise
                if not same:
                    free_chain(piece)
                    settle_list()
                    continue
            self.gone(size)
            enter_commit()
            head: Any = self._take_out(size, piece)
            leave_commit()
            settle_list()
            self.fell()
            taken: Mbuf | None = head
            return taken
        raise changing("take")

    def _reached(self, size: int) -> Any:
        """The mbuf that the first `size` bytes end in, or None at the end; `_into` of its bytes are among them."""
        left = size
        m: Any = self._first
        while m is not None and m.count <= left:
            left -= m.count
            m = m._next
        if m is None and left:
            self._cuts -= 1
            raise Busy("the mbufs of this buffer have other lengths than when they were appended: leave them be")
        self._into = left
        return m

    def _take_out(self, size: int, piece: Any) -> Any:
        """In a commit: the first bytes as a chain; `piece` is the mbuf for one that is cut through."""
        head: Any = None
        last: Any = None
        left = size
        self.cc -= size
        while left:
            m: Any = self._first
            if m.count <= left:
                left -= m.count
                self._charge(m, -1)
                self._pop()
                end: Any = m
            else:
                end = self._cut(m, piece, left)
                left = 0
            if last is None:
                head = end
            else:
                link(last, end)
            last = end
        return head

    def _cut(self, m: Mbuf, piece: Mbuf, left: int) -> Mbuf:
        """In a commit: divide the first mbuf with another, `left` of its bytes go; the one of the two that goes."""
        rest = m.count - left
        whole = (m.bits & M_EXTPG) != 0
        if left > MLEN and rest <= MLEN and not whole:
            # The few bytes that stay are copied.
            piece.buf.move(piece.off, m.buf, m.off + left, rest)
            piece.count = rest
            self._charge(m, -1)
            after: Any = self._pop()
            m.count = left
            piece.held = True
            if after is not None:
                after.held = False
                link(piece, after)
            else:
                self._last = piece
            self._first = piece
            self._charge(piece, 1)
            return m
        if left <= MLEN and not whole:
            piece.buf.move(piece.off, m.buf, m.off, left)
            piece.count = left
        else:
            share(piece, m, m.off, left)
        m.off += left
        m.count -= left
        return piece

    def peek(self, n: int) -> bytes:
        """A copy of the first `n` bytes, or of all if there are fewer; they stay."""
        most = clip(n)
        check_latch()
        self._look()
        size = min(max(most, 0), self.cc)
        return b"" if self._first is None else excerpt(self._first, "peek", 0, size, False)

    def views(self, count: int, size: int) -> list[memoryview]:
        """Views of the first bytes, for one call of sendmsg: see `views_of`."""
        self._look()
        return [] if self._first is None else views_of(self._first, count, size)

    def clear(self) -> None:
        """Free all. See sbflush."""
        check_latch()
        self._look()
        self.gone(self.cc)
        enter_commit()
        m: Any = self._first
        self._first = self._last = None
        self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        if m is not None:
            m.held = False
            release_chain(m)
        leave_commit()
        settle_list()
        self.fell()

    def within(self, size: int, verb: str) -> int:
        """The number of bytes to move from the front, if there are as many."""
        self._look()
        if not 0 <= size <= self.cc:
            raise Inval(f"{verb} {size} bytes: the buffer has {self.cc}")
        return size

    def gone(self, size: int) -> None:
        """So many bytes are about to leave at the front: for who keeps places in the buffer."""


def views_of(m: Mbuf | None, count: int, size: int) -> list[memoryview]:
    """Views of a chain's first bytes: at most `count` pieces, and of no mbuf that begins after `size` bytes."""
    found: list[memoryview] = []
    left = size
    n: Any = m
    while n is not None and left > 0 and len(found) < count:
        check_alive(n)
        left -= n.count
        if n.bits & M_EXTPG:
            found += pieces(n)
            # They may be cut off, for what goes is counted in bytes.
            del found[count:]
        elif n.count:
            found.append(pane(n.buf, n.off, n.count, not writable(n)))
        check_alive(n)
        n = next_checked(n)
    return found


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a new buffer is empty, as a compiled one is."""
        sb = object.__new__(cls)
        sb._first = sb._last = None
        sb._cuts = sb._into = sb.mcnt = sb.ccnt = sb.cc = sb.mbcnt = 0
        sb.full = False
        return sb

    type.__setattr__(SockBuf, "__new__", _blank)
