"""Chains made longer: prepend, append, copyback, makespace.

The room in the mbufs of the chain is used first; the source gives more mbufs. Data is a buffer that the caller has
exported before. Each function allocates the mbufs that it needs and fills them while they aren't linked yet. Then it
checks that the chain is still the same, and in one commit links them and writes to the room in the old mbufs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
    from mbuf.vm.buffer_export import BufferExport
    from mbuf.vm.page import Memory
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
        last_of,
        length,
        link,
        link_last,
        next_checked,
        pkthdr_of,
        swap,
    )
    from mbuf.packet.header import ROUNDS, chain_changed, move_header
    from mbuf.packet.pkthdr import add_len
    from mbuf.packet.segment import capacity, check_alive, space, start, writable
    from mbuf.packet.source import source_of
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases

#: The bytes of a gap.
ZEROS = bytes(MLEN)


def prepend(m: Chain, n: int, how: int, deadline: float | None) -> int:
    """Add n bytes at the front, in a new mbuf. See m_prepend."""
    check_alive(m)
    for _ in range(ROUNDS):
        head = m.bits & M_PKTHDR
        most = MHLEN if head else MLEN
        if not 0 <= n <= most:
            raise Inval(f"prepend: {n} bytes: give 0 to {most}, which a new mbuf in front of this one holds")
        p: Chain = source_of(m).get(how, m.kind, head, deadline)
        if m.alive and m.bits & M_PKTHDR == head:
            enter_commit()
            put_front(m, p)
            if n < capacity(m):
                m.off += (capacity(m) - n) & ~7
            m.count = n
            if head:
                add_len(m.hdr, n)
            leave_commit()
            run_releases()
            return 0
        free_chain(p)
        run_releases()
        check_alive(m)
    raise chain_changed("prepend")


def put_front(m: Chain, n: Chain) -> None:
    """In a commit: put a new mbuf in front, under the old handle: `m` has its contents then, `n` those of `m`."""
    if m.bits & M_PKTHDR:
        move_header(n, m)
    swap(m, n)
    rest: Any = cut(m)
    link(m, n)
    if rest is not None:
        link(n, rest)


def append(m: Chain, data: BufferExport) -> int:
    """Copy bytes to the end of the packet. See m_append."""
    check_alive(m)
    size = data.size
    last: Any = last_of(m)
    room = space(last)
    if size <= room:
        _commit_append(m, last, data, size, None)
        return 0
    for _ in range(ROUNDS):
        more: Any = chain_of_bytes(source_of(m), last.kind, 0, data, room, size - room)
        if not m.alive or not last.alive or last is not last_of(m) or space(last) != room:
            free_chain(more)
            run_releases()
            check_alive(m)
            last = last_of(m)
            room = space(last)
            if size > room:
                continue
            more = None
        _commit_append(m, last, data, min(room, size), more)
        return 0
    raise chain_changed("append")


def _commit_append(m: Chain, last: Chain, data: BufferExport, count: int, more: Any) -> None:
    """Write the first `count` bytes of data to the end of the last mbuf, and link the mbufs that hold the rest."""
    enter_commit()
    last.buf.store(last.off + last.count, data, 0, count)
    last.count += count
    if more is not None:
        link(last, more)
    if m.bits & M_PKTHDR:
        add_len(m.hdr, data.size)
    leave_commit()


def chain_of_bytes(source: Source, kind: int, zeros: int, data: BufferExport, at: int, size: int) -> Any:
    """Return a new chain of mbufs without clusters: `zeros` zeros, then `size` bytes of data from byte `at` on."""
    first: Chain = cython.cast(Chain, None)
    last: Chain = cython.cast(Chain, None)
    try:
        while last is None or zeros or size:
            m: Chain = cython.cast(Chain, source.get(M_NOWAIT, kind, 0, None))
            first = link_last(first, last, m)
            last = m
            gap = min(zeros, MLEN)
            buf: Memory = m.buf
            buf.write(m.off, ZEROS, 0, gap)
            piece = min(size, MLEN - gap)
            buf.store(m.off + gap, data, at, piece)
            m.count = gap + piece
            zeros -= gap
            at += piece
            size -= piece
    except BaseException:
        free_chain(first)
        run_releases()
        raise
    return first


def copyback(m: Chain, off: int, data: BufferExport) -> int:
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
        # The room in the last mbuf is used for data, but not for a gap.
        room = 0 if zeros else min(size - there, space(last))
        more: Any = None
        if zeros or there + room < size:
            more = chain_of_bytes(source_of(m), last.kind, zeros, data, there + room, size - there - room)
            if not m.alive or fingerprint(m) != mark or (room and space(last) < room):
                free_chain(more)
                run_releases()
                continue
        end = before + skip + size
        if not size:
            # If there is nothing to write, the kernel counts only whole mbufs.
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
    raise chain_changed("copyback")


def _overlap(m: Chain, skip: int, size: int) -> int:
    """Return how many of `size` bytes from byte `skip` of `m` on exist; `ReadOnly` if they can't be written."""
    done = 0
    n: Any = m
    while n is not None and done < size:
        piece = min(n.count - skip, size - done)
        if piece and (n.buf.fixed or n.bits & M_EXTPG):
            raise ReadOnly(
                "copyback: the bytes are in unmapped pages, or in read-only external memory: write to m.dup()"
            )
        done += piece
        skip = 0
        n = next_checked(n)
    return done


def _overwrite(m: Chain, skip: int, data: BufferExport, size: int) -> None:
    """In a commit: write the first `size` bytes of data over the chain, from byte `skip` of `m` on."""
    at = 0
    n: Any = m
    while at < size and n is not None:
        piece = min(n.count - skip, size - at)
        n.buf.store(n.off + skip, data, at, piece)
        at += piece
        skip = 0
        n = n._next


def makespace(m: Chain, skip: int, size: int) -> tuple[Any, int]:
    """Make room for `size` bytes after the first `skip` bytes of the packet. See m_makespace."""
    top: Chain = cython.cast(Chain, None)
    fresh: Chain = cython.cast(Chain, None)
    for _ in range(ROUNDS):
        pkthdr_of(m)
        if not 0 <= size < MHLEN:
            raise Inval(f"makespace: {size} bytes: give 0 to {MHLEN - 1}")
        mark = fingerprint(m)
        at = skip
        p: Any = m
        while p is not None and at > p.count:
            at -= p.count
            p = next_checked(p)
        if p is None:
            raise Inval(f"makespace at {skip}: give 0 to {length(m)}, the bytes of the packet")
        if p.bits & M_EXTPG:
            raise Inval("makespace: the bytes are in unmapped pages: call unmapped_to_ext() first")
        rest = p.count - at
        if (rest > at and writable(p) and size <= p.off - start(p)) or size <= space(p):
            return _open_gap_in_place(m, p, at, size), at
        source = source_of(m)
        try:
            top = _tail_copy(source, p, at, rest)
            fresh = cython.cast(Chain, None)
            if not writable(p) or size > space(p) + rest:
                fresh = cython.cast(Chain, source.get(M_NOWAIT, p.kind, 0, None))
            if m.alive and fingerprint(m) == mark and (fresh is not None or writable(p)):
                return _open_gap_in_new(m, p, at, size, top, fresh), 0 if fresh is not None else at
        except BaseException:
            free_chain(top)
            free_chain(fresh)
            run_releases()
            raise
        free_chain(top)
        free_chain(fresh)
        run_releases()
    raise chain_changed("makespace")


def _open_gap_in_place(m: Chain, p: Chain, at: int, size: int) -> Chain:
    """Make the gap inside mbuf `p`, by moving its bytes before or after `at`."""
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


def _open_gap_in_new(m: Chain, p: Chain, at: int, size: int, top: Any, fresh: Any) -> Any:
    """End `p` at `at`; the gap is at its end, or in `fresh` if given; `top` has copies of the bytes after it."""
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
    """Copy the last `rest` bytes of an mbuf, from `at` on, to new mbufs; None if there are none."""
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
            top = link_last(top, last, n)
            last = n
            check_alive(m)
            n.buf.move(n.off, m.buf, m.off + at, piece)
            n.count = piece
            at += piece
            rest -= piece
    except BaseException:
        free_chain(top)
        run_releases()
        raise
    return top
