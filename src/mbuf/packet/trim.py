"""Chains trimmed and joined: adj, cat, catpkt, sanity, unlink. Never allocates, so never fails for lack of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_PKTHDR
from mbuf.errors import Inval
from mbuf.packet.chain import Chain

if not cython.compiled:
    from mbuf.packet.chain import (
        check_link,
        cut,
        last_of,
        length,
        link,
        next_checked,
        pkthdr_of,
        release,
        release_chain,
    )
    from mbuf.packet.header import demote_all, drop_header
    from mbuf.packet.pkthdr import add_len
    from mbuf.packet.segment import check_alive, space, writable
    from mbuf.vm.commit import enter_commit, leave_commit, release_later, run_releases


def adj(m: Chain, n: int) -> None:
    """Drop n bytes from the front, or from the end if n is negative."""
    check_alive(m)
    if n >= 0:
        _adj_front(m, n)
    else:
        _adj_end(m, -n)


def _adj_front(m: Chain, n: int) -> None:
    left = n
    p: Any = m
    while p is not None and p.count <= left:
        left -= p.count
        p = next_checked(p)
    enter_commit()
    drop_front(m, n)
    leave_commit()


def drop_front(m: Chain, n: int) -> None:
    """In a commit: drop n bytes, or all if there are fewer, from the front of a live chain; emptied mbufs stay."""
    left = n
    p: Any = m
    while p is not None and left:
        piece = min(p.count, left)
        if piece < p.count:
            p.off += piece
        p.count -= piece
        left -= piece
        p = p._next
    if m.bits & M_PKTHDR:
        add_len(m.hdr, left - n)


def _adj_end(m: Chain, n: int) -> None:
    total = m.count
    p: Any = m
    while p._next is not None:
        p = next_checked(p)
        total += p.count
    enter_commit()
    if p.count >= n:
        p.count -= n
        if m.bits & M_PKTHDR:
            add_len(m.hdr, -n)
    else:
        left = max(total - n, 0)
        if m.bits & M_PKTHDR:
            m.hdr.len = left
        p = m
        while p.count < left:
            left -= p.count
            p = p._next
        p.count = left
        release_chain(cut(p))
    leave_commit()
    run_releases()


def cat(m: Chain, n: Any) -> None:
    """Add another chain at the end. See m_cat."""
    check_joined(m, n, "cat")
    enter_commit()
    join(m, n)
    leave_commit()
    run_releases()


def catpkt(m: Chain, n: Any) -> None:
    """Add another packet at the end; its header is removed. See m_catpkt."""
    pkthdr_of(m)
    check_joined(m, n, "catpkt")
    more = pkthdr_of(n).len
    enter_commit()
    add_len(m.hdr, more)
    demote_all(n, 0)
    join(m, n)
    leave_commit()
    run_releases()


def check_joined(m: Chain, n: Any, verb: str) -> None:
    """Raise an error if chain `n` can't be joined to chain `m`."""
    if n is None:
        raise Inval(f"{verb}: give the chain to add")
    check_alive(m)
    check_link(m, n, verb)
    last_of(m)
    p: Any = n
    while p is not None:
        if p._nextpkt is not None:
            raise Inval(f"{verb}: the other chain leads to a next packet: unlink that first")
        p = next_checked(p)


def join(m: Chain, n: Any) -> None:
    """In a commit: `cat` of chains that were checked; bytes that fit are copied, and their mbufs freed."""
    last: Any = m
    while last._next is not None:
        last = last._next
    while n is not None:
        if n.bits & M_EXTPG or not writable(last) or space(last) < n.count:
            link(last, n)
            return
        last.buf.move(last.off + last.count, n.buf, n.off, n.count)
        last.count += n.count
        rest: Any = cut(n)
        release(n)
        n = rest


def sanity(m: Chain, sanitize: bool) -> int:
    """Raise `Inval` for an inconsistent chain, or with `sanitize` correct it. See m_sanity."""
    check_alive(m)
    # Raises `Freed` for a freed mbuf before anything changes.
    total = length(m)
    if sanitize:
        enter_commit()
        _sanitize(m, total)
        leave_commit()
        run_releases()
        return 0
    n: Any = m._next
    while n is not None:
        if n._nextpkt is not None:
            raise Inval("sanity: an mbuf inside the chain has a next packet")
        if n.bits & M_PKTHDR:
            raise Inval("sanity: an mbuf inside the chain has a packet header")
        n = n._next
    if m.bits & M_PKTHDR and m.hdr.len != total:
        raise Inval(f"sanity: the packet header says {m.hdr.len} bytes, the mbufs have {total}")
    return 0


def _sanitize(m: Chain, total: int) -> None:
    """In a commit: remove headers and next packets inside the chain, and set a wrong packet length to 0."""
    n: Any = m._next
    while n is not None:
        p: Any = n._nextpkt
        if p is not None:
            p.held = False
            n._nextpkt = None
            # Keeps a reference until the commit is over.
            release_later(p)
            release_chain(p)
        if n.bits & M_PKTHDR:
            drop_header(n)
        n = n._next
    if m.bits & M_PKTHDR and m.hdr.len != total:
        m.hdr.len = 0


def unlink(m: Chain, n: Any) -> None:
    """Take mbuf `n` out of the chain; it belongs to the caller then."""
    check_alive(m)
    if n is None or n is m:
        raise Inval("unlink: give an mbuf that comes after this one in its chain")
    before: Any = m
    while before._next is not n:
        before = next_checked(before)
        if before is None:
            raise Inval("unlink: the mbuf isn't in this chain")
    check_alive(n)
    enter_commit()
    cut(before)
    rest: Any = cut(n)
    if rest is not None:
        link(before, rest)
    if m.bits & M_PKTHDR:
        add_len(m.hdr, -n.count)
    leave_commit()
