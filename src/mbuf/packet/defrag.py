"""The bytes of a chain in other mbufs: defrag, compact, fragment, collapse, unshare.

The new mbufs are allocated and filled first. If the fingerprint says that the old chain is still the same, one commit
replaces it; the caller's mbuf stays the head. `collapse` and `unshare` are planned by packet/plan.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.source import Source
    from mbuf.vm.page import Memory
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_PKTHDR, MCLBYTES, MHLEN, MLEN, MSIZE, MT_DATA
from mbuf.errors import Inval, NoBufs, NoMemory
from mbuf.packet.chain import Chain
from mbuf.packet.header import HeaderCopy

if not cython.compiled:
    from mbuf.packet.chain import (
        cut,
        fingerprint,
        free_chain,
        length,
        link,
        link_last,
        next_checked,
        release_chain,
        swap,
    )
    from mbuf.packet.header import ROUNDS, acquire_header, chain_changed, discard_header, fits_header, give_header
    from mbuf.packet.pkthdr import has_references
    from mbuf.packet.plan import free_all, plan
    from mbuf.packet.segment import capacity, check_alive, storage_of
    from mbuf.packet.source import source_of
    from mbuf.packet.trim import join
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def defrag(m: Chain, how: int, deadline: float | None) -> int:
    """Move the packet to as few new mbufs and clusters as possible. See m_defrag."""
    check_alive(m)
    return _move("defrag", m, 0, how, deadline)


def compact(m: Chain, how: int, deadline: float | None) -> int:
    """Move the packet to new mbufs if these take less memory."""
    check_alive(m)
    return _move("compact", m, 0, how, deadline)


def fragment(m: Chain, size: int, how: int, deadline: float | None) -> int:
    """Move the packet to new clusters with `size` bytes in each. See m_fragment."""
    check_alive(m)
    if size == 0 or not -2 <= size <= MCLBYTES:
        raise Inval(f"fragment: {size} bytes: give 1 to {MCLBYTES}, -1 or -2")
    return _move("fragment", m, _random_size() if size == -1 else size, how, deadline)


def _move(verb: str, m: Chain, size: int, how: int, deadline: float | None) -> int:
    """Move the packet to new mbufs, as this method does. Nothing is done to a chain without a header."""
    held: HeaderCopy | None = None
    for _ in range(ROUNDS):
        if not m.bits & M_PKTHDR or (verb == "compact" and _memory_for(length(m)) >= _memory_of(m)):
            discard_header(held)
            return 0
        top: Chain = cython.cast(Chain, None)
        try:
            mark = fingerprint(m)
            whole = length(m)
            source = source_of(m)
            if verb == "compact":
                top = _new_chain(source, whole, how, deadline)
            elif size or whole > MHLEN:
                top = cython.cast(Chain, source.getcl(how, MT_DATA, M_PKTHDR, deadline))
            else:
                top = cython.cast(Chain, source.get(how, MT_DATA, M_PKTHDR, deadline))
            if m.alive and m.bits & M_PKTHDR and has_references(m.hdr):
                held = acquire_header(held, m.hdr, how)
            if verb == "compact":
                _fill(top, m, whole)
            elif size:
                _append_pieces(top, m, whole, size, source, how, deadline)
            else:
                _append_joined(top, m, whole, source, how, deadline)
            if fingerprint(m) == mark and m.bits & M_PKTHDR and fits_header(held, m.hdr):
                _replace_with(m, top, held, whole)
                return 0
        except BaseException:
            free_chain(top)
            discard_header(held)
            run_releases()
            raise
        free_chain(top)
        run_releases()
    discard_header(held)
    raise chain_changed(verb)


def _fill(top: Chain, m: Chain, todo: int) -> None:
    """Copy bytes to new mbufs, each as full as it can be."""
    p: Any = m
    skip = 0
    n: Any = top
    while n is not None and todo > 0:
        piece = min(todo, capacity(n))
        p, skip = _copy_into(p, skip, piece, n)
        todo -= piece
        n = n._next


def _append_joined(top: Chain, m: Chain, todo: int, source: Source, how: int, deadline: float | None) -> None:
    """Copy bytes to a new mbuf and as many behind it as needed; they are joined where there is room."""
    piece = min(todo, MCLBYTES)
    p, skip = _copy_into(m, 0, piece, top)
    todo -= piece
    last: Chain = top
    while todo > 0:
        piece = min(todo, MCLBYTES)
        if piece > MLEN:
            n: Chain = cython.cast(Chain, source.getcl(how, MT_DATA, 0, deadline))
        else:
            n = cython.cast(Chain, source.get(how, MT_DATA, 0, deadline))
        link(last, n)
        p, skip = _copy_into(p, skip, piece, n)
        cut(last)
        _commit_join(last, n)
        while last._next is not None:
            last = last._next
        todo -= piece


def _append_pieces(
    top: Chain, m: Chain, todo: int, size: int, source: Source, how: int, deadline: float | None
) -> None:
    """Copy bytes to a new mbuf and others behind it: `size` bytes to each, or 1 to 255 at random if that is -2."""
    last: Chain = top
    p: Any = m
    skip = 0
    while todo > 0:
        piece = min(todo, _random_size() if size == -2 else size)
        if last.count:
            n: Chain = cython.cast(Chain, source.getcl(how, MT_DATA, 0, deadline))
            link(last, n)
            last = n
        p, skip = _copy_into(p, skip, piece, last)
        todo -= piece


def _random_size() -> int:
    """1 to 255 bytes."""
    from random import randint

    return randint(1, 255)


def _memory_of(m: Chain) -> int:
    """Bytes of the mbufs of a chain and of their storage, also where others share it."""
    size = 0
    n: Any = m
    while n is not None:
        size += MSIZE
        if n.bits & M_EXT:
            size += storage_of(n).ext_size()
        n = n._next
    return size


def _memory_for(size: int) -> int:
    """Bytes of the mbufs that `_new_chain` allocates."""
    if size <= MHLEN + MLEN:
        return MSIZE if size <= MHLEN else 2 * MSIZE
    rest = size % MCLBYTES
    last = 0 if rest == 0 else MSIZE if rest <= MLEN else MSIZE + MCLBYTES
    return size // MCLBYTES * (MSIZE + MCLBYTES) + last


def _new_chain(source: Source, size: int, how: int, deadline: float | None) -> Any:
    """A new packet with room for `size` bytes, in as little memory as possible."""
    top: Chain = cython.cast(Chain, None)
    last = top
    flags = M_PKTHDR
    small = size <= MHLEN + MLEN
    try:
        while top is None or size > 0:
            if small or (top is not None and size <= MLEN):
                n = cython.cast(Chain, source.get(how, MT_DATA, flags, deadline))
            else:
                n = cython.cast(Chain, source.getcl(how, MT_DATA, flags, deadline))
            size -= capacity(n)
            flags = 0
            top = cython.cast(Chain, link_last(top, last, n))
            last = n
    except BaseException:
        free_chain(top)
        run_releases()
        raise
    return top


def _commit_join(last: Chain, n: Chain) -> None:
    """Link new mbufs behind others; their bytes are copied where there is room."""
    enter_commit()
    join(last, n)
    leave_commit()


def _copy_into(p: Chain, skip: int, n: int, m: Chain) -> tuple[Any, int]:
    """Copy `n` bytes, from byte `skip` of mbuf `p` on, to a new mbuf `m`; return mbuf and offset after them."""
    src: Any = p
    while n > 0:
        check_alive(src)
        piece = min(src.count - skip, n)
        if piece > 0:
            target: Memory = m.buf
            target.copy(m.off + m.count, src.buf, src.off + skip, piece)
            m.count += piece
            n -= piece
            skip += piece
        if skip >= src.count:
            if src._next is None:
                if n > 0:
                    raise chain_changed("defrag")
                break
            src = next_checked(src)
            skip = 0
    return src, skip


def _replace_with(m: Chain, top: Chain, held: HeaderCopy | None, size: int) -> None:
    """Replace the contents of a chain by a new one, with a copy of the header; the old mbufs are freed."""
    enter_commit()
    give_header(top, held, m)
    top.hdr.len = size
    old: Any = cut(m)
    new: Any = cut(top)
    swap(m, top)
    if new is not None:
        link(m, new)
    if old is not None:
        link(top, old)
    release_chain(top)
    leave_commit()
    run_releases()


def collapse(m: Chain, most: int, how: int, deadline: float | None) -> int:
    """Merge mbufs until the packet has at most `most`. See m_collapse."""
    check_alive(m)
    if most < 1:
        raise Inval(f"collapse: {most} mbufs: give 1 or more")
    for _ in range(ROUNDS):
        made = plan(m)
        enough = made.collapse(most)
        try:
            reserved = _clusters(m, made.requests, how, deadline)
        except (NoBufs, NoMemory):
            if enough:
                return 0
            raise
        if made.execute(reserved):
            return 0
    raise chain_changed("collapse")


def unshare(m: Chain, how: int, deadline: float | None) -> int:
    """Replace shared and read-only storage by copies. See m_unshare."""
    check_alive(m)
    for _ in range(ROUNDS):
        made = plan(m)
        made.unshare()
        if made.execute(_clusters(m, made.requests, how, deadline)):
            return 0
    raise chain_changed("unshare")


def _clusters(m: Chain, requests: list[tuple[int, int]], how: int, deadline: float | None) -> list[Any]:
    """Allocate packets with clusters, of those types and flags: all of them, or none and an exception."""
    reserved: list[Any] = []
    try:
        for kind, flags in requests:
            check_alive(m)
            reserved.append(source_of(m).getcl(how, kind, flags, deadline))
    except BaseException:
        free_all(reserved)
        run_releases()
        raise
    return reserved
