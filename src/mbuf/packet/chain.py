"""Linked mbufs: the state of an mbuf's links, and the steps of which commits are made.

`next` leads through the mbufs of a packet, `nextpkt` from packet to packet. An mbuf has at most one holder: it is the
`next` of one mbuf, or the `nextpkt` of one, or in one queue or buffer (`held`). So a chain can only lead back to an
mbuf that is itself held, and chains never share a tail.

Freeing an mbuf is a commit. `release` marks it freed, counts its storage down and sends its item home, or puts on the
release list what has finalizers or routines: its header, its storage. Links are cut before. An mbuf that was dropped,
not freed, is put on the list itself, and freed from there; its links are cut last, so that what was linked to it is
dropped after it, and however long the chain is, nothing recurses.
Reads, cuts and links what is there; never allocates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.uma.item import Item, MbufItem
else:
    from mbuf.shadow import cython

from mbuf.const import M_EXT, M_EXTPG, M_NOFREE, M_PKTHDR
from mbuf.errors import Busy, Inval
from mbuf.packet.ext import Storage
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.segment import DOOMED, LIVE, Segment

if not cython.compiled:
    from mbuf.packet.ext import lone_packet
    from mbuf.packet.pkthdr import is_laden, reset_header
    from mbuf.packet.segment import check_alive, raise_freed, raise_unfit, store, writable
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import LATCH, enter_commit, finish_drop, leave_commit, put


@cython.no_gc
@cython.cclass
class Chain(Segment):
    """The state of an mbuf and of its links. `hdr` means nothing without M_PKTHDR."""

    __slots__ = ("_next", "_nextpkt", "hdr")
    _next: Any
    _nextpkt: Any
    hdr: PktHdr

    def before_export(self) -> bool:
        """Whoever wants one buffer gets it where one mbuf holds the whole packet."""
        check_alive(self)
        if length(self) != self.count or self.bits & M_EXTPG:
            raise BufferError(
                "the packet is in several pieces: sendmsg(m) takes them all, pullup() joins the first bytes"
            )
        return not writable(self)

    def let_go(self) -> int:
        """From the release list: free this mbuf if it was dropped, or if its probe is to be told before it is freed."""
        if not self.dropped and self.alive != DOOMED:
            return 0
        dropped = self.dropped
        self.dropped = False
        failure: BaseException | None = None
        if self.alive:
            item: MbufItem = self.item
            try:
                source: Any = item.home.source
                if dropped and source is not None:
                    source.dropped(item)
                if item.home.probes.on and self.alive:
                    self.alive = DOOMED
                    item.home.probes.fire("m-free", self)
            except BaseException as error:  # a warning made an error; raised below, when all is free
                failure = error
            enter_commit()
            if self.alive:
                release_now(self)
                if dropped:
                    # The handle is about to die.
                    item.handle = None
            leave_commit()
        # A listener may have put something behind it.
        unlink_all(self)
        if failure is not None:
            raise failure
        return 0


def drop(m: Chain) -> None:
    """Nobody holds a live mbuf any more: free it, as soon as no verb is half done."""
    m.dropped = True
    put(m)
    finish_drop()


def unlink_all(m: Chain) -> None:
    """Let the neighbours go, outside of a commit: what nobody else holds is dropped."""
    n: Any = m._next
    p: Any = m._nextpkt
    if n is not None:
        n.held = False
        m._next = None
    if p is not None:
        p.held = False
        m._nextpkt = None


# Looking.


def next_checked(m: Chain) -> Any:
    """The next mbuf, of a live one, or None; raises `Freed` if it was freed where it is linked."""
    n: Any = m._next
    if n is not None and not n.alive:
        raise_freed(n)
    return n


def length(m: Chain) -> int:
    """Bytes in all mbufs of the packet from a live mbuf on."""
    total = 0
    n: Any = m
    while n is not None:
        total += n.count
        n = next_checked(n)
    return total


def last_of(m: Chain) -> Any:
    """The last mbuf of the packet, from a live mbuf on."""
    n: Any = m
    while n._next is not None:
        n = next_checked(n)
    return n


def span(m: Chain, verb: str, at: int, count: int) -> None:
    """Raise `Inval` unless the packet has `count` bytes from `at` on, and `Freed` if their mbufs are."""
    check_alive(m)
    if at < 0 or count < 0:
        raise Inval(f"{verb}: {count} bytes at {at}: neither can be negative")
    there = m.count - at
    n: Any = m
    while there < count:
        n = next_checked(n)
        if n is None:
            raise Inval(f"{verb}: {count} bytes at {at}, of a packet of {length(m)}")
        there += n.count


def fingerprint(m: Chain) -> int:
    """A number that changes when a live chain does: its mbufs, their flags and types, and where their bytes are.

    What a verb computed from a chain still holds, after it has waited for memory, if the number is the same.
    """
    mark = 14695981039346656037
    n: Any = m
    while n is not None:
        check_alive(n)
        # Two numbers that change apart from each other are mixed at once, the second above most values of the first.
        mark = _mixed(mark, _name(n), n.bits)
        mark = _mixed(mark, _name(n.buf), n.kind)
        mark = _mixed(mark, n.off, n.count)
        n = n._next
    return mark


def check_link(m: Chain, n: Any, verb: str) -> None:
    """Refuse to link `n` behind `m`: what was freed, has a holder, or would lead back to `m`."""
    if n is m:
        raise Inval(f"{verb}: an mbuf can't be linked to itself")
    check_alive(n)
    if n.alive == DOOMED:
        raise_unfit(n)
    if n.held:
        raise Inval(
            f"{verb}: this mbuf is linked to another one already, or in a queue: take it out first, "
            "with unlink, by setting next or nextpkt to None, or by dequeue"
        )
    if m.held:
        _check_circle(m, n, verb)


def _check_circle(m: Chain, n: Chain, verb: str) -> None:
    """Refuse a chain that leads back to `m`."""
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
    """Link a chain, or nothing, behind an mbuf."""
    check_alive(m)
    # What was linked there goes at the end, when all is as it should be.
    before: Any = m._next
    if n is not None and n is not before:
        check_link(m, n, "next")
    enter_commit()
    if before is not None and m.held:
        LATCH.cuts += 1
    cut(m)
    if n is not None:
        link(m, n)
    leave_commit()


def set_nextpkt(m: Chain, n: Any) -> None:
    """Link a packet, or nothing, behind a packet."""
    check_alive(m)
    before: Any = m._nextpkt
    if n is not None and n is not before:
        check_link(m, n, "nextpkt")
    enter_commit()
    if before is not None:
        before.held = False
        if m.held:
            LATCH.cuts += 1
    m._nextpkt = None
    if n is not None:
        n.held = True
        m._nextpkt = n
    leave_commit()


# Steps of commits.


def link(m: Chain, n: Chain) -> None:
    """In a commit: put `n`, which nobody holds, after an mbuf that has no next."""
    n.held = True
    m._next = n


def follow(m: Chain, n: Chain) -> None:
    """Put one new mbuf after another, both nobody's yet; `Busy` if a listener of a probe did more than look."""
    if m.alive != LIVE or m._next is not None or n.alive != LIVE or n.held:
        raise Busy("a listener of a probe has freed or linked an mbuf that was just being allocated: it may only look")
    link(m, n)


def cut(m: Chain) -> Any:
    """In a commit: unlink what comes after an mbuf; returns it, or None."""
    n: Any = m._next
    if n is not None:
        n.held = False
        m._next = None
    return n


def swap(m: Chain, n: Chain) -> None:
    """In a commit: exchange bodies: all but the links. So the mbuf that a user holds stays the head of its chain."""
    m.item, n.item = n.item, m.item
    m.buf, n.buf = n.buf, m.buf
    m.off, n.off = n.off, m.off
    m.count, n.count = n.count, m.count
    m.bits, n.bits = n.bits, m.bits
    m.kind, n.kind = n.kind, m.kind
    m.hdr, n.hdr = n.hdr, m.hdr


def attach(m: Chain, storage: Storage) -> None:
    """In a commit: hold data in `storage` from now on. What the mbuf held in itself is gone. See m_cljset."""
    m.buf = storage
    m.off = 0
    m.bits |= M_EXT


def release_probed(m: Chain) -> None:
    """In a commit: have an mbuf freed from the release list, after its probe has fired."""
    if m.alive != DOOMED:
        m.alive = DOOMED
        put(m)


def release_now(m: Chain) -> None:
    """In a commit: free one mbuf that nobody is to be told of any more. See m_free and mb_dtor_mbuf."""
    item: MbufItem = m.item
    item.handle = m
    m.alive = False
    if m.held:
        LATCH.cuts += 1
    if m._nextpkt is not None:
        _release_nextpkt(m)
    if m.bits & M_PKTHDR and (m.hdr.place is not None or m.hdr.tags is not None or header_shared(m)):
        _release_header(m, item, m.bits)
    if m.bits & M_EXT and not lone_packet(cython.cast(Storage, m.buf)):
        store(m).unref(item)
    else:
        send_home(item)


def _release_nextpkt(m: Chain) -> None:
    """The next packet is nobody's from now on."""
    p: Any = m._nextpkt
    p.held = False
    m._nextpkt = None
    put(p)


def _release_header(m: Chain, item: Item, bits: int) -> None:
    """Have a header leave its mbuf, since it holds something, or somebody else holds it."""
    hdr: PktHdr = m.hdr
    if not is_laden(hdr):
        m.hdr = cython.cast(PktHdr, None)
        return
    if hdr.tags is not None and bits & M_EXT and not bits & M_NOFREE:
        storage: Storage = store(m)
        if storage.defers(item):
            # The owner stays out, and so do its tags.
            item.link = hdr.tags
            hdr.tags = None
    m.hdr = cython.cast(PktHdr, None)
    put(hdr)


def release_chain(m: Any) -> None:
    """In a commit: free a chain that is nobody's any more, or nothing."""
    while m is not None and m.alive:
        n: Any = cut(m)
        release(m)
        m = n


def free_chain(m: Any) -> None:
    """Free a chain that is nobody's any more, or nothing, in a commit of its own; the caller settles."""
    enter_commit()
    release_chain(m)
    leave_commit()


# Headers.


def own_header(m: Chain) -> None:
    """See to it that the mbuf has a header object that nobody else holds."""
    if m.hdr is None or header_shared(m):
        hdr: PktHdr = PktHdr.__new__(PktHdr)
        reset_header(hdr)
        m.hdr = hdr


def headed(m: Chain) -> PktHdr:
    """The packet header of an mbuf; raises `Inval` where there is none, and `Freed`."""
    check_alive(m)
    if not m.bits & M_PKTHDR:
        raise Inval("this mbuf has no packet header: it is not the first of a packet")
    return m.hdr


def _name(thing: Any) -> Any:
    if cython.compiled:
        return cython.cast(cython.size_t, cython.cast(cython.p_void, thing))
    return id(thing)


if not cython.compiled:

    def release(m: Chain) -> None:
        """In a commit: free one live mbuf, whose `next` was cut; where probes are told, later."""
        if m.alive == DOOMED or m.item.home.probes.on:
            release_probed(m)
        else:
            release_now(m)

    def header_shared(m: Chain) -> bool:
        """True when somebody else may hold the header object of the mbuf."""
        return True

    _new = Segment.__new__

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, an mbuf that was never made is as good as freed."""
        m = _new(cls)
        m.alive = 0
        m.held = m.dropped = False
        m._next = m._nextpkt = m.hdr = m.item = m.buf = None
        m.bits = m.off = m.count = m.kind = 0
        return m

    def _mixed(mark: int, low: int, high: int) -> int:
        return ((mark ^ low ^ high << 32) * 1099511628211) & 0xFFFFFFFFFFFFFFFF

    type.__setattr__(Chain, "__new__", _blank)
