"""Linked mbufs: the links of an mbuf, and the operations that commits consist of.

`next` links the mbufs of a packet, `nextpkt` links packets. An mbuf has at most one holder: it is the `next` of one
mbuf, or the `nextpkt` of one, or in one queue or buffer (`held`). Therefore chains never share a tail, and linking can
only close a circle if the mbuf that is linked to is itself held; only then `check_link` walks the chain.

Freeing an mbuf is a commit. `release` marks it freed, takes it off the users of its storage, and gives its item back.
A header or storage whose end may run user code is put on the release list instead. Links are cut before.
An mbuf that is dropped instead of freed is put on the release list itself, and freed from there. Its links are cut
last: the next mbuf is then dropped in its turn, so nothing recurses, however long the chain is.
This module links, cuts and frees mbufs; it never allocates one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbuf.shadow import cython
    from mbuf.uma.item import Item, MbufItem
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR
from mbuf.errors import Inval
from mbuf.packet.ext import Storage
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.segment import DOOMED, Segment

if not cython.compiled:
    from mbuf.packet.ext import lone_packet
    from mbuf.packet.pkthdr import has_references, reset_header
    from mbuf.packet.segment import check_alive, raise_freed, raise_not_live, storage_of, writable
    from mbuf.uma.item import free_item
    from mbuf.vm.commit import LATCH, enter_commit, leave_commit, release_later, run_releases_unraisable


@cython.no_gc
@cython.cclass
class Chain(Segment):
    """The fields of an mbuf with its links. `hdr` is the packet header only if `bits` has M_PKTHDR."""

    __slots__ = ("_next", "_nextpkt", "hdr")
    _next: Any
    _nextpkt: Any
    hdr: PktHdr

    def before_export(self) -> bool:
        """Export the bytes as one buffer, if this mbuf holds the whole packet."""
        check_alive(self)
        if length(self) != self.count or self.bits & M_EXTPG:
            raise BufferError(
                "the packet is in several pieces: sendmsg(m) sends all, pullup() makes the first bytes contiguous"
            )
        return not writable(self)

    def on_release(self) -> int:
        """From the release list: free this mbuf if it was dropped, or waits for its m-free probe."""
        if not self.dropped and self.alive != DOOMED:
            return 0
        dropped = self.dropped
        self.dropped = False
        failure: BaseException | None = None
        if self.alive:
            item: MbufItem = self.item
            try:
                source: Any = item.zone.source
                if dropped and source is not None:
                    source.dropped(item)
                if item.zone.probes.on and self.alive:
                    self.alive = DOOMED
                    item.zone.probes.fire("m-free", self)
            except BaseException as error:  # a warning that is an error; raised below, when all is freed
                failure = error
            enter_commit()
            if self.alive:
                release_now(self)
                if dropped:
                    # The handle is about to be deallocated, so it can't be used again.
                    item.handle = None
            leave_commit()
        # A listener may have linked something to it. A next packet was unlinked when it was freed.
        unlink_next(self)
        if failure is not None:
            raise failure
        return 0


def drop(m: Chain) -> None:
    """Free a live mbuf whose last reference is gone, as soon as no commit runs."""
    m.dropped = True
    release_later(m)
    run_releases_unraisable()


def unlink_next(m: Chain) -> None:
    """Cut the link to the next mbuf, outside of a commit: if nothing else refers to that, it is dropped."""
    n: Any = m._next
    if n is not None:
        n.held = False
        m._next = None


# Reading.


def next_checked(m: Chain) -> Any:
    """Return the next mbuf of a live one, or None; `Freed` if it was freed while it was linked."""
    n: Any = m._next
    if n is not None and not n.alive:
        raise_freed(n)
    return n


def length(m: Chain) -> int:
    """Return the bytes in all mbufs from a live one on."""
    total = 0
    n: Any = m
    while n is not None:
        total += n.count
        n = next_checked(n)
    return total


def last_of(m: Chain) -> Any:
    """Return the last mbuf of the packet, from a live one on."""
    n: Any = m
    while n._next is not None:
        n = next_checked(n)
    return n


def check_range(m: Chain, verb: str, at: int, count: int) -> None:
    """Raise `Inval` unless the packet has `count` bytes from byte `at` on; `Freed` for a freed mbuf among them."""
    check_alive(m)
    if at < 0 or count < 0:
        raise Inval(f"{verb}: {count} bytes at {at}: neither can be negative")
    there = m.count - at
    n: Any = m
    while there < count:
        n = next_checked(n)
        if n is None:
            raise Inval(f"{verb}: {count} bytes at {at}: the packet has {length(m)}")
        there += n.count


def fingerprint(m: Chain) -> int:
    """Return a hash of a live chain: its mbufs, their flags and types, and where their data is.

    If it is the same after an allocation, what was computed from the chain before is still true.
    """
    mark = 14695981039346656037
    n: Any = m
    while n is not None:
        check_alive(n)
        # Each step mixes two numbers. The second is shifted by 32 bits, so that it doesn't cancel out the first.
        mark = _mixed(mark, _address(n), n.bits)
        mark = _mixed(mark, _address(n.buf), n.kind)
        mark = _mixed(mark, n.off, n.count)
        n = n._next
    return mark


def check_link(m: Chain, n: Any, verb: str) -> None:
    """Raise an error if `n` can't be linked behind `m`: it is freed, has a holder, or leads back to `m`."""
    if n is m:
        raise Inval(f"{verb}: an mbuf can't be linked to itself")
    check_alive(n)
    if n.alive == DOOMED:
        raise_not_live(n)
    if n.held:
        raise Inval(
            f"{verb}: this mbuf is linked to another one already, or in a queue: take it out first, "
            "with unlink, by setting next or nextpkt to None, or by dequeue"
        )
    if m.held:
        _check_circle(m, n, verb)


def _check_circle(m: Chain, n: Chain, verb: str) -> None:
    """Raise `Inval` if chain `n` leads back to `m`."""
    p: Any = n
    while p is not None:
        q: Any = p
        while q is not None:
            if q is m:
                raise Inval(f"{verb}: the chain would lead back to itself")
            if q is not p and q._nextpkt is not None:
                raise Inval(f"{verb}: an mbuf inside the other chain has a next packet: unlink that first")
            q = q._next
        p = p._nextpkt


def set_next(m: Chain, n: Any) -> None:
    """Make `n`, a chain or None, the next of `m`; what was linked there is dropped."""
    check_alive(m)
    # Keeps what was linked there until the change is complete.
    before: Any = m._next
    if n is not None and n is not before:
        check_link(m, n, "next")
    enter_commit()
    if before is not None and m.held:
        LATCH.unlinks += 1
    cut(m)
    if n is not None:
        link(m, n)
    leave_commit()


def set_nextpkt(m: Chain, n: Any) -> None:
    """Make `n`, a packet or None, the next packet of `m`; what was linked there is dropped."""
    check_alive(m)
    before: Any = m._nextpkt
    if n is not None and n is not before:
        check_link(m, n, "nextpkt")
    enter_commit()
    if before is not None:
        before.held = False
        if m.held:
            LATCH.unlinks += 1
    m._nextpkt = None
    if n is not None:
        n.held = True
        m._nextpkt = n
    leave_commit()


# Operations of commits.


def link(m: Chain, n: Chain) -> None:
    """In a commit: link `n`, which has no holder, behind an mbuf that has no next."""
    n.held = True
    m._next = n


def cut(m: Chain) -> Any:
    """In a commit: unlink what comes after an mbuf, and return it, or None."""
    n: Any = m._next
    if n is not None:
        n.held = False
        m._next = None
    return n


def swap(m: Chain, n: Chain) -> None:
    """In a commit: exchange all but the links, so that the user's handle stays the head of its chain."""
    m.item, n.item = n.item, m.item
    m.buf, n.buf = n.buf, m.buf
    m.off, n.off = n.off, m.off
    m.count, n.count = n.count, m.count
    m.bits, n.bits = n.bits, m.bits
    m.kind, n.kind = n.kind, m.kind
    m.hdr, n.hdr = n.hdr, m.hdr


def attach(m: Chain, storage: Storage) -> None:
    """In a commit: make `storage` the storage of the mbuf. Data inside the mbuf is lost. See m_cljset."""
    m.buf = storage
    m.off = 0
    m.bits |= M_EXT


def release_probed(m: Chain) -> None:
    """In a commit: put an mbuf on the release list, which fires its m-free probe and then frees it."""
    if m.alive != DOOMED:
        m.alive = DOOMED
        release_later(m)


def release_now(m: Chain) -> None:
    """In a commit: free one mbuf; its probe has fired, or there are no listeners. See m_free and mb_dtor_mbuf."""
    item: MbufItem = m.item
    item.handle = m
    m.alive = False
    if m.held:
        LATCH.unlinks += 1
    if m._nextpkt is not None:
        _release_nextpkt(m)
    if m.bits & M_PKTHDR and (m.hdr.rcvif_or_tag is not None or m.hdr.tags is not None or header_shared(m)):
        _release_header(m, item, m.bits)
    if m.bits & M_EXT and not lone_packet(cython.cast(Storage, m.buf)):
        storage_of(m).unref(item)
    else:
        free_item(item)


def _release_nextpkt(m: Chain) -> None:
    """Unlink the next packet, and drop it after the commit."""
    p: Any = m._nextpkt
    p.held = False
    m._nextpkt = None
    release_later(p)


def _release_header(m: Chain, item: Item, bits: int) -> None:
    """Separate a header from its mbuf: it has references to release, or the program refers to it."""
    if not header_shared(m) and m.hdr.drop_peer():
        return
    hdr: PktHdr = m.hdr
    if not has_references(hdr):
        m.hdr = cython.cast(PktHdr, None)
        return
    if hdr.tags is not None and bits & M_EXT and not bits & M_NOFREE:
        storage: Storage = storage_of(m)
        if storage.defers(item):
            # The owner's item waits for the last user, and so do its tags.
            item.link = hdr.tags
            hdr.tags = None
    m.hdr = cython.cast(PktHdr, None)
    release_later(hdr)


def release_chain(m: Any) -> None:
    """In a commit: free a chain that has no holder; None is no chain."""
    while m is not None and m.alive:
        n: Any = cut(m)
        release(m)
        m = n


def free_chain(m: Any) -> None:
    """Free a chain that has no holder, or None, in a commit; the caller calls `run_releases` afterwards."""
    enter_commit()
    release_chain(m)
    leave_commit()


# Headers.


def own_header(m: Chain) -> None:
    """Make sure that `hdr` is a header object to which nothing else refers."""
    if m.hdr is None or header_shared(m):
        hdr: PktHdr = PktHdr.__new__(PktHdr)
        reset_header(hdr)
        m.hdr = hdr


def pkthdr_of(m: Chain) -> PktHdr:
    """Return the packet header of an mbuf; `Inval` if it has none, `Freed` if it was freed."""
    check_alive(m)
    if not m.bits & M_PKTHDR:
        raise Inval(
            "this mbuf has no packet header: the first mbuf of a packet has one, allocated by gethdr() or getcl()"
        )
    return m.hdr


def _address(thing: Any) -> Any:
    if cython.compiled:
        return cython.cast(cython.size_t, cython.cast(cython.p_void, thing))
    return id(thing)


if not cython.compiled:

    def link_last(first: Any, last: Any, m: Chain) -> Any:
        """Link a new mbuf behind the last of a new chain; return the first, which is `m` if `last` is None."""
        if last is None:
            return m
        link(last, m)
        return first

    def release(m: Chain) -> None:
        """In a commit: free one live mbuf, whose `next` was cut; if its probe has listeners, after the commit."""
        if m.alive == DOOMED or m.item.zone.probes.on:
            release_probed(m)
        else:
            release_now(m)

    def header_shared(m: Chain) -> bool:
        """True if something else may refer to the header object of the mbuf."""
        return True

    _new = Segment.__new__

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, make an mbuf that counts as freed until a pool initializes it."""
        m = _new(cls)
        m.alive = 0
        m.held = m.dropped = False
        m._next = m._nextpkt = m.hdr = m.item = m.buf = None
        m.bits = m.off = m.count = m.kind = 0
        return m

    def _mixed(mark: int, low: int, high: int) -> int:
        return ((mark ^ low ^ high << 32) * 1099511628211) & 0xFFFFFFFFFFFFFFFF

    type.__setattr__(Chain, "__new__", _blank)
