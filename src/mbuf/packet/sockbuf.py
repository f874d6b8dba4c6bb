"""Socket buffers: a chain of mbufs that grows at its end and shrinks at its front.

    take, drop  <-  [first] -> [mbuf] -> ... -> [last]  <-  append        cc bytes, mcnt mbufs, mbcnt bytes of memory

The buffer owns its mbufs. It refers to the first and the last, and keeps the kernel's counts, so the cost of a method
depends on the mbufs that it moves, not on those that stay. The mbufs have no packet headers, and none is empty when it
is appended. `append` copies few bytes into the room of the last mbuf, as sbcompress does, so many small pieces don't
need an mbuf each.

`take` returns whole mbufs; where its last byte is inside an mbuf, that is divided, with one new mbuf:

    bytes taken of it    bytes that stay    the new mbuf
    up to 224            any                gets a copy of the bytes taken
    more                 up to 224          gets a copy of the bytes that stay
    more                 more               shares the storage, as always for unmapped pages

So a line of 40 bytes doesn't keep a cluster of 16 KiB. The allocation may run user code: afterwards everything is
checked again, and the rest is one commit. If it fails, nothing has changed.

A program may refer to an mbuf in the buffer, and free or unlink it. Then the buffer ends there. `LATCH.unlinks` counts
such events in the process; if it has changed since the last call, `_refresh` walks the chain, and counts again.
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
from mbuf.vm.ints import integer

if not cython.compiled:
    from mbuf.packet.chain import cut, free_chain, link, next_checked, release, release_chain
    from mbuf.packet.copy import acquire_share, share
    from mbuf.packet.header import ROUNDS, chain_changed, demote_all
    from mbuf.packet.read import excerpt, views, views_of
    from mbuf.packet.segment import check_alive, space, storage_of, taken
    from mbuf.packet.source import source_of
    from mbuf.vm.commit import LATCH, check_latch, enter_commit, leave_commit, release_later, run_releases

#: Flags that an mbuf keeps when it is appended.
_KEPT = M_EXT | M_RDONLY | M_NOFREE | M_EXTPG


@cython.cclass
class SockBuf(Watermarks):
    """A queue of bytes in mbufs, with a high and a low mark. See struct sockbuf in socket(9).

    The buffer becomes `full` when it has `hiwat` bytes (default 65536), or `mbmax` bytes of memory (default 8 times
    `hiwat`). It stays full until it has no more than `lowat` bytes (default a quarter of `hiwat`), and the same part of
    `mbmax`. `pause` and `resume` are called without arguments when it becomes full, and when it isn't full any more,
    after the method has done its work. Use it from one thread or event loop at a time. `clear` frees the mbufs;
    dropping the buffer drops them. If an mbuf in it is freed or unlinked by the program, the buffer ends there.
    """

    # `_partial` is a second result of `_find_end`.
    __slots__ = ("_unlinks", "_first", "_partial", "_last", "_removals", "ccnt", "mcnt")
    #: Mbufs in the buffer.
    mcnt: int
    #: Those of them with external storage.
    ccnt: int

    _unlinks: int
    _first: Mbuf | None
    _partial: int
    _last: Mbuf | None
    #: How often bytes were removed at the front. What was read there is out of date if this has changed since.
    _removals: int

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
        """The first mbuf, which stays in the buffer; None if the buffer is empty."""
        self._refresh()
        return self._first

    def __len__(self) -> int:
        self._refresh()
        return self.cc

    def __bool__(self) -> bool:
        self._refresh()
        return self.cc > 0

    def __iter__(self) -> Iterator[memoryview]:
        """Iterate over views of the bytes, which stay in the buffer: `sock.sendmsg(buffer)` sends them all."""
        self._refresh()
        return iter(()) if self._first is None else iter(views(self._first))

    def __bytes__(self) -> bytes:
        """Return a copy of all bytes, which stay in the buffer."""
        return self.peek(self.cc)

    def append(self, m: Mbuf, check_full: bool = True) -> None:
        """Add a chain at the end; it belongs to the buffer then. See sbappendstream.

        Its packet headers are removed. Up to 512 bytes are copied if they fit into the last mbuf, and their mbuf is
        freed, as sbcompress does. A full buffer accepts the chain, too: see `space`. A caller that is about to send
        the bytes passes `check_full=False`, and calls `check_full()` afterwards. Raises `Inval` if the chain is linked
        or in a queue, and `Freed`; then it still belongs to the caller.
        """
        checked = bool(check_full)
        check_latch()
        self._refresh()
        self.check_append(m)
        enter_commit()
        if m.bits & ~_KEPT or m._next is not None:
            demote_all(m, 0)
        n: Any = m
        while n is not None:
            rest: Any = cut(n)
            self._add(n)
            n = rest
        leave_commit()
        run_releases()
        if checked:
            self.check_full()

    def check_append(self, m: Mbuf) -> int:
        """Return the bytes of a chain; raise an error if it can't be appended."""
        if m is None:
            raise Inval("append: give the chain to append")
        check_alive(m)
        if taken(m):
            raise Inval("append: this chain is linked, or in a buffer or queue already: take it out first")
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

    def _refresh(self) -> int:
        """Find the end again, and count, if mbufs were freed or unlinked, or one was linked behind the last."""
        if not self.hiwat:
            raise Inval("this buffer isn't initialized: call super().__init__() in a subclass")
        last = self._last
        if self._unlinks == LATCH.unlinks and (last is None or (last.alive and last._next is None)):
            return 0
        self._unlinks = LATCH.unlinks
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
            self._account(m, 1)
            n: Any = m._next
            if n is not None and not n.alive:
                cut(m)
                n = None
            m = n
        if last is not None and last is not self._last:
            # This may be the last reference: drop it after the commit.
            release_later(last)
        leave_commit()
        self.before_drop(before)
        run_releases()
        return 0

    def _add(self, m: Mbuf) -> None:
        """In a commit: add one mbuf at the end. See sbcompress and sballoc."""
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
        self._account(m, 1)

    def _fits(self, last: Mbuf, m: Mbuf) -> bool:
        """True if the bytes of `m` are to be copied into the last mbuf."""
        if m.count > MCLBYTES // 4 or (m.bits | last.bits) & M_EXTPG or last.kind != m.kind:
            return False
        return m.count <= space(last)

    def _account(self, m: Mbuf, sign: int) -> None:
        """Add the memory of an mbuf to the counts, or with `sign` -1 subtract it. See sballoc and sbfree."""
        self.mcnt += sign
        self.mbcnt += sign * MSIZE
        if m.bits & M_EXT:
            self.ccnt += sign
            self.mbcnt += sign * storage_of(m).ext_size()

    def drop(self, n: int) -> None:
        """Free the first `n` bytes. Raises `Inval` if there are fewer. See sbdrop."""
        size = integer(n, "n")
        check_latch()
        self.discard(self.check_size(size, "drop"))

    def discard(self, size: int) -> None:
        """Free the first `size` bytes, which are in the buffer."""
        left = size
        self.before_drop(left)
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
            self._account(m, -1)
            rest: Any = self._pop()
            release(m)
            m = rest
        if self._first is None:
            self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        leave_commit()
        run_releases()
        self.check_drained()

    def _pop(self) -> Any:
        """In a commit: take the first mbuf out, and return the new first one."""
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
        """Take out the first `n` bytes, as a chain without a packet header; None for 0 bytes.

        The chain belongs to the caller. If the last byte is inside an mbuf, that takes one new mbuf: external storage
        is shared, but up to 224 bytes are copied, so that few bytes don't keep a large cluster. Raises `NoBufs` if
        there is no mbuf, and `Inval` if there are fewer bytes, and then nothing has changed; `peek` and `drop` need no
        mbuf.
        """
        asked = integer(n, "n")
        check_latch()
        for _ in range(ROUNDS):
            size = self.check_size(asked, "take")
            if size == 0:
                return None
            head = self.try_take(size)
            if head is not None:
                return head
        raise chain_changed("take")

    def try_take(self, size: int) -> Mbuf | None:
        """Take out `size` bytes, at least 1; None, and no change, if other code removed bytes."""
        removals = self._removals
        m: Any = self._find_end(size)
        left = self._partial
        piece: Any = None
        if left:
            piece = source_of(m).get(M_NOWAIT, m.kind, 0, None)
            try:
                if m.bits & M_EXTPG or (m.bits & M_EXT and left > MLEN and m.count - left > MLEN):
                    acquire_share(piece, m)
                # The allocation may have run other code.
                self._refresh()
                same = removals == self._removals and self._find_end(size) is m and self._partial == left
            except BaseException:
                free_chain(piece)
                run_releases()
                raise
            if not same:
                free_chain(piece)
                run_releases()
                return None
        self.before_drop(size)
        enter_commit()
        head: Mbuf = self._detach_front(size, piece)
        leave_commit()
        run_releases()
        self.check_drained()
        return head

    def _find_end(self, size: int) -> Any:
        """Return the mbuf with byte `size`, or None; `_partial` is how many of its bytes come before that."""
        left = size
        m: Any = self._first
        while m is not None and m.count <= left:
            left -= m.count
            m = m._next
        if m is None and left:
            self._unlinks -= 1
            raise Busy("mbufs in this buffer have another length than when they were appended: don't change them")
        self._partial = left
        return m

    def _detach_front(self, size: int, piece: Any) -> Any:
        """In a commit: take out the first `size` bytes; `piece` is the new mbuf if one is divided."""
        head: Any = None
        last: Any = None
        left = size
        self.cc -= size
        while left:
            m: Any = self._first
            if m.count <= left:
                left -= m.count
                self._account(m, -1)
                self._pop()
                end: Any = m
            else:
                end = self._split_first(m, piece, left)
                left = 0
            if last is None:
                head = end
            else:
                link(last, end)
            last = end
        return head

    def _split_first(self, m: Mbuf, piece: Mbuf, left: int) -> Mbuf:
        """In a commit: divide the first mbuf after `left` bytes, with the new mbuf; return the one that has them."""
        rest = m.count - left
        whole = (m.bits & M_EXTPG) != 0
        if left > MLEN and rest <= MLEN and not whole:
            # The bytes that stay are few: copy them.
            piece.buf.move(piece.off, m.buf, m.off + left, rest)
            piece.count = rest
            self._account(m, -1)
            after: Any = self._pop()
            m.count = left
            piece.held = True
            if after is not None:
                after.held = False
                link(piece, after)
            else:
                self._last = piece
            self._first = piece
            self._account(piece, 1)
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
        """Return a copy of the first `n` bytes, or of all if there are fewer; they stay in the buffer."""
        most = integer(n, "n")
        check_latch()
        self._refresh()
        size = min(max(most, 0), self.cc)
        return b"" if self._first is None else excerpt(self._first, "peek", 0, size, False)

    def views(self, count: int, size: int) -> list[memoryview]:
        """Return at most `count` views for one call of sendmsg, of mbufs that begin before byte `size`."""
        self._refresh()
        return [] if self._first is None else views_of(self._first, count, size)

    def clear(self) -> None:
        """Free all mbufs. See sbflush."""
        check_latch()
        self._refresh()
        self.before_drop(self.cc)
        enter_commit()
        m: Any = self._first
        self._first = self._last = None
        self.cc = self.mbcnt = self.mcnt = self.ccnt = 0
        if m is not None:
            m.held = False
            release_chain(m)
        leave_commit()
        run_releases()
        self.check_drained()

    def check_size(self, size: int, verb: str) -> int:
        """Return `size`; `Inval` if the buffer has fewer bytes."""
        self._refresh()
        if not 0 <= size <= self.cc:
            raise Inval(f"{verb} {size} bytes: give 0 to {self.cc}, the bytes in the buffer")
        return size

    def before_drop(self, size: int) -> None:
        """Called before `size` bytes are removed at the front. A subclass adjusts its offsets, too."""
        self._removals += 1


if not cython.compiled:

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a buffer is empty before `__init__`, as compiled."""
        sb = object.__new__(cls)
        sb._first = sb._last = None
        sb._unlinks = sb._partial = sb._removals = sb.mcnt = sb.ccnt = sb.cc = sb.mbcnt = sb.hiwat = sb._mbmax = 0
        sb.full = False
        return sb

    type.__setattr__(SockBuf, "__new__", _blank)
