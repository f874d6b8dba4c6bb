"""The mbuf: what a user holds, with every method of it on this page.

A method converts its arguments, looks at the latch, and calls the function that does the work; what those functions do
is in the modules by topic. A method that frees ends by working off the release list. A handle is made, or used again,
here: none that somebody holds is ever handed out a second time.
"""

from __future__ import annotations

from struct import pack as pack_values
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from mbuf.packet.ext import Ext
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
    M_COPYFLAGS,
    M_EXT,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    MBUF_PEXT_MAX_PGS,
    MHSIZE,
    MPKTHSIZE,
    MT_DATA,
    MT_NOINIT,
    MT_NOTMBUF,
    MTAG_ABI_COMPAT,
    PAGE_SIZE,
)
from mbuf.errors import Inval, ReadOnly
from mbuf.packet import append as _append
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
from mbuf.packet.dump import rows, write_chain
from mbuf.packet.epg import Epg
from mbuf.packet.ext import Storage
from mbuf.packet.external import External, RefCount
from mbuf.packet.flags import flag_names
from mbuf.packet.format import Format
from mbuf.packet.pkthdr import PktHdr
from mbuf.packet.segment import DOOMED, M_STRUCTURE
from mbuf.packet.source import how_of, until
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import MbufItem
from mbuf.vm.ints import INT_MAX, clip, count
from mbuf.vm.loan import loan
from mbuf.vm.page import Memory, pane
from mbuf.vm.unraisable import run

if not cython.compiled:
    from mbuf.packet.chain import (
        attach,
        cut,
        drop,
        headed,
        header_shared,
        last_of,
        own_header,
        release_chain,
        release_now,
        set_next,
        set_nextpkt,
    )
    from mbuf.packet.chain import length as _length
    from mbuf.packet.external import external, freeable
    from mbuf.packet.format import format_of
    from mbuf.packet.pkthdr import add_len, reset_header
    from mbuf.packet.segment import begin, bound, capacity, check_alive, space, start, store
    from mbuf.packet.segment import leading as _leading
    from mbuf.packet.segment import writable as _writable
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import check_latch, enter_commit, leave_commit, settle

#: Defaults as objects: to find that an argument is the default takes no more than a look.
ALL: int = M_COPYALL
DRIVER: int = EXT_NET_DRV
NONE: int = 0


@cython.no_gc
@cython.cclass
class Mbuf(Chain):
    """A network buffer: some bytes of a packet, linked to the next of them.

    Get one from a `Pool`; let it go with `free` (this mbuf) or `freem` (the packet from here on), or just
    drop it. Freed, it raises `Freed` whatever is asked of it. The kernel's names (`m.len`, `m.next`) speak of
    this mbuf, Python's protocols (`len(m)`, `bytes(m)`, `iter(m)`) of the packet from here on.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("an mbuf comes from a pool: pool.getcl(), pool.get(), ...")

    # Letting go.

    def free(self) -> Mbuf | None:
        """Free this mbuf alone; returns the next one, which is then the caller's. See m_free."""
        begin(self)
        if self.item.home.probes.on:
            return self._free_probed()
        n: Mbuf | None = None
        enter_commit()
        if self._next is not None:
            n = cut(self)
        release_now(self)
        leave_commit()
        settle()
        return n

    def _free_probed(self) -> Mbuf | None:
        """`free`, and probes are told first."""
        failure: BaseException | None = None
        self.alive = DOOMED
        try:
            self.item.home.probes.fire("m-free", self)
        except BaseException as error:  # what ends a program; raised below, when all is free
            failure = error
        enter_commit()
        n: Mbuf | None = cut(self)
        if self.alive:
            release_now(self)
        leave_commit()
        settle()
        if failure is not None:
            raise failure
        return n

    def freem(self) -> None:
        """Free the packet from here on: this mbuf and all linked by `next`. See m_freem."""
        begin(self)
        if self.item.home.probes.on:
            self._freem_probed()
            return
        enter_commit()
        release_chain(self)
        leave_commit()
        settle()

    def _freem_probed(self) -> None:
        """`freem`, and probes are told. All is freed, whatever they raise."""
        failure: BaseException | None = None
        try:
            self.item.home.probes.fire("m-freem", self)
        except BaseException as error:  # what ends a program; raised below, when all is free
            failure = error
        if failure is None:
            begin(self)
        enter_commit()
        release_chain(self)
        leave_commit()
        try:
            settle()
        finally:
            if failure is not None:
                raise failure

    def __enter__(self) -> Mbuf:
        begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the packet, if that wasn't done inside."""
        if self.alive:
            self.freem()

    def __del__(self) -> None:
        if self.alive:
            drop(self)

    def __reduce__(self) -> Any:
        raise TypeError("an mbuf can't be pickled or copied: it is memory of its pool; use bytes(m) or m.copypacket()")

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

    # What is known of this mbuf.

    @property
    def size(self) -> int:
        """Bytes of the storage. See M_SIZE."""
        check_latch()
        check_alive(self)
        return capacity(self)

    @property
    def offset(self) -> int:
        """Bytes between the start of the storage and the data."""
        check_latch()
        check_alive(self)
        return self.off - start(self)

    @property
    def writable(self) -> bool:
        """True when the bytes may be written: neither read-only nor shared. See M_WRITABLE."""
        check_latch()
        check_alive(self)
        return _writable(self)

    @property
    def leading(self) -> int:
        """Bytes that can be added in front of the data. See M_LEADINGSPACE."""
        check_latch()
        check_alive(self)
        return _leading(self)

    @property
    def trailing(self) -> int:
        """Bytes that can be added after the data. See M_TRAILINGSPACE."""
        check_latch()
        check_alive(self)
        return space(self)

    @property
    def len(self) -> int:
        """Bytes of data in this mbuf; `len(m)` is the packet's. Set it to any part of the storage's rest."""
        check_latch()
        check_alive(self)
        return self.count

    @len.setter
    @cython.locals(most=cython.Py_ssize_t, near=cython.Py_ssize_t)
    def len(self, count: int) -> None:
        near = clip(count)
        check_latch()
        check_alive(self)
        most = bound(self) - self.off
        if not 0 <= near <= most:
            raise Inval(f"len {near}: this mbuf can have 0 to {most} bytes from its offset on")
        self.count = near

    @property
    def flags(self) -> int:
        """M_EXT, M_PKTHDR, ... Those that say how the mbuf is built can't be set by hand."""
        check_latch()
        check_alive(self)
        return self.bits

    @flags.setter
    @cython.locals(near=cython.Py_ssize_t)
    def flags(self, bits: int) -> None:
        near = clip(bits)
        begin(self)
        if not 0 <= near < 1 << 24:
            raise Inval(f"flags {near:#x}: they have 24 bits")
        if (near ^ self.bits) & M_STRUCTURE:
            raise Inval(f"flags {near:#x}: M_EXT, M_PKTHDR, M_EXTPG and M_NOFREE follow the storage: leave them be")
        self.bits = near

    @property
    def type(self) -> int:
        """MT_DATA, ..."""
        check_latch()
        check_alive(self)
        return self.kind

    @cython.locals(kind=cython.Py_ssize_t)
    def chtype(self, type: int) -> Self:
        """Be of another type from now on: an MT_ number from 1 to 254. See m_chtype."""
        kind = clip(type)
        begin(self)
        if not MT_NOTMBUF < kind < MT_NOINIT:
            raise Inval(f"chtype {kind}: give MT_DATA or another MT_ number from 1 to 254")
        self.kind = kind
        return self

    @property
    def ext(self) -> Ext | None:
        """What the external storage is at this moment; None when the data is in the mbuf itself."""
        check_latch()
        check_alive(self)
        return store(self).describe(self.item) if self.bits & M_EXT else None

    @property
    def refcnt(self) -> int:
        """Mbufs that share the external storage. See m_extrefcnt."""
        check_latch()
        check_alive(self)
        if not self.bits & M_EXT:
            raise Inval("this mbuf has no external storage to count references of")
        return store(self).counted()

    @property
    def data(self) -> memoryview:
        """The bytes of this mbuf, for reading only if they are not `writable`. See mtod.

        A view keeps the memory: freed meanwhile, it goes back to its zone when the view is released.
        """
        check_latch()
        check_alive(self)
        if self.bits & M_EXTPG:
            raise Inval("the bytes are in unmapped pages, not in a row: iterate, copydata(), or unmapped_to_ext()")
        return pane(self.buf, self.off, self.count, not _writable(self))

    @property
    def room(self) -> memoryview:
        """The `trailing` bytes, to be written; then `grow(n)` by as many as were. Raises `ReadOnly`."""
        check_latch()
        check_alive(self)
        if not _writable(self):
            raise ReadOnly("the storage is shared or read-only, so there is no room to write to")
        return pane(self.buf, self.off + self.count, space(self), False)

    @cython.locals(first=cython.Py_ssize_t, most=cython.Py_ssize_t, room=cython.Py_ssize_t)
    def align(self, count: int) -> None:
        """Move the empty data to the end of the storage, so that `count` bytes fit. See m_align."""
        room = clip(count)
        begin(self)
        first = start(self)
        if self.off != first or self.bits & M_EXTPG:
            raise Inval("align: the data must be at the start of the storage")
        most = capacity(self)
        if not 0 <= room <= most:
            raise Inval(f"align: {room} bytes don't fit; the storage has {most}")
        if room < self.count:
            raise Inval(f"align: {room} bytes: {self.count} are in it; align an mbuf before it is filled")
        self.off = first + ((most - room) & ~7)

    @cython.locals(more=cython.Py_ssize_t, most=cython.Py_ssize_t)
    def grow(self, count: int) -> None:
        """Count `count` bytes written to `room` as data, here and in the packet header."""
        more = clip(count)
        begin(self)
        most = space(self)
        if not 0 <= more <= most:
            raise Inval(f"grow: {more} bytes; there is room for 0 to {most}")
        self.count += more
        if self.bits & M_PKTHDR:
            add_len(self.hdr, more)

    @cython.locals(first=cython.Py_ssize_t, more=cython.Py_ssize_t)
    def fill(self, data: Any, start: int, count: int) -> None:
        """Copy `count` bytes of data, from its byte `start`, to the end of this mbuf, as a card would.

        They must be in data, and fit in `room`. The packet header, if this mbuf has it, counts them too.
        """
        first, more = clip(start), clip(count)
        lent = loan(data)
        try:
            begin(self)
            most = space(self)
            if not 0 <= more <= most:
                raise Inval(f"fill: {more} bytes; there is room for 0 to {most}")
            if not 0 <= first <= lent.size - more:
                raise Inval(f"fill: data has no {more} bytes at {first}")
            enter_commit()
            self.buf.store(self.off + self.count, lent, first, more)
            self.count += more
            if self.bits & M_PKTHDR:
                add_len(self.hdr, more)
            leave_commit()
        finally:
            lent.release()

    # Links.

    @property
    def next(self) -> Mbuf | None:
        """The next mbuf of the packet. Set, it links another chain there, which is then part of this one.

        An mbuf has one holder: linked already, or in a queue, it raises `Inval`, as does a chain that leads back here.
        See also `insert`, `remove` and `unlink`.
        """
        check_latch()
        check_alive(self)
        n: Mbuf | None = self._next
        return n

    @next.setter
    def next(self, m: Mbuf | None) -> None:
        begin(self)
        set_next(self, _mbuf(m, "next"))

    @property
    def nextpkt(self) -> Mbuf | None:
        """The first mbuf of the next packet, or None. What is said of `next` is so here too."""
        check_latch()
        check_alive(self)
        n: Mbuf | None = self._nextpkt
        return n

    @nextpkt.setter
    def nextpkt(self, m: Mbuf | None) -> None:
        begin(self)
        set_nextpkt(self, _mbuf(m, "nextpkt"))

    def length(self) -> int:
        """Bytes in all mbufs of the packet from here on. See m_length."""
        check_latch()
        check_alive(self)
        return _length(self)

    def last(self) -> Mbuf:
        """The last mbuf of the packet. See m_last."""
        check_latch()
        check_alive(self)
        found: Mbuf = last_of(self)
        return found

    @cython.locals(at=cython.Py_ssize_t, may=cython.int)
    def insert(self, off: int, chain: Mbuf, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Put another chain in after byte `off` of the packet, which counts its bytes; it is part of this one then.

        Headers of the other chain go. Inside an mbuf, its storage is shared, or up to 224 bytes are copied, which
        takes an mbuf. Raises `NoBufs`, and then nothing has changed.
        """
        at, may = clip(off), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _splice.insert(self, at, _mbuf(chain, "insert"), may, deadline)
        return self

    @cython.locals(at=cython.Py_ssize_t, may=cython.int, size=cython.Py_ssize_t)
    def remove(self, off: int, n: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Drop `n` bytes from byte `off` of the packet on; mbufs that are emptied stay, as with `adj`.

        Out of the middle of one mbuf, what comes after them is moved, or if it is shared or read-only, gets an mbuf of
        its own. Raises `NoBufs`, or `Inval` if there are fewer bytes, and then nothing has changed.
        """
        at, size, may = clip(off), clip(n), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _splice.remove(self, at, size, may, deadline)
        return self

    def unlink(self, n: Mbuf) -> Mbuf:
        """Take one mbuf out of the chain after this one; it is the caller's. The packet header counts its bytes off."""
        begin(self)
        _trim.unlink(self, _mbuf(n, "unlink"))
        return n

    # Packet header and tags.

    @property
    def pkthdr(self) -> PktHdr:
        """The packet header; only an mbuf with M_PKTHDR has one."""
        check_latch()
        return headed(self)

    def fixhdr(self) -> int:
        """Set the packet header's len to the bytes that there are; returns them. See m_fixhdr."""
        begin(self)
        return _header.fixhdr(self)

    def demote_pkthdr(self) -> Self:
        """Have no packet header any more: its tags are freed, a send tag is let go of. See m_demote_pkthdr.

        The kernel forgets the send tag's reference. Where the header was is leading space then.
        """
        begin(self)
        _header.demote_pkthdr(self)
        return self

    @cython.locals(keep=cython.Py_ssize_t)
    def demote(self, all: bool = False, flags: int = 0) -> Self:
        """Make the mbufs after this one (with `all`, this one too) mere parts of a packet. See m_demote.

        They lose their headers, and the flags but for those that say how they are built and `flags`.
        """
        keep = clip(flags)
        whole = bool(all)
        begin(self)
        if not 0 <= keep < 1 << 24:
            raise Inval(f"demote: flags {keep}: they have 24 bits")
        _header.demote(self, whole, keep)
        return self

    def clrprotoflags(self) -> Self:
        """Clear the flags M_PROTO1 to M_PROTO11 of the mbufs from here on. See m_clrprotoflags."""
        begin(self)
        _header.clrprotoflags(self)
        return self

    def move_pkthdr(self, from_: Mbuf) -> Self:
        """Take over the packet header of another mbuf, tags and all. See m_move_pkthdr.

        A header that was here goes. The data of an mbuf without external storage begins behind the header
        then, whatever bytes are there.
        """
        begin(self)
        _header.move_pkthdr(self, _mbuf(from_, "move_pkthdr"))
        return self

    @cython.locals(may=cython.int)
    def dup_pkthdr(self, from_: Mbuf, how: int = M_NOWAIT) -> Self:
        """Have a packet header like another mbuf's, with copies of its tags. See m_dup_pkthdr.

        What `move_pkthdr` says of the data is so here too. Raises `NoBufs` when there is no memory for the
        tags, and then nothing has changed.
        """
        may = how_of(how)
        begin(self)
        _header.dup_pkthdr(self, _mbuf(from_, "dup_pkthdr"), may)
        return self

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The packet's tags, first to last."""
        check_latch()
        return _header.tags_of(self)

    def tag_prepend(self, tag: Tag) -> Self:
        """Put a tag before the packet's others; it is the packet's then. See m_tag_prepend."""
        begin(self)
        _header.tag_prepend(self, tag)
        return self

    def tag_unlink(self, tag: Tag) -> Self:
        """Take a tag out; it is the caller's then. See m_tag_unlink."""
        begin(self)
        _header.some_tags(self).unlink(tag)
        return self

    def tag_delete(self, tag: Tag) -> Self:
        """Take a tag out and free it. See m_tag_delete."""
        begin(self)
        _header.some_tags(self).delete(tag)
        return self

    def tag_delete_chain(self, tag: Tag | None = None) -> Self:
        """Take out and free a tag and all after it; without one, all. See m_tag_delete_chain."""
        begin(self)
        tags = _header.some_tags(self)
        if tag is not None or tags.count:
            tags.delete_chain(tag)
        return self

    def tag_delete_nonpersistent(self) -> Self:
        """Take out and free the tags whose id lacks MTAG_PERSISTENT. See m_tag_delete_nonpersistent."""
        begin(self)
        _header.some_tags(self).delete_nonpersistent()
        return self

    @cython.locals(id=cython.Py_ssize_t, near=cython.Py_ssize_t)
    def tag_locate(self, cookie: int, type: int, tag: Tag | None = None) -> Tag | None:
        """The first tag with this cookie and id, after `tag` if that is given; None if there is none.

        See m_tag_locate.
        """
        near, id = clip(cookie), clip(type)
        check_latch()
        return _header.some_tags(self).locate(near, id, tag)

    @cython.locals(id=cython.Py_ssize_t)
    def tag_find(self, type: int, tag: Tag | None = None) -> Tag | None:
        """`tag_locate` of cookie MTAG_ABI_COMPAT. See m_tag_find."""
        id = clip(type)
        check_latch()
        return _header.some_tags(self).locate(MTAG_ABI_COMPAT, id, tag)

    @cython.locals(may=cython.int)
    def tag_copy_chain(self, from_: Mbuf, how: int = M_NOWAIT) -> Self:
        """Have copies of another packet's tags instead of those here. See m_tag_copy_chain.

        Raises `NoBufs` when there is no memory for them, and then nothing has changed.
        """
        may = how_of(how)
        begin(self)
        _header.tag_copy_chain(self, _mbuf(from_, "tag_copy_chain"), may)
        return self

    # Bytes, out.

    def __len__(self) -> int:
        check_latch()
        check_alive(self)
        return _length(self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[memoryview]:
        """One memoryview for each mbuf that has data; of unmapped pages, for each piece of them."""
        check_latch()
        return iter(_read.views(self))

    def __bytes__(self) -> bytes:
        """A copy of all bytes of the packet."""
        check_latch()
        check_alive(self)
        return _read.excerpt(self, "bytes", 0, 0, True)

    @cython.locals(at=cython.Py_ssize_t, left=cython.Py_ssize_t)
    def copydata(self, off: int, len: int) -> bytes:
        """A copy of `len` bytes from byte `off` of the packet on. See m_copydata."""
        at, left = clip(off), clip(len)
        check_latch()
        return _read.excerpt(self, "copydata", at, left, False)

    @cython.locals(at=cython.Py_ssize_t)
    def copyinto(self, buffer: Any, off: int = 0) -> int:
        """Copy the packet, from byte `off` on, into a writable buffer, as far as it goes; how many bytes went.

        See m_mbuftouio.
        """
        at = clip(off)
        view = memoryview(buffer)
        # (The compiler's `with` crashes where memory runs out.)
        try:
            if view.readonly or not view.c_contiguous:
                raise BufferError("copyinto: give a buffer that can be written, and lies in one piece")
            check_latch()
            return _read.copyinto(self, view, at, view.nbytes)
        finally:
            view.release()

    @cython.locals(at=cython.Py_ssize_t, left=cython.Py_ssize_t)
    def apply(self, off: int, len: int, fn: Callable[[memoryview], Any]) -> Any:
        """Call fn with a view of each piece of `len` bytes from byte `off` on; its first true result, or 0.

        An mbuf without bytes between two pieces is a piece of none; bytes in unmapped pages are copied into one.
        See m_apply.
        """
        at, left = clip(off), clip(len)
        check_latch()
        return _read.apply(self, at, left, fn)

    @cython.locals(at=cython.Py_ssize_t)
    def getptr(self, loc: int) -> tuple[Mbuf, int]:
        """The mbuf with byte `loc` of the packet, and where in its data that is. See m_getptr.

        The end of the packet is the end of its last mbuf.
        """
        at = clip(loc)
        check_latch()
        return _read.getptr(self, at)

    @cython.locals(at=cython.Py_ssize_t)
    @cython.locals(at=cython.Py_ssize_t, layout=Format)
    def unpack(self, fmt: str, offset: int = 0) -> tuple[Any, ...]:
        """The values that bytes from `offset` on hold; `fmt` as in `struct`. They may lie in several mbufs."""
        at = clip(offset)
        layout: Format = format_of(fmt)
        check_latch()
        check_alive(self)
        if 0 <= at <= self.count - layout.size and not self.bits & M_EXTPG:
            return layout.unpack(self.buf.read(self.off + at, layout.size))
        return layout.unpack(_read.excerpt(self, "unpack", at, layout.size, False))

    # Bytes, in.

    @cython.locals(at=cython.Py_ssize_t)
    def pack(self, fmt: str, offset: int, *values: Any) -> None:
        """Write values over the bytes from `offset` on; `fmt` as in `struct`. They may lie in several mbufs.

        Raises `ReadOnly` when one of those is shared or read-only, and then nothing was written.
        """
        at, data = clip(offset), pack_values(fmt, *values)
        begin(self)
        _read.rewrite(self, "pack", at, data)

    # Bytes, looked through.

    @cython.locals(at=cython.Py_ssize_t, end=cython.Py_ssize_t)
    def in_cksum(self, len: int = M_COPYALL, skip: int = 0) -> int:
        """The Internet checksum of the first `len` bytes but for `skip`: pack("!H", off, ...) puts it right.

        A number, whose upper byte goes first: the kernel's is the one that its machine stores that way. See
        in_cksum_skip.
        """
        at, end = clip(skip), clip(len)
        check_latch()
        check_alive(self)
        if end == M_COPYALL:
            end = max(_length(self), at)
        if not 0 <= at <= end:
            raise Inval(f"in_cksum: {end} bytes, {at} of them skipped: that leaves none to look at")
        return _read.in_cksum(self, at, end - at)

    def find(self, pattern: Any, start: int = 0) -> int:
        """Where the bytes of `pattern` are first found from `start` on, or -1. They may lie across mbufs."""
        sought, at = memoryview(pattern).tobytes(), clip(start)
        check_latch()
        return _read.find(self, sought, at)

    # Bytes, shown.

    @cython.locals(at=cython.Py_ssize_t, size=cython.Py_ssize_t)
    def hexdump(self, off: int = 0, len: int | None = None) -> str:
        """The bytes from `off` on as text: 16 to a line, in hexadecimal and as far as they are ASCII."""
        at = clip(off)
        size = 0 if len is None else clip(len)
        check_latch()
        return "\n".join(rows(_read.excerpt(self, "hexdump", at, size, len is None), at))

    @cython.locals(most=cython.Py_ssize_t)
    def print(self, maxlen: int = -1, file: TextIO | None = None) -> None:
        """Write what each mbuf of the packet is, with at most `maxlen` bytes of data in all. See m_print."""
        most = clip(maxlen)
        check_latch()
        check_alive(self)
        if most < -1:
            raise Inval(f"print: {most} bytes; give a number, or -1 for all")
        write_chain(self, _length(self) if most < 0 else most, file)

    # Cut and joined.

    @cython.locals(n=cython.Py_ssize_t)
    def adj(self, len: int) -> Self:
        """Drop `len` bytes from the front of the packet, or from its end if `len` is negative. See m_adj.

        More than there are drops all. From the front, mbufs are emptied and stay; from the end, those
        that are wholly cut off are freed, but one that is emptied exactly stays, as in the kernel.
        """
        n = clip(len)
        begin(self)
        if 0 <= n < self.count:
            self.off += n
            self.count -= n
            if self.bits & M_PKTHDR:
                add_len(self.hdr, -n)
        elif not -INT_MAX <= n <= INT_MAX:
            raise Inval(f"adj: {n} bytes: give at most {INT_MAX}, either way")
        else:
            _trim.adj(self, n)
        return self

    def cat(self, n: Mbuf) -> Self:
        """Add another chain at the end, which is part of this one from then on. See m_cat.

        Bytes that fit into the last mbuf are copied, and the mbuf that they were in freed. No packet
        header changes: `catpkt` joins packets. `Inval` where the other is linked, or in a queue, already.
        """
        begin(self)
        _trim.cat(self, _mbuf(n, "cat"))
        return self

    def catpkt(self, n: Mbuf) -> Self:
        """Add another packet at the end; its header goes. See m_catpkt.

        A send tag of the other packet is let go of, where the kernel forgets it.
        """
        begin(self)
        _trim.catpkt(self, _mbuf(n, "catpkt"))
        return self

    def sanity(self, sanitize: bool = False) -> bool:
        """Find what is wrong with a chain: `Inval` says what, and True that nothing is. See m_sanity.

        With `sanitize`, what is wrong is put right instead: headers and next packets inside the chain go,
        and a packet's len that isn't its mbufs' becomes 0.
        """
        mend = bool(sanitize)
        check_latch()
        _trim.sanity(self, mend)
        return True

    # Copies.

    def dupcl(self, m: Mbuf) -> Self:
        """Share the external storage of another mbuf, and show the same bytes of it. See mb_dupcl.

        What this mbuf held in itself is gone. While the storage is shared, nobody may write to it.
        """
        begin(self)
        _copy.dupcl(self, _mbuf(m, "dupcl"))
        return self

    @cython.locals(may=cython.int, size=cython.Py_ssize_t, skip=cython.Py_ssize_t)
    def copym(self, off: int = 0, len: int = ALL, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """A new chain of `len` bytes from byte `off` on, by default of all. See m_copym.

        External storage is shared, and read-only for all who share it; bytes inside mbufs are copied. The
        packet header is copied if `off` is 0. None if no byte is asked for. Raises `NoBufs`, and then
        nothing has changed.
        """
        skip, may = clip(off), how_of(how)
        size = M_COPYALL if len is ALL else clip(len)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        made: Mbuf | None = _copy.copym(self, skip, size, may, deadline)
        return made

    @cython.locals(may=cython.int)
    def copypacket(self, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """A new packet of the same bytes: `copym` of all that keeps the room before them. See m_copypacket."""
        may = how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        made: Mbuf = _copy.copypacket(self, may, deadline)
        return made

    @cython.locals(may=cython.int)
    def dup(self, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf:
        """A new packet of the same bytes, copied, so that they can be written. See m_dup.

        Raises `NoBufs`, and then nothing has changed; `Inval` if the header's len isn't the mbufs', or if there is no
        packet header: put one in front first, pool.gethdr().cat(m), then fixhdr().
        """
        may = how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        check_latch()
        made: Mbuf = _copy.dup(self, may, deadline)
        return made

    @cython.locals(keep=cython.Py_ssize_t, may=cython.int)
    def split(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Mbuf | None:
        """Keep `len` bytes; returns a new chain of the rest, which is the caller's. See m_split.

        External storage that is cut through is shared by both. A packet's rest has a header with length
        and interface (or send tag), nothing else of it. None if there is no rest of a chain without a
        header. Raises `NoBufs`, or `Inval` if the chain is shorter, and then nothing has changed.
        """
        keep, may = clip(len), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        if not 0 <= keep <= INT_MAX:
            raise Inval(f"split at {keep}: give a number of bytes from 0 on")
        rest: Mbuf | None = _copy.split(self, keep, may, deadline)
        return rest

    @cython.locals(may=cython.int, most=cython.Py_ssize_t)
    def segment(self, size: int, how: int = M_NOWAIT, timeout: float | None = None) -> list[Mbuf]:
        """Cut the packet into packets of `size` bytes, the last of what is left; all of them, this one first.

        They are the caller's. External storage that is cut through is shared, bytes inside mbufs are copied.
        Each has the header's fields, but the tags stay with the first. Raises `NoBufs`, or `Inval` if the
        header's len isn't the mbufs', and then nothing has changed. As m_split would, again and again.
        """
        most, may = clip(size), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        if not 0 < most <= INT_MAX:
            raise Inval(f"segment: packets of {most} bytes: give 1 to {INT_MAX}")
        return _segmentation.segment(self, most, may, deadline)

    # Longer.

    @cython.locals(may=cython.int, n=cython.Py_ssize_t)
    def prepend(self, len: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have `len` bytes more at the front, whatever is in them. See M_PREPEND and m_prepend.

        In the room before the data if it has that many, else in a new mbuf, which holds 168 with a packet
        header and 224 without. Raises `NoBufs`, and then nothing has changed; the kernel frees the chain.
        """
        n = clip(len)
        begin(self)
        if n < 0 or n > self.off - start(self) or (n and not _writable(self)):
            may = how_of(how)
            _append.prepend(self, n, may, None if timeout is None else until(may, timeout))
        else:
            self.off -= n
            self.count += n
            if self.bits & M_PKTHDR:
                add_len(self.hdr, n)
        return self

    def append(self, data: Any) -> Self:
        """Copy bytes to the end of the packet, adding mbufs for what doesn't fit. See m_append.

        Raises `NoBufs`, and then nothing was appended; the kernel keeps what fitted.
        """
        lent = loan(data)
        try:
            begin(self)
            _append.append(self, lent)
        finally:
            lent.release()
        return self

    @cython.locals(skip=cython.Py_ssize_t)
    def copyback(self, off: int, data: Any) -> Self:
        """Write data over the packet from byte `off` on, adding mbufs for what is beyond its end. See m_copyback.

        A gap is filled with zeros. Bytes are written even where storage is shared or marked M_RDONLY, as in
        the kernel: all who share it see them. Raises `NoBufs`, and then nothing was written; `ReadOnly`
        where memory was lent for reading only, or is unmapped pages.
        """
        skip = count(off, "copyback at")
        lent = loan(data)
        try:
            begin(self)
            _append.copyback(self, skip, lent)
        finally:
            lent.release()
        return self

    @cython.locals(at=cython.Py_ssize_t, size=cython.Py_ssize_t)
    def makespace(self, skip: int, hlen: int) -> tuple[Mbuf, int]:
        """Make room for `hlen` bytes, fewer than 168, after the first `skip` bytes of the packet.

        Returns the mbuf that has them, and where in it they begin; the packet counts them. Raises `NoBufs`,
        and then nothing has changed. See m_makespace.
        """
        at, size = count(skip, "makespace at"), clip(hlen)
        begin(self)
        return _append.makespace(self, at, size)

    # Brought together.

    @cython.locals(n=cython.Py_ssize_t)
    def pullup(self, len: int) -> Self:
        """Have the first `len` bytes of the packet, at most 168, in this mbuf, inside it. See m_pullup.

        Up to `max_protohdr` bytes come along. Raises `NoBufs`, or `Inval` if there are fewer bytes, and
        then nothing has changed; the kernel frees the chain.
        """
        n = clip(len)
        begin(self)
        _pullup.pullup(self, n)
        return self

    @cython.locals(n=cython.Py_ssize_t, room=cython.Py_ssize_t)
    def copyup(self, len: int, dstoff: int = 0) -> Self:
        """Have the first `len` bytes in a new mbuf in front, with `dstoff` bytes of room before them.

        Both together at most 168. Raises like `pullup`. See m_copyup.
        """
        n, room = clip(len), clip(dstoff)
        begin(self)
        _pullup.copyup(self, n, room)
        return self

    @cython.locals(n=cython.Py_ssize_t, skip=cython.Py_ssize_t)
    def pulldown(self, off: int, len: int, at_start: bool = False) -> tuple[Mbuf, int]:
        """Have `len` bytes from byte `off` on, at most 2048, in one mbuf; what is before them stays put.

        Returns that mbuf, and where in its data they begin: at 0 with `at_start`. Raises `NoBufs`, or
        `Inval` if there are fewer bytes, and then nothing has changed; the kernel frees the chain. See
        m_pulldown.
        """
        skip, n, first = count(off, "pulldown at"), clip(len), bool(at_start)
        begin(self)
        return _pullup.pulldown(self, skip, n, first)

    # Laid out anew.

    @cython.locals(may=cython.int)
    def defrag(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in as few mbufs and clusters as it needs, all new. See m_defrag.

        The header's len becomes what there is. A chain without a header is left alone. Raises `NoBufs`,
        and then nothing has changed.
        """
        may = how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _defrag.defrag(self, may, deadline)
        return self

    @cython.locals(may=cython.int, size=cython.Py_ssize_t)
    def fragment(self, length: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in new clusters of `length` bytes each; to try code on. See m_fragment.

        With -1 the length is chosen at random, from 1 to 255, with -2 it is chosen anew for each cluster. A
        chain without a header is left alone. Raises `NoBufs`, and then nothing has changed.
        """
        size, may = clip(length), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _defrag.fragment(self, size, may, deadline)
        return self

    @cython.locals(may=cython.int, most=cython.Py_ssize_t)
    def collapse(self, maxfrags: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have the packet in at most `maxfrags` mbufs, by merging neighbours. See m_collapse.

        An mbuf of unmapped pages counts as many times as it has pages, header and trailer.
        First into the room that there is, which must be more than the neighbour's bytes, as in the kernel; then two by
        two into new clusters; the first mbuf stays. Raises `NoBufs`, or `Inval` if that isn't enough, and then nothing
        has changed. If there are no more to begin with, two are merged all the same if they can be; if not, the kernel
        fails, and we don't.
        """
        most, may = clip(maxfrags), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _defrag.collapse(self, most, may, deadline)
        return self

    @cython.locals(may=cython.int)
    def unshare(self, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have all bytes writable: storage that is shared or read-only is replaced by copies. See m_unshare.

        Small neighbours are merged on the way. A copy of what was marked M_RDONLY is so marked again, as
        in the kernel. Raises `NoBufs`, and then nothing has changed; the kernel frees the chain.
        """
        may = how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _defrag.unshare(self, may, deadline)
        return self

    # Storage.

    def cljset(self, cluster: Cluster) -> Mbuf:
        """Hold data in a raw cluster from now on, which is taken over. See m_cljset."""
        begin(self)
        if cluster is None:
            raise Inval("cljset: give a cluster, from pool.cljget(None, ...)")
        _take_cluster(self, cluster)
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
        """Hold data in somebody's memory from now on: any object with a buffer, in one piece. See m_extadd.

        The object is kept, and its buffer held in place, until the last mbuf that shares it lets go and
        nobody looks at the bytes; then `free(m)` is called once, with an mbuf whose `ext` still tells of it.
        Memory that is for reading only is never written. `type` is EXT_NET_DRV, EXT_MOD_TYPE, EXT_DISPOSABLE,
        EXT_SFBUF, EXT_RXRING (without `free`) or EXT_EXTREF. What the mbuf held in itself is gone.
        """
        kind = EXT_NET_DRV if type is DRIVER else clip(type)
        bits = 0 if flags is NONE else clip(flags)
        if free is not None and (kind == EXT_RXRING or not callable(free)):
            raise Inval("extadd: free must be a function to call, or None; a receive ring has none")
        adopt(self, buffer, kind, None, bits, free, arg1, arg2)
        return self

    def extaddref(
        self,
        buffer: Any,
        refs: RefCount,
        free: Callable[[Any], object] | None = None,
        arg1: Any = None,
        arg2: Any = None,
    ) -> Mbuf:
        """`extadd` of memory whose uses `refs` counts, in as many mbufs as you like. See m_extaddref.

        When the last of them all lets go, the routine that was given with it is called.
        """
        if not isinstance(refs, RefCount):
            raise Inval("extaddref: give the RefCount that counts the uses of this memory")
        if free is not None and not callable(free):
            raise Inval("extaddref: free must be a function to call, or None")
        adopt(self, buffer, EXT_EXTREF, refs, 0, free, arg1, arg2)
        return self

    def detach(self) -> Any:
        """Give somebody's memory back to the caller, who gets the object; no routine is called.

        The mbuf holds no bytes then. Raises `Busy` while another mbuf shares the memory or somebody looks
        at it.
        """
        begin(self)
        return _detach(self)

    # Unmapped pages.

    @property
    def epg(self) -> Epg:
        """What an mbuf of unmapped pages knows of itself: the m_epg_ fields."""
        check_latch()
        return _extpg.pages_of(self, "epg").epg

    @property
    def tls(self) -> Any:
        """The TLS session whose record the unmapped pages are, or None. See mbuf_has_tls_session."""
        check_latch()
        check_alive(self)
        return _extpg.pages_of(self, "tls").tls if self.bits & M_EXTPG else None

    @cython.locals(at=cython.Py_ssize_t)
    def page(self, page: int) -> memoryview:
        """A view of a whole page, counted from 0, which keeps it; for reading only if others may see it too.

        That of a file is as long as what the file has of it, and is mapped: `NoBufs` when no window is left.
        """
        at = clip(page)
        check_latch()
        return _extpg.view_page(self, at)

    @cython.locals(may=cython.int, more=cython.Py_ssize_t)
    def addpages(self, n: int, how: int = M_NOWAIT, timeout: float | None = None) -> Self:
        """Have `n` pages of memory more, at most 5 in all, with anything in them; `len` stays.

        Raises `NoMemory`, or `Busy` where the pages are shared, and then nothing has changed.
        """
        more, may = clip(n), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        _extpg.addpages(self, more, may, deadline)
        return self

    def unmapped_to_ext(self) -> Self:
        """Have no unmapped pages in the chain: an mbuf for each page, for reading only. See mb_unmapped_to_ext.

        Nothing is copied but the bytes before and behind the pages; pages of a file are mapped. The flags of
        what was there are not kept, in the kernel neither. Raises `NoBufs` when there are no mbufs or windows
        left, `Inval` where an mbuf of unmapped pages is empty or has a TLS session, and then nothing has changed.
        """
        begin(self)
        _extpg.unmapped_to_ext(self)
        return self

    def unmapped_compress(self) -> Self:
        """Have the bytes, at most 224, inside the mbuf, and free its pages. See mb_unmapped_compress.

        They are copied. Raises `Busy` where the pages are shared, and then nothing has changed.
        """
        begin(self)
        _extpg.unmapped_compress(self)
        return self

    @cython.locals(todo=cython.Py_ssize_t)
    def free_notready(self, count: int) -> Mbuf | None:
        """Free what `count` reads were to fill that will never end: a page is one, a mapped mbuf too.

        An mbuf of unmapped pages goes when none of its `epg.nrdy` is waited for any more. Returns what is left of
        the chain, which is the caller's. `Inval` if there are fewer, and then nothing has changed. See
        mb_free_notready.
        """
        todo = clip(count)
        begin(self)
        rest: Mbuf | None = _extpg.free_notready(self, todo)
        return rest

    @cython.locals(may=cython.int, most=cython.Py_ssize_t, todo=cython.Py_ssize_t)
    def mapped_to_unmapped(
        self, len: int, mlen: int = MBUF_PEXT_MAX_PGS * PAGE_SIZE, how: int = M_NOWAIT, timeout: float | None = None
    ) -> Mbuf | None:
        """A copy of `len` bytes of the chain, in mbufs of unmapped pages of up to `mlen` bytes each; None for none.

        As in the kernel, `mlen` is as many pages as hold it, and the copy ends where an mbuf or a page does: it
        may have more bytes than `len`. The chain stays as it is. Raises `NoBufs`, `NoMemory`, or `Inval` if there are
        fewer bytes, and then nothing has changed. See mb_mapped_to_unmapped.
        """
        todo, most, may = clip(len), clip(mlen), how_of(how)
        deadline = None if timeout is None else until(may, timeout)
        begin(self)
        made: Mbuf | None = _extpg.mapped_to_unmapped(self, todo, most, may, deadline)
        return made


def _mbuf(m: Any, verb: str) -> Any:
    """An argument that must be an mbuf, or None."""
    if m is not None and not isinstance(m, Mbuf):
        raise TypeError(f"{verb}: give an mbuf, not a {type(m).__name__}")
    return m


def _take_cluster(m: Mbuf, cluster: Cluster) -> None:
    """Have a raw cluster as storage. See m_cljset."""
    check_alive(m)
    if m.bits & M_EXT:
        raise Inval("cljset: this mbuf has external storage already")
    cluster.before_export()
    enter_commit()
    storage: Storage = cluster.take()
    storage.own()
    attach(m, storage)
    leave_commit()
    probes = m.item.home.probes
    if probes.on:
        probes.fire("m-cljset", m, cluster, storage.type)


def _detach(m: Mbuf) -> Any:
    """Give somebody's memory back; returns the object."""
    check_alive(m)
    if not m.bits & M_EXT or not isinstance(m.buf, External):
        raise Inval("detach: the bytes are not in memory that was added with extadd")
    storage: External = cython.cast(External, m.buf)
    storage.check_detach(m.item)
    obj = storage.obj
    enter_commit()
    m.bits &= ~(M_EXT | M_RDONLY)
    m.buf = m.item
    m.off = start(m)
    if m.bits & M_PKTHDR:
        m.hdr.len = max(m.hdr.len - m.count, 0)
    m.count = 0
    storage.detach(m.item)
    leave_commit()
    settle()
    return obj


def adopt(
    m: Mbuf,
    buffer: Any,
    kind: int,
    refs: RefCount | None,
    bits: int,
    free: Any,
    arg1: Any,
    arg2: Any,
) -> None:
    """Have somebody's memory as storage. See m_extadd."""
    check_latch()
    _check_adopt(m, kind, bits)
    if kind == EXT_EXTREF and refs is None:
        refs = RefCount()
    memory = loan(buffer)
    storage: External = external(memory, kind, refs)
    if free is not None or arg1 is not None or arg2 is not None:
        storage.call_on_free(free, arg1, arg2, show)
    # To take the buffer may have run anything.
    if not m.alive or m.bits & M_EXT:
        _check_adopt(m, kind, bits)
    storage.check_refs()
    if not m.count <= memory.size <= INT_MAX:
        raise Inval(f"extadd: memory of {memory.size} bytes: this mbuf takes {m.count} to {INT_MAX}")
    enter_commit()
    storage.attached()
    attach(m, storage)
    m.bits |= bits
    leave_commit()


def _check_adopt(m: Mbuf, kind: int, bits: int) -> None:
    check_alive(m)
    if m.bits & M_EXT:
        raise Inval("extadd: this mbuf has external storage already")
    if not freeable(kind):
        raise Inval(f"extadd: type {kind}: give EXT_NET_DRV or another whose storage can be freed again")
    if m.bits & M_NOFREE and kind != EXT_RXRING and kind != EXT_EXTREF:
        raise Inval("extadd: an mbuf with M_NOFREE takes EXT_RXRING or EXT_EXTREF")
    if bits & M_PKTHDR or bits | M_COPYFLAGS != M_COPYFLAGS:
        raise Inval(f"extadd: flags {bits:#x}: give M_RDONLY and others of M_COPYFLAGS, but M_PKTHDR")


def count_whole(m: Mbuf) -> None:
    """Count all bytes of the storage of a live mbuf as data, read-only ones too."""
    m.count = bound(m) - m.off
    if m.bits & M_PKTHDR:
        m.hdr.len = m.count


# Handles.


def wrap(item: MbufItem, buf: Memory, off: int, kind: int, bits: int) -> Mbuf:
    """A live handle of an item, whose data is to be in `buf`: its last one if nobody else holds that, else a new one.

    It has a clean header if `bits` say so.
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
    try:
        if m is None:
            m = Mbuf.__new__(Mbuf)
            m.item = item
        if bits & M_PKTHDR:
            own_header(m)
    except BaseException:
        item.handle = None
        enter_commit()
        send_home(item)
        leave_commit()
        settle()
        raise
    item.handle = None
    fresh: Mbuf = m
    return fresh


def show(item: MbufItem, storage: Storage, free: Callable[[Any], object]) -> None:
    """Call a free routine with an mbuf to look at, which stands for the one that the storage belonged to."""
    m: Mbuf = Mbuf.__new__(Mbuf)
    m.item = item
    m.buf = storage
    m.kind = MT_DATA
    m.bits = M_EXT if storage.is_contiguous() else M_EXT | M_EXTPG | M_RDONLY
    m.alive = DOOMED
    try:
        run(free, m)
    finally:
        # What it stood for goes by itself.
        m.alive = 0


if not cython.compiled:

    def reusable(item: MbufItem) -> bool:
        """True when nobody else holds the item's last handle."""
        return False

    def wrap_item(item: Item, kind: int, bits: int) -> Mbuf:
        """The handle of an item of the mbuf zone, which goes back there if that fails. See mb_ctor_mbuf."""
        return wrap(cython.cast(MbufItem, item), item, MPKTHSIZE if bits & M_PKTHDR else MHSIZE, kind, bits)

    def wrap_packet(item: Item, kind: int, bits: int) -> Mbuf:
        """The handle of an item of the packet zone, with the cluster that it is paired with. See mb_ctor_pack."""
        packet = cython.cast(MbufItem, item)
        return wrap(packet, cython.cast(Memory, packet.cluster), 0, kind, bits | M_EXT)

    def _refuse_subclass(cls: Any) -> None:
        raise TypeError("Mbuf can't be subclassed: its pool makes mbufs; keep what you add in an object of your own")

    type.__setattr__(Mbuf, "__init_subclass__", classmethod(_refuse_subclass))
