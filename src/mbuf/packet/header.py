"""The packet header, as a part of an mbuf that comes and goes.

Moves, copies and ends headers and the tags in them; copying tags needs their memory. Never touches bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.packet.tag import Tag
else:
    from mbuf.shadow import cython

from mbuf.const import (
    CSUM_SND_TAG,
    M_COPYFLAGS,
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_PROTOFLAGS,
    M_RDONLY,
    MHLEN,
    MPKTHSIZE,
)
from mbuf.errors import Inval
from mbuf.packet.content import Content
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.tag import TagList
from mbuf.vm.number import clip


@cython.no_gc
@cython.cclass
class Headed(Content):
    """An mbuf that may begin a packet."""

    __slots__ = ()

    def headed(self) -> PktHdr:
        """The packet header; raises `Inval` where there is none, and `Freed`."""
        self.live()
        if not self.bits & M_PKTHDR:
            raise Inval("this mbuf has no packet header: it is not the first of a packet")
        return self.hdr

    def fixhdr(self) -> int:
        """Set the packet header's len to the bytes that there are; returns them. See m_fixhdr."""
        hdr: PktHdr = self.headed()
        hdr.len = self.length()
        return int(hdr.len)

    def demote_pkthdr(self) -> Self:
        """Have no packet header any more: its tags are freed, a send tag is let go of. See m_demote_pkthdr.

        The kernel forgets the send tag's reference. Where the header was is leading space then.
        """
        self.headed()
        self.behead()
        return self

    def behead(self) -> None:
        """`demote_pkthdr`, of an mbuf known to be live and to have a header."""
        hdr = self.hdr
        self.bits &= ~M_PKTHDR
        if hdr.place is not None or hdr.tags is not None:
            self.hdr = cython.cast(PktHdr, None)
            hdr.clear()

    def demote(self, all: bool = False, flags: int = 0) -> Self:
        """Make the mbufs after this one (with `all`, this one too) mere parts of a packet. See m_demote.

        They lose their headers, and the flags but for those that say how they are built and `flags`.
        """
        self.live()
        keep = clip(flags)
        if not 0 <= keep < 1 << 24:
            raise Inval(f"demote: flags {flags}: they have 24 bits")
        m: Headed | None = cython.cast(Headed, self if all else self.follow())
        n = m
        while n is not None:
            if n._nextpkt is not None:
                raise Inval("demote: an mbuf in the chain has a next packet: unlink that first")
            n = cython.cast(Headed, n.follow())
        while m is not None:
            if m.bits & M_PKTHDR:
                m.behead()
            m.bits &= M_EXT | M_RDONLY | M_NOFREE | M_EXTPG | (keep & ~M_PKTHDR)
            m = cython.cast(Headed, m._next)
        return self

    def clrprotoflags(self) -> Self:
        """Clear the flags M_PROTO1 to M_PROTO11 of the mbufs from here on. See m_clrprotoflags."""
        self.live()
        # Finds one that was freed before anything has changed.
        self.tail()
        m: Headed | None = self
        while m is not None:
            m.bits &= ~M_PROTOFLAGS
            m = cython.cast(Headed, m._next)
        return self

    def move_pkthdr(self, from_: Headed) -> Self:
        """Take over the packet header of another mbuf, tags and all. See m_move_pkthdr.

        A header that was here goes. The data of an mbuf without external storage begins behind the header
        then, whatever bytes are there.
        """
        self._other(from_, "move_pkthdr")
        self.receive(from_)
        return self

    def receive(self, from_: Headed) -> None:
        """`move_pkthdr`, of two mbufs that are known to be right."""
        spare = self.hdr
        laden = self.bits & M_PKTHDR and (spare.place is not None or spare.tags is not None)
        self.hdr = from_.hdr
        self._flag(from_)
        from_.hdr = spare
        from_.bits &= ~M_PKTHDR
        if laden:
            spare.clear()

    def dup_pkthdr(self, from_: Headed, how: int = M_NOWAIT) -> Self:
        """Have a packet header like another mbuf's, with copies of its tags. See m_dup_pkthdr.

        What `move_pkthdr` says of the data is so here too. Raises `NoBufs` when there is no memory for the
        tags, and then nothing has changed.
        """
        self._other(from_, "dup_pkthdr")
        self.inherit(from_, how)
        return self

    def inherit(self, from_: Headed, how: int) -> None:
        """`dup_pkthdr`, of two mbufs that are known to be right."""
        hdr = from_.hdr
        tags: TagList | None = None if hdr.tags is None else hdr.tags.copy(how)
        if hdr.csum_flags & CSUM_SND_TAG:
            hdr.place.ref()
        spare = cython.cast(PktHdr, None)
        if not self.bits & M_PKTHDR:
            self.begin()
        elif self.hdr.place is not None or self.hdr.tags is not None:
            spare = self.hdr
            self.hdr = cython.cast(PktHdr, None)
            self.begin()
        self.hdr.copy(hdr)
        self.hdr.tags = tags
        self._flag(from_)
        if spare is not None:
            spare.clear()

    def _flag(self, from_: Headed) -> None:
        self.bits = (from_.bits & M_COPYFLAGS) | (self.bits & (M_EXT | M_EXTPG | M_NOFREE))
        if not self.bits & M_EXT:
            self.off = MPKTHSIZE

    # Tags.

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The packet's tags, first to last."""
        tags = self.headed().tags
        return () if tags is None else tuple(tags)

    def tag_prepend(self, tag: Tag) -> Self:
        """Put a tag before the packet's others; it is the packet's then. See m_tag_prepend."""
        hdr: PktHdr = self.headed()
        if hdr.tags is None:
            hdr.tags = TagList()
        hdr.tags.prepend(tag)
        return self

    def tag_unlink(self, tag: Tag) -> Self:
        """Take a tag out; it is the caller's then. See m_tag_unlink."""
        self._tags().unlink(tag)
        return self

    def tag_delete(self, tag: Tag) -> Self:
        """Take a tag out and free it. See m_tag_delete."""
        self._tags().delete(tag)
        return self

    def tag_delete_chain(self, tag: Tag | None = None) -> Self:
        """Take out and free a tag and all after it; without one, all. See m_tag_delete_chain."""
        tags = self._tags()
        if tag is not None or len(tags):
            tags.delete_chain(tag)
        return self

    def tag_delete_nonpersistent(self) -> Self:
        """Take out and free the tags whose id lacks MTAG_PERSISTENT. See m_tag_delete_nonpersistent."""
        self._tags().delete_nonpersistent()
        return self

    def tag_locate(self, cookie: int, type: int, tag: Tag | None = None) -> Tag | None:
        """The first tag with this cookie and id, after `tag` if that is given; None if there is none.

        See m_tag_locate.
        """
        return self._tags().locate(cookie, type, tag)

    def tag_find(self, type: int, tag: Tag | None = None) -> Tag | None:
        """`tag_locate` of cookie MTAG_ABI_COMPAT. See m_tag_find."""
        return self._tags().find(type, tag)

    def tag_copy_chain(self, from_: Headed, how: int = M_NOWAIT) -> Self:
        """Have copies of another packet's tags instead of those here. See m_tag_copy_chain.

        Raises `NoBufs` when there is no memory for them, and then nothing has changed.
        """
        hdr: PktHdr = self.headed()
        self._other(from_, "tag_copy_chain")
        theirs = from_.hdr.tags
        tags: TagList | None = None if theirs is None else theirs.copy(how)
        before, hdr.tags = hdr.tags, tags
        if before is not None:
            before.delete_chain(None)
        return self

    def _tags(self) -> TagList:
        tags = self.headed().tags
        return TagList() if tags is None else tags

    def _other(self, from_: Headed, verb: str) -> None:
        """Refuse to take a header from what has none to give, or to where bytes would be beyond the end."""
        self.live()
        if self.bits & M_EXTPG:
            raise Inval(f"{verb}: an mbuf of loose pages can't have a packet header: put one in front, with cat")
        if from_ is None or from_ is self:
            raise Inval(f"{verb}: give another mbuf, the one to take the header from")
        from_.headed()
        if not self.bits & M_EXT and self.count > MHLEN:
            raise Inval(f"{verb}: {self.count} bytes don't fit beside a packet header")
