"""The mbuf: the class that a program uses, with all its methods.

A method converts its arguments, which may run user code, checks the latch (`vm/commit.py`), and calls a function that
does the work, in the module of its topic. A method that frees something ends with `run_releases`, which works off the
release list. `wrap` makes the handle of an item, or uses its last one again if nothing refers to that.
"""

from __future__ import annotations

from struct import pack as pack_values
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from mbuf.packet.m_ext import Ext
    from mbuf.packet.tag import Tag
    from mbuf.shadow import cython
    from mbuf.uma.item import Item
elif False:  # for the compiler: a type checker needs the decorators of methods with types
    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import (
    EXT_EXTREF,
    EXT_NET_DRV,
    EXT_RXRING,
    M_COPYALL,
    M_EXT,
    M_EXTPG,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MBUF_PEXT_MAX_PGS,
    MHSIZE,
    MPKTHSIZE,
    MSIZE,
    MT_DATA,
    MT_NOINIT,
    MT_NOTMBUF,
    MTAG_ABI_COMPAT,
    PAGE_SIZE,
)
from mbuf.errors import Inval, ReadOnly
from mbuf.packet import append as _append
from mbuf.packet import attach as _attach
from mbuf.packet import copy as _copy
from mbuf.packet import defrag as _defrag
from mbuf.packet import extpg as _extpg
from mbuf.packet import header as _header
from mbuf.packet import pullup as _pullup
from mbuf.packet import read as _read
from mbuf.packet import segmentation as _segmentation
from mbuf.packet import splice as _splice
from mbuf.packet import trim as _trim
from mbuf.packet.chain import Chain
from mbuf.packet.cluster import Cluster
from mbuf.packet.control import Control
from mbuf.packet.dump import rows, write_chain
from mbuf.packet.epg import Epg
from mbuf.packet.ext import Storage
from mbuf.packet.external import RefCount
from mbuf.packet.flags import flag_names
from mbuf.packet.format import Format
from mbuf.packet.peer import Peer
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.segment import DOOMED, M_STRUCTURE
from mbuf.packet.source import check_how, until
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import MbufItem
from mbuf.vm.buffer_export import export_buffer
from mbuf.vm.ints import INT_MAX, count, integer
from mbuf.vm.page import Memory, view_of
from mbuf.vm.unraisable import run

if not cython.compiled:
    from mbuf.packet.chain import (
        cut,
        drop,
        header_shared,
        last_of,
        own_header,
        pkthdr_of,
        release_chain,
        release_now,
        set_next,
        set_nextpkt,
    )
    from mbuf.packet.chain import length as _length
    from mbuf.packet.format import format_of
    from mbuf.packet.pkthdr import add_len, reset_header
    from mbuf.packet.segment import bound, capacity, check_alive, check_mutable, space, start, storage_of
    from mbuf.packet.segment import leading as _leading
    from mbuf.packet.segment import writable as _writable
    from mbuf.uma.item import free_item
    from mbuf.vm.buffer_export import has_buffer
    from mbuf.vm.commit import check_latch, enter_commit, leave_commit, run_releases

#: Defaults as objects: `is` tells whether an argument is the default, without a conversion.
ALL: int = M_COPYALL
DRIVER: int = EXT_NET_DRV
NONE: int = 0

#: Past the end of every packet.
END = 1 << 62


@cython.no_gc
@cython.cclass
class Mbuf(Chain):
    """A network buffer: some bytes of a packet, and links to the next mbuf and the next packet. See mbuf(9).

    Get one from a `Pool`. `free` frees this mbuf, `freem` this one and all linked by `next`; an mbuf that is dropped is
    freed, too. After that every method raises `Freed`. While a free routine or a listener of m-free is called with an
    mbuf, methods that change it raise `Busy`. The kernel's names (`m.len`, `m.next`) are about this mbuf, Python's
    protocols (`len(m)`, `bytes(m)`, `iter(m)`) about the packet from this mbuf on. A method that fails changes nothing.
    `how` is M_NOWAIT, which doesn't wait for memory, or M_WAITOK, which waits, for at most `timeout` seconds if given;
    M_NOWAIT with a timeout raises `Inval`.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("an mbuf can't be made directly: call pool.getcl(), pool.get(), ...")

    # Freeing.

    def free(self) -> Mbuf | None:
        """Free this mbuf alone; return the next one or None, which belongs to the caller then. See m_free."""
        check_mutable(self)
        if self.item.zone.probes.on:
            return self._free_probed()
        n: Mbuf | None = None
        enter_commit()
        if self._next is not None:
            n = cut(self)
        release_now(self)
        leave_commit()
        run_releases()
        return n

    def _free_probed(self) -> Mbuf | None:
        """`free`, after the m-free probe has fired."""
        failure: BaseException | None = None
        self.alive = DOOMED
        try:
            self.item.zone.probes.fire("m-free", self)
        except BaseException as error:  # such as KeyboardInterrupt; raised below, when all is freed
            failure = error
        enter_commit()
        n: Mbuf | None = cut(self)
        if self.alive:
            release_now(self)
        leave_commit()
        run_releases()
        if failure is not None:
            raise failure
        return n

    def freem(self) -> None:
        """Free this mbuf and all that follow by `next`; not the next packet. See m_freem."""
        check_mutable(self)
        if self.item.zone.probes.on:
            self._freem_probed()
            return
        enter_commit()
        release_chain(self)
        leave_commit()
        run_releases()

    def _freem_probed(self) -> None:
        """`freem`, with probes. All mbufs are freed, whatever a listener raises."""
        failure: BaseException | None = None
        try:
            self.item.zone.probes.fire("m-freem", self)
        except BaseException as error:  # such as KeyboardInterrupt; raised below, when all is freed
            failure = error
        if failure is None:
            check_mutable(self)
        enter_commit()
        release_chain(self)
        leave_commit()
        try:
            run_releases()
        finally:
            if failure is not None:
                raise failure

    def __enter__(self) -> Mbuf:
        check_mutable(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the packet, unless it was freed inside."""
        if self.alive:
            self.freem()

    def __del__(self) -> None:
        if self.alive:
            drop(self)

    def __reduce__(self) -> Any:
        raise TypeError("an mbuf can't be pickled or copied: it is memory of its pool; use bytes(m) or m.copypacket()")

    def __eq__(self, other: object) -> bool:
        """True if `other` is this mbuf, or a bytes-like object with the bytes of the packet.

        Two mbufs are never equal: `m.equals(n)` compares their bytes. The hash is that of the identity. Nothing is
        copied, if `other` is a `bytes`. A freed mbuf raises `Freed` when it is compared with bytes.
        """
        if type(other) is bytes:
            check_latch()
            return _read.order(self, "==", other, False) == 0
        if isinstance(other, Mbuf) or not has_buffer(other):
            return NotImplemented
        return self.equals(other)

    def __hash__(self) -> int:
        return identity_hash(self)

    def __repr__(self) -> str:
        if not self.alive:
            return f"<Mbuf {id(self):#x} freed>"
        if self.bits & M_EXTPG:
            pages: Unmapped = cython.cast(Unmapped, self.buf)
            where = f"{self.count} bytes at {self.off} of {pages.epg.npgs} unmapped pages"
        else:
            where = f"{self.count} of {capacity(self)} bytes at {self.off - start(self)}"
        head = f", packet of {self.hdr.len}" if self.bits & M_PKTHDR else ""
        return f"<Mbuf {id(self):#x} {flag_names(self.bits)} {where}{head}>"

    # Properties of this mbuf.

    @property
    def id(self) -> int:
        """A number that no other mbuf in use has, by which a probe's listener knows an mbuf again.

        As the kernel's address of an mbuf does, it changes for the first mbuf of a packet where that is replaced, as by
        `pullup` or `defrag`.
        """
        check_latch()
        check_alive(self)
        return id(self.item)

    @property
    def size(self) -> int:
        """Bytes of the storage, used or not. See M_SIZE."""
        check_latch()
        check_alive(self)
        return capacity(self)

    def __sizeof__(self) -> int:
        """Bytes of memory that this mbuf alone takes: `sys.getsizeof(m)`.

        Those are the handle, the mbuf (256 bytes), and its storage, divided by the number of mbufs that share it.
        Memory of the program and pages of files count as 0. So the sizes of all mbufs add up to the memory that they
        take together. A freed mbuf is only the handle.
        """
        check_latch()
        size: Any = object.__sizeof__(self)
        if self.alive:
            size += MSIZE
            if self.bits & M_EXT:
                size += storage_of(self).bytes_per_user()
        return int(size)

    @property
    def offset(self) -> int:
        """Bytes between the start of the storage and the data. See M_START."""
        check_latch()
        check_alive(self)
        return self.off - start(self)

    @property
    def writable(self) -> bool:
        """True if the bytes may be written: they are neither read-only, nor shared, nor in unmapped pages.

        See M_WRITABLE.
        """
        check_latch()
        check_alive(self)
        return _writable(self)

    @property
    def leading(self) -> int:
        """Bytes of room before the data; 0 if it isn't writable. See M_LEADINGSPACE."""
        check_latch()
        check_alive(self)
        return _leading(self)

    @property
    def trailing(self) -> int:
        """Bytes of room after the data; 0 if it isn't writable. See M_TRAILINGSPACE."""
        check_latch()
        check_alive(self)
        return space(self)

    @property
    def len(self) -> int:
        """Bytes of data in this mbuf; `len(m)` is those of the packet. See m_len in mbuf(9).

        Set, the data begins where it did, and has that length; the packet header doesn't follow. Raises `Inval` if the
        storage has fewer bytes from `offset` on.
        """
        check_latch()
        check_alive(self)
        return self.count

    @len.setter
    @cython.locals(most=cython.Py_ssize_t, number=cython.Py_ssize_t)
    def len(self, count: int) -> None:
        number = integer(count, "len")
        check_latch()
        check_alive(self)
        most = bound(self) - self.off
        if not 0 <= number <= most:
            raise Inval(f"len {number}: give 0 to {most}, the bytes of the storage from the offset on")
        self.count = number

    @property
    def flags(self) -> int:
        """The flags as a number. Set: `Inval` if M_EXT, M_PKTHDR, M_EXTPG or M_NOFREE would change. See mbuf(9)."""
        check_latch()
        check_alive(self)
        return self.bits

    @flags.setter
    @cython.locals(number=cython.Py_ssize_t)
    def flags(self, bits: int) -> None:
        number = integer(bits, "flags")
        check_mutable(self)
        if not 0 <= number < 1 << 24:
            raise Inval(f"flags {number:#x}: give a number of 24 bits")
        if (number ^ self.bits) & M_STRUCTURE:
            raise Inval(f"flags {number:#x}: M_EXT, M_PKTHDR, M_EXTPG and M_NOFREE can't be set or cleared by hand")
        self.bits = number

    @property
    def type(self) -> int:
        """The type of the mbuf: MT_DATA, ... Set by `chtype`. See m_type in mbuf(9)."""
        check_latch()
        check_alive(self)
        return self.kind

    @cython.locals(kind=cython.Py_ssize_t)
    def chtype(self, type: int) -> Self:
        """Set the type to an MT_ number from 1 to 254, and return this mbuf. Raises `Inval`. See m_chtype."""
        kind = integer(type, "type")
        check_mutable(self)
        if not MT_NOTMBUF < kind < MT_NOINIT:
            raise Inval(f"chtype {kind}: give MT_DATA or another MT_ number, from 1 to 254")
        self.kind = kind
        return self

    @property
    def ext(self) -> Ext | None:
        """A description of the external storage as it is now; None if the data is in the mbuf itself. See m_ext."""
        check_latch()
        check_alive(self)
        return storage_of(self).describe(self.item) if self.bits & M_EXT else None

    @property
    def refcnt(self) -> int:
        """The number of mbufs that use the external storage; `Inval` if there is none. See m_extrefcnt."""
        check_latch()
        check_alive(self)
        if not self.bits & M_EXT:
            raise Inval("refcnt: this mbuf has no external storage: m.ext is None")
        return storage_of(self).refcnt()

    @property
    def data(self) -> memoryview:
        """A view of the bytes of this mbuf, read-only if they aren't `writable`; nothing is copied. See mtod.

        The view keeps the memory: if the mbuf is freed, that goes back to its zone when the view is released. Raises
        `Inval` for unmapped pages.
        """
        check_latch()
        check_alive(self)
        if self.bits & M_EXTPG:
            raise Inval("data: the bytes are in unmapped pages: iterate, or call copydata() or unmapped_to_ext()")
        return view_of(self.buf, self.off, self.count, not _writable(self))

    @property
    def room(self) -> memoryview:
        """A writable view of the `trailing` bytes; `grow(n)` makes bytes written there data. Raises `ReadOnly`."""
        check_latch()
        check_alive(self)
        if not _writable(self):
            raise ReadOnly("room: the storage is shared or read-only: write to a copy, m.dup(), or call m.unshare()")
        return view_of(self.buf, self.off + self.count, space(self), False)

    @cython.locals(first=cython.Py_ssize_t, most=cython.Py_ssize_t, room=cython.Py_ssize_t)
    def align(self, count: int) -> None:
        """Move the offset so that `count` bytes fit between it and the end of the storage. See m_align.

        The offset is rounded down to a multiple of 8 from the start. Bytes that are there don't move. Raises `Inval` if
        the data isn't at the start, or `count` is less than `len` or more than the storage has.
        """
        room = integer(count, "count")
        check_mutable(self)
        first = start(self)
        if self.off != first or self.bits & M_EXTPG:
            raise Inval("align: the data isn't at the start of the storage: call align on a new mbuf")
        most = capacity(self)
        if not 0 <= room <= most:
            raise Inval(f"align: {room} bytes: give 0 to {most}, the bytes of the storage")
        if room < self.count:
            raise Inval(f"align: {room} bytes: the mbuf has {self.count} already: call align before it is filled")
        self.off = first + ((most - room) & ~7)

    @cython.locals(more=cython.Py_ssize_t, most=cython.Py_ssize_t)
    def grow(self, count: int) -> None:
        """Add `count` bytes, written to `room`, to the data, and to `pkthdr.len` if there is one. Raises `Inval`."""
        more = integer(count, "count")
        check_mutable(self)
        most = space(self)
        if not 0 <= more <= most:
            raise Inval(f"grow: {more} bytes: give 0 to {most}, the room after the data")
        self.count += more
        if self.bits & M_PKTHDR:
            add_len(self.hdr, more)

    @cython.locals(first=cython.Py_ssize_t, more=cython.Py_ssize_t)
    def fill(self, data: Any, start: int, count: int) -> None:
        """Copy `count` bytes of data, from its byte `start` on, to the end of this mbuf, as a network card does.

        The packet header, if this mbuf has it, counts them, too. No mbuf is added: `Inval` if they don't fit in `room`,
        or data has fewer.
        """
        first, more = integer(start, "start"), integer(count, "count")
        export = export_buffer(data)
        try:
            check_mutable(self)
            most = space(self)
            if not 0 <= more <= most:
                raise Inval(f"fill: {more} bytes: give 0 to {most}, the room after the data")
            if not 0 <= first <= export.size - more:
                raise Inval(f"fill: {more} bytes from byte {first} on: data has {export.size}")
            enter_commit()
            self.buf.store(self.off + self.count, export, first, more)
            self.count += more
            if self.bits & M_PKTHDR:
                add_len(self.hdr, more)
            leave_commit()
        finally:
            export.release()

    # Links.

    @property
    def next(self) -> Mbuf | None:
        """The next mbuf of the packet, or None. See m_next in mbuf(9).

        Set to a chain, that is part of this one then; what was linked before is dropped, and so freed, unless the
        program refers to it. Packet headers don't change. Raises `Inval` for an mbuf that is linked or in a queue
        already, or a chain that leads back to this mbuf. See also `insert`, `remove` and `unlink`.
        """
        check_latch()
        check_alive(self)
        n: Mbuf | None = self._next
        return n

    @next.setter
    def next(self, m: Mbuf | None) -> None:
        check_mutable(self)
        set_next(self, _mbuf(m, "next"))

    @property
    def nextpkt(self) -> Mbuf | None:
        """The first mbuf of the next packet, or None. It can be set as `next` can. See m_nextpkt in mbuf(9)."""
        check_latch()
        check_alive(self)
        n: Mbuf | None = self._nextpkt
        return n

    @nextpkt.setter
    def nextpkt(self, m: Mbuf | None) -> None:
        check_mutable(self)
        set_nextpkt(self, _mbuf(m, "nextpkt"))

    def length(self) -> int:
        """Return the bytes in all mbufs of the packet from this one on. See m_length."""
        check_latch()
        check_alive(self)
        return _length(self)

    def last(self) -> Mbuf:
        """Return the last mbuf of the packet. See m_last."""
        check_latch()
        check_alive(self)
        found: Mbuf = last_of(self)
        return found

    @cython.locals(at=cython.Py_ssize_t, wait=cython.int)
    def insert(self, off: int, chain: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Insert another chain after the first `off` bytes of the packet, and return this mbuf.

        The other chain is part of this one then: its packet headers are removed, and this packet's header counts its
        bytes. If the place is inside an mbuf, that is divided with one new mbuf, which shares its storage, or has a
        copy of up to 224 bytes. Raises `Inval`, or `NoBufs`, and then both chains are as before.
        """
        at, wait = integer(off, "off"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _splice.insert(self, at, _mbuf(chain, "insert"), wait, deadline)
        return self

    @cython.locals(at=cython.Py_ssize_t, wait=cython.int, size=cython.Py_ssize_t)
    def remove(self, off: int, n: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Remove `n` bytes from byte `off` of the packet on, and return this mbuf; emptied mbufs stay, as with `adj`.

        If they are in the middle of one mbuf, its last bytes are moved; if it isn't writable, one new mbuf shares them.
        Raises `NoBufs`, or `Inval` if there are fewer bytes, and then nothing has changed.
        """
        at, size, wait = integer(off, "off"), integer(n, "n"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _splice.remove(self, at, size, wait, deadline)
        return self

    def unlink(self, n: Mbuf) -> Mbuf:
        """Take mbuf `n`, which comes after this one, out of the chain, and return it. It belongs to the caller.

        The packet header counts its bytes off. Raises `Inval` if it isn't in the chain.
        """
        check_mutable(self)
        _trim.unlink(self, _mbuf(n, "unlink"))
        return n

    # Packet header and tags.

    @property
    def peer(self) -> Peer | None:
        """The address that the packet came from or goes to; None if it has none.

        A port sets it for each datagram that it receives, and sends a packet to the peer that it has. Set it to a
        `Peer`, or to an address that can be made one, as in `m.peer = ("192.0.2.1", 53)`. Raises `Inval` for any other
        object, and if there is no packet header. Copies of the packet, and packets cut from it, have it too. The kernel
        has no such field.
        """
        check_latch()
        return pkthdr_of(self).peer

    @peer.setter
    def peer(self, address: Any) -> None:
        peer = address if address is None or isinstance(address, Peer) else Peer(address)
        check_mutable(self)
        hdr: PktHdr = pkthdr_of(self)
        hdr.set_peer(peer, hdr.control)

    @property
    def control(self) -> Control | None:
        """What the packet arrived with, or is to be sent with, beside its peer: local address, TOS, hop limit; or None.

        A port sets it for what it receives, if it has an option for that. Set it to a `Control` or None; raises `Inval`
        for any other object, and if there is no packet header. Copies of the packet, and packets cut from it, have it
        too. The kernel has no such field.
        """
        check_latch()
        return pkthdr_of(self).control

    @control.setter
    def control(self, control: Control | None) -> None:
        if control is not None and not isinstance(control, Control):
            raise Inval(f"control: give a Control or None, not a {type(control).__name__}")
        check_mutable(self)
        hdr: PktHdr = pkthdr_of(self)
        hdr.set_peer(hdr.peer, control)

    @property
    def pkthdr(self) -> PktHdr:
        """The packet header, not a copy; `Inval` for an mbuf without M_PKTHDR. See m_pkthdr in mbuf(9)."""
        check_latch()
        return pkthdr_of(self)

    def fixhdr(self) -> int:
        """Set the packet header's `len` to the bytes in the mbufs, and return that. See m_fixhdr."""
        check_mutable(self)
        return _header.fixhdr(self)

    def demote_pkthdr(self) -> Self:
        """Remove the packet header: its tags are freed, the reference to a send tag is released. See m_demote_pkthdr.

        Its 56 bytes become leading space of data inside the mbuf. The kernel doesn't release the send tag.
        """
        check_mutable(self)
        _header.demote_pkthdr(self)
        return self

    @cython.locals(keep=cython.Py_ssize_t)
    def demote(self, all: bool = False, flags: int = 0) -> Self:
        """Remove the packet headers of the mbufs after this one, and with `all` of this one. See m_demote.

        Their flags are cleared, except those that describe the storage, and those in `flags`.
        """
        keep = integer(flags, "flags")
        whole = bool(all)
        check_mutable(self)
        if not 0 <= keep < 1 << 24:
            raise Inval(f"demote: flags {keep}: give a number of 24 bits")
        _header.demote(self, whole, keep)
        return self

    def clrprotoflags(self) -> Self:
        """Clear the flags M_PROTO1 to M_PROTO11 of all mbufs from this one on. See m_clrprotoflags."""
        check_mutable(self)
        _header.clrprotoflags(self)
        return self

    def move_pkthdr(self, from_: Mbuf) -> Self:
        """Move the packet header of another mbuf, with its tags, to this one. See m_move_pkthdr.

        A header of this mbuf is released. Without external storage, the data begins behind the header then, so its
        bytes aren't those that were there. Raises `Inval` if `from_` has no header, or the data doesn't fit.
        """
        check_mutable(self)
        _header.move_pkthdr(self, _mbuf(from_, "move_pkthdr"))
        return self

    @cython.locals(wait=cython.int)
    def dup_pkthdr(self, from_: Mbuf, how: int = M_NOWAIT) -> Self:
        """Copy the packet header of another mbuf, with copies of its tags, to this one. See m_dup_pkthdr.

        The data is treated as by `move_pkthdr`. Raises `Inval` as that does, or `NoBufs` if there is no memory for a
        tag, and then nothing has changed.
        """
        wait = check_how(how)
        check_mutable(self)
        _header.dup_pkthdr(self, _mbuf(from_, "dup_pkthdr"), wait)
        return self

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The tags of the packet, first to last, which stay on it; `Inval` without a packet header."""
        check_latch()
        return _header.tags_of(self)

    def tag_prepend(self, tag: Tag) -> Self:
        """Add a tag before the others; it belongs to the packet then. `Inval` if it is on one already.

        See m_tag_prepend.
        """
        check_mutable(self)
        _header.tag_prepend(self, tag)
        return self

    def tag_unlink(self, tag: Tag) -> Self:
        """Take a tag off the packet; it belongs to the caller then. `Inval` if it isn't on it. See m_tag_unlink."""
        check_mutable(self)
        _header.tags_or_empty(self).unlink(tag)
        return self

    def tag_delete(self, tag: Tag) -> Self:
        """Take a tag off the packet, and free it. `Inval` if it isn't on it. See m_tag_delete."""
        check_mutable(self)
        _header.tags_or_empty(self).delete(tag)
        return self

    def tag_delete_chain(self, tag: Tag | None = None) -> Self:
        """Free `tag` and all tags after it; without `tag`, all tags of the packet. See m_tag_delete_chain."""
        check_mutable(self)
        tags = _header.tags_or_empty(self)
        if tag is not None or tags.count:
            tags.delete_chain(tag)
        return self

    def tag_delete_nonpersistent(self) -> Self:
        """Free the tags whose id doesn't have MTAG_PERSISTENT. See m_tag_delete_nonpersistent."""
        check_mutable(self)
        _header.tags_or_empty(self).delete_nonpersistent()
        return self

    @cython.locals(id=cython.Py_ssize_t, number=cython.Py_ssize_t)
    def tag_locate(self, cookie: int, type: int, tag: Tag | None = None) -> Tag | None:
        """Return the first tag with this cookie and id, after `tag` if given; None if none. See m_tag_locate."""
        number, id = integer(cookie, "cookie"), integer(type, "type")
        check_latch()
        return _header.tags_or_empty(self).locate(number, id, tag)

    @cython.locals(id=cython.Py_ssize_t)
    def tag_find(self, type: int, tag: Tag | None = None) -> Tag | None:
        """Return `tag_locate(MTAG_ABI_COMPAT, type, tag)`. See m_tag_find."""
        id = integer(type, "type")
        check_latch()
        return _header.tags_or_empty(self).locate(MTAG_ABI_COMPAT, id, tag)

    @cython.locals(wait=cython.int)
    def tag_copy_chain(self, from_: Mbuf, how: int = M_NOWAIT) -> Self:
        """Replace the tags of this packet by copies of those of another one. See m_tag_copy_chain.

        The old tags are freed. Raises `Inval` if one of the mbufs has no packet header, or `NoBufs` if there is no
        memory for a tag, and then nothing has changed.
        """
        wait = check_how(how)
        check_mutable(self)
        _header.tag_copy_chain(self, _mbuf(from_, "tag_copy_chain"), wait)
        return self

    # Reading bytes.

    def __len__(self) -> int:
        check_latch()
        check_alive(self)
        return _length(self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[memoryview]:
        """Iterate over views: one for each mbuf with data, or for unmapped pages for each piece. Nothing is copied."""
        check_latch()
        return iter(_read.views(self))

    def __bytes__(self) -> bytes:
        """Return a copy of all bytes of the packet."""
        check_latch()
        check_alive(self)
        return _read.excerpt(self, "bytes", 0, 0, True)

    @cython.locals(at=cython.Py_ssize_t)
    def __getitem__(self, index: int) -> int:
        """Return one byte of the packet as a number; a negative index counts from the end. Raises `IndexError`.

        `iter(m)` gives views of the mbufs, not these numbers. Each call walks the chain from this mbuf on: to look at
        many bytes, call `unpack` or `copydata`. Slices raise `TypeError`.
        """
        if isinstance(index, slice):
            raise TypeError("index: give a number, not a slice: copydata() copies bytes, copym() shares them")
        at = integer(index, "index")
        check_latch()
        return _read.byte_at(self, at)

    @cython.locals(at=cython.Py_ssize_t, left=cython.Py_ssize_t)
    def copydata(self, off: int, len: int) -> bytes:
        """Return a copy of `len` bytes from byte `off` of the packet on; `Inval` if there are fewer. See m_copydata."""
        at, left = integer(off, "off"), integer(len, "len")
        check_latch()
        return _read.excerpt(self, "copydata", at, left, False)

    @cython.locals(at=cython.Py_ssize_t)
    def copyinto(self, buffer: Any, off: int = 0) -> int:
        """Copy the packet, from byte `off` on, to a writable buffer, as far as that goes; return how many bytes.

        Raises `BufferError` if the buffer isn't writable and contiguous, `Inval` if `off` is past the end. See
        m_mbuftouio.
        """
        at = integer(off, "off")
        view = memoryview(buffer)
        # (The compiler's `with` crashes where memory runs out.)
        try:
            if view.readonly or not view.c_contiguous:
                raise BufferError("copyinto: give a writable, contiguous buffer")
            check_latch()
            return _read.copyinto(self, view, at, view.nbytes)
        finally:
            view.release()

    @cython.locals(at=cython.Py_ssize_t, left=cython.Py_ssize_t)
    def apply(self, off: int, len: int, fn: Callable[[memoryview], Any]) -> Any:
        """Call `fn` with a view of each piece of `len` bytes from byte `off` on; stop at the first true result.

        Returns that result, or 0. An empty mbuf among them is a piece of 0 bytes; bytes in unmapped pages are a copy.
        Raises `Inval` if there are fewer bytes. See m_apply.
        """
        at, left = integer(off, "off"), integer(len, "len")
        check_latch()
        return _read.apply(self, at, left, fn)

    @cython.locals(at=cython.Py_ssize_t)
    def getptr(self, loc: int) -> tuple[Mbuf, int]:
        """Return the mbuf with byte `loc` of the packet, and the offset of the byte in its data. See m_getptr.

        For the end of the packet, that is the end of its last mbuf. Raises `Inval` past the end.
        """
        at = integer(loc, "loc")
        check_latch()
        return _read.getptr(self, at)

    @cython.locals(at=cython.Py_ssize_t, layout=Format, buf=Memory)
    def unpack(self, fmt: str, offset: int = 0) -> tuple[Any, ...]:
        """Return the values that the bytes from `offset` on hold, with `fmt` as in `struct`.

        They may lie in several mbufs. Raises `Inval` if there are fewer bytes, and `struct.error`.
        """
        at = integer(offset, "offset")
        layout: Format = format_of(fmt)
        check_latch()
        check_alive(self)
        if 0 <= at <= self.count - layout.size and not self.bits & M_EXTPG:
            buf = self.buf
            return layout.unpack(buf.read(self.off + at, layout.size))
        return layout.unpack(_read.excerpt(self, "unpack", at, layout.size, False))

    # Comparing bytes.

    def equals(self, other: Any) -> bool:
        """True if the packet and `other`, an mbuf or a bytes-like object, have the same bytes.

        It makes no difference where their mbufs end; packet headers aren't compared. Nothing is copied, except bytes in
        unmapped pages, and those of a bytes-like object that is no `bytes`.
        """
        return _compare(self, "equals", other) == 0

    def cmp(self, other: Any) -> int:
        """Return -1, 0 or 1: the packet's bytes come before those of `other`, are equal, or come after.

        They are compared as Python compares `bytes`: the first byte that differs decides, then the length. `other` is
        an mbuf or a bytes-like object; copies as `equals`.
        """
        return _compare(self, "cmp", other)

    def startswith(self, prefix: Any) -> bool:
        """True if the packet begins with the bytes of `prefix`, a bytes-like object; copies as `equals`."""
        start = _bytes_of(prefix)
        check_latch()
        return _read.order(self, "startswith", start, True) == 0

    # Writing bytes.

    @cython.locals(at=cython.Py_ssize_t)
    def pack(self, fmt: str, offset: int, *values: Any) -> None:
        """Write values over the bytes from `offset` on, with `fmt` as in `struct`. They may lie in several mbufs.

        Raises `ReadOnly` if one of these mbufs isn't `writable`, `Inval` if there are fewer bytes, and then nothing was
        written; `struct.error`.
        """
        at, data = integer(offset, "offset"), pack_values(fmt, *values)
        check_mutable(self)
        _read.rewrite(self, "pack", at, data)

    # Checksums and searches.

    @cython.locals(at=cython.Py_ssize_t, end=cython.Py_ssize_t)
    def in_cksum(self, len: int = M_COPYALL, skip: int = 0) -> int:
        """Return the Internet checksum (RFC 1071) of the first `len` bytes without the first `skip`.

        `m.pack("!H", off, m.in_cksum())` stores it; the kernel returns it in network byte order. Without `len`, all
        bytes of the packet. Raises `Inval` if there are fewer bytes. See in_cksum_skip.
        """
        at, end = integer(skip, "skip"), integer(len, "len")
        check_latch()
        check_alive(self)
        if end == M_COPYALL:
            end = max(_length(self), at)
        if not 0 <= at <= end:
            raise Inval(f"in_cksum: the first {end} bytes without {at}: give 0 <= skip <= len")
        return _read.in_cksum(self, at, end - at)

    @cython.locals(first=cython.Py_ssize_t, last=cython.Py_ssize_t)
    def find(self, pattern: Any, start: int = 0, end: int | None = None) -> int:
        """Return the offset at which the bytes of `pattern` are first found in bytes `start` to `end`, or -1.

        A match may span mbufs. As in `bytes.find`, a negative number counts from the end, and one past the end is no
        error. Nothing is copied but `pattern`, if it is no `bytes`, the bytes around the ends of mbufs, and those in
        unmapped pages.
        """
        sought, first = _bytes_of(pattern), integer(start, "start")
        last = END if end is None else integer(end, "end")
        check_latch()
        return _read.find(self, sought, first, last)

    @cython.locals(first=cython.Py_ssize_t, last=cython.Py_ssize_t)
    def rfind(self, pattern: Any, start: int = 0, end: int | None = None) -> int:
        """Return the offset at which the bytes of `pattern` are last found in bytes `start` to `end`, or -1.

        As `find`, but the bytes that are searched are copied first, for a chain leads forwards only.
        """
        sought, first = _bytes_of(pattern), integer(start, "start")
        last = END if end is None else integer(end, "end")
        check_latch()
        return _read.rfind(self, sought, first, last)

    def __contains__(self, pattern: Any) -> bool:
        """True if the bytes of `pattern`, a bytes-like object, are found in the packet; see `find`."""
        if isinstance(pattern, Mbuf):
            raise TypeError("in: give bytes, not an mbuf: walk the chain by next to look for an mbuf in it")
        sought = _bytes_of(pattern)
        check_latch()
        return _read.find(self, sought, 0, END) >= 0

    # Text.

    @cython.locals(at=cython.Py_ssize_t, size=cython.Py_ssize_t)
    def hexdump(self, off: int = 0, len: int | None = None) -> str:
        """Return `len` bytes, or all, from `off` on as text: lines of 16 bytes in hexadecimal and ASCII."""
        at = integer(off, "off")
        size = 0 if len is None else integer(len, "len")
        check_latch()
        return "\n".join(rows(_read.excerpt(self, "hexdump", at, size, len is None), at))

    @cython.locals(most=cython.Py_ssize_t)
    def print(self, maxlen: int = -1, file: TextIO | None = None) -> None:
        """Write a description of each mbuf, with at most `maxlen` bytes of data in all (-1: all). See m_print."""
        most = integer(maxlen, "maxlen")
        check_latch()
        check_alive(self)
        if most < -1:
            raise Inval(f"print: {most} bytes: give 0 or more, or -1 for all")
        write_chain(self, _length(self) if most < 0 else most, file)

    # Trimming and joining.

    @cython.locals(n=cython.Py_ssize_t)
    def adj(self, len: int) -> Self:
        """Drop `len` bytes from the front of the packet, or -`len` from its end if negative; return this mbuf.

        If there are fewer, all are dropped. At the front, emptied mbufs stay. At the end, emptied mbufs are freed,
        except the first, and as in the kernel a last one that has exactly these bytes. Never allocates. See m_adj.
        """
        n = integer(len, "len")
        check_mutable(self)
        if 0 <= n < self.count:
            self.off += n
            self.count -= n
            if self.bits & M_PKTHDR:
                add_len(self.hdr, -n)
        elif not -INT_MAX <= n <= INT_MAX:
            raise Inval(f"adj: {n} bytes: give -{INT_MAX} to {INT_MAX}")
        else:
            _trim.adj(self, n)
        return self

    def cat(self, n: Mbuf) -> Self:
        """Add another chain at the end, which is part of this one then; return this mbuf. See m_cat.

        If the bytes of an mbuf fit into the last one, they are copied, and that mbuf is freed. No packet header
        changes: `catpkt` joins packets. Raises `Inval` if the other chain is linked or in a queue already. Never
        allocates.
        """
        check_mutable(self)
        _trim.cat(self, _mbuf(n, "cat"))
        return self

    def catpkt(self, n: Mbuf) -> Self:
        """Add another packet at the end, and its length to this header; return this mbuf. See m_catpkt.

        As `cat`, but the other packet's header is removed: its tags are freed, and the reference to a send tag is
        released; the kernel doesn't release it. Raises `Inval` if one of the two has no header.
        """
        check_mutable(self)
        _trim.catpkt(self, _mbuf(n, "catpkt"))
        return self

    def sanity(self, sanitize: bool = False) -> bool:
        """Return True if the chain is consistent; raise `Inval` with the first fault if it isn't. See m_sanity.

        With `sanitize`, faults are corrected instead: headers inside the chain are removed, next packets inside it are
        freed, and a `pkthdr.len` that isn't the bytes in the mbufs becomes 0.
        """
        mend = bool(sanitize)
        check_latch()
        _trim.sanity(self, mend)
        return True

    # Copying.

    def dupcl(self, m: Mbuf) -> Self:
        """Share the external storage of another mbuf, with the same data; return this mbuf. See mb_dupcl.

        Data inside this mbuf is lost. While the storage is shared, it isn't writable. Raises `Inval` if the other mbuf
        has no external storage, or this one has.
        """
        check_mutable(self)
        _copy.dupcl(self, _mbuf(m, "dupcl"))
        return self

    @cython.locals(wait=cython.int, size=cython.Py_ssize_t, skip=cython.Py_ssize_t)
    def copym(self, off: int = 0, len: int = ALL, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """Return a new chain of `len` bytes from byte `off` on (default: all), which belongs to the caller.

        External storage is shared, so it isn't writable until one mbuf is left; bytes inside mbufs are copied. If `off`
        is 0, the packet header is copied. None for 0 bytes. Raises `NoBufs`, or `Inval` if there are fewer bytes. See
        m_copym.
        """
        skip, wait = integer(off, "off"), check_how(how)
        size = M_COPYALL if len is ALL else integer(len, "len")
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        made: Mbuf | None = _copy.copym(self, skip, size, wait, deadline)
        return made

    @cython.locals(wait=cython.int)
    def copypacket(self, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Return a new packet of the same bytes, which belongs to the caller: `copym` of all. See m_copypacket.

        Bytes inside the first mbuf keep the room before them. Raises `Inval` without a packet header, and `NoBufs`.
        """
        wait = check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        made: Mbuf = _copy.copypacket(self, wait, deadline)
        return made

    @cython.locals(wait=cython.int)
    def dup(self, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """Return a new packet with a copy of all bytes, which is writable and belongs to the caller. See m_dup.

        Raises `NoBufs`, or `Inval` if `pkthdr.len` isn't the bytes in the mbufs, or there is no packet header: put one
        in front with `pool.gethdr().cat(m)`, then call `fixhdr()`.
        """
        wait = check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_latch()
        made: Mbuf = _copy.dup(self, wait, deadline)
        return made

    @cython.locals(keep=cython.Py_ssize_t, wait=cython.int)
    def split(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """Keep `len` bytes; return a new chain of the rest, which belongs to the caller. See m_split.

        If the place is inside an mbuf, both share its external storage, and other bytes are copied. The rest of a
        packet has a header with its length and the interface (or send tag), but no other field. The rest of a chain
        without a header is None if there are no bytes. Raises `NoBufs`, or `Inval` if the chain is shorter.
        """
        keep, wait = integer(len, "len"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        if not 0 <= keep <= INT_MAX:
            raise Inval(f"split at {keep}: give 0 or more, at most the bytes of the chain")
        rest: Mbuf | None = _copy.split(self, keep, wait, deadline)
        return rest

    @cython.locals(wait=cython.int, most=cython.Py_ssize_t)
    def segment(self, size: int, how: int = M_NOWAIT, timeout: float | None = None) -> list[Mbuf]:
        """Cut the packet into packets of `size` bytes; the last may be shorter. Return all of them, this one first.

        They belong to the caller. External storage of an mbuf at a boundary is shared, bytes inside mbufs are copied.
        Each packet has the fields of the header, but the tags stay with the first. Raises `NoBufs`, or `Inval` if
        `pkthdr.len` isn't the bytes in the mbufs. The kernel has no such function; it calls m_split repeatedly.
        """
        most, wait = integer(size, "size"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        if not 0 < most <= INT_MAX:
            raise Inval(f"segment: packets of {most} bytes: give 1 to {INT_MAX}")
        return _segmentation.segment(self, most, wait, deadline)

    # Adding bytes.

    @cython.locals(wait=cython.int, n=cython.Py_ssize_t)
    def prepend(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Add `len` bytes at the front, with undefined contents; return this mbuf. See M_PREPEND and m_prepend.

        They are in the room before the data if it is writable and large enough, else in a new mbuf, which holds 168
        with a packet header and 224 without (`Inval` for more). Raises `NoBufs`; the kernel frees the chain then.
        """
        n = integer(len, "len")
        check_mutable(self)
        if n < 0 or n > self.off - start(self) or (n and not _writable(self)):
            wait = check_how(how)
            _append.prepend(self, n, wait, None if timeout is None else until(wait, timeout))
        else:
            self.off -= n
            self.count += n
            if self.bits & M_PKTHDR:
                add_len(self.hdr, n)
        return self

    def append(self, data: Any) -> Self:
        """Copy bytes to the end of the packet, with new mbufs for those that don't fit; return this mbuf. See m_append.

        Raises `NoBufs`, and then nothing was appended; the kernel keeps what fits. `BufferError` if data isn't a
        contiguous buffer.
        """
        export = export_buffer(data)
        try:
            check_mutable(self)
            _append.append(self, export)
        finally:
            export.release()
        return self

    @cython.locals(skip=cython.Py_ssize_t)
    def copyback(self, off: int, data: Any) -> Self:
        """Write data over the packet from byte `off` on, with new mbufs beyond its end; return this mbuf.

        A gap is filled with zeros. As in the kernel, storage that is shared or marked M_RDONLY is written, too, and all
        its users see that. Raises `NoBufs`, or `ReadOnly` for memory lent for reading only and for unmapped pages, and
        then nothing was written. See m_copyback.
        """
        skip = count(off, "copyback at")
        export = export_buffer(data)
        try:
            check_mutable(self)
            _append.copyback(self, skip, export)
        finally:
            export.release()
        return self

    @cython.locals(at=cython.Py_ssize_t, size=cython.Py_ssize_t)
    def makespace(self, skip: int, hlen: int) -> tuple[Mbuf, int]:
        """Insert `hlen` bytes (0 to 167), with undefined contents, after the first `skip` bytes of the packet.

        Returns the mbuf that has them, and their offset in its data; the packet header counts them. Bytes are moved or
        copied within one mbuf. Raises `NoBufs`, or `Inval` past the end. See m_makespace.
        """
        at, size = count(skip, "makespace at"), integer(hlen, "hlen")
        check_mutable(self)
        return _append.makespace(self, at, size)

    # Contiguous bytes.

    @cython.locals(n=cython.Py_ssize_t)
    def pullup(self, len: int) -> Self:
        """Make the first `len` bytes of the packet contiguous inside this mbuf; return it. See m_pullup.

        `len` is at most 168. If bytes must be moved, up to `max_protohdr` are, even if fewer are needed. Raises
        `NoBufs`, or `Inval` if there are fewer bytes, and then nothing has changed; the kernel frees the chain.
        """
        n = integer(len, "len")
        check_mutable(self)
        _pullup.pullup(self, n)
        return self

    @cython.locals(n=cython.Py_ssize_t, room=cython.Py_ssize_t)
    def copyup(self, len: int, dstoff: int = 0) -> Self:
        """Move the first `len` bytes to a new mbuf in front, with `dstoff` bytes of room before them; return this mbuf.

        Both together are at most 168. Raises as `pullup` does. See m_copyup.
        """
        n, room = integer(len, "len"), integer(dstoff, "dstoff")
        check_mutable(self)
        _pullup.copyup(self, n, room)
        return self

    @cython.locals(n=cython.Py_ssize_t, skip=cython.Py_ssize_t)
    def pulldown(self, off: int, len: int, at_start: bool = False) -> tuple[Mbuf, int]:
        """Make `len` bytes (at most 2048) from byte `off` on contiguous in one mbuf; the bytes before them don't move.

        Returns that mbuf, and their offset in its data, which is 0 with `at_start`. It stays in the chain. Raises
        `NoBufs`, or `Inval` if there are fewer bytes, and then nothing has changed; the kernel frees the chain. See
        m_pulldown.
        """
        skip, n, first = count(off, "pulldown at"), integer(len, "len"), bool(at_start)
        check_mutable(self)
        return _pullup.pulldown(self, skip, n, first)

    # Other mbufs for the same bytes.

    @cython.locals(wait=cython.int)
    def defrag(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Copy the packet to as few new mbufs and clusters as possible; return this mbuf, the first of them.

        `pkthdr.len` becomes the bytes in the mbufs. A chain without a packet header doesn't change. Raises `NoBufs`.
        See m_defrag.
        """
        wait = check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _defrag.defrag(self, wait, deadline)
        return self

    @cython.locals(wait=cython.int)
    def compact(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Copy the packet to as little memory as holds it, if that is less than it keeps now; return this mbuf.

        For a packet that is kept long: a small one that shares a large cluster keeps all of it. Up to 168 bytes take
        one mbuf of 256 bytes afterwards, up to 392 two. A chain without a packet header doesn't change. Raises
        `NoBufs`, and then nothing has changed.
        """
        wait = check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _defrag.compact(self, wait, deadline)
        return self

    @cython.locals(wait=cython.int, size=cython.Py_ssize_t)
    def fragment(self, length: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Copy the packet to new clusters with `length` bytes in each, to test other code; return this mbuf.

        For -1, the length is a random number from 1 to 255; for -2, another one for each cluster. A chain without a
        packet header doesn't change. Raises `NoBufs`, or `Inval` for another length that isn't 1 to 2048. See
        m_fragment.
        """
        size, wait = integer(length, "length"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _defrag.fragment(self, size, wait, deadline)
        return self

    @cython.locals(wait=cython.int, most=cython.Py_ssize_t)
    def collapse(self, maxfrags: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Merge neighbours until the packet has at most `maxfrags` mbufs; return this mbuf. See m_collapse.

        An mbuf of unmapped pages counts once for each page, and for header and trailer. Bytes are copied into the room
        of the mbuf before them, if that has more than they need, as in the kernel; then two mbufs at a time into a new
        cluster, but never the first mbuf. Raises `NoBufs`, or `Inval` if that isn't enough. A packet that already has
        few enough mbufs is merged once more, if that is possible; if it isn't, the kernel fails, and this doesn't.
        """
        most, wait = integer(maxfrags, "maxfrags"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _defrag.collapse(self, most, wait, deadline)
        return self

    @cython.locals(wait=cython.int)
    def unshare(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Replace storage that is shared or read-only by copies, so that bytes can be written; return this mbuf.

        Small mbufs are merged with the one before. As in the kernel, the copy of an mbuf with M_RDONLY has that flag,
        except for unmapped pages. Raises `NoBufs`, and then nothing has changed; the kernel frees the chain. See
        m_unshare.
        """
        wait = check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _defrag.unshare(self, wait, deadline)
        return self

    # Storage.

    def cljset(self, cluster: Cluster) -> Mbuf:
        """Make a raw cluster the storage, which belongs to this mbuf then; return this mbuf. Data inside it is lost.

        Raises `Inval` if it has external storage, and `Freed` for the cluster. See m_cljset.
        """
        check_mutable(self)
        if cluster is None:
            raise Inval("cljset: give a Cluster, from pool.cljget(None, ...)")
        _attach.take_cluster(self, cluster)
        return self

    @cython.locals(bits=cython.Py_ssize_t, kind=cython.Py_ssize_t)
    def extadd(
        self,
        buffer: Any,
        free: Callable[[Any], object] | None = None,
        arg1: Any = None,
        arg2: Any = None,
        flags: int = NONE,
        type: int = DRIVER,
    ) -> Mbuf:
        """Make the memory of an object with a contiguous buffer the storage; return this mbuf. Nothing is copied.

        The object and its buffer are held until the last mbuf that shares them is freed and the last view is released.
        Then `free(m)` is called once, with an mbuf whose `ext` has the object, `arg1` and `arg2`. A read-only buffer is
        never written. `type` is EXT_NET_DRV (default), EXT_MOD_TYPE, EXT_DISPOSABLE, EXT_SFBUF, EXT_RXRING (without
        `free`) or EXT_EXTREF. `flags` of M_COPYFLAGS, such as M_RDONLY, are added. `len` stays, but data inside the
        mbuf is lost. Raises `Inval` if it has external storage, or `len` is more than the memory, and `BufferError`.
        See m_extadd.
        """
        kind = EXT_NET_DRV if type is DRIVER else integer(type, "type")
        bits = 0 if flags is NONE else integer(flags, "flags")
        if free is not None and (kind == EXT_RXRING or not callable(free)):
            raise Inval("extadd: free: give a callable or None, and None for EXT_RXRING")
        _attach.attach_buffer(self, buffer, kind, None, bits, free, arg1, arg2, call_free_routine)
        return self

    def extaddref(
        self,
        buffer: Any,
        refs: RefCount,
        free: Callable[[Any], object] | None = None,
        arg1: Any = None,
        arg2: Any = None,
    ) -> Mbuf:
        """`extadd` of EXT_EXTREF memory, whose uses in all mbufs `refs` counts; return this mbuf. See m_extaddref.

        The last mbuf of all that is freed calls its own `free`.
        """
        if not isinstance(refs, RefCount):
            raise Inval("extaddref: give a RefCount, which counts the uses of this memory")
        if free is not None and not callable(free):
            raise Inval("extaddref: free: give a callable or None")
        _attach.attach_buffer(self, buffer, EXT_EXTREF, refs, 0, free, arg1, arg2, call_free_routine)
        return self

    def detach(self) -> Any:
        """End the use of memory from `extadd`, and return its object; the free routine isn't called.

        The mbuf has no bytes then. Raises `Busy` if another mbuf shares the memory, or there is a view of it, and
        `Inval` for other storage. The kernel has no such function.
        """
        check_mutable(self)
        return _attach.detach(self)

    # Unmapped pages.

    @property
    def epg(self) -> Epg:
        """The m_epg_ fields of an mbuf of unmapped pages, not a copy; `Inval` for another mbuf. See mbuf(9)."""
        check_latch()
        return _extpg.pages_of(self, "epg").epg

    @property
    def tls(self) -> Any:
        """The TLS session of a record in unmapped pages, or None. See mbuf_has_tls_session."""
        check_latch()
        check_alive(self)
        return _extpg.pages_of(self, "tls").tls if self.bits & M_EXTPG else None

    @cython.locals(at=cython.Py_ssize_t)
    def page(self, page: int) -> memoryview:
        """Return a view of a whole page, counted from 0; it keeps the page, and is read-only if that is shared.

        A page of a file is mapped, always read-only, and ends where the file does: `NoBufs` if no window is free.
        Raises `Inval` if there is no such page.
        """
        at = integer(page, "page")
        check_latch()
        return _extpg.view_page(self, at)

    @cython.locals(wait=cython.int, more=cython.Py_ssize_t)
    def addpages(self, n: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Add `n` pages of memory, with undefined contents, to at most 5 in all; return this mbuf. `len` stays.

        Raises `NoMemory`, `Busy` if the pages are shared, or `Inval` for too many, or pages of a file.
        """
        more, wait = integer(n, "n"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        _extpg.addpages(self, more, wait, deadline)
        return self

    def unmapped_to_ext(self) -> Self:
        """Replace unmapped pages in the chain by a read-only mbuf for each page; return this mbuf.

        Only header and trailer are copied; pages of a file are mapped. As in the kernel, the flags of the mbufs of
        unmapped pages are lost. Raises `NoBufs` if there are no mbufs or windows, or `Inval` if an mbuf of unmapped
        pages is empty or has a TLS session, and then nothing has changed. See mb_unmapped_to_ext.
        """
        check_mutable(self)
        _extpg.unmapped_to_ext(self)
        return self

    def unmapped_compress(self) -> Self:
        """Copy the bytes of unmapped pages, at most 224, into the mbuf itself, and free the pages; return this mbuf.

        Raises `Inval` for more bytes, and `Busy` if the pages are shared. See mb_unmapped_compress.
        """
        check_mutable(self)
        _extpg.unmapped_compress(self)
        return self

    @cython.locals(todo=cython.Py_ssize_t)
    def free_notready(self, count: int) -> Mbuf | None:
        """Free the mbufs at the front that wait for `count` reads, which will not complete. See mb_free_notready.

        An mbuf of unmapped pages waits for `epg.nrdy` reads, another mbuf for one. An mbuf is freed when it waits for
        none. Returns the rest of the chain or None, which belongs to the caller. Raises `Inval` if the chain waits for
        fewer.
        """
        todo = integer(count, "count")
        check_mutable(self)
        rest: Mbuf | None = _extpg.free_notready(self, todo)
        return rest

    @cython.locals(wait=cython.int, most=cython.Py_ssize_t, todo=cython.Py_ssize_t)
    def mapped_to_unmapped(
        self, len: int, mlen: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE, how: int = M_NOWAIT, timeout: float | None = None
    ) -> Mbuf | None:
        """Return a copy of `len` bytes of the chain, in mbufs of unmapped pages of up to `mlen` bytes.

        It belongs to the caller; for 0 bytes it is None. As in the kernel, `mlen` is rounded up to pages, and the copy
        ends at the end of an mbuf or a page, so it may have more bytes than `len`. Raises `NoBufs`, `NoMemory`, or
        `Inval` if there are fewer bytes, or they are in unmapped pages already. See mb_mapped_to_unmapped.
        """
        todo, most, wait = integer(len, "len"), integer(mlen, "mlen"), check_how(how)
        deadline = None if timeout is None else until(wait, timeout)
        check_mutable(self)
        made: Mbuf | None = _extpg.mapped_to_unmapped(self, todo, most, wait, deadline)
        return made


def _mbuf(m: Any, verb: str) -> Any:
    """Return an argument that must be an mbuf or None; `TypeError` if it isn't."""
    if m is not None and not isinstance(m, Mbuf):
        raise TypeError(f"{verb}: give an mbuf, not a {type(m).__name__}")
    return m


def _bytes_of(data: Any) -> bytes:
    """Return the bytes of a bytes-like argument; a copy, unless it is a `bytes`."""
    return data if type(data) is bytes else memoryview(data).tobytes()


def _compare(m: Mbuf, verb: str, other: Any) -> int:
    """Return -1, 0 or 1: the packet comes before `other`, an mbuf or bytes-like object, is equal, or comes after."""
    if isinstance(other, Mbuf):
        check_latch()
        return _read.order_chains(m, verb, other)
    data = _bytes_of(other)
    check_latch()
    return _read.order(m, verb, data, False)


def use_whole_storage(m: Mbuf) -> None:
    """Make all bytes of the storage of a live mbuf, from its offset on, its data."""
    m.count = bound(m) - m.off
    if m.bits & M_PKTHDR:
        m.hdr.len = m.count


# Handles.


def wrap(item: MbufItem, buf: Memory, off: int, kind: int, bits: int) -> Mbuf:
    """Return a live handle of an item, with storage `buf`: its last one if nothing refers to that, else a new one.

    It has an empty packet header if `bits` has M_PKTHDR.
    """
    if reusable(item):
        m: Mbuf = cython.cast(Mbuf, item.handle)
        if not bits & M_PKTHDR:
            item.handle = None
        elif m.hdr is not None and not header_shared(m):
            item.handle = None
            reset_header(m.hdr)
        else:
            m = _new_handle(item, m, bits)
    else:
        m = _new_handle(item, cython.cast(Mbuf, None), bits)
    if m.buf is not buf:
        m.buf = buf
    m.off = off
    m.count = 0
    m.kind = kind
    m.bits = bits
    m.alive = True
    return m


def _new_handle(item: MbufItem, m: Any, bits: int) -> Mbuf:
    """Make a handle, or the header of `m`; if there is no memory, the item is given back."""
    try:
        if m is None:
            m = Mbuf.__new__(Mbuf)
            m.item = item
        if bits & M_PKTHDR:
            own_header(m)
    except BaseException:
        item.handle = None
        enter_commit()
        free_item(item)
        leave_commit()
        run_releases()
        raise
    item.handle = None
    fresh: Mbuf = m
    return fresh


def stand_in(item: MbufItem, buf: Memory, off: int, kind: int, bits: int) -> Mbuf:
    """Return an mbuf without bytes for user code to look at, which can't change it; the caller sets `alive` to 0.

    If `bits` has M_PKTHDR, its packet header is empty, and its own.
    """
    m: Mbuf = Mbuf.__new__(Mbuf)
    m.item = item
    m.buf = buf
    m.off = off
    m.kind = kind
    m.bits = bits
    if bits & M_PKTHDR:
        own_header(m)
    m.alive = DOOMED
    return m


def call_free_routine(item: MbufItem, storage: Storage, free: Callable[[Any], object]) -> None:
    """Call a free routine with an mbuf that it can read, in place of the freed owner of the storage."""
    bits = M_EXT if storage.is_contiguous() else M_EXT | M_EXTPG | M_RDONLY
    m = stand_in(item, storage, 0, MT_DATA, bits)
    try:
        run(free, m)
    finally:
        # The caller gives back the item.
        m.alive = 0


if not cython.compiled:

    def identity_hash(m: Mbuf) -> int:
        """Return the hash of an object that is equal only to itself."""
        return object.__hash__(m)

    def reusable(item: MbufItem) -> bool:
        """True if nothing else refers to the item's last handle."""
        return False

    def wrap_item(item: Item, kind: int, bits: int) -> Mbuf:
        """Return a handle of an item of the mbuf zone, which is given back on failure. See mb_ctor_mbuf."""
        return wrap(cython.cast(MbufItem, item), item, MPKTHSIZE if bits & M_PKTHDR else MHSIZE, kind, bits)

    def wrap_packet(item: Item, kind: int, bits: int) -> Mbuf:
        """Return a handle of an item of the packet zone, with its cluster as storage. See mb_ctor_pack."""
        packet = cython.cast(MbufItem, item)
        return wrap(packet, cython.cast(Memory, packet.cluster), 0, kind, bits | M_EXT)

    def _refuse_subclass(cls: Any) -> None:
        raise TypeError("Mbuf can't be subclassed: its pool makes mbufs; keep what you add in an object of your own")

    type.__setattr__(Mbuf, "__init_subclass__", classmethod(_refuse_subclass))
