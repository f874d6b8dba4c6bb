"""Bytes brought together: in one mbuf, in a row, for whoever reads headers.

Moves no more than it must, and asks the source for at most one mbuf. It looks whether one is needed, gets it, looks
again, and does the rest in one step. The head that its user holds stays the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import (
    EXT_CLUSTER,
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    MCLBYTES,
    MHLEN,
    MHSIZE,
    MLEN,
    MPKTHSIZE,
    MSIZE,
)
from mbuf.errors import Inval
from mbuf.packet.chain import Chain

if not cython.compiled:
    from mbuf.packet.append import put_front
    from mbuf.packet.chain import cut, fingerprint, free_chain, link, next_checked, release, span
    from mbuf.packet.header import ROUNDS, changing
    from mbuf.packet.segment import check_alive, leading, space, store, writable
    from mbuf.packet.source import origin
    from mbuf.packet.trim import drop_front
    from mbuf.vm.commit import enter_commit, leave_commit, settle


def pullup(m: Chain, n: int) -> int:
    """Have the first bytes of the packet inside this mbuf. See m_pullup."""
    for _ in range(ROUNDS):
        check_gatherable(m, n, "pullup")
        most = origin(m).max_protohdr
        if not m.bits & M_EXT and m._next is not None and m.off + n < MSIZE:
            if m.count < n:
                enter_commit()
                rest: Any = m._next
                swallow(m, _collect(rest, n - m.count, most, m.buf, m.off + m.count))
                leave_commit()
                settle()
            return 0
        if n > MHLEN:
            raise Inval(f"pullup: {n} bytes: an mbuf holds {MHLEN} of them: see pulldown")
        if _new_front(m, n, 0, most):
            return 0
    raise changing("pullup")


def copyup(m: Chain, n: int, room: int) -> int:
    """Have the first bytes in a new mbuf in front, with room before them. See m_copyup."""
    for _ in range(ROUNDS):
        check_gatherable(m, n, "copyup")
        if not 0 <= room <= MHLEN or n > MHLEN - room:
            raise Inval(f"copyup: {n} bytes behind {room}: an mbuf holds {MHLEN} together")
        if _new_front(m, n, room, origin(m).max_protohdr):
            return 0
    raise changing("copyup")


def check_gatherable(m: Chain, n: int, verb: str) -> None:
    """Refuse bytes that there aren't, or that can't be copied."""
    check_alive(m)
    span(m, verb, 0, n)
    left = n
    p: Any = m
    while p is not None:
        if p.bits & M_EXTPG and (left > 0 or p is m):
            raise Inval(f"{verb}: the bytes are in unmapped pages: see unmapped_to_ext")
        left -= p.count
        if left <= 0:
            break
        p = p._next


def _new_front(m: Chain, n: int, room: int, most: int) -> bool:
    """Bring bytes together in a new mbuf in front; false if the chain has changed while that was got."""
    mark = fingerprint(m)
    p: Chain = cython.cast(Chain, origin(m).get(M_NOWAIT, m.kind, 0, None))
    if not m.alive or fingerprint(m) != mark:
        free_chain(p)
        settle()
        check_alive(m)
        return False
    enter_commit()
    at = (MPKTHSIZE if m.bits & M_PKTHDR else MHSIZE) + room
    taken = _collect(m, n, most, p.buf, at)
    put_front(m, p)
    m.off = at
    swallow(m, taken)
    leave_commit()
    settle()
    return True


def _collect(m: Chain, need: int, most: int, target: Memory, at: int) -> int:
    """In a commit: copy `need` bytes from here on to `at` of an mbuf's memory, and more while at hand; how many."""
    taken = 0
    n: Any = m
    while n is not None and not n.bits & M_EXTPG:
        piece = min(max(need, most), MSIZE - at - taken, n.count)
        target.move(at + taken, n.buf, n.off, piece)
        taken += piece
        need -= piece
        if need <= 0:
            break
        n = n._next
    return taken


def swallow(m: Chain, taken: int) -> None:
    """In a commit: have so many bytes of the next mbufs, which were copied behind those here."""
    m.count += taken
    n: Any = m._next
    while n is not None:
        piece = min(taken, n.count)
        taken -= piece
        n.count -= piece
        n.off += piece
        if n.count == 0:
            cut(m)
            rest: Any = cut(n)
            if rest is not None:
                link(m, rest)
            release(n)
            n = rest
        if taken <= 0:
            break


def pulldown(m: Chain, off: int, n: int, at_start: bool) -> tuple[Any, int]:
    """Have bytes of the middle in one mbuf; what is before them stays put. See m_pulldown."""
    for _ in range(ROUNDS):
        check_alive(m)
        if not 0 <= n <= MCLBYTES:
            raise Inval(f"pulldown: {n} bytes: give 0 to {MCLBYTES}")
        span(m, "pulldown", off, n)
        skip = off
        p: Any = m
        while p is not None and skip > 0 and p.count <= skip:
            skip -= p.count
            p = next_checked(p)
        while p is not None and p.count == 0:
            p = next_checked(p)
        if p is None:
            raise Inval(f"pulldown at {off}: there are no bytes")
        next_checked(p)
        if n > p.count - skip:
            _check_mapped(p, n + skip)
            found: Any = _bring_here(p, skip, n, skip == 0 or not at_start)
            if found is not None:
                settle()
                return found, skip if found is p else 0
            found = _bring_new(m, p, skip, n)
            if found is not None:
                return found, 0
            continue
        if p.bits & M_EXTPG:
            raise Inval("pulldown: the bytes are in unmapped pages: see unmapped_to_ext")
        if not skip or not at_start:
            return p, skip
        found = _chop(m, p, skip)
        if found is not None:
            return found, 0
    raise changing("pulldown")


def _check_mapped(m: Chain, n: int) -> None:
    """Refuse bytes in unmapped pages among the next n."""
    p: Any = m
    while p is not None and n > 0:
        if p.bits & M_EXTPG:
            raise Inval("pulldown: the bytes are in unmapped pages: see unmapped_to_ext")
        n -= p.count
        p = next_checked(p)


def _chop(m: Chain, p: Chain, keep: int) -> Any:
    """Move the bytes from `keep` on into a new mbuf after this one; None if the chain has changed. See m_dup1."""
    rest = p.count - keep
    if rest > MCLBYTES:
        raise Inval(f"pulldown: {rest} bytes would have to move into one cluster: see split")
    mark = fingerprint(m)
    n: Chain = _fresh(m, p.kind, rest, MHLEN)
    if not m.alive or fingerprint(m) != mark:
        free_chain(n)
        settle()
        return None
    enter_commit()
    n.buf.move(n.off, p.buf, p.off + keep, rest)
    n.count = rest
    p.count = keep
    after: Any = cut(p)
    link(p, n)
    if after is not None:
        link(n, after)
    leave_commit()
    return n


def _fresh(m: Chain, kind: int, size: int, most: int) -> Any:
    """A new mbuf for `size` bytes, with a cluster if they are more than `most`."""
    source = origin(m)
    if size > most:
        return cython.cast(Chain, source.getcl(M_NOWAIT, kind, 0, None))
    return cython.cast(Chain, source.get(M_NOWAIT, kind, 0, None))


def _bring_here(p: Chain, skip: int, n: int, anywhere: bool) -> Any:
    """Bring bytes together that begin in `p` and end in another mbuf, in one of the two; None if none has the room."""
    here = p.count - skip
    there = n - here
    after: Chain = p._next
    owned = not p.bits & M_EXT or (store(p).type == EXT_CLUSTER and writable(p))
    if not anywhere or not owned:
        return None
    if space(p) >= there:
        enter_commit()
        lift(after, 0, there, p)
        drop_front(after, there)
        leave_commit()
        return p
    if leading(after) >= here and after.count >= there:
        enter_commit()
        after.off -= here
        after.count += here
        after.buf.move(after.off, p.buf, p.off + skip, here)
        p.count -= here
        leave_commit()
        return after
    return None


def _bring_new(m: Chain, p: Chain, skip: int, n: int) -> Any:
    """Bring bytes together that begin in `p`, in a new mbuf after it; None if the chain has changed."""
    mark = fingerprint(m)
    fresh: Chain = _fresh(m, m.kind, n, MLEN)
    if not m.alive or fingerprint(m) != mark:
        free_chain(fresh)
        settle()
        return None
    here = p.count - skip
    after: Chain = p._next
    enter_commit()
    fresh.buf.move(fresh.off, p.buf, p.off + skip, here)
    fresh.count = here
    lift(after, 0, n - here, fresh)
    p.count -= here
    drop_front(after, n - here)
    cut(p)
    link(fresh, after)
    link(p, fresh)
    leave_commit()
    return fresh


def lift(src: Any, skip: int, n: int, m: Chain) -> None:
    """In a commit: append `n` bytes of a chain, from byte `skip` on, to what `m` holds; all lie in a row."""
    end = m.count
    while n > 0 and src is not None:
        piece = min(src.count - skip, n)
        m.buf.move(m.off + end, src.buf, src.off + skip, piece)
        end += piece
        n -= piece
        skip = 0
        src = src._next
    m.count = end
