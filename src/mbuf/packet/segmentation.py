# cython: boundscheck=False, wraparound=False
"""Segmentation: a packet cut into packets of one size.

The packets keep the mbufs of the original. Where a boundary is inside an mbuf, the next packet begins with a new mbuf,
which shares external storage, or has a copy of bytes inside the mbuf. `_count_new` says how many new mbufs that takes;
they are allocated together before anything changes.
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
    from mbuf.packet.chain import cut, fingerprint, free_chain, link, next_checked, own_header, pkthdr_of
    from mbuf.packet.copy import acquire_share, share_or_copy
    from mbuf.packet.header import ROUNDS, chain_changed
    from mbuf.packet.pkthdr import copy_header
    from mbuf.packet.segment import start
    from mbuf.packet.source import source_of
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def segment(m: Chain, size: int, how: int, deadline: float | None) -> list[Any]:
    """Cut a packet into packets of `size` bytes; return all of them in order."""
    for _ in range(ROUNDS):
        spare: Any = None
        tag: Any = None
        taken = 0
        done = False
        try:
            pkthdr_of(m)
            mark = fingerprint(m)
            need = _count_new(m, size)
            hdr: PktHdr = m.hdr
            count = max((hdr.len + size - 1) // size, 1)
            if need:
                spare = source_of(m).get_row(need, how, m.kind, deadline)
            _prepare(m, size, spare)
            if hdr.csum_flags & CSUM_SND_TAG and count > 1:
                place = hdr.rcvif_or_tag
                while taken < count - 1:
                    place.ref()
                    tag = place
                    taken += 1
            packets: list[Any] = [m] * count
            same = fingerprint(m) == mark and m.hdr is hdr and (tag is None or hdr.rcvif_or_tag is tag)
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
                run_releases()
    raise chain_changed("segment")


def _bytes(m: Chain) -> int:
    """Return the bytes in all mbufs of a chain."""
    total = 0
    n: Any = m
    while n is not None:
        total += n.count
        n = n._next
    return total


def _count_new(m: Chain, size: int) -> int:
    """Return how many new mbufs packets of `size` bytes need; `Inval` if the chain isn't one packet."""
    need = 0
    total = 0
    room = size
    n: Any = m
    while n is not None:
        count = n.count
        total += count
        if n.bits & M_EXT and not n.bits & M_EXTPG:
            if count > room:
                # One for each packet that begins inside it; a packet that begins with it needs none.
                need += (count - room - 1) // size + (room > 0)
                room += ((count - room - 1) // size + 1) * size
            room -= count
        else:
            at = 0
            while at < count:
                if room == 0:
                    room = size
                    need += _new_at(n, at, min(size, count - at))
                piece = min(room, count - at)
                at += piece
                room -= piece
        n = next_checked(n)
        if n is not None and (n.bits & M_PKTHDR or n._nextpkt is not None):
            raise Inval("segment: an mbuf inside the chain has a packet header or a next packet: see demote")
    if total != m.hdr.len:
        raise Inval(f"segment: the packet header says {m.hdr.len} bytes, the mbufs have {total}: see fixhdr")
    return need


def _new_at(m: Chain, at: int, piece: int) -> int:
    """Return how many new mbufs a packet needs that begins with byte `at` of `m`, and has `piece` bytes of it."""
    if m.bits & M_EXT and not m.bits & M_EXTPG:
        return 1 if at else 0
    if at == 0 or (piece <= MHLEN and not m.bits & M_EXTPG):
        return 1
    # An mbuf with a header can't hold these bytes, so it stays empty, and another one follows.
    return 2


def _prepare(m: Chain, size: int, spare: Any) -> None:
    """Acquire what the commit needs beside mbufs: header objects, and what sharing unmapped pages takes."""
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
            # A packet begins with this mbuf.
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
    """Acquire what sharing unmapped pages takes, for each of the new mbufs that will have some."""
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
                s = s._next if _new_at(n, at, piece) < 2 or s._next is None else s._next._next
            at += piece
            room -= piece
        n = n._next


def _divide(m: Chain, size: int, spare: Any, packets: list[Any]) -> None:
    """Cut the packet, with the new mbufs `spare`; the packets are stored in a list of the right length."""
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
            init_pkthdr_like(top, hdr, room, bits)
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
            init_pkthdr_like(top, hdr, room, bits)
            if mapped:
                # See `share`.
                storage.ref(n.item, storage)
                top.buf = storage
                top.bits |= n.bits & (M_RDONLY | M_EXT)
                top.off = n.off + at
                top.count = piece
            else:
                if _new_at(n, at, piece) == 2:
                    last = spare
                    spare = cut(last)
                    link(top, last)
                share_or_copy(last, n, at, piece, start(last))
            k += 1
            packets[k] = top
            at += piece
            room -= piece
        n = rest
    leave_commit()


def init_pkthdr_like(m: Chain, like: PktHdr, size: int, bits: int) -> None:
    """In a commit: make `m` the first mbuf of a packet of `size` bytes, with the fields of header `like`, but no tags.

    `hdr` of the mbuf must be an object to which nothing else refers (see `own_header`). The flags are those in `bits`.
    """
    hdr: PktHdr = m.hdr
    copy_header(hdr, like)
    hdr.len = size
    if not m.bits & M_EXT:
        # The mbuf is empty; its data will begin behind the header.
        m.off = MPKTHSIZE
    m.bits = (m.bits & (M_EXT | M_EXTPG | M_NOFREE | M_RDONLY)) | (bits & M_COPYFLAGS & ~M_RDONLY) | M_PKTHDR
