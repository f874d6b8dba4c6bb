"""Bytes made contiguous, in one mbuf: pullup, copyup, pulldown.

Each function needs at most one new mbuf. It finds out whether it needs one, allocates it, checks by the fingerprint
that the chain is still the same, and does the rest in one commit. The caller's mbuf stays the head of the chain.
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
    from mbuf.packet.chain import check_range, cut, fingerprint, free_chain, link, next_checked, release
    from mbuf.packet.header import ROUNDS, chain_changed
    from mbuf.packet.segment import check_alive, leading, space, storage_of, writable
    from mbuf.packet.source import source_of
    from mbuf.packet.trim import drop_front
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def pullup(m: Chain, n: int) -> int:
    """Make the first `n` bytes of the packet contiguous inside this mbuf. See m_pullup."""
    for _ in range(ROUNDS):
        check_pullup(m, n, "pullup")
        most = source_of(m).max_protohdr
        if not m.bits & M_EXT and m._next is not None and m.off + n < MSIZE:
            if m.count < n:
                enter_commit()
                rest: Any = m._next
                drop_copied(m, _collect(rest, n - m.count, most, m.buf, m.off + m.count))
                leave_commit()
                run_releases()
            return 0
        if n > MHLEN:
            raise Inval(f"pullup: {n} bytes: an mbuf holds {MHLEN} beside its header; see pulldown for more")
        if _new_front(m, n, 0, most):
            return 0
    raise chain_changed("pullup")


def copyup(m: Chain, n: int, room: int) -> int:
    """Move the first `n` bytes to a new mbuf in front, with `room` bytes before them. See m_copyup."""
    for _ in range(ROUNDS):
        check_pullup(m, n, "copyup")
        if not 0 <= room <= MHLEN or n > MHLEN - room:
            raise Inval(f"copyup: {n} bytes and {room} of room: an mbuf holds {MHLEN} beside its header")
        if _new_front(m, n, room, source_of(m).max_protohdr):
            return 0
    raise chain_changed("copyup")


def check_pullup(m: Chain, n: int, verb: str) -> None:
    """Raise `Inval` if the first `n` bytes don't all exist, or are in unmapped pages."""
    check_alive(m)
    check_range(m, verb, 0, n)
    left = n
    p: Any = m
    while p is not None:
        if p.bits & M_EXTPG and (left > 0 or p is m):
            raise Inval(f"{verb}: the bytes are in unmapped pages: call unmapped_to_ext() first")
        left -= p.count
        if left <= 0:
            break
        p = p._next


def _new_front(m: Chain, n: int, room: int, most: int) -> bool:
    """Copy the first bytes to a new mbuf in front; false if the chain has changed during the allocation."""
    mark = fingerprint(m)
    p: Chain = cython.cast(Chain, source_of(m).get(M_NOWAIT, m.kind, 0, None))
    if not m.alive or fingerprint(m) != mark:
        free_chain(p)
        run_releases()
        check_alive(m)
        return False
    enter_commit()
    at = (MPKTHSIZE if m.bits & M_PKTHDR else MHSIZE) + room
    taken = _collect(m, n, most, p.buf, at)
    put_front(m, p)
    m.off = at
    drop_copied(m, taken)
    leave_commit()
    run_releases()
    return True


def _collect(m: Chain, need: int, most: int, target: Memory, at: int) -> int:
    """In a commit: copy `need` bytes of a chain, and up to `most` where they follow, to `at`; return how many."""
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


def drop_copied(m: Chain, taken: int) -> None:
    """In a commit: count `taken` bytes, copied to the end of `m`, as its own, and drop them from the next mbufs."""
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
    """Make `n` bytes from byte `off` on contiguous in one mbuf; the bytes before them don't move. See m_pulldown."""
    for _ in range(ROUNDS):
        check_alive(m)
        if not 0 <= n <= MCLBYTES:
            raise Inval(f"pulldown: {n} bytes: give 0 to {MCLBYTES}")
        check_range(m, "pulldown", off, n)
        skip = off
        p: Any = m
        while p is not None and skip > 0 and p.count <= skip:
            skip -= p.count
            p = next_checked(p)
        while p is not None and p.count == 0:
            p = next_checked(p)
        if p is None:
            raise Inval(f"pulldown at {off}: there are no bytes: give an offset below the length")
        next_checked(p)
        if n > p.count - skip:
            _check_mapped(p, n + skip)
            found: Any = _pull_in_place(p, skip, n, skip == 0 or not at_start)
            if found is not None:
                run_releases()
                return found, skip if found is p else 0
            found = _pull_into_new(m, p, skip, n)
            if found is not None:
                return found, 0
            continue
        if p.bits & M_EXTPG:
            raise Inval("pulldown: the bytes are in unmapped pages: call unmapped_to_ext() first")
        if not skip or not at_start:
            return p, skip
        found = _move_tail_to_new(m, p, skip)
        if found is not None:
            return found, 0
    raise chain_changed("pulldown")


def _check_mapped(m: Chain, n: int) -> None:
    """Raise `Inval` if some of the next `n` bytes are in unmapped pages."""
    p: Any = m
    while p is not None and n > 0:
        if p.bits & M_EXTPG:
            raise Inval("pulldown: the bytes are in unmapped pages: call unmapped_to_ext() first")
        n -= p.count
        p = next_checked(p)


def _move_tail_to_new(m: Chain, p: Chain, keep: int) -> Any:
    """Move the bytes of `p` from `keep` on to a new mbuf after it; None if the chain has changed. See m_dup1."""
    rest = p.count - keep
    if rest > MCLBYTES:
        raise Inval(f"pulldown: {rest} bytes would have to move, a cluster holds {MCLBYTES}: see split")
    mark = fingerprint(m)
    n: Chain = _alloc(m, p.kind, rest, MHLEN)
    if not m.alive or fingerprint(m) != mark:
        free_chain(n)
        run_releases()
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


def _alloc(m: Chain, kind: int, size: int, most: int) -> Any:
    """Allocate an mbuf for `size` bytes, with a cluster if they are more than `most`."""
    source = source_of(m)
    if size > most:
        return cython.cast(Chain, source.getcl(M_NOWAIT, kind, 0, None))
    return cython.cast(Chain, source.get(M_NOWAIT, kind, 0, None))


def _pull_in_place(p: Chain, skip: int, n: int, anywhere: bool) -> Any:
    """Make bytes contiguous that begin in `p`, in `p` or in the next mbuf; None if neither has room for them."""
    here = p.count - skip
    there = n - here
    after: Chain = p._next
    owned = not p.bits & M_EXT or (storage_of(p).type == EXT_CLUSTER and writable(p))
    if not anywhere or not owned:
        return None
    if space(p) >= there:
        enter_commit()
        append_from(after, 0, there, p)
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


def _pull_into_new(m: Chain, p: Chain, skip: int, n: int) -> Any:
    """Make bytes contiguous that begin in `p`, in a new mbuf after it; None if the chain has changed."""
    mark = fingerprint(m)
    fresh: Chain = _alloc(m, m.kind, n, MLEN)
    if not m.alive or fingerprint(m) != mark:
        free_chain(fresh)
        run_releases()
        return None
    here = p.count - skip
    after: Chain = p._next
    enter_commit()
    fresh.buf.move(fresh.off, p.buf, p.off + skip, here)
    fresh.count = here
    append_from(after, 0, n - here, fresh)
    p.count -= here
    drop_front(after, n - here)
    cut(p)
    link(fresh, after)
    link(p, fresh)
    leave_commit()
    return fresh


def append_from(src: Any, skip: int, n: int, m: Chain) -> None:
    """In a commit: copy `n` bytes of a chain, from byte `skip` on, to the end of the data of `m`."""
    end = m.count
    while n > 0 and src is not None:
        piece = min(src.count - skip, n)
        m.buf.move(m.off + end, src.buf, src.off + skip, piece)
        end += piece
        n -= piece
        skip = 0
        src = src._next
    m.count = end
