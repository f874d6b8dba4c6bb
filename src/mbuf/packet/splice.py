"""Bytes put into the middle of a packet, or taken out of it.

Cuts through an mbuf where it must, which takes another mbuf from the source.
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
    from mbuf.packet.copy import acquire_share, halve
    from mbuf.packet.header import ROUNDS, changing, demote_all
    from mbuf.packet.pkthdr import add_len
    from mbuf.packet.segment import check_alive, taken, writable
    from mbuf.packet.source import origin
    from mbuf.packet.trim import check_joined
    from mbuf.vm.commit import enter_commit, leave_commit, settle


def insert(m: Chain, off: int, n: Any, how: int, deadline: float | None) -> int:
    """Put a chain in after byte `off`."""
    for _ in range(ROUNDS):
        check_joined(m, n, "insert")
        mark, other = fingerprint(m), fingerprint(n)
        p: Chain = _mbuf_before(m, off, "insert")
        at = off - _bytes_before(m, p)
        half: Any = None
        if at < p.count:
            half = _acquire_half(m, p, how, deadline)
            check_alive(n)
            if not m.alive or fingerprint(m) != mark or fingerprint(n) != other or taken(n):
                free_chain(half)
                settle()
                continue
        more = length(n)
        enter_commit()
        demote_all(n, 0)
        if half is not None:
            _cut_through(p, half, at)
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
        settle()
        return 0
    raise changing("insert")


def remove(m: Chain, off: int, size: int, how: int, deadline: float | None) -> int:
    """Drop bytes from the middle."""
    for _ in range(ROUNDS):
        check_alive(m)
        if off < 0 or size < 0:
            raise Inval(f"remove: {size} bytes at {off}: neither can be negative")
        if size > length(m) - off:
            raise Inval(f"remove: {size} bytes at {off}, of a packet of {length(m)}")
        if not size:
            return 0
        mark = fingerprint(m)
        p: Chain = _mbuf_before(m, off, "remove")
        at = off - _bytes_before(m, p)
        half: Any = None
        if at > 0 and at + size < p.count and not writable(p):
            half = _acquire_half(m, p, how, deadline)
            if not m.alive or fingerprint(m) != mark:
                free_chain(half)
                settle()
                continue
        enter_commit()
        if half is not None:
            _cut_through(p, half, at + size)
        _drop_bytes(p, at, size)
        if m.bits & M_PKTHDR:
            add_len(m.hdr, -size)
        leave_commit()
        settle()
        return 0
    raise changing("remove")


def _mbuf_before(m: Chain, off: int, verb: str) -> Any:
    """The mbuf that has the byte before byte `off` of the chain, or begins it."""
    at = off
    p: Any = m
    while p is not None and p.count < at:
        at -= p.count
        p = next_checked(p)
    if p is None or off < 0:
        raise Inval(f"{verb} at {off}: the chain has {length(m)} bytes")
    return cython.cast(Chain, p)


def _bytes_before(m: Chain, p: Chain) -> int:
    total = 0
    n: Any = m
    while n is not p:
        total += n.count
        n = n._next
    return total


def _acquire_half(m: Chain, p: Chain, how: int, deadline: float | None) -> Any:
    """A new mbuf for the second half of an mbuf that is to be cut through."""
    n: Chain = origin(m).get(how, p.kind, 0, deadline)
    try:
        check_alive(p)
        acquire_share(n, p)
    except BaseException:
        free_chain(n)
        settle()
        raise
    return n


def _cut_through(p: Chain, half: Chain, keep: int) -> None:
    """In a commit: keep the first bytes of an mbuf; the others are in another one after it."""
    rest: Any = cut(p)
    halve(half, p, keep)
    link(p, half)
    if rest is not None:
        link(half, rest)


def _drop_bytes(p: Any, at: int, left: int) -> None:
    """In a commit: drop bytes that are there, from byte `at` of an mbuf on."""
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
