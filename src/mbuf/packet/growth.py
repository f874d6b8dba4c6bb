"""Chains made longer: bytes before, after and between those that there are.

Uses the room that mbufs have, and asks the source for more mbufs. All of them are there before the first
byte moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_FREED, M_NOWAIT, M_PKTHDR, MCLBYTES, MHLEN, MLEN
from mbuf.errors import Inval, ReadOnly
from mbuf.packet.copy import Copy
from mbuf.packet.parts import Parts
from mbuf.packet.shape import free_chain
from mbuf.packet.source import Source, until
from mbuf.vm.number import clip, count

#: What a gap is filled with.
ZEROS = bytes(MLEN)


@cython.no_gc
@cython.cclass
class Growth(Parts):
    """An mbuf whose chain can grow."""

    __slots__ = ()

    def prepend(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have `len` bytes more at the front, whatever is in them. See M_PREPEND and m_prepend.

        In the room before the data if it has that many, else in a new mbuf, which holds 168 with a packet
        header and 224 without. Raises `NoBufs`, and then nothing has changed; the kernel frees the chain.
        """
        self.push(clip(len), how, timeout)
        return self

    def push(self, n: int, how: int, timeout: float | None) -> None:
        """`prepend`."""
        if self.bits & M_FREED:
            self.live()
        if n < 0 or n > self.off - self.start() or (n and not self.free_to_write()):
            self._prepend(n, how, timeout)
        else:
            self.off -= n
            self.count += n
        if self.bits & M_PKTHDR:
            self.hdr.add(n)

    def _prepend(self, n: int, how: int, timeout: float | None) -> None:
        most = MHLEN if self.bits & M_PKTHDR else MLEN
        if not 0 <= n <= most:
            raise Inval(f"prepend: {n} bytes: a new mbuf in front of this one holds 0 to {most}")
        deadline = None if timeout is None else until(how, timeout)
        m = self.alike(self.origin(), self.bits & M_PKTHDR != 0, how, deadline)
        self.live()
        self.follow_in(m)
        if n < self.capacity():
            self.off += (self.capacity() - n) & ~7
        self.count = n

    def follow_in(self, m: Copy) -> None:
        """Put the body of a new mbuf in front, with this one's header; the old body comes next."""
        if self.bits & M_PKTHDR:
            m.receive(self)
        self.swap(m)
        m._next = self._next
        self._next = m

    def append(self, data: Any) -> Self:
        """Copy bytes to the end of the packet, adding mbufs for what doesn't fit. See m_append.

        Raises `NoBufs`, and then nothing was appended; the kernel keeps what fitted.
        """
        if self.bits & M_FREED:
            self.live()
        last = cython.cast(Growth, self.tail())
        space = last.space()
        size = last.buf.fit(last.off + last.count, space, data)
        if size > space:
            more = self.plain(last.kind, 0, data, space, size - space)
            last.live()
            last._next = more
            last.buf.write(last.off + last.count, data, 0, space)
            last.count += space
        else:
            last.count += size
        if self.bits & M_PKTHDR:
            self.hdr.add(size)
        return self

    def plain(self, kind: int, zeros: int, data: Any, at: int, size: int) -> Copy:
        """A chain of plain mbufs that holds some zeros, and then `size` bytes of data from `at` on."""
        source = self.origin()
        first: Copy = cython.cast(Copy, None)
        last = first
        try:
            while last is None or zeros or size:
                m = cython.cast(Copy, source.get(M_NOWAIT, kind))
                if last is None:
                    first = m
                else:
                    last._next = m
                last = m
                gap = min(zeros, MLEN)
                m.buf.write(m.off, ZEROS, 0, gap)
                piece = min(size, MLEN - gap)
                m.buf.write(m.off + gap, data, at, piece)
                m.count = gap + piece
                zeros -= gap
                at += piece
                size -= piece
        except BaseException:
            free_chain(first)
            raise
        return first

    def copyback(self, off: int, data: Any) -> Self:
        """Write data over the packet from byte `off` on, adding mbufs for what is beyond its end. See m_copyback.

        A gap is filled with zeros. Bytes are written even where storage is shared or marked M_RDONLY, as in
        the kernel: all who share it see them. Raises `NoBufs`, and then nothing was written; `ReadOnly`
        where memory was lent for reading only, or is loose pages.
        """
        self.live()
        skip = count(off, "copyback at")
        size = memoryview(data).nbytes
        m: Growth = self
        before = 0
        while skip > m.count and m._next is not None:
            skip -= m.count
            before += m.count
            m = cython.cast(Growth, m.follow())
        zeros = max(skip - m.count, 0)
        there = 0 if zeros else m.overlap(skip, size)
        last = cython.cast(Growth, m.tail())
        # The room after the last mbuf's data is used where data goes on into it, not by a gap.
        more = 0 if zeros else min(size - there, last.space())
        if zeros or there + more < size:
            rest = self.plain(last.kind, zeros, data, there + more, size - there - more)
            last.live()
            last._next = rest
        m.live()
        last.count += more
        m.overwrite(skip, data, there + more)
        end = before + skip + size
        if not size:
            # The kernel counts whole mbufs only when there is nothing to write.
            end = before + m.count + (zeros - 1) // MLEN * MLEN if zeros else before
        if self.bits & M_PKTHDR and self.hdr.len < end:
            self.hdr.len = end
        return self

    def overlap(self, skip: int, size: int) -> int:
        """How many of `size` bytes from byte `skip` of this mbuf on are there already; they may be written."""
        done = 0
        m: Copy | None = self
        while m is not None and done < size:
            piece = min(m.count - skip, size - done)
            if piece and (m.buf.fixed or m.bits & M_EXTPG):
                raise ReadOnly("copyback: the bytes are in loose pages, or in memory that was lent for reading only")
            done += piece
            skip = 0
            m = cython.cast(Copy, m.follow())
        return done

    def overwrite(self, skip: int, data: Any, size: int) -> None:
        """Write the first `size` bytes of data from byte `skip` of this mbuf on."""
        at = 0
        m: Copy = self
        while at < size:
            piece = min(m.count - skip, size - at)
            m.buf.write(m.off + skip, data, at, piece)
            at += piece
            skip = 0
            if at < size:
                m = cython.cast(Copy, m.after())

    def makespace(self, skip: int, hlen: int) -> tuple[Mbuf, int]:
        """Make room for `hlen` bytes, fewer than 168, after the first `skip` bytes of the packet.

        Returns the mbuf that has them, and where in it they begin; the packet counts them. Raises `NoBufs`,
        and then nothing has changed. See m_makespace.
        """
        hdr = self.headed()
        at = count(skip, "makespace at")
        size = clip(hlen)
        if not 0 <= size < MHLEN:
            raise Inval(f"makespace: {hlen} bytes: give 0 to {MHLEN - 1}")
        m: Any = self
        while m is not None and at > m.count:
            at -= m.count
            m = cython.cast(Growth, m.follow())
        if m is None:
            raise Inval(f"makespace at {skip}: the packet has only {self.length()} bytes")
        if m.bits & M_EXTPG:
            raise Inval("makespace: the bytes are in loose pages: see unmapped_to_ext")
        m, at = m.part(at, size)
        hdr.add(size)
        return m, at

    def part(self, at: int, size: int) -> tuple[Any, int]:
        """`makespace` in this mbuf: part its bytes at `at`."""
        rest = self.count - at
        if rest > at and self.free_to_write() and size <= self.off - self.start():
            self.off -= size
            self.buf.copy(self.off, self.buf, self.off + size, at)
            self.count += size
            return self, at
        if size <= self.space():
            if size:
                self.buf.copy(self.off + at + size, self.buf, self.off + at, rest)
                self.count += size
            return self, at
        source = self.origin()
        top: Growth = cython.cast(Growth, None)
        try:
            top = self._tail_copy(source, at, rest)
            m: Growth = self
            if not self.free_to_write() or size > self.space() + rest:
                m = cython.cast(Growth, source.get(M_NOWAIT, self.kind))
        except BaseException:
            free_chain(top)
            raise
        self.live()
        after = self.cut()
        self.count = at
        last: Growth = self
        if m is not self:
            last._next = m
            last = m
            at = 0
        m.count += size
        if top is not None:
            last._next = top
            last = cython.cast(Growth, top.tail())
        last._next = after
        return m, at

    def _tail_copy(self, source: Source, at: int, rest: int) -> Growth:
        """The last `rest` bytes of this mbuf, from `at` on, in new mbufs; None if there are none."""
        top: Growth = cython.cast(Growth, None)
        last = top
        try:
            while rest > 0:
                if rest > MHLEN:
                    m = cython.cast(Growth, source.getcl(M_NOWAIT, self.kind, 0))
                    piece = min(rest, MCLBYTES)
                else:
                    m = cython.cast(Growth, source.get(M_NOWAIT, self.kind))
                    piece = rest
                if last is None:
                    top = m
                else:
                    last._next = m
                last = m
                m.buf.copy(m.off, self.buf, self.off + at, piece)
                m.count = piece
                at += piece
                rest -= piece
        except BaseException:
            free_chain(top)
            raise
        return top
