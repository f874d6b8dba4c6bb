"""One mbuf without its links: where its data is, and what may be done to it.

`Segment` has the fields; the functions read them, and expect a live mbuf. `off` counts from the start of the memory
`buf`. For data inside the mbuf, that memory is the kernel's struct mbuf, so m_dat is at 32 and m_pktdat at 88.

    buf  |....off....|== count bytes ==|..space..|        the item itself, or its external storage (M_EXT)

`alive` is LIVE from the allocation on, DOOMED while listeners of m-free or a free routine are called with the mbuf,
which can be read but not changed then, and 0 when the mbuf is freed. Listeners of an allocation get a stand-in, which
is DOOMED until they return. `alive` isn't a flag in `bits`, so an operation on flags can't make a freed mbuf live.
`held` is true while the mbuf is the `next` or `nextpkt` of another, or in a queue or buffer.
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
from mbuf.vm.page import Exporter

if TYPE_CHECKING:
    from mbuf.shadow import cython
    from mbuf.uma.item import MbufItem
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

#: Flags that say where the data and the header are. A user can't set them.
M_STRUCTURE = M_EXT | M_PKTHDR | M_EXTPG | M_NOFREE

# Values of `alive` for an mbuf that isn't freed.
LIVE, DOOMED = 1, 2


@cython.no_gc
@cython.cclass
class Segment(Exporter):
    """The fields of an mbuf but its links. `dropped`: the last reference is gone, and it is about to be freed."""

    __slots__ = ("alive", "bits", "dropped", "held", "item", "kind")
    alive: int
    bits: int
    dropped: bool
    held: bool
    item: MbufItem
    kind: int


def raise_freed(m: Segment) -> None:
    """Raise `Freed`."""
    text = f"mbuf at {id(m):#x} was freed: don't use an mbuf after free() or freem(), or after you gave it away"
    if m.item is not None and m.item.zone is not None and m.item.zone.probes is not None and m.item.zone.probes.on:
        text += "; a listener of a probe can't use its mbuf after it has returned"
    raise Freed(text)


def raise_not_live(m: Segment) -> None:
    """Raise `Freed` for a freed mbuf, `Busy` for one that is being freed, or stands in for a new one."""
    if not m.alive:
        raise_freed(m)
    raise Busy("this mbuf is being allocated or freed: a probe's listener, or a free routine, may only read it")


def storage_of(m: Segment) -> Storage:
    """Return the external storage; the mbuf must have M_EXT."""
    storage: Storage = cython.cast(Storage, m.buf)
    return storage


def bound(m: Segment) -> int:
    """Return the offset in `buf` that the end of the data must not exceed."""
    if m.bits & M_EXT:
        return storage_of(m).bound()
    return MSIZE


def _shared_writable(m: Segment) -> bool:
    """`writable` for an mbuf with external storage."""
    return storage_of(m).is_writable()


def _ext_capacity(m: Segment) -> int:
    return storage_of(m).ext_size()


if not cython.compiled:
    from mbuf.vm.commit import check_latch

    def check_alive(m: Segment) -> None:
        """Raise `Freed` unless the mbuf is live."""
        if not m.alive:
            raise_freed(m)

    def check_mutable(m: Segment) -> None:
        """Raise `Busy` or `Freed` if the mbuf can't be changed now. Methods that change or share it begin so."""
        check_latch()
        if m.alive != LIVE:
            raise_not_live(m)

    def taken(m: Segment) -> bool:
        """True if the mbuf can't be linked or queued: it is already, or it is being freed."""
        return m.held or m.alive == DOOMED

    def start(m: Segment) -> int:
        """Return the offset in `buf` where the storage begins. See M_START."""
        if m.bits & M_EXT:
            return 0
        return MPKTHSIZE if m.bits & M_PKTHDR else MHSIZE

    def capacity(m: Segment) -> int:
        """Return the bytes of the storage. See M_SIZE."""
        if m.bits & M_EXT:
            return _ext_capacity(m)
        return MHLEN if m.bits & M_PKTHDR else MLEN

    def writable(m: Segment) -> bool:
        """True when the bytes may be written: neither read-only nor shared. See M_WRITABLE."""
        if m.bits & (M_RDONLY | M_EXTPG):
            return False
        return not m.bits & M_EXT or _shared_writable(m)

    def leading(m: Segment) -> int:
        """Return the bytes of room before the data, 0 if it isn't writable. See M_LEADINGSPACE."""
        return m.off - start(m) if writable(m) else 0

    def space(m: Segment) -> int:
        """Return the bytes of room after the data, 0 if it isn't writable. See M_TRAILINGSPACE."""
        if writable(m):
            return start(m) + capacity(m) - m.off - m.count
        return 0
