"""One mbuf, by itself: where its bytes are and what is known of them.

`Segment` is its state; the functions read it, of an mbuf known to be live. Offsets in `off` count from the start of
the memory in `buf`; for data inside the mbuf that is the kernel's struct mbuf, so m_dat is at 32 and m_pktdat at 88.

    buf  |....off....|== count bytes ==|..space..|        the item itself, or its external storage (M_EXT)

An mbuf is `alive` from its allocation until it is freed: LIVE, then DOOMED while probes are told of its end, who may
look at it but not change it. That is no flag in `bits`, so no verb that masks flags can bring back one that was freed.
`held` says that it is the `next` or `nextpkt` of an mbuf, or in a queue or buffer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import (
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_PKTHDR,
    M_RDONLY,
    MHLEN,
    MHSIZE,
    MLEN,
    MPKTHSIZE,
    MSIZE,
)
from mbuf.errors import Busy, Freed
from mbuf.packet.ext import Storage
from mbuf.vm.page import Window

if TYPE_CHECKING:
    import cython

    from mbuf.uma.item import MbufItem
else:
    from mbuf.shadow import cython

#: Flags that say what an mbuf is made of: set by verbs, never by hand.
M_STRUCTURE = M_EXT | M_PKTHDR | M_EXTPG | M_NOFREE

# States of an mbuf that was not freed.
LIVE, DOOMED = 1, 2


@cython.no_gc
@cython.cclass
class Segment(Window):
    """The state of an mbuf that stands alone. `dropped`: nobody holds it any more, so it is about to be freed."""

    __slots__ = ("alive", "bits", "dropped", "held", "item", "kind")
    alive: int
    bits: int
    dropped: bool
    held: bool
    item: MbufItem
    kind: int


def raise_freed(m: Segment) -> None:
    """Say that an mbuf was freed."""
    raise Freed(f"mbuf at {id(m):#x} was freed: keep no name for an mbuf that you have let go")


def raise_unfit(m: Segment) -> None:
    """Say that an mbuf was freed, or is about to be."""
    if not m.alive:
        raise_freed(m)
    raise Busy("this mbuf is about to be freed: a free routine, or a listener of m-free, may only look at it")


def store(m: Segment) -> Storage:
    """The external storage, of an mbuf known to have some."""
    storage: Storage = cython.cast(Storage, m.buf)
    return storage


def bound(m: Segment) -> int:
    """Where the data must end, in its memory."""
    if m.bits & M_EXT:
        return store(m).bound()
    return MSIZE


def _shared_writable(m: Segment) -> bool:
    """`writable`, of an mbuf with external storage."""
    return store(m).sole()


def _ext_capacity(m: Segment) -> int:
    return store(m).ext_size()


if not cython.compiled:
    from mbuf.vm.commit import check_latch

    def check_alive(m: Segment) -> None:
        """Raise `Freed` unless the mbuf is live."""
        if not m.alive:
            raise_freed(m)

    def begin(m: Segment) -> None:
        """What every method begins with that changes the mbuf, or shares its storage."""
        check_latch()
        if m.alive != LIVE:
            raise_unfit(m)

    def taken(m: Segment) -> bool:
        """True when nobody else can take the mbuf over: it is linked, or in a queue, or about to be freed."""
        return m.held or m.alive == DOOMED

    def start(m: Segment) -> int:
        """Where the storage begins, in its memory. See M_START."""
        if m.bits & M_EXT:
            return 0
        return MPKTHSIZE if m.bits & M_PKTHDR else MHSIZE

    def capacity(m: Segment) -> int:
        """Bytes of the storage. See M_SIZE."""
        if m.bits & M_EXT:
            return _ext_capacity(m)
        return MHLEN if m.bits & M_PKTHDR else MLEN

    def writable(m: Segment) -> bool:
        """True when the bytes may be written: neither read-only nor shared. See M_WRITABLE."""
        if m.bits & (M_RDONLY | M_EXTPG):
            return False
        return not m.bits & M_EXT or _shared_writable(m)

    def leading(m: Segment) -> int:
        """Bytes that can be added in front of the data. See M_LEADINGSPACE."""
        return m.off - start(m) if writable(m) else 0

    def space(m: Segment) -> int:
        """Bytes that can be added after the data. See M_TRAILINGSPACE."""
        if writable(m):
            return start(m) + capacity(m) - m.off - m.count
        return 0
