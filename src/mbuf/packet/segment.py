"""One mbuf, by itself: where its bytes are and what is known of them.

Sees its own storage; may change offset, length and flags. Never reads the next mbuf, never allocates.
Offsets in `off` count from the start of the memory in `buf`; for data inside the mbuf that is
the kernel's struct mbuf, so m_dat is at 32 and m_pktdat at 88.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbuf.const import (
    M_EXT,
    M_EXTPG,
    M_FREED,
    M_NOFREE,
    M_PKTHDR,
    M_RDONLY,
    MHLEN,
    MHSIZE,
    MLEN,
    MPKTHSIZE,
    MSIZE,
    MT_NOINIT,
    MT_NOTMBUF,
)
from mbuf.errors import Freed, Inval, ReadOnly
from mbuf.packet.ext import Ext, Storage
from mbuf.vm.number import clip
from mbuf.vm.page import Memory, Window, pane

if TYPE_CHECKING:
    from typing import Self

    import cython

    from mbuf.uma.item import Item
else:
    from mbuf.shadow import cython

#: Flags that say what an mbuf is made of: set by verbs, never by hand.
M_STRUCTURE = M_EXT | M_PKTHDR | M_EXTPG | M_NOFREE


@cython.no_gc
@cython.cclass
class Segment(Window):
    """The part of an mbuf that stands alone."""

    __slots__ = ("bits", "item", "kind")
    bits: int
    item: Item
    kind: int

    def __cinit__(self) -> None:
        # Compiled, a handle made behind the pool's back is as good as freed.
        self.bits = M_FREED

    def reset(self, item: Item, buf: Memory, off: int, kind: int, bits: int) -> None:
        """Be a new mbuf of `item`, with no bytes, at `off` of `buf`. See m_init."""
        self.item = item
        self.buf = buf
        self.off = off
        self.count = 0
        self.kind = kind
        self.bits = bits

    def attach(self, storage: Storage) -> None:
        """Hold data in `storage` from now on. What the mbuf held in itself is gone. See m_cljset."""
        self.buf = storage
        self.off = 0
        self.bits |= M_EXT

    def live(self) -> Item:
        """The item; raises `Freed` if the mbuf was freed."""
        if self.bits & M_FREED:
            raise Freed(f"mbuf at {id(self):#x} was freed: keep no name for an mbuf that you have let go")
        return self.item

    # What is where.

    def start(self) -> int:
        """Where the storage begins, in its memory. See M_START."""
        if self.bits & M_EXT:
            return 0
        return MPKTHSIZE if self.bits & M_PKTHDR else MHSIZE

    @property
    def size(self) -> int:
        """Bytes of the storage. See M_SIZE."""
        self.live()
        return self.capacity()

    def capacity(self) -> int:
        """`size`, of an mbuf known to be live."""
        if self.bits & M_EXT:
            return self.store().ext_size()
        return MHLEN if self.bits & M_PKTHDR else MLEN

    def end(self) -> int:
        """Where the data must end, in its memory, of an mbuf known to be live."""
        if self.bits & M_EXT:
            return self.store().bound()
        return MSIZE

    @property
    def offset(self) -> int:
        """Bytes between the start of the storage and the data."""
        self.live()
        return self.off - self.start()

    @property
    def writable(self) -> bool:
        """True when the bytes may be written: neither read-only nor shared. See M_WRITABLE."""
        self.live()
        return self.free_to_write()

    def free_to_write(self) -> bool:
        """`writable`, of an mbuf known to be live."""
        if self.bits & (M_RDONLY | M_EXTPG):
            return False
        return not self.bits & M_EXT or bool(cython.cast(Storage, self.buf).sole())

    def store(self) -> Storage:
        """The external storage, of an mbuf known to have some."""
        storage: Storage = cython.cast(Storage, self.buf)
        return storage

    @property
    def leading(self) -> int:
        """Bytes that can be added in front of the data. See M_LEADINGSPACE."""
        self.live()
        return self.off - self.start() if self.free_to_write() else 0

    @property
    def trailing(self) -> int:
        """Bytes that can be added after the data. See M_TRAILINGSPACE."""
        self.live()
        return self.space()

    def space(self) -> int:
        """`trailing`, of an mbuf known to be live."""
        if self.free_to_write():
            return self.start() + self.capacity() - self.off - self.count
        return 0

    # What is known.

    @property
    def len(self) -> int:
        """Bytes of data in this mbuf; `len(m)` is the packet's. Set it to any part of the storage's rest."""
        self.live()
        return self.count

    @len.setter
    def len(self, count: int) -> None:
        self.live()
        most = self.end() - self.off
        if not 0 <= clip(count) <= most:
            raise Inval(f"len {count}: this mbuf can have 0 to {most} bytes from its offset on")
        self.count = count

    @property
    def flags(self) -> int:
        """M_EXT, M_PKTHDR, ... Those that say how the mbuf is built can't be set by hand."""
        self.live()
        return self.bits

    @flags.setter
    def flags(self, bits: int) -> None:
        self.live()
        if not 0 <= clip(bits) < 1 << 24:
            raise Inval(f"flags {bits:#x}: they have 24 bits")
        if (bits ^ self.bits) & M_STRUCTURE:
            raise Inval(f"flags {bits:#x}: M_EXT, M_PKTHDR, M_EXTPG and M_NOFREE follow the storage: leave them be")
        self.bits = bits

    @property
    def type(self) -> int:
        """MT_DATA, ..."""
        self.live()
        return self.kind

    def chtype(self, type: int) -> Self:
        """Be of another type from now on: an MT_ number from 1 to 254. See m_chtype."""
        self.live()
        kind = clip(type)
        if not MT_NOTMBUF < kind < MT_NOINIT:
            raise Inval(f"chtype {type}: give MT_DATA or another MT_ number from 1 to 254")
        self.kind = kind
        return self

    @property
    def ext(self) -> Ext | None:
        """What the external storage is at this moment; None when the data is in the mbuf itself."""
        item = self.live()
        return self.store().tell(item) if self.bits & M_EXT else None

    @property
    def refcnt(self) -> int:
        """Mbufs that share the external storage. See m_extrefcnt."""
        self.live()
        if not self.bits & M_EXT:
            raise Inval("this mbuf has no external storage to count references of")
        return self.store().counted()

    # Bytes.

    @property
    def data(self) -> memoryview:
        """The bytes of this mbuf, for reading only if they are not `writable`. See mtod.

        A view keeps the memory: freed meanwhile, it goes back to its zone when the view is released.
        """
        self.live()
        if self.bits & M_EXTPG:
            raise Inval("the bytes are in loose pages, not in a row: iterate, copydata(), or unmapped_to_ext()")
        return pane(self.buf, self.off, self.count, not self.free_to_write())

    def pieces(self) -> list[memoryview]:
        """Views of the bytes of loose pages, of an mbuf known to have some."""
        raise NotImplementedError

    @property
    def room(self) -> memoryview:
        """The `trailing` bytes, to be written; then `grow(n)` by as many as were. Raises `ReadOnly`."""
        self.live()
        if not self.free_to_write():
            raise ReadOnly("the storage is shared or read-only, so there is no room to write to")
        return pane(self.buf, self.off + self.count, self.space(), False)

    def align(self, count: int) -> None:
        """Move the empty data to the end of the storage, so that `count` bytes fit. See m_align."""
        self.live()
        start = self.start()
        if self.off != start or self.bits & M_EXTPG:
            raise Inval("align: the data must be at the start of the storage")
        most = self.capacity()
        room = clip(count)
        if not 0 <= room <= most:
            raise Inval(f"align: {count} bytes don't fit; the storage has {most}")
        self.off = start + ((most - room) & ~7)
