# cython: boundscheck=False, wraparound=False
"""A packet cut into many, all of one size.

Shares what is cut through, and leaves whole mbufs where they are; asks the source for the mbufs that are missing,
all of them before anything changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import CSUM_SND_TAG, M_COPYFLAGS, M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR, M_RDONLY, MHLEN, MPKTHSIZE
from mbuf.errors import Inval
from mbuf.packet.chain import Chain
from mbuf.packet.ext import Storage
from mbuf.packet.pkthdr import PktHdr

if not cython.compiled:
    from mbuf.packet.chain import cut, fingerprint, free_chain, headed, link, next_checked, own_header
    from mbuf.packet.copy import acquire_share, take
    from mbuf.packet.header import ROUNDS, changing
    from mbuf.packet.pkthdr import copy_header
    from mbuf.packet.segment import start
    from mbuf.packet.source import origin
    from mbuf.vm.commit import enter_commit, leave_commit, settle


def segment(m: Chain, size: int, how: int, deadline: float | None) -> list[Any]:
    """Cut a packet into packets of `size` bytes; all of them, the first first."""
    for _ in range(ROUNDS):
        spare: Any = None
        tag: Any = None
        taken = 0
        done = False
        try:
            headed(m)
            mark = fingerprint(m)
            need = _missing(m, size)
            hdr: PktHdr = m.hdr
            count = max((hdr.len + size - 1) // size, 1)
            if need:
                spare = origin(m).get_row(need, how, m.kind, deadline)
            _prepare(m, size, spare)
            if hdr.csum_flags & CSUM_SND_TAG and count > 1:
                place = hdr.place
                while taken < count - 1:
                    place.ref()
                    tag = place
                    taken += 1
            packets: list[Any] = [m] * count
            same = fingerprint(m) == mark and m.hdr is hdr and (tag is None or hdr.place is tag)
            tagged = tag is not None or not hdr.csum_flags & CSUM_SND_TAG or count == 1
            if same and tagged and hdr.len == _bytes(m):
                done = True
                _divide(m, size, spare, packets)
                return packets
        finally:
            if not done:
                free_chain(spare)
                for _ in range(taken):
                    tag.rele()
                settle()
    raise changing("segment")


def _bytes(m: Chain) -> int:
    total = 0
    n: Any = m
    while n is not None:
        total += n.count
        n = n._next
    return total


def _missing(m: Chain, size: int) -> int:
    """How many mbufs packets of `size` bytes need beside those that there are; refuses what isn't one packet."""
    need = 0
    total = 0
    room = size
    n: Any = m
    while n is not None:
        count = n.count
        total += count
        if n.bits & M_EXT and not n.bits & M_EXTPG:
            if count > room:
                # One for each packet that begins in it, but not for one that begins where it does.
                need += (count - room - 1) // size + (room > 0)
                room += ((count - room - 1) // size + 1) * size
            room -= count
        else:
            at = 0
            while at < count:
                if room == 0:
                    room = size
                    need += _lacking(n, at, min(size, count - at))
                piece = min(room, count - at)
                at += piece
                room -= piece
        n = next_checked(n)
        if n is not None and (n.bits & M_PKTHDR or n._nextpkt is not None):
            raise Inval("segment: an mbuf inside the chain has a packet header or a next packet: see demote")
    if total != m.hdr.len:
        raise Inval(f"segment: the packet header says {m.hdr.len} bytes, the mbufs have {total}: see fixhdr")
    return need


def _lacking(m: Chain, at: int, piece: int) -> int:
    """How many mbufs a packet needs that begins with this one's byte `at`, and has a `piece` of it."""
    if m.bits & M_EXT and not m.bits & M_EXTPG:
        return 1 if at else 0
    if at == 0 or (piece <= MHLEN and not m.bits & M_EXTPG):
        return 1
    # What comes can't be where a header is, so an empty mbuf goes before it.
    return 2


def _prepare(m: Chain, size: int, spare: Any) -> None:
    """Acquire what the mbufs need beside themselves: header objects, and what it takes to share unmapped pages."""
    n: Any = spare
    while n is not None:
        own_header(n)
        n = n._next
    unmapped = False
    room = size
    n = m
    while n is not None:
        if n.bits & M_EXTPG:
            unmapped = True
        if n.count and room == 0:
            # A packet that begins where this mbuf does.
            if n is not m and n.bits & M_EXT and not n.bits & M_EXTPG:
                own_header(n)
            room = size
        if n.count <= room:
            room -= n.count
        else:
            last = (n.count - room) % size
            room = size - last if last else 0
        n = n._next
    if unmapped:
        _prepare_shares(m, size, spare)


def _prepare_shares(m: Chain, size: int, spare: Any) -> None:
    """Acquire what it takes to share unmapped pages, each for that one of the new mbufs that will have them."""
    n: Any = m
    room = size
    s: Any = spare
    while n is not None:
        at = 0
        if n.count and room == 0:
            if s is not None and (n is m or not n.bits & M_EXT or n.bits & M_EXTPG):
                s = s._next
            room = size
        at = min(room, n.count)
        room -= at
        while at < n.count:
            room = size
            piece = min(room, n.count - at)
            if n.bits & M_EXTPG and s is not None:
                s = s._next
                if s is not None:
                    acquire_share(s, n)
                    s = s._next
            elif s is not None:
                s = s._next if _lacking(n, at, piece) < 2 or s._next is None else s._next._next
            at += piece
            room -= piece
        n = n._next


def _divide(m: Chain, size: int, spare: Any, packets: list[Any]) -> None:
    """Cut the packet, with all the mbufs that it takes; the packets go into a list that has room for them."""
    enter_commit()
    hdr: PktHdr = m.hdr
    bits = m.bits
    k = 0
    top: Any = m
    last: Any = m
    room = min(size, hdr.len)
    todo = hdr.len - room
    hdr.len = room
    n: Any = m
    while n is not None:
        rest: Any = cut(n)
        whole = n.count
        if whole and room == 0:
            room = min(size, todo)
            todo -= room
            top = n
            if not n.bits & M_EXT or n.bits & M_EXTPG:
                top = spare
                spare = cut(top)
                link(top, n)
            begin_like(top, hdr, room, bits)
            k += 1
            packets[k] = top
        elif n is not m:
            link(last, n)
        at = min(room, whole)
        n.count = at
        last = n
        room -= at
        mapped = n.bits & M_EXT and not n.bits & M_EXTPG
        storage: Storage = cython.cast(Storage, n.buf)
        while at < whole:
            room = min(size, todo)
            todo -= room
            piece = min(room, whole - at)
            top = last = spare
            spare = cut(top)
            begin_like(top, hdr, room, bits)
            if mapped:
                # See `share`.
                storage.join(n.item, storage)
                top.buf = storage
                top.bits |= n.bits & (M_RDONLY | M_EXT)
                top.off = n.off + at
                top.count = piece
            else:
                if _lacking(n, at, piece) == 2:
                    last = spare
                    spare = cut(last)
                    link(top, last)
                take(last, n, at, piece, start(last))
            k += 1
            packets[k] = top
            at += piece
            room -= piece
        n = rest
    leave_commit()


def begin_like(m: Chain, like: PktHdr, size: int, bits: int) -> None:
    """In a commit: begin a packet of `size` bytes, with a header like another but for the tags, and its flags.

    The mbuf has a header object of its own that nobody else holds.
    """
    hdr: PktHdr = m.hdr
    copy_header(hdr, like)
    hdr.len = size
    if not m.bits & M_EXT:
        # It has no bytes in itself yet, and those that it gets come after the header.
        m.off = MPKTHSIZE
    m.bits = (m.bits & (M_EXT | M_EXTPG | M_NOFREE | M_RDONLY)) | (bits & M_COPYFLAGS & ~M_RDONLY) | M_PKTHDR
