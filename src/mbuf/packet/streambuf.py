"""Bytes of a stream, looked through and taken off piece by piece.

A socket buffer with a limit, in which bytes can be sought. What was looked through once isn't again, however
little comes at a time: a search goes on where the last one for the same bytes ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Inval, NoBufs, TooLong
from mbuf.packet.mbuf import Mbuf
from mbuf.packet.sockbuf import SockBuf
from mbuf.vm.ints import clip, count
from mbuf.vm.scan import search

if not cython.compiled:
    from mbuf.packet.chain import next_checked
    from mbuf.packet.segment import check_alive
    from mbuf.vm.commit import check_latch

#: Bytes of a stream that may wait to be understood, unless told otherwise.
LIMIT = 1 << 20


@cython.cclass
class StreamBuffer(SockBuf):
    """Bytes as they come, and messages as they go: `append` chains, `take`, `take_until`, `peek`, `drop`.

    It never has more than `limit` bytes. The marks are those of `SockBuf`; `hiwat` is the limit by default.
    """

    #: No match for `_sought` begins before byte `_clean`; `_mark` is an mbuf not behind it, at byte `_place`.
    __slots__ = ("_clean", "_mark", "_place", "_sought", "limit")

    def __init__(
        self,
        limit: int = LIMIT,
        hiwat: int | None = None,
        lowat: int | None = None,
        mbmax: int | None = None,
        pause: Callable[[], object] | None = None,
        resume: Callable[[], object] | None = None,
    ) -> None:
        most = count(limit, "limit")
        SockBuf.__init__(self, most if hiwat is None else hiwat, lowat, mbmax, pause, resume)
        self.limit: int = most
        if self.hiwat > self.limit:
            raise Inval(f"hiwat {hiwat}: give at most the limit, {limit}, or it is never reached")
        self._sought: bytes = b""
        self._forget(0)

    def admit(self, m: Mbuf) -> int:
        """Refuse what can't be appended, and what is too much."""
        more: int = SockBuf.admit(self, m)
        if self.cc + more > self.limit:
            raise NoBufs(
                f"{more} bytes don't fit: the stream buffer has {self.cc}, and a limit of {self.limit}",
                "",
                self.limit,
                self.cc,
            )
        return more

    def gone(self, size: int) -> None:
        """Bytes leave at the front: what is known of the others moves along."""
        if size > self._place:
            self._forget(self._clean - size)
        else:
            self._place -= size
            self._clean -= size

    def _forget(self, clean: int) -> None:
        self._clean = max(clean, 0)
        self._mark: Mbuf | None = None
        self._place = 0

    def find(self, sep: Any, start: int = 0) -> int:
        """Where the bytes of `sep` are first found from byte `start` on, or -1. They may lie across mbufs."""
        begin, sought = clip(start), memoryview(sep).tobytes()
        check_latch()
        self.within(begin, "find from")
        if not sought:
            return begin
        if sought != self._sought:
            self._sought = sought
            self._forget(0)
        at = max(begin, self._clean)
        m, place = self._mbuf_with(at)
        found = -1 if m is None else self._search(m, at - place)
        if begin <= self._clean:
            if m is not None:
                self._mark, self._place = m, place
            self._clean = at + found if found >= 0 else max(at, self.cc - len(sought) + 1)
        return found if found < 0 else at + found

    def _mbuf_with(self, at: int) -> tuple[Mbuf | None, int]:
        """The mbuf with byte `at`, and which byte its first is; no mbuf if there is no such byte."""
        m, place = self._mark, self._place
        if m is None or place > at or not m.alive:
            m, place = self._first, 0
        while m is not None and at - place >= m.count:
            place += m.count
            m = next_checked(m)
        return m, place

    def _search(self, m: Mbuf | None, skip: int) -> int:
        """Where the bytes sought begin, from byte `skip` of an mbuf on, counted from there; or -1."""
        looking = search(self._sought)
        while m is not None:
            check_alive(m)
            found = looking.feed(m.buf, m.off + skip, m.count - skip)
            if found >= 0:
                return found
            skip = 0
            m = next_checked(m)
        return looking.rest()

    def take_until(self, sep: Any, most: int | None = None) -> Mbuf | None:
        """The first bytes up to and with `sep`, as `take` gives them; None while it isn't there.

        Raises `TooLong` if they are more than `most` (by default the limit), or will be, and `NoBufs` like `take`;
        then nothing has changed.
        """
        longest = self.limit if most is None else clip(most)
        sought = memoryview(sep).tobytes()
        if not sought:
            raise Inval("take_until: give at least one byte to look for")
        found = self.find(sought)
        size = found + len(self._sought) if found >= 0 else self.cc + 1
        if size > longest:
            raise TooLong(f"take_until: {self._sought!r:.80} isn't among the first {longest} bytes of the stream")
        return None if found < 0 else self.take(size)
