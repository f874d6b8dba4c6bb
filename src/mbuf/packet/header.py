"""Packet headers, and the tags in them: moved, copied and removed. Never touches data.

A header with tags or a send tag is copied in two steps. Before the commit, `acquire_header` makes a `HeaderCopy`, with
copies of the tags and a reference to the send tag; both may run user code. Then `fits_header` tells whether the header
still has the same tags. If so, `give_header` moves them to the new header, in the commit.
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
    from mbuf.packet.chain import header_shared, last_of, length, next_checked, pkthdr_of
    from mbuf.packet.pkthdr import copy_header, has_references, reset_header
    from mbuf.packet.segment import check_alive
    from mbuf.vm.commit import enter_commit, leave_commit, release_later, run_releases

#: How many times a method tries to change a chain that is changed by other code meanwhile, before it raises `Busy`.
ROUNDS = 8


@cython.cclass
class HeaderCopy:
    """What a copy of a header needs, acquired in advance. Consumed by `give_header` or `discard_header`."""

    #: `tags` are copies of the tags that `source` had when its stamp was `stamp`. `snd_tag` is a reference to be given.
    __slots__ = ("snd_tag", "source", "stamp", "tags")
    snd_tag: Any
    source: TagList | None
    stamp: int
    tags: TagList | None


def acquire_header(held: HeaderCopy | None, hdr: PktHdr, how: int) -> HeaderCopy | None:
    """Return copies of the tags and a reference to the send tag; `held` if it still fits; None if there are none."""
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
    """True if what was acquired is still what a copy of the header needs."""
    tag = hdr.rcvif_or_tag if hdr.csum_flags & CSUM_SND_TAG else None
    if held is None:
        return hdr.tags is None and tag is None
    if held.source is not hdr.tags or held.snd_tag is not tag:
        return False
    return held.source is None or held.stamp == held.source.stamp


def discard_header(held: HeaderCopy | None) -> int:
    """Release what was acquired and isn't used."""
    if held is None:
        return 0
    tags, held.tags = held.tags, None
    tag, held.snd_tag = held.snd_tag, None
    try:
        if tags is not None:
            tags.release()
            run_releases()
    finally:
        if tag is not None:
            tag.rele()
    return 0


def give_header(m: Chain, held: HeaderCopy | None, like: Chain) -> None:
    """In a commit: copy header and flags of `like` to `m`, whose header is empty. See m_dup_pkthdr."""
    hdr: PktHdr = m.hdr
    copy_header(hdr, like.hdr)
    if held is not None:
        hdr.tags = held.tags
        held.tags = None
        held.snd_tag = None
    set_copied_flags(m, like)


def set_copied_flags(m: Chain, like: Chain) -> None:
    """In a commit: copy the flags of M_COPYFLAGS; data inside the mbuf begins behind the header then."""
    m.bits = (like.bits & M_COPYFLAGS) | (m.bits & (M_EXT | M_EXTPG | M_NOFREE))
    if not m.bits & M_EXT:
        m.off = MPKTHSIZE


def drop_header(m: Chain) -> None:
    """In a commit: remove the packet header. See m_demote_pkthdr."""
    m.bits &= ~M_PKTHDR
    if has_references(m.hdr):
        hdr: PktHdr = m.hdr
        m.hdr = cython.cast(PktHdr, None)
        hdr.removed = True
        release_later(hdr)
    elif header_shared(m):
        # The program refers to it, and may set references in it.
        m.hdr = cython.cast(PktHdr, None)


def move_header(m: Chain, from_: Chain) -> None:
    """In a commit: move the header of `from_` to `m`. See m_move_pkthdr."""
    shared = header_shared(m)
    spare: PktHdr = m.hdr
    had = m.bits & M_PKTHDR != 0
    m.hdr = from_.hdr
    set_copied_flags(m, from_)
    from_.bits &= ~M_PKTHDR
    if had and has_references(spare):
        from_.hdr = cython.cast(PktHdr, None)
        spare.removed = True
        release_later(spare)
    elif shared:
        from_.hdr = cython.cast(PktHdr, None)
    else:
        from_.hdr = spare


def check_header_source(m: Chain, from_: Any, verb: str) -> None:
    """Raise `Inval` if the header of `from_` can't be moved or copied to `m`."""
    check_alive(m)
    if m.bits & M_EXTPG:
        raise Inval(f"{verb}: an mbuf of unmapped pages can't have a packet header: put an mbuf with one in front")
    if from_ is None or from_ is m:
        raise Inval(f"{verb}: give another mbuf, which has the header")
    pkthdr_of(from_)
    if not m.bits & M_EXT and m.count > MHLEN:
        raise Inval(f"{verb}: {m.count} bytes don't fit beside a packet header, which leaves {MHLEN}")


# Methods of an mbuf.


def fixhdr(m: Chain) -> int:
    hdr: PktHdr = pkthdr_of(m)
    hdr.len = length(m)
    return hdr.len


def demote_pkthdr(m: Chain) -> None:
    pkthdr_of(m)
    enter_commit()
    drop_header(m)
    leave_commit()
    run_releases()


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
    run_releases()


def demote_all(m: Any, keep: int) -> None:
    """In a commit: remove headers and flags of a chain, but the flags that describe the storage, and `keep`."""
    while m is not None:
        if m.bits & M_PKTHDR:
            drop_header(m)
        m.bits &= M_EXT | M_RDONLY | M_NOFREE | M_EXTPG | (keep & ~M_PKTHDR)
        m = m._next


def clrprotoflags(m: Chain) -> None:
    check_alive(m)
    # Raises `Freed` for a freed mbuf before anything changes.
    last_of(m)
    n: Any = m
    while n is not None:
        n.bits &= ~M_PROTOFLAGS
        n = n._next


def move_pkthdr(m: Chain, from_: Any) -> None:
    check_header_source(m, from_, "move_pkthdr")
    enter_commit()
    move_header(m, from_)
    leave_commit()
    run_releases()


def dup_pkthdr(m: Chain, from_: Any, how: int) -> None:
    held: HeaderCopy | None = None
    try:
        check_header_source(m, from_, "dup_pkthdr")
        for _ in range(ROUNDS):
            held = acquire_header(held, from_.hdr, how)
            fresh: PktHdr = new_header()
            check_header_source(m, from_, "dup_pkthdr")
            if fits_header(held, from_.hdr):
                break
        else:
            raise chain_changed("dup_pkthdr")
    except BaseException:
        discard_header(held)
        run_releases()
        raise
    enter_commit()
    spare: PktHdr = m.hdr
    had = m.bits & M_PKTHDR != 0
    m.hdr = fresh
    give_header(m, held, from_)
    if had and has_references(spare):
        spare.removed = True
        release_later(spare)
    leave_commit()
    run_releases()


def new_header() -> PktHdr:
    """Return an empty header."""
    hdr: PktHdr = PktHdr.__new__(PktHdr)
    reset_header(hdr)
    return hdr


def chain_changed(verb: str) -> Busy:
    """Return the error for a chain that other code changed during a call."""
    return Busy(f"{verb}: other code changed the chain during the call: call again")


# Tags.


def tags_of(m: Chain) -> tuple[Tag, ...]:
    tags = pkthdr_of(m).tags
    return () if tags is None else tuple(tags)


def tag_prepend(m: Chain, t: Any) -> None:
    hdr: PktHdr = pkthdr_of(m)
    if hdr.tags is None:
        tags = TagList()
        # Making the list may have run user code.
        hdr = pkthdr_of(m)
        if hdr.tags is None:
            hdr.tags = tags
    hdr.tags.prepend(t)


def tag_copy_chain(m: Chain, from_: Any, how: int) -> None:
    pkthdr_of(m)
    check_header_source(m, from_, "tag_copy_chain")
    tags: TagList | None = None
    theirs: TagList | None = from_.hdr.tags
    if theirs is not None:
        tags = theirs.copy(how)
    try:
        hdr: PktHdr = pkthdr_of(m)
    except BaseException:
        if tags is not None:
            tags.release()
            run_releases()
        raise
    enter_commit()
    before: TagList | None = hdr.tags
    hdr.tags = tags
    if before is not None:
        release_later(before)
    leave_commit()
    run_releases()


def tags_or_empty(m: Chain) -> TagList:
    """Return the list of the packet's tags; an empty one if it has none."""
    tags = pkthdr_of(m).tags
    return TagList() if tags is None else tags
