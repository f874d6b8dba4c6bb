"""Linked mbufs.

Reads, cuts and links what is there; never allocates, so never runs out.
A length in the packet header is kept true by every verb here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.mbuf import Mbuf
    from mbuf.uma.item import Item
else:
    from mbuf.shadow import cython

from mbuf.const import CSUM_SND_TAG, M_EXT, M_EXTPG, M_FREED, M_NOFREE, M_PKTHDR
from mbuf.errors import Freed, Inval
from mbuf.packet.ext import Storage
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.segment import Segment
from mbuf.vm.number import clip

if cython.compiled:
    from cython.cimports.cpython.ref import Py_REFCNT

#: References to an mbuf, as `_sole` counts them, that only its caller's variable holds.
_SOLE = 3


@cython.no_gc
@cython.cclass
class Chain(Segment):
    """An mbuf and those linked after it: `next` in its packet, `nextpkt` the packet after that."""

    __slots__ = ("_next", "_nextpkt", "hdr")
    _next: Any
    _nextpkt: Any
    #: Means nothing without M_PKTHDR.
    hdr: PktHdr

    def begin(self) -> None:
        """A new packet has a clean header."""
        self.renew()
        self.hdr.reset()

    def renew(self) -> None:
        """Have a header of one's own, whatever is in it."""
        # A header that somebody still looks at stays as it was when its mbuf was freed.
        # (The compiler takes a reference of its own for the time of the call.)
        if self.hdr is None or not cython.compiled or Py_REFCNT(self.hdr) > 2:
            self.hdr = PktHdr.__new__(PktHdr)
            self.hdr.place = self.hdr.tags = None
            self.hdr.reset()

    @property
    def next(self) -> Mbuf | None:
        """The next mbuf of the packet. Set, it links another chain there, which is then part of this one."""
        self.live()
        n: Mbuf | None = self._next
        return n

    @next.setter
    def next(self, m: Mbuf | None) -> None:
        self.live()
        _no_circle(self, m)
        self._next = m

    @property
    def nextpkt(self) -> Mbuf | None:
        """The first mbuf of the next packet, or None."""
        self.live()
        n: Mbuf | None = self._nextpkt
        return n

    @nextpkt.setter
    def nextpkt(self, m: Mbuf | None) -> None:
        self.live()
        _no_circle(self, m)
        self._nextpkt = m

    @property
    def pkthdr(self) -> PktHdr:
        """The packet header; only an mbuf with M_PKTHDR has one."""
        self.live()
        if not self.bits & M_PKTHDR:
            raise Inval("this mbuf has no packet header: it is not the first of a packet")
        return self.hdr

    def length(self) -> int:
        """Bytes in all mbufs of the packet from here on. See m_length."""
        self.live()
        total = 0
        m: Chain | None = self
        while m is not None:
            total += m.count
            m = m.follow()
        return total

    def last(self) -> Mbuf:
        """The last mbuf of the packet. See m_last."""
        self.live()
        return self.tail()

    def tail(self) -> Mbuf:
        """`last`, of an mbuf known to be live."""
        m: Any = self
        while m._next is not None:
            m = m.follow()
        found: Mbuf = m
        return found

    def follow(self) -> Mbuf | None:
        """The next mbuf, of one known to be live; raises `Freed` if that was freed behind the chain's back."""
        n: Mbuf | None = self._next
        if n is not None and n.bits & M_FREED:
            n.live()
        return n

    def after(self) -> Mbuf:
        """The next mbuf, which was there a moment ago; raises `Freed` if it isn't any more."""
        n = self.follow()
        if n is None:
            raise Freed("the chain was taken apart by somebody else while a verb was at work on it")
        return n

    def grow(self, count: int) -> None:
        """Count `count` bytes written to `room` as data, here and in the packet header."""
        self.live()
        most = self.space()
        more = clip(count)
        if not 0 <= more <= most:
            raise Inval(f"grow: {count} bytes; there is room for 0 to {most}")
        self.count += more
        if self.bits & M_PKTHDR:
            self.hdr.add(more)

    def grow_whole(self) -> None:
        """Count all bytes of the storage as data, read-only ones too."""
        self.live()
        self.count = self.end() - self.off
        if self.bits & M_PKTHDR:
            self.hdr.len = self.count

    def fill(self, data: Any, start: int, count: int) -> None:
        """Copy `count` bytes of data, from its byte `start`, to the end of this mbuf, as a card would.

        They must be in data, and fit in `room`. The packet header, if this mbuf has it, counts them too.
        """
        self.live()
        most = self.space()
        more = clip(count)
        if not 0 <= more <= most:
            raise Inval(f"fill: {count} bytes; there is room for 0 to {most}")
        try:
            self.buf.write(self.off + self.count, data, clip(start), more)
        except IndexError:
            raise Inval(f"fill: data has no {count} bytes at {start}") from None
        self.count += more
        if self.bits & M_PKTHDR:
            self.hdr.add(more)

    def __len__(self) -> int:
        return self.length()

    def __bool__(self) -> bool:
        return True

    def lend(self) -> bool:
        """Whoever wants one buffer gets it where one mbuf holds the whole packet."""
        self.live()
        if self.length() != self.count or self.bits & M_EXTPG:
            raise BufferError(
                "the packet is in several pieces: sendmsg(m) takes them all, pullup() joins the first bytes"
            )
        return not self.free_to_write()

    # Letting go.

    def shed(self) -> None:
        """Be freed: tell probes, then `undress`. See m_free."""
        if self.bits & M_FREED:
            self.live()
        probes = self.item.home.probes
        try:
            if probes.on:
                probes.fire("m-free", self)
        finally:
            if not self.bits & M_FREED:
                self.undress()

    def undress(self) -> None:
        """Stand for nothing any more; what this stood for goes home, unlinked. See mb_dtor_mbuf."""
        if self.bits & M_FREED:
            self.live()
        item = self.item
        item.handle = self
        bits = self.bits
        # First of all: what goes next may have finalizers, which may do anything with this handle.
        self.bits |= M_FREED
        if self._next is not None:
            self._next = None
        if self._nextpkt is not None:
            self._nextpkt = None
        if bits & M_PKTHDR and (self.hdr.place is not None or self.hdr.tags is not None):
            self._shed_header(item, bits)
        elif bits & M_EXT:
            storage = cython.cast(Storage, self.buf)
            storage.drop(item)
        else:
            item.release()

    def _shed_header(self, item: Item, bits: int) -> None:
        """`undress`, of a header that holds something: tags go when its item goes home, a send tag at once."""
        hdr = self.hdr
        tags = hdr.tags
        tag = hdr.snd_tag if hdr.csum_flags & CSUM_SND_TAG else None
        # (One of the two references is that of `hdr`.)
        if tags is None and tag is None and cython.compiled and Py_REFCNT(hdr) == 2:
            hdr.place = None
        else:
            # Not ours to keep; whoever holds the header still has its receive interface.
            self.hdr = cython.cast(PktHdr, None)
        hdr.tags = None
        if tag is not None:
            hdr.hold(None, 0)
        try:
            if tag is not None:
                tag.rele()
        finally:
            storage = cython.cast(Storage, self.buf)
            if tags is not None:
                if bits & M_EXT and not bits & M_NOFREE and storage.lingers(item):
                    storage.tags = tags
                else:
                    tags.delete_chain(None)
            if bits & M_EXT:
                storage.drop(item)
            else:
                item.release()

    def swap(self, other: Chain) -> None:
        """Exchange bodies: all but the links. So the mbuf that a user holds stays the head of its chain."""
        self.item, other.item = other.item, self.item
        self.buf, other.buf = other.buf, self.buf
        self.off, other.off = other.off, self.off
        self.count, other.count = other.count, self.count
        self.bits, other.bits = other.bits, self.bits
        self.kind, other.kind = other.kind, self.kind
        self.hdr, other.hdr = other.hdr, self.hdr

    def links(self) -> list[Mbuf]:
        """Unlink the neighbours; those that nobody else holds."""
        n = self._next
        p = self._nextpkt
        self._next = None
        self._nextpkt = None
        alone = []
        if n is not None and _sole(n):
            alone.append(n)
        if p is not None and _sole(p):
            alone.append(p)
        return alone


def _sole(m: Chain) -> bool:
    """True when nobody holds the mbuf but the caller's one variable."""
    if cython.compiled:
        return bool(Py_REFCNT(m) == 1)
    return sys.getrefcount(m) <= _SOLE


def _no_circle(m: Chain, n: Chain | None) -> None:
    """Refuse to link what leads back to `m`, or what was freed."""
    todo = [n]
    while todo:
        n = todo.pop()
        while n is not None:
            n.live()
            if n is m:
                raise Inval("the chain would lead back to itself")
            if n._nextpkt is not None:
                todo.append(n._nextpkt)
            n = n._next
