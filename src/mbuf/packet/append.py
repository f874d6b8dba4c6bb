"""Chains made longer: bytes before, after and between those that there are.

Uses the room that mbufs have, and asks the source for more mbufs. What is to be written comes as a buffer that was
taken before (`Loan`). A verb looks how many mbufs it needs, gets them and fills them where nobody sees them, looks
again, and links them in one step with the bytes that go into the room that there was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
    from mbuf.vm.loan import Loan
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXTPG, M_NOWAIT, M_PKTHDR, MCLBYTES, MHLEN, MLEN
from mbuf.errors import Inval, ReadOnly
from mbuf.packet.chain import Chain

if not cython.compiled:
    from mbuf.packet.chain import (
        cut,
        fingerprint,
        free_chain,
        headed,
        last_of,
        length,
        link,
        next_checked,
        swap,
    )
    from mbuf.packet.header import ROUNDS, changing, move_header
    from mbuf.packet.pkthdr import add_len
    from mbuf.packet.segment import capacity, check_alive, space, start, writable
    from mbuf.packet.source import origin
    from mbuf.vm.commit import enter_commit, leave_commit, settle

#: What a gap is filled with.
ZEROS = bytes(MLEN)


def prepend(m: Chain, n: int, how: int, deadline: float | None) -> int:
    """Have n bytes more at the front, for which there is no room."""
    check_alive(m)
    for _ in range(ROUNDS):
        head = m.bits & M_PKTHDR
        most = MHLEN if head else MLEN
        if not 0 <= n <= most:
            raise Inval(f"prepend: {n} bytes: a new mbuf in front of this one holds 0 to {most}")
        p: Chain = origin(m).get(how, m.kind, head, deadline)
        if m.alive and m.bits & M_PKTHDR == head:
            enter_commit()
            put_front(m, p)
            if n < capacity(m):
                m.off += (capacity(m) - n) & ~7
            m.count = n
            if head:
                add_len(m.hdr, n)
            leave_commit()
            settle()
            return 0
        free_chain(p)
        settle()
        check_alive(m)
    raise changing("prepend")


def put_front(m: Chain, n: Chain) -> None:
    """In a commit: put the body of a new mbuf in front, with this one's header; the old body comes next."""
    if m.bits & M_PKTHDR:
        move_header(n, m)
    swap(m, n)
    rest: Any = cut(m)
    link(m, n)
    if rest is not None:
        link(n, rest)


def append(m: Chain, data: Loan) -> int:
    """Copy bytes to the end of the packet. See m_append."""
    check_alive(m)
    size = data.size
    last: Any = last_of(m)
    room = space(last)
    if size <= room:
        _commit_append(m, last, data, size, None)
        return 0
    for _ in range(ROUNDS):
        more: Any = plain(origin(m), last.kind, 0, data, room, size - room)
        if not m.alive or not last.alive or last is not last_of(m) or space(last) != room:
            free_chain(more)
            settle()
            check_alive(m)
            last = last_of(m)
            room = space(last)
            if size > room:
                continue
            more = None
        _commit_append(m, last, data, min(room, size), more)
        return 0
    raise changing("append")


def _commit_append(m: Chain, last: Chain, data: Loan, count: int, more: Any) -> None:
    """Write the first bytes of data to the room after the last mbuf's, and link the mbufs that hold the others."""
    enter_commit()
    last.buf.store(last.off + last.count, data, 0, count)
    last.count += count
    if more is not None:
        link(last, more)
    if m.bits & M_PKTHDR:
        add_len(m.hdr, data.size)
    leave_commit()


def plain(source: Source, kind: int, zeros: int, data: Loan, at: int, size: int) -> Any:
    """A chain of plain mbufs that holds some zeros, and then `size` bytes of data from `at` on."""
    first: Chain = cython.cast(Chain, None)
    last: Chain = cython.cast(Chain, None)
    try:
        while last is None or zeros or size:
            m: Chain = cython.cast(Chain, source.get(M_NOWAIT, kind, 0, None))
            if last is None:
                first = m
            else:
                link(last, m)
            last = m
            gap = min(zeros, MLEN)
            m.buf.write(m.off, ZEROS, 0, gap)
            piece = min(size, MLEN - gap)
            m.buf.store(m.off + gap, data, at, piece)
            m.count = gap + piece
            zeros -= gap
            at += piece
            size -= piece
    except BaseException:
        free_chain(first)
        settle()
        raise
    return first


def copyback(m: Chain, off: int, data: Loan) -> int:
    """Write data over the packet from byte `off` on. See m_copyback."""
    size = data.size
    for _ in range(ROUNDS):
        mark = fingerprint(m)
        skip = off
        before = 0
        p: Any = m
        while skip > p.count and p._next is not None:
            skip -= p.count
            before += p.count
            p = next_checked(p)
        zeros = max(skip - p.count, 0)
        there = 0 if zeros else _overlap(p, skip, size)
        last: Any = last_of(p)
        # The room after the last mbuf's data is used where data goes on into it, not by a gap.
        room = 0 if zeros else min(size - there, space(last))
        more: Any = None
        if zeros or there + room < size:
            more = plain(origin(m), last.kind, zeros, data, there + room, size - there - room)
            if not m.alive or fingerprint(m) != mark or (room and space(last) < room):
                free_chain(more)
                settle()
                continue
        end = before + skip + size
        if not size:
            # The kernel counts whole mbufs only when there is nothing to write.
            end = before + p.count + (zeros - 1) // MLEN * MLEN if zeros else before
        enter_commit()
        if more is not None:
            link(last, more)
        last.count += room
        _overwrite(p, skip, data, there + room)
        if m.bits & M_PKTHDR and m.hdr.len < end:
            m.hdr.len = end
        leave_commit()
        return 0
    raise changing("copyback")


def _overlap(m: Chain, skip: int, size: int) -> int:
    """How many of `size` bytes from byte `skip` of this mbuf on are there already; they may be written."""
    done = 0
    n: Any = m
    while n is not None and done < size:
        piece = min(n.count - skip, size - done)
        if piece and (n.buf.fixed or n.bits & M_EXTPG):
            raise ReadOnly("copyback: the bytes are in unmapped pages, or in memory that was lent for reading only")
        done += piece
        skip = 0
        n = next_checked(n)
    return done


def _overwrite(m: Chain, skip: int, data: Loan, size: int) -> None:
    """In a commit: write the first `size` bytes of data from byte `skip` of this mbuf on."""
    at = 0
    n: Any = m
    while at < size and n is not None:
        piece = min(n.count - skip, size - at)
        n.buf.store(n.off + skip, data, at, piece)
        at += piece
        skip = 0
        n = n._next


def makespace(m: Chain, skip: int, size: int) -> tuple[Any, int]:
    """Make room after the first `skip` bytes of the packet. See m_makespace."""
    top: Chain = cython.cast(Chain, None)
    fresh: Chain = cython.cast(Chain, None)
    for _ in range(ROUNDS):
        headed(m)
        if not 0 <= size < MHLEN:
            raise Inval(f"makespace: {size} bytes: give 0 to {MHLEN - 1}")
        mark = fingerprint(m)
        at = skip
        p: Any = m
        while p is not None and at > p.count:
            at -= p.count
            p = next_checked(p)
        if p is None:
            raise Inval(f"makespace at {skip}: the packet has only {length(m)} bytes")
        if p.bits & M_EXTPG:
            raise Inval("makespace: the bytes are in unmapped pages: see unmapped_to_ext")
        rest = p.count - at
        if (rest > at and writable(p) and size <= p.off - start(p)) or size <= space(p):
            return _part_here(m, p, at, size), at
        source = origin(m)
        try:
            top = _tail_copy(source, p, at, rest)
            fresh = cython.cast(Chain, None)
            if not writable(p) or size > space(p) + rest:
                fresh = cython.cast(Chain, source.get(M_NOWAIT, p.kind, 0, None))
            if m.alive and fingerprint(m) == mark and (fresh is not None or writable(p)):
                return _part_after(m, p, at, size, top, fresh), 0 if fresh is not None else at
        except BaseException:
            free_chain(top)
            free_chain(fresh)
            settle()
            raise
        free_chain(top)
        free_chain(fresh)
        settle()
    raise changing("makespace")


def _part_here(m: Chain, p: Chain, at: int, size: int) -> Chain:
    """Part the bytes of one mbuf at `at`, in the room that it has."""
    enter_commit()
    rest = p.count - at
    if rest > at and writable(p) and size <= p.off - start(p):
        p.off -= size
        p.buf.move(p.off, p.buf, p.off + size, at)
        p.count += size
    elif size:
        p.buf.move(p.off + at + size, p.buf, p.off + at, rest)
        p.count += size
    add_len(m.hdr, size)
    leave_commit()
    return p


def _part_after(m: Chain, p: Chain, at: int, size: int, top: Any, fresh: Any) -> Any:
    """Part the bytes of one mbuf at `at`; those after it are copied in `top`, and the room may be in `fresh`."""
    enter_commit()
    after: Any = cut(p)
    p.count = at
    found: Any = p
    if fresh is not None:
        link(p, fresh)
        found = fresh
    found.count += size
    last: Any = found
    if top is not None:
        link(last, top)
        while last._next is not None:
            last = last._next
    if after is not None:
        link(last, after)
    add_len(m.hdr, size)
    leave_commit()
    return cython.cast(Chain, found)


def _tail_copy(source: Source, m: Chain, at: int, rest: int) -> Any:
    """The last `rest` bytes of an mbuf, from `at` on, in new mbufs; None if there are none."""
    top: Chain = cython.cast(Chain, None)
    last: Chain = cython.cast(Chain, None)
    try:
        while rest > 0:
            if rest > MHLEN:
                n: Chain = cython.cast(Chain, source.getcl(M_NOWAIT, m.kind, 0, None))
                piece = min(rest, MCLBYTES)
            else:
                n = cython.cast(Chain, source.get(M_NOWAIT, m.kind, 0, None))
                piece = rest
            if last is None:
                top = n
            else:
                link(last, n)
            last = n
            check_alive(m)
            n.buf.move(n.off, m.buf, m.off + at, piece)
            n.count = piece
            at += piece
            rest -= piece
    except BaseException:
        free_chain(top)
        settle()
        raise
    return top
