"""Bytes inserted in the middle of a packet, or removed from it: insert, remove.

If the place is inside an mbuf, that is divided, which may take one mbuf from the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_PKTHDR
from mbuf.errors import Inval
from mbuf.packet.chain import Chain

if not cython.compiled:
    from mbuf.packet.chain import cut, fingerprint, free_chain, length, link, next_checked
    from mbuf.packet.copy import acquire_share, move_tail
    from mbuf.packet.header import ROUNDS, chain_changed, demote_all
    from mbuf.packet.pkthdr import add_len
    from mbuf.packet.segment import check_alive, taken, writable
    from mbuf.packet.source import source_of
    from mbuf.packet.trim import check_joined
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def insert(m: Chain, off: int, n: Any, how: int, deadline: float | None) -> int:
    """Insert chain `n` after the first `off` bytes."""
    for _ in range(ROUNDS):
        check_joined(m, n, "insert")
        mark, other = fingerprint(m), fingerprint(n)
        p: Chain = _mbuf_before(m, off, "insert")
        at = off - _bytes_before(m, p)
        tail: Any = None
        if at < p.count:
            tail = _acquire_tail(m, p, how, deadline)
            check_alive(n)
            if not m.alive or fingerprint(m) != mark or fingerprint(n) != other or taken(n):
                free_chain(tail)
                run_releases()
                continue
        more = length(n)
        enter_commit()
        demote_all(n, 0)
        if tail is not None:
            _split_at(p, tail, at)
        rest: Any = cut(p)
        link(p, n)
        if rest is not None:
            last: Any = n
            while last._next is not None:
                last = last._next
            link(last, rest)
        if m.bits & M_PKTHDR:
            add_len(m.hdr, more)
        leave_commit()
        run_releases()
        return 0
    raise chain_changed("insert")


def remove(m: Chain, off: int, size: int, how: int, deadline: float | None) -> int:
    """Remove `size` bytes from byte `off` on."""
    for _ in range(ROUNDS):
        check_alive(m)
        if off < 0 or size < 0:
            raise Inval(f"remove: {size} bytes at {off}: neither can be negative")
        if size > length(m) - off:
            raise Inval(f"remove: {size} bytes at {off}: the packet has {length(m)}")
        if not size:
            return 0
        mark = fingerprint(m)
        p: Chain = _mbuf_before(m, off, "remove")
        at = off - _bytes_before(m, p)
        tail: Any = None
        if at > 0 and at + size < p.count and not writable(p):
            tail = _acquire_tail(m, p, how, deadline)
            if not m.alive or fingerprint(m) != mark:
                free_chain(tail)
                run_releases()
                continue
        enter_commit()
        if tail is not None:
            _split_at(p, tail, at + size)
        _drop_bytes(p, at, size)
        if m.bits & M_PKTHDR:
            add_len(m.hdr, -size)
        leave_commit()
        run_releases()
        return 0
    raise chain_changed("remove")


def _mbuf_before(m: Chain, off: int, verb: str) -> Any:
    """Return the mbuf with the byte before byte `off` of the chain; the first mbuf if `off` is 0."""
    at = off
    p: Any = m
    while p is not None and p.count < at:
        at -= p.count
        p = next_checked(p)
    if p is None or off < 0:
        raise Inval(f"{verb} at {off}: give 0 to {length(m)}, the bytes of the chain")
    return cython.cast(Chain, p)


def _bytes_before(m: Chain, p: Chain) -> int:
    """Return the bytes of a chain before its mbuf `p`."""
    total = 0
    n: Any = m
    while n is not p:
        total += n.count
        n = n._next
    return total


def _acquire_tail(m: Chain, p: Chain, how: int, deadline: float | None) -> Any:
    """Allocate an mbuf for the second part of mbuf `p`, which is to be divided."""
    n: Chain = source_of(m).get(how, p.kind, 0, deadline)
    try:
        check_alive(p)
        acquire_share(n, p)
    except BaseException:
        free_chain(n)
        run_releases()
        raise
    return n


def _split_at(p: Chain, tail: Chain, keep: int) -> None:
    """In a commit: keep the first `keep` bytes of `p`, and give the others to `tail`, linked behind it."""
    rest: Any = cut(p)
    move_tail(tail, p, keep)
    link(p, tail)
    if rest is not None:
        link(tail, rest)


def _drop_bytes(p: Any, at: int, left: int) -> None:
    """In a commit: drop `left` bytes, which exist, from byte `at` of mbuf `p` on."""
    while left:
        if at < p.count:
            piece = min(p.count - at, left)
            if at == 0:
                if piece < p.count:
                    p.off += piece
            elif at + piece < p.count:
                p.buf.move(p.off + at, p.buf, p.off + at + piece, p.count - at - piece)
            p.count -= piece
            left -= piece
            at = 0
        else:
            at -= p.count
        p = p._next
