"""Mbufs that come with something in them: bytes, or somebody's memory; and what packets carry along.

Asks the allocator for the mbufs, and never touches bytes itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import (
    EXT_MOD_TYPE,
    M_EXTPG,
    M_NOFREE,
    M_NOWAIT,
    M_PKTHDR,
    MBUF_PEXT_MAX_PGS,
    MHLEN,
    MT_DATA,
    MTAG_ABI_COMPAT,
    PAGE_SIZE,
)
from mbuf.errors import Inval
from mbuf.packet.build import pour, take_in
from mbuf.packet.loose import Loose
from mbuf.packet.mbuf import Mbuf, handle
from mbuf.packet.pages import pour_pages
from mbuf.packet.sndtag import SndTag, SndTags
from mbuf.packet.source import until
from mbuf.packet.tag import Tag
from mbuf.pool.ask import check
from mbuf.pool.file import File, opened
from mbuf.pool.paged import Paged
from mbuf.uma.pages import Pages
from mbuf.vm.number import INT_MAX, clip

if TYPE_CHECKING:
    from collections.abc import Callable

    from mbuf.pool.zones import Zones
    from mbuf.vm.sfbuf import SfBufs


class Filled(Paged):
    """The calls that allocate and fill; those of `Allocator`, of `Paged` and these are a pool's."""

    __slots__ = ("_loose", "sfbufs", "snd_tags")

    def __init__(self, zones: Zones, pages: Pages, sfbufs: SfBufs, max_linkhdr: int, max_protohdr: int) -> None:
        Paged.__init__(self, zones, pages, max_linkhdr, max_protohdr)
        #: Windows onto pages of files.
        self.sfbufs = sfbufs
        self.snd_tags = SndTags()
        self._loose = Loose(None)

    def init(self, how: int = M_NOWAIT, type: int = MT_DATA, flags: int = 0) -> Mbuf:
        """An mbuf that lives in no zone, with M_NOFREE: it counts against no limit. See m_init.

        Give it storage with `extaddref`, or `extadd` of a receive ring (EXT_RXRING).
        """
        bits = clip(flags)
        check(clip(how), clip(type), bits ^ M_NOFREE if bits & M_NOFREE else bits)
        return self.begun(handle(self._loose.item(), type, bits | M_NOFREE), how, type, flags)

    def frombytes(
        self,
        data: Any,
        how: int = M_NOWAIT,
        align: int = 0,
        flags: int = M_PKTHDR,
        timeout: float | None = None,
    ) -> Mbuf:
        """A chain that holds a copy of data's bytes, of mbufs as large as fit. See m_uiotombuf.

        `align` bytes of room, fewer than 168, come before them. Data may be empty. With M_EXTPG, and without
        M_PKTHDR, the bytes are in loose pages, `align` at most in each mbuf, or as many as fit if that is 0.
        """
        size = memoryview(data).nbytes
        room = clip(align)
        if clip(flags) & M_EXTPG:
            most = MBUF_PEXT_MAX_PGS * PAGE_SIZE
            if clip(flags) != M_EXTPG:
                raise Inval("frombytes: an mbuf of loose pages has no packet header: give M_EXTPG alone")
            if not 0 <= room <= most:
                raise Inval(f"frombytes: align {align}: give the bytes of an mbuf of loose pages, up to {most}")
            return pour_pages(self, data, size, room or most, how, until(how, timeout))
        if not 0 <= room < MHLEN:
            raise Inval(f"frombytes: align {align}: give 0 to {MHLEN - 1}")
        return pour(self.getm2(max(size + room, 1), how, MT_DATA, flags, None, timeout), data, size, room)

    def devget(
        self,
        data: Any,
        off: int = 0,
        rcvif: Any = None,
        copy: Callable[[memoryview, memoryview], object] | None = None,
    ) -> Mbuf:
        """A packet that holds a copy of data's bytes, as a card's driver makes it. See m_devget.

        `off` bytes of room, at most 168, come before them, and the room of a link layer header if all fits
        into one mbuf then. `copy(source, target)` copies each piece, if it is given.
        """
        size = memoryview(data).nbytes
        room = clip(off)
        if not 0 <= room <= MHLEN:
            raise Inval(f"devget: off {off}: give 0 to {MHLEN}")
        if not 0 < size <= INT_MAX:
            raise Inval(f"devget: {size} bytes: give 1 or more")
        return take_in(self, data, size, room, rcvif, copy)

    def file(self, file: Any) -> File:
        """A regular file, by its path or a descriptor, whose pages packets can hold: see `File`.

        A descriptor stays the caller's.
        """
        return File(self.zones.mbuf.source, opened(file, self.sfbufs))

    def wrap(self, obj: Any, on_free: Callable[[Any], object] | None = None) -> Mbuf:
        """A packet whose bytes are those of any object with a buffer; nothing is copied.

        `on_free(obj)` is called once, when the last packet that shares them has let go and nobody looks at
        them. `m.detach()` gives the object back before that.
        """
        if on_free is not None and not callable(on_free):
            raise Inval("wrap: on_free must be a function to call, or None")
        m = self.gethdr()
        try:
            m.extadd(obj, None if on_free is None else _unwrap, on_free, obj, 0, EXT_MOD_TYPE)
            m.grow_whole()
        except BaseException:
            m.freem()
            raise
        return m

    def tag_alloc(self, cookie: int, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """A tag to put on a packet with `m.tag_prepend`; the caller's until then. See m_tag_alloc."""
        tag: Tag = self.tags.alloc(cookie, type, value, how)
        return tag

    def tag_get(self, type: int, value: Any = None, how: int = M_NOWAIT) -> Tag:
        """`tag_alloc` with cookie MTAG_ABI_COMPAT. See m_tag_get."""
        return self.tag_alloc(MTAG_ABI_COMPAT, type, value, how)

    def snd_tag_alloc(self, ifp: Any, params: Any = None) -> SndTag:
        """Ask an interface for a send tag; the reference is the caller's. See m_snd_tag_alloc.

        Raises `NotSupported` if the interface has none to give, and whatever it raises itself.
        """
        return self.snd_tags.alloc(ifp, params)


def _unwrap(m: Mbuf) -> None:
    """The free routine of `wrap`."""
    ext = m.ext
    if ext is not None:
        ext.arg1(ext.arg2)
