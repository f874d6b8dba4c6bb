"""Copies of chains: dupcl, copym, copypacket, dup, split.

External storage is shared; bytes inside mbufs are copied; `dup` copies everything. The chain that is copied stays as
it is; only `split` divides it.

A copy is made in rounds. A round takes the chain's `fingerprint`, then acquires all that the copy needs: an mbuf for
each mbuf that is copied, copies of the tags, and the objects that sharing unmapped pages needs. User code may run
meanwhile. If the fingerprint is the same afterwards, one commit makes the copy. Otherwise the chain was changed: what
was acquired is freed, and the next round begins. After `ROUNDS` rounds the method raises `Busy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import CSUM_SND_TAG, M_COPYALL, M_EXT, M_EXTPG, M_PKTHDR, M_RDONLY, MHLEN, MINCLSIZE, MPKTHSIZE
from mbuf.errors import Inval
from mbuf.packet.chain import Chain
from mbuf.packet.ext import Storage
from mbuf.packet.header import HeaderCopy

if not cython.compiled:
    from mbuf.packet.chain import (
        check_range,
        cut,
        fingerprint,
        free_chain,
        length,
        link,
        next_checked,
        own_header,
        pkthdr_of,
    )
    from mbuf.packet.header import (
        ROUNDS,
        acquire_header,
        chain_changed,
        discard_header,
        fits_header,
        give_header,
        set_copied_flags,
    )
    from mbuf.packet.pkthdr import add_len, copy_header, has_references, has_tags, reset_header
    from mbuf.packet.segment import capacity, check_alive, storage_of
    from mbuf.packet.source import source_of
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


# Sharing.


def acquire_share(n: Chain, m: Chain) -> None:
    """Acquire what the new mbuf `n` needs to share the storage of `m`: its `buf` refers to that until `share`."""
    if m.bits & M_EXT:
        storage: Storage = storage_of(m)
        storage.check_share()
        if m.bits & M_EXTPG and n.bits & M_PKTHDR:
            raise Inval("an mbuf with a packet header can't have unmapped pages: put it in front of one that has them")
        n.buf = storage.make_sharer()


def share(n: Chain, m: Chain, off: int, count: int) -> None:
    """In a commit: share the storage of `m` after `acquire_share`, and show `count` bytes at `off`. See mb_dupcl."""
    made: Storage = cython.cast(Storage, n.buf)
    storage_of(m).ref(m.item, made)
    n.bits |= m.bits & (M_RDONLY | M_EXT | M_EXTPG)
    n.off = off
    n.count = count


def share_or_copy(n: Chain, m: Chain, skip: int, count: int, off: int) -> None:
    """In a commit: give `n` `count` bytes of `m` from `skip` on: shared if external, else copied to `off`."""
    if m.bits & M_EXT:
        share(n, m, m.off + skip, count)
    else:
        n.buf.move(off, m.buf, m.off + skip, count)
        n.off = off
        n.count = count


def dupcl(n: Chain, m: Any) -> None:
    """Share the external storage of another mbuf, and show the same bytes of it. See mb_dupcl."""
    if m is None:
        raise Inval("dupcl: give an mbuf whose storage is to be shared")
    for _ in range(ROUNDS):
        check_alive(n)
        check_alive(m)
        if n.bits & M_EXT:
            raise Inval("dupcl: this mbuf has external storage already")
        if not m.bits & M_EXT:
            raise Inval("dupcl: the other mbuf has no external storage to share")
        storage: Storage = storage_of(m)
        storage.check_share()
        if m.bits & M_EXTPG and n.bits & M_PKTHDR:
            raise Inval("an mbuf with a packet header can't have unmapped pages: put it in front of one that has them")
        made: Storage = storage.make_sharer()
        if n.alive and m.alive and m.buf is storage and not n.bits & M_EXT:
            break
    else:
        raise chain_changed("dupcl")
    enter_commit()
    n.buf = made
    share(n, m, m.off, m.count)
    leave_commit()


# Copies.


def copym(m: Chain, skip: int, count: int, how: int, deadline: float | None) -> Any:
    """Return a new chain of `count` bytes, or M_COPYALL, from byte `skip` on. See m_copym."""
    check_alive(m)
    if skip or count != M_COPYALL:
        check_range(m, "copym", skip, 0 if count == M_COPYALL else count)
    if count == 0:
        return None
    n = _share_one(m, skip, count, how, deadline) if m._next is None else None
    return _duplicate(m, skip, count, False, how, deadline) if n is None else n


def copypacket(m: Chain, how: int, deadline: float | None) -> Any:
    """Return a new packet of the same bytes, with the same room before them. See m_copypacket."""
    check_alive(m)
    n = _share_one(m, 0, M_COPYALL, how, deadline) if m._next is None and m.bits & M_PKTHDR else None
    return _duplicate(m, 0, M_COPYALL, True, how, deadline) if n is None else n


def _share_one(m: Chain, skip: int, count: int, how: int, deadline: float | None) -> Any:
    """`_duplicate` of the common packet: one mbuf whose storage can be shared, and no tags in its header.

    Returns None for another packet, or if it was changed during the allocation.
    """
    bits = m.bits
    head = 0 if skip else bits & M_PKTHDR
    hdr = m.hdr
    if not bits & M_EXT or bits & M_EXTPG or skip >= m.count or (head and has_tags(hdr)):
        return None
    storage: Storage = storage_of(m)
    storage.check_share()
    off, size = m.off, m.count
    n: Chain = source_of(m).get(how, m.kind, head, deadline)
    enter_commit()
    # During the allocation the packet may have been changed.
    same = m.alive and m.bits == bits and m.buf is storage and m.off == off and m.count == size and m._next is None
    if same and (not head or (m.hdr is hdr and not has_tags(hdr))):
        if head:
            copy_header(n.hdr, hdr)
            set_copied_flags(n, m)
            if count != M_COPYALL:
                n.hdr.len = count
        n.buf = storage
        share(n, m, off + skip, size - skip if count == M_COPYALL else count)
        leave_commit()
        return n
    leave_commit()
    free_chain(n)
    run_releases()
    return None


def _duplicate(m: Chain, skip: int, count: int, whole: bool, how: int, deadline: float | None) -> Any:
    source = source_of(m)
    first: Chain = cython.cast(Chain, None)
    held: HeaderCopy | None = None
    for _ in range(ROUNDS):
        first = cython.cast(Chain, None)
        try:
            mark = fingerprint(m)
            if whole:
                pkthdr_of(m)
            elif skip or count != M_COPYALL:
                check_range(m, "copym", skip, 0 if count == M_COPYALL else count)
            at = skip
            p: Any = m
            while p is not None and at > 0 and at >= p.count:
                at -= p.count
                p = p._next
            if p is None:
                return None
            first = source.get(how, p.kind, 0 if skip else m.bits & M_PKTHDR, deadline)
            # During the allocation another thread may have freed the chain, or removed its header.
            check_alive(m)
            if first.bits & M_PKTHDR and m.bits & M_PKTHDR and has_references(m.hdr):
                held = acquire_header(held, m.hdr, how)
            last: Chain = first
            todo = count
            while True:
                acquire_share(last, p)
                todo -= p.count - at
                at = 0
                p = p._next
                if p is None or (todo <= 0 and count != M_COPYALL):
                    break
                n: Chain = source.get(how, p.kind, 0, deadline)
                link(last, n)
                last = n
            if fingerprint(m) == mark and (not first.bits & M_PKTHDR or fits_header(held, m.hdr)):
                _commit_copy(m, skip, count, whole, first, held)
                return first
        except BaseException:
            free_chain(first)
            discard_header(held)
            run_releases()
            raise
        free_chain(first)
        run_releases()
    discard_header(held)
    raise chain_changed("copym")


def _commit_copy(m: Chain, skip: int, count: int, whole: bool, n: Chain, held: HeaderCopy | None) -> None:
    """Give the bytes and the header of `m` to the new mbufs from `n` on."""
    enter_commit()
    p: Any = m
    while p is not None and skip > 0 and skip >= p.count:
        skip -= p.count
        p = p._next
    if n.bits & M_PKTHDR:
        give_header(n, held, m)
        if count != M_COPYALL:
            n.hdr.len = count
    while n is not None and p is not None:
        piece = min(count, p.count - skip)
        share_or_copy(n, p, skip, piece, p.off if whole and p is m else n.off)
        if count != M_COPYALL:
            count -= piece
        skip = 0
        n = n._next
        p = p._next
    leave_commit()


def dup(m: Chain, how: int, deadline: float | None) -> Any:
    """Return a new packet with a writable copy of the bytes. See m_dup."""
    pkthdr_of(m)
    source = source_of(m)
    first: Chain = cython.cast(Chain, None)
    held: HeaderCopy | None = None
    for _ in range(ROUNDS):
        first = cython.cast(Chain, None)
        try:
            mark = fingerprint(m)
            hdr = pkthdr_of(m)
            todo = length(m)
            if hdr.len != todo:
                raise Inval(f"dup: the packet header says {hdr.len} bytes, the mbufs have {todo}: see fixhdr")
            first = _alloc_for(source, m, todo, how, deadline)
            if has_references(hdr):
                held = acquire_header(held, hdr, how)
            _add_pkthdr(first)
            last: Chain = first
            todo -= min(todo, capacity(last))
            while todo > 0:
                n: Chain = _alloc_for(source, m, todo, how, deadline)
                link(last, n)
                last = n
                todo -= min(todo, capacity(last))
            _copy_bytes(first, m)
            if fingerprint(m) == mark and fits_header(held, pkthdr_of(m)):
                _commit_dup(m, first, held)
                return first
        except BaseException:
            free_chain(first)
            discard_header(held)
            run_releases()
            raise
        free_chain(first)
        run_releases()
    discard_header(held)
    raise chain_changed("dup")


def _commit_dup(m: Chain, n: Chain, held: HeaderCopy | None) -> None:
    """Give the packet header of `m` to the copy, and clear M_RDONLY."""
    enter_commit()
    give_header(n, held, m)
    n.bits &= ~M_RDONLY
    leave_commit()


def _alloc_for(source: Source, m: Chain, todo: int, how: int, deadline: float | None) -> Any:
    """Allocate an mbuf for `todo` bytes: with a cluster if they are at least MINCLSIZE."""
    if todo >= MINCLSIZE:
        return source.getcl(how, m.kind, 0, deadline)
    return source.get(how, m.kind, 0, deadline)


def _add_pkthdr(n: Chain) -> None:
    """Give a new mbuf an empty packet header; the data begins behind it."""
    own_header(n)
    reset_header(n.hdr)
    n.bits |= M_PKTHDR
    if not n.bits & M_EXT:
        n.off = MPKTHSIZE


def _copy_bytes(n: Chain, m: Chain) -> None:
    """Copy the bytes of chain `m`, and the types of its mbufs, to the new chain `n`, which has room for them."""
    p: Any = m
    at = 0
    while n is not None:
        if p is not None:
            check_alive(p)
            n.kind = p.kind
        room = capacity(n)
        while p is not None and n.count < room:
            piece = min(room - n.count, p.count - at)
            if piece > 0:
                target: Memory = n.buf
                target.copy(n.off + n.count, p.buf, p.off + at, piece)
            n.count += piece
            at += piece
            if at >= p.count:
                p = next_checked(p)
                at = 0
        n = n._next


def split(m: Chain, keep: int, how: int, deadline: float | None) -> Any:
    """Keep the first `keep` bytes; return a new chain of the rest, which belongs to the caller. See m_split."""
    n: Chain = cython.cast(Chain, None)
    for _ in range(ROUNDS):
        mark = fingerprint(m)
        at = keep
        p: Any = m
        while p is not None and at > p.count:
            at -= p.count
            p = next_checked(p)
        if p is None:
            raise Inval(f"split at {keep}: give 0 to {length(m)}, the bytes of the chain")
        rest = p.count - at
        head = m.bits & M_PKTHDR != 0
        if not head and rest == 0:
            enter_commit()
            n = cut(p)
            leave_commit()
            return n
        source = source_of(m)
        tag: Any = None
        try:
            n = source.get(how, m.kind if head else p.kind, m.bits & M_PKTHDR, deadline)
            part: Chain = n
            if head and ((rest > MHLEN and not p.bits & M_EXT) or (rest and p.bits & M_EXTPG)):
                # An mbuf with a header can't hold the rest, so it stays empty, and another one follows.
                part = source.get(how, p.kind, 0, deadline)
                n.off += MHLEN
                link(n, part)
            if rest:
                acquire_share(part, p)
            check_alive(m)
            if head and m.bits & M_PKTHDR and m.hdr.csum_flags & CSUM_SND_TAG:
                place = m.hdr.rcvif_or_tag
                place.ref()
                tag = place
            if fingerprint(m) == mark and (tag is None or m.hdr.rcvif_or_tag is tag):
                _commit_split(m, keep, p, at, n, part if rest else cython.cast(Chain, None), tag)
                return n
        except BaseException:
            free_chain(n)
            if tag is not None:
                tag.rele()
            run_releases()
            raise
        free_chain(n)
        if tag is not None:
            tag.rele()
        run_releases()
    raise chain_changed("split")


def _commit_split(m: Chain, keep: int, p: Chain, at: int, n: Chain, part: Any, tag: Any) -> None:
    """Divide a chain inside mbuf `p`: `n` is the head of the rest, `part` gets the bytes of `p` from `at` on."""
    enter_commit()
    rest: Any = cut(p)
    if part is not None:
        move_tail(part, p, at)
        if rest is not None:
            link(part, rest)
    elif rest is not None:
        link(n, rest)
    if m.bits & M_PKTHDR:
        n.hdr.set_peer(m.hdr.peer, m.hdr.control)
        if tag is not None:
            n.hdr.set_rcvif_or_tag(tag, CSUM_SND_TAG)
        else:
            # The header has no send tag: there would be a reference for it.
            n.hdr.set_rcvif_or_tag(m.hdr.rcvif_or_tag, 0)
        add_len(n.hdr, m.hdr.len - keep)
        m.hdr.len = keep
    leave_commit()


def move_tail(n: Chain, m: Chain, keep: int) -> None:
    """In a commit: keep the first `keep` bytes of `m`, and give the others to the new mbuf `n`."""
    rest = m.count - keep
    share_or_copy(n, m, keep, rest, n.off + ((capacity(n) - rest) & ~7))
    m.count = keep
