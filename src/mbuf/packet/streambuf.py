"""Stream buffers: a socket buffer with a limit, and a search for separators that doesn't begin again.

A program that reads lines calls `take_until` after each piece that arrives. If each call searched from the first byte,
small pieces would take quadratic time. Therefore the buffer keeps the state of the last search:

    byte    0 .......... _pos_offset .......... _searched .......... cc
                         |                      |
                         first byte of          no match for _pattern
                         _pos_mbuf              begins before this byte

`find` of the same pattern begins at `_searched`, and walks the chain from `_pos_mbuf`. Without a match, `_searched`
becomes `cc` less the length of the pattern, plus 1: the last bytes may be the beginning of a match that the next
`append` completes. With a match, it is the match. A search that starts beyond `_searched` leaves the state alone, since
the bytes between were not searched. Another pattern resets it.

`append` changes only what is behind. When bytes are removed at the front, `before_drop` subtracts them from both
numbers, or if that removes `_pos_mbuf`, forgets the mbuf. An mbuf that was freed by the program isn't used: the walk
begins at the first one then.

Other code may run in the middle of a search (unmapped pages are mapped), of a copy, and of `take`. What was found is
only used if no bytes were removed since, and no other pattern was searched: `_removals` and `_pattern` are the same.
Otherwise the method begins again. Bytes that are appended meanwhile do no harm, as they are behind.
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
from mbuf.vm.ints import count, integer
from mbuf.vm.scan import find as find_in
from mbuf.vm.scan import search

if not cython.compiled:
    from mbuf.packet.chain import next_checked
    from mbuf.packet.header import ROUNDS, chain_changed
    from mbuf.packet.segment import check_alive
    from mbuf.vm.commit import check_latch

#: The default limit in bytes.
LIMIT = 1 << 20


@cython.cclass
class StreamBuffer(SockBuf):
    """A `SockBuf` with a limit and a search, for the received bytes of a stream.

    `append` adds chains; `take`, `take_until`, `peek` and `drop` get messages. `limit` (default 1 MiB) is the most
    bytes that one message may have. As long as the buffer has fewer, `append` accepts a chain of any length, as it was
    read; then it raises `NoBufs`. The other arguments are those of `SockBuf`, but `hiwat`, which is at most the limit,
    is the limit by default.
    """

    #: No match for `_pattern` begins before byte `_searched`. The first byte of `_pos_mbuf` is byte `_pos_offset`.
    __slots__ = ("_searched", "_pos_mbuf", "_pos_offset", "_pattern", "limit")

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
        #: The number of bytes from which on `append` is refused.
        self.limit: int = most
        if self.hiwat > self.limit:
            raise Inval(f"hiwat {hiwat}: give at most {limit}, the limit, or the buffer never becomes full")
        self._pattern: bytes = b""
        self._reset_search(0)

    def check_append(self, m: Mbuf) -> int:
        """Return the bytes of a chain; `NoBufs` if the limit is reached, or the error of `SockBuf.append`."""
        more: int = SockBuf.check_append(self, m)
        if more and self.cc >= self.limit:
            raise NoBufs(
                f"the stream buffer has {self.cc} bytes, and its limit is {self.limit}: take or drop some first",
                "",
                self.limit,
                self.cc,
            )
        return more

    def before_drop(self, size: int) -> None:
        """Adjust the state of the search to the removal of `size` bytes at the front."""
        SockBuf.before_drop(self, size)
        if size > self._pos_offset:
            self._reset_search(self._searched - size)
        else:
            self._pos_offset -= size
            self._searched -= size

    def _reset_search(self, searched: int) -> None:
        """Forget the mbuf of the search; no match begins before byte `searched`."""
        self._searched = max(searched, 0)
        self._pos_mbuf: Mbuf | None = None
        self._pos_offset = 0

    def find(self, sep: Any, start: int = 0) -> int:
        """Return the offset at which `sep` is first found from byte `start` on, or -1. A match may span mbufs.

        Raises `Inval` if `start` is negative, or more than the bytes in the buffer. Repeated calls with the same `sep`
        don't search the same bytes again.
        """
        begin, sought = integer(start, "start"), _pattern_of(sep)
        for _ in range(ROUNDS):
            check_latch()
            self.check_size(begin, "find from")
            if not sought:
                return begin
            if sought != self._pattern:
                self._pattern = sought
                self._reset_search(0)
            removals, end, at = self._removals, self.cc, max(begin, self._searched)
            m, place = self._mbuf_with(at)
            found = -1 if m is None else self._search(m, at - place, sought)
            self._refresh()
            if removals != self._removals or sought != self._pattern:
                continue
            if begin <= self._searched:
                if m is not None:
                    self._pos_mbuf, self._pos_offset = m, place
                self._searched = at + found if found >= 0 else max(at, end - len(sought) + 1)
            return found if found < 0 else at + found
        raise chain_changed("find")

    def _mbuf_with(self, at: int) -> tuple[Mbuf | None, int]:
        """Return the mbuf with byte `at`, or None, and the offset of its first byte."""
        m, place = self._pos_mbuf, self._pos_offset
        if m is None or place > at or not m.alive:
            m, place = self._first, 0
        while m is not None and at - place >= m.count:
            place += m.count
            m = next_checked(m)
        return m, place

    def _search(self, m: Mbuf | None, skip: int, sought: bytes) -> int:
        """Search from byte `skip` of mbuf `m` on; return the distance of the match from there, or -1."""
        if m is not None and m.buf.is_contiguous():
            # Usually the match is in this mbuf. It begins before any that spans mbufs.
            check_alive(m)
            found = find_in(m.buf, m.off + skip, m.count - skip, sought)
            if found >= 0:
                return found
        matcher = search(sought)
        while m is not None:
            check_alive(m)
            found = matcher.feed(m.buf, m.off + skip, m.count - skip)
            if found >= 0:
                return found
            skip = 0
            m = next_checked(m)
        return matcher.rest()

    def take_until(self, sep: Any, most: int | None = None) -> Mbuf | None:
        """Take out the first bytes up to and including `sep`, as `take` does; None if `sep` isn't in the buffer yet.

        The chain belongs to the caller. Raises `TooLong` if these bytes are more than `most` (default: the limit), or
        must become more, `Inval` for an empty `sep`, and `NoBufs` like `take`; then nothing has changed.
        """
        longest = self.limit if most is None else integer(most, "most")
        sought = _pattern_of(sep)
        if not sought:
            raise Inval("take_until: give at least one byte to look for")
        for _ in range(ROUNDS):
            found, removals = self.find(sought), self._removals
            size = found + len(sought) if found >= 0 else self.cc + 1
            if size > longest:
                raise TooLong(
                    f"take_until: {sought!r:.80} isn't among the first {longest} bytes: drop them, or raise most"
                )
            if found < 0:
                return None
            self._refresh()
            head = None if removals != self._removals else self.try_take(size)
            if head is not None:
                return head
        raise chain_changed("take_until")

    def read(self, n: int) -> bytes:
        """Return a copy of the first `n` bytes, or of all if there are fewer, and free them: `peek` and `drop`."""
        most = integer(n, "n")
        for _ in range(ROUNDS):
            self._refresh()
            data = self._copy_front(min(max(most, 0), self.cc), self._removals)
            if data is not None:
                return data
        raise chain_changed("read")

    def _copy_front(self, size: int, removals: int) -> bytes | None:
        """Copy and free the first `size` bytes; None if bytes were removed since `_removals` was `removals`."""
        data = self.peek(size)
        self._refresh()
        if removals != self._removals:
            return None
        if size:
            self.discard(size)
        return data

    def read_until(self, sep: Any, most: int) -> bytes | None:
        """Return a copy of the first bytes up to and including `sep`, and free them.

        None if `sep` isn't in the buffer, or these bytes are more than `most`; they stay then.
        """
        longest = integer(most, "most")
        sought = _pattern_of(sep)
        if not sought:
            raise Inval("read_until: give at least one byte to look for")
        for _ in range(ROUNDS):
            if not self.cc:
                return None
            found, removals = self.find(sought), self._removals
            if found < 0 or found + len(sought) > longest:
                return None
            data = self._copy_front(found + len(sought), removals)
            if data is not None:
                return data
        raise chain_changed("read_until")


def _pattern_of(sep: Any) -> bytes:
    """Return the bytes of an argument."""
    return sep if type(sep) is bytes else memoryview(sep).tobytes()
