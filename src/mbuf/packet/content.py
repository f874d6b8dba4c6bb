"""The bytes of a chain, read and written where they are.

Sees a packet as one row of bytes, however its mbufs cut it. Never allocates an mbuf, never changes a link
or a length. Bytes of several mbufs are copied together where somebody asks for them in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import calcsize
from struct import pack as pack_values
from struct import unpack as unpack_values
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import M_COPYALL, M_EXTPG
from mbuf.errors import Inval, ReadOnly
from mbuf.packet.chain import Chain
from mbuf.packet.dump import rows, write_chain
from mbuf.vm.number import clip, fold, swapped
from mbuf.vm.page import pane
from mbuf.vm.scan import gather, pour, search, total


@cython.no_gc
@cython.cclass
class Content(Chain):
    """An mbuf as the start of a row of bytes, which goes on through `next`."""

    __slots__ = ()

    # Out.

    def __iter__(self) -> Iterator[memoryview]:
        """One memoryview for each mbuf that has data; of loose pages, for each piece of them."""
        views = []
        self.live()
        m: Any = cython.cast(Chain, self)
        while m is not None:
            if m.bits & M_EXTPG:
                views += m.pieces()
            elif m.count:
                views.append(m.data)
            m = m.follow()
        return iter(views)

    def __bytes__(self) -> bytes:
        """A copy of all bytes of the packet."""
        return self.copydata(0, self.length())

    def copydata(self, off: int, len: int) -> bytes:
        """A copy of `len` bytes from byte `off` of the packet on. See m_copydata."""
        at, left = clip(off), clip(len)
        return self.excerpt("copydata", at, left)

    def excerpt(self, verb: str, at: int, left: int) -> bytes:
        """`copydata`, for another verb."""
        self.span(verb, at, left)
        whole = gather(left)
        m: Any = self
        while left:
            if at < m.count:
                count = min(m.count - at, left)
                whole.add(m.buf, m.off + at, count)
                left -= count
                at = 0
            else:
                at -= m.count
            m = m._next
        return whole.close()

    def copyinto(self, buffer: Any, off: int = 0) -> int:
        """Copy the packet, from byte `off` on, into a writable buffer, as far as it goes; how many bytes went.

        See m_mbuftouio.
        """
        with memoryview(buffer) as view:
            if view.readonly or not view.c_contiguous:
                raise BufferError("copyinto: give a buffer that can be written, and lies in one piece")
            size = view.nbytes
            at = clip(off)
            self.span("copyinto", at, 0)
            count = left = min(self.length() - at, size)
            m: Any = self
            while left:
                if at < m.count:
                    n = min(m.count - at, left)
                    pour(m.buf, m.off + at, n, view, count - left)
                    left -= n
                    at = 0
                else:
                    at -= m.count
                m = m._next
            return count

    def apply(self, off: int, len: int, fn: Callable[[memoryview], Any]) -> Any:
        """Call fn with a view of each piece of `len` bytes from byte `off` on; its first true result, or 0.

        An mbuf without bytes between two pieces is a piece of none; bytes in loose pages are copied into one.
        See m_apply.
        """
        at, left = clip(off), clip(len)
        self.span("apply", at, left)
        m: Any = self
        while at and at >= m.count:
            at -= m.count
            m = m._next
        while left:
            if m is None:
                raise Inval("apply: the packet became shorter while it was looked at")
            n = min(m.count - at, left)
            if m.bits & M_EXTPG:
                result = fn(memoryview(m.buf.read(m.off + at, n)))
            else:
                result = fn(pane(m.buf, m.off + at, n, not m.free_to_write()))
            if result:
                return result
            left -= n
            at = 0
            # What fn did to the packet can't be known.
            m.live()
            m = m.follow()
        return 0

    def getptr(self, loc: int) -> tuple[Mbuf, int]:
        """The mbuf with byte `loc` of the packet, and where in its data that is. See m_getptr.

        The end of the packet is the end of its last mbuf.
        """
        at = clip(loc)
        self.span("getptr", at, 0)
        m: Any = self
        while at >= m.count and m._next is not None:
            at -= m.count
            m = m.follow()
        return m, at

    def unpack(self, fmt: str, offset: int = 0) -> tuple[Any, ...]:
        """The values that bytes from `offset` on hold; `fmt` as in `struct`. They may lie in several mbufs."""
        at, size = clip(offset), calcsize(fmt)
        self.live()
        if 0 <= at <= self.count - size:
            return unpack_values(fmt, self.buf.read(self.off + at, size))
        return unpack_values(fmt, self.excerpt("unpack", at, size))

    # In.

    def pack(self, fmt: str, offset: int, *values: Any) -> None:
        """Write values over the bytes from `offset` on; `fmt` as in `struct`. They may lie in several mbufs.

        Raises `ReadOnly` when one of those is shared or read-only, and then nothing was written.
        """
        self.rewrite("pack", clip(offset), pack_values(fmt, *values))

    def rewrite(self, verb: str, at: int, data: bytes) -> None:
        """Write over the bytes from `at` on; they must all be there, and writable."""
        left = len(data)
        self.span(verb, at, left)
        self._open(verb, at, left)
        m: Any = self
        skip = 0
        while left:
            if at < m.count:
                n = min(m.count - at, left)
                m.buf.write(m.off + at, data, skip, n)
                skip += n
                left -= n
                at = 0
            else:
                at -= m.count
            m = m._next

    # Looked through.

    def in_cksum(self, len: int = M_COPYALL, skip: int = 0) -> int:
        """The Internet checksum of the first `len` bytes but for `skip`: pack("!H", off, ...) puts it right.

        A number, whose upper byte goes first: the kernel's is the one that its machine stores that way. See
        in_cksum_skip.
        """
        at, end = clip(skip), clip(len)
        self.live()
        if end == M_COPYALL:
            end = max(self.length(), at)
        if not 0 <= at <= end:
            raise Inval(f"in_cksum: {len} bytes, {skip} of them skipped: that leaves none to look at")
        left = end - at
        self.span("in_cksum", at, left)
        sum = 0
        odd = 0
        m: Any = self
        while left:
            if at < m.count:
                n = min(m.count - at, left)
                part = total(m.buf, m.off + at, n)
                sum += swapped(part) if odd else part
                odd ^= n & 1
                left -= n
                at = 0
            else:
                at -= m.count
            m = m._next
        return ~fold(sum) & 0xFFFF

    def find(self, pattern: Any, start: int = 0) -> int:
        """Where the bytes of `pattern` are first found from `start` on, or -1. They may lie across mbufs."""
        sought = memoryview(pattern).tobytes()
        first = at = clip(start)
        self.span("find", at, 0)
        if not sought:
            return first
        looking = search(sought)
        m: Any = self
        while m is not None:
            if at < m.count:
                found = looking.feed(m.buf, m.off + at, m.count - at)
                if found >= 0:
                    return first + found
                at = 0
            else:
                at -= m.count
            m = m.follow()
        found = looking.rest()
        return found if found < 0 else first + found

    # Shown.

    def hexdump(self, off: int = 0, len: int | None = None) -> str:
        """The bytes from `off` on as text: 16 to a line, in hexadecimal and as far as they are ASCII."""
        at = clip(off)
        self.span("hexdump", at, 0)
        count = self.length() - at if len is None else clip(len)
        return "\n".join(rows(self.excerpt("hexdump", at, count), at))

    def print(self, maxlen: int = -1, file: TextIO | None = None) -> None:
        """Write what each mbuf of the packet is, with at most `maxlen` bytes of data in all. See m_print."""
        most = clip(maxlen)
        self.live()
        if most < -1:
            raise Inval(f"print: {maxlen} bytes; give a number, or -1 for all")
        whole: Any = self
        write_chain(whole, self.length() if most < 0 else most, file)

    # Checks, which come first.

    def span(self, verb: str, at: int, count: int) -> None:
        """Raise `Inval` unless the packet has `count` bytes from `at` on, and `Freed` if their mbufs are."""
        self.live()
        if at < 0 or count < 0:
            raise Inval(f"{verb}: {count} bytes at {at}: neither can be negative")
        there = self.count - at
        m: Any = self
        while there < count:
            m = m.follow()
            if m is None:
                raise Inval(f"{verb}: {count} bytes at {at}, of a packet of {self.length()}")
            there += m.count

    def _open(self, verb: str, at: int, left: int) -> None:
        """Raise `ReadOnly` unless these bytes, which are there, may be written."""
        m: Any = self
        while left:
            if at < m.count:
                if not m.free_to_write():
                    raise ReadOnly(f"{verb}: these bytes are shared or read-only: write to a copy, m.dup()")
                left -= min(m.count - at, left)
                at = 0
            else:
                at -= m.count
            m = m._next
