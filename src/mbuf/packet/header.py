"""The packet header, as a part of an mbuf that comes and goes.

Moves, copies and ends headers and the tags in them; copying tags needs their memory. Never touches bytes.

A header with tags or a send tag is copied in two steps. `HeaderCopy` gets what that needs before the commit: copies of
the tags, and a reference to the send tag, whose driver may do anything. In the commit, `fits` says whether they are
still those of the header, and `give` puts them into the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    M_PKTHDR,
    M_PROTOFLAGS,
    M_RDONLY,
    MHLEN,
    MPKTHSIZE,
)
from mbuf.errors import Busy, Inval
from mbuf.packet.chain import Chain
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.tag import TagList

if not cython.compiled:
    from mbuf.packet.chain import headed, header_shared, last_of, length, next_checked
    from mbuf.packet.pkthdr import copy_header, is_laden, reset_header
    from mbuf.packet.segment import check_alive
    from mbuf.vm.commit import enter_commit, leave_commit, put, settle

#: How often a verb looks again at what changes under it before it gives up.
ROUNDS = 8


@cython.cclass
class HeaderCopy:
    """What a copy of a laden header needs, acquired in advance. See `acquire_header`; ends in `give` or `discard`."""

    #: `tags` are copies of those of `source` when that had `stamp`; `snd_tag` is one with one reference more.
    __slots__ = ("snd_tag", "source", "stamp", "tags")
    snd_tag: Any
    source: TagList | None
    stamp: int
    tags: TagList | None


def acquire_header(held: HeaderCopy | None, hdr: PktHdr, how: int) -> HeaderCopy | None:
    """Copy tags, and reference a send tag, as far as that isn't done yet; None where a header has neither."""
    if fits_header(held, hdr):
        return held
    if held is not None:
        discard_header(held)
    made: HeaderCopy = HeaderCopy.__new__(HeaderCopy)
    made.snd_tag = made.source = made.tags = None
    made.stamp = 0
    source = hdr.tags
    tag = hdr.snd_tag
    if source is not None:
        made.stamp = source.stamp
        made.tags = source.copy(how)
        made.source = source
    if tag is not None:
        try:
            tag.ref()
        except BaseException:
            discard_header(made)
            raise
        made.snd_tag = tag
    return made


def fits_header(held: HeaderCopy | None, hdr: PktHdr) -> bool:
    """True when what was acquired is what a copy of the header needs now."""
    tag = hdr.place if hdr.csum_flags & CSUM_SND_TAG else None
    if held is None:
        return hdr.tags is None and tag is None
    if held.source is not hdr.tags or held.snd_tag is not tag:
        return False
    return held.source is None or held.stamp == held.source.stamp


def discard_header(held: HeaderCopy | None) -> int:
    """Let go of what was acquired and isn't needed."""
    if held is None:
        return 0
    tags, held.tags = held.tags, None
    tag, held.snd_tag = held.snd_tag, None
    try:
        if tags is not None:
            tags.release()
            settle()
    finally:
        if tag is not None:
            tag.rele()
    return 0


def give_header(m: Chain, held: HeaderCopy | None, like: Chain) -> None:
    """In a commit: take over a packet header like that of `like`, clean here; the flags follow. See m_dup_pkthdr."""
    hdr: PktHdr = m.hdr
    copy_header(hdr, like.hdr)
    if held is not None:
        hdr.tags = held.tags
        held.tags = None
        held.snd_tag = None
    set_copied_flags(m, like)


def set_copied_flags(m: Chain, like: Chain) -> None:
    """In a commit: have the flags of another mbuf that a copy has, and the data where a header leaves it."""
    m.bits = (like.bits & M_COPYFLAGS) | (m.bits & (M_EXT | M_EXTPG | M_NOFREE))
    if not m.bits & M_EXT:
        m.off = MPKTHSIZE


def drop_header(m: Chain) -> None:
    """In a commit: have no packet header any more. See m_demote_pkthdr."""
    m.bits &= ~M_PKTHDR
    if is_laden(m.hdr):
        hdr: PktHdr = m.hdr
        m.hdr = cython.cast(PktHdr, None)
        hdr.taken_off = True
        put(hdr)
    elif header_shared(m):
        # Somebody else holds it, and may give it things to hold.
        m.hdr = cython.cast(PktHdr, None)


def move_header(m: Chain, from_: Chain) -> None:
    """In a commit: take over the header of another mbuf. See m_move_pkthdr."""
    shared = header_shared(m)
    spare: PktHdr = m.hdr
    had = m.bits & M_PKTHDR != 0
    m.hdr = from_.hdr
    set_copied_flags(m, from_)
    from_.bits &= ~M_PKTHDR
    if had and is_laden(spare):
        from_.hdr = cython.cast(PktHdr, None)
        spare.taken_off = True
        put(spare)
    elif shared:
        from_.hdr = cython.cast(PktHdr, None)
    else:
        from_.hdr = spare


def check_other(m: Chain, from_: Any, verb: str) -> None:
    """Refuse to take a header from what has none to give, or to where bytes would be beyond the end."""
    check_alive(m)
    if m.bits & M_EXTPG:
        raise Inval(f"{verb}: an mbuf of unmapped pages can't have a packet header: put one in front, with cat")
    if from_ is None or from_ is m:
        raise Inval(f"{verb}: give another mbuf, the one to take the header from")
    headed(from_)
    if not m.bits & M_EXT and m.count > MHLEN:
        raise Inval(f"{verb}: {m.count} bytes don't fit beside a packet header")


# The verbs.


def fixhdr(m: Chain) -> int:
    hdr: PktHdr = headed(m)
    hdr.len = length(m)
    return hdr.len


def demote_pkthdr(m: Chain) -> None:
    headed(m)
    enter_commit()
    drop_header(m)
    leave_commit()
    settle()


def demote(m: Chain, all: bool, keep: int) -> None:
    """See m_demote."""
    check_alive(m)
    first: Any = m if all else next_checked(m)
    n: Any = first
    while n is not None:
        if n._nextpkt is not None:
            raise Inval("demote: an mbuf in the chain has a next packet: unlink that first")
        n = next_checked(n)
    enter_commit()
    demote_all(first, keep)
    leave_commit()
    settle()


def demote_all(m: Any, keep: int) -> None:
    """In a commit: make mbufs mere parts of a packet."""
    while m is not None:
        if m.bits & M_PKTHDR:
            drop_header(m)
        m.bits &= M_EXT | M_RDONLY | M_NOFREE | M_EXTPG | (keep & ~M_PKTHDR)
        m = m._next


def clrprotoflags(m: Chain) -> None:
    check_alive(m)
    # Finds one that was freed before anything has changed.
    last_of(m)
    n: Any = m
    while n is not None:
        n.bits &= ~M_PROTOFLAGS
        n = n._next


def move_pkthdr(m: Chain, from_: Any) -> None:
    check_other(m, from_, "move_pkthdr")
    enter_commit()
    move_header(m, from_)
    leave_commit()
    settle()


def dup_pkthdr(m: Chain, from_: Any, how: int) -> None:
    held: HeaderCopy | None = None
    try:
        check_other(m, from_, "dup_pkthdr")
        for _ in range(ROUNDS):
            held = acquire_header(held, from_.hdr, how)
            fresh: PktHdr = new_header()
            check_other(m, from_, "dup_pkthdr")
            if fits_header(held, from_.hdr):
                break
        else:
            raise changing("dup_pkthdr")
    except BaseException:
        discard_header(held)
        settle()
        raise
    enter_commit()
    spare: PktHdr = m.hdr
    had = m.bits & M_PKTHDR != 0
    m.hdr = fresh
    give_header(m, held, from_)
    if had and is_laden(spare):
        spare.taken_off = True
        put(spare)
    leave_commit()
    settle()


def new_header() -> PktHdr:
    """A clean header."""
    hdr: PktHdr = PktHdr.__new__(PktHdr)
    reset_header(hdr)
    return hdr


def changing(verb: str) -> Busy:
    """The error of a verb under which a chain changes again and again."""
    return Busy(f"{verb}: the chain is changed by others all the time: call again")


# Tags.


def tags_of(m: Chain) -> tuple[Tag, ...]:
    tags = headed(m).tags
    return () if tags is None else tuple(tags)


def tag_prepend(m: Chain, t: Any) -> None:
    hdr: PktHdr = headed(m)
    if hdr.tags is None:
        tags = TagList()
        # Making it may have run anything.
        hdr = headed(m)
        if hdr.tags is None:
            hdr.tags = tags
    hdr.tags.prepend(t)


def tag_copy_chain(m: Chain, from_: Any, how: int) -> None:
    headed(m)
    check_other(m, from_, "tag_copy_chain")
    tags: TagList | None = None
    theirs: TagList | None = from_.hdr.tags
    if theirs is not None:
        tags = theirs.copy(how)
    try:
        hdr: PktHdr = headed(m)
    except BaseException:
        if tags is not None:
            tags.release()
            settle()
        raise
    enter_commit()
    before: TagList | None = hdr.tags
    hdr.tags = tags
    if before is not None:
        put(before)
    leave_commit()
    settle()


def some_tags(m: Chain) -> TagList:
    """The packet's tags; a list of none if it has none."""
    tags = headed(m).tags
    return TagList() if tags is None else tags
