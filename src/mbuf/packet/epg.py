"""The description of unmapped pages: the m_epg_ fields, with the kernel's names and widths.

The bytes are, in this order, the header, the used part of the pages, and the trailer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbuf.shadow import cython
elif False:  # for the compiler: a type checker needs decorators with types
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType

from mbuf.const import MBUF_PEXT_HDR_LEN, MBUF_PEXT_TRAIL_LEN, PAGE_SIZE
from mbuf.errors import Inval

if cython.compiled:
    from cython.cimports.cpython.object import PyObject_GenericSetAttr

#: The maximum of each number.
_MAX = MappingProxyType(
    {
        "nrdy": 255,
        "first_off": PAGE_SIZE - 1,
        "last_len": PAGE_SIZE,
        "flags": 255,
        "record_type": 255,
        "enc_cnt": (1 << 31) - 1,
        "ext_size": (1 << 31) - 1,
        "seqno": (1 << 64) - 1,
    }
)
_BYTES = MappingProxyType({"hdr": MBUF_PEXT_HDR_LEN, "trail": MBUF_PEXT_TRAIL_LEN})


@cython.no_gc
@cython.cclass
class Epg:
    """The `m_epg_` fields of an mbuf of unmapped pages. Get it from `m.epg`; it isn't a copy. See mbuf(9).

    A value out of range raises `Inval`. The length of the mbuf doesn't follow: set `m.len` after a change.
    """

    #: The page numbers are `first`, `first` + 1, ... or, if `numbers` isn't None, those in it.
    __slots__ = (
        "enc_cnt",
        "ext_size",
        "first",
        "first_off",
        "flags",
        "hdr",
        "last_len",
        "npgs",
        "nrdy",
        "numbers",
        "record_type",
        "seqno",
        "so",
        "trail",
    )
    #: The bytes before those in the pages, at most 23.
    hdr: bytes
    #: The bytes after those in the pages, at most 64.
    trail: bytes
    #: The number of pages; it can't be set.
    npgs: int
    #: The first byte of the first page that is used.
    first_off: int
    #: Bytes of the last page that are used.
    last_len: int
    #: Pages that are still to be read or encrypted.
    nrdy: int
    #: EPG_FLAG_ flags, 8 bits.
    flags: int
    #: Bytes of memory for which a socket buffer counts the pages.
    ext_size: int
    #: The type of the TLS record, 8 bits.
    record_type: int
    #: The number of the TLS record, 64 bits.
    seqno: int
    #: Pages that are still to be encrypted.
    enc_cnt: int
    #: The socket that the TLS record is for, any object.
    so: Any

    first: int
    numbers: tuple[int, ...] | None

    def __init__(self) -> None:
        raise TypeError("an Epg can't be made directly: m.epg of an mbuf of unmapped pages is one")

    def reset(self) -> None:
        """Set all fields for no page and no byte. See mb_alloc_ext_pgs."""
        self.hdr = self.trail = b""
        self.so: Any = None
        self.nrdy = self.first_off = self.last_len = self.flags = self.record_type = 0
        self.enc_cnt = self.ext_size = self.seqno = 0
        self.set_run(0, 0)

    def set_pages(self, pages: tuple[int, ...]) -> None:
        """Set the page numbers."""
        self.set_run(0, len(pages))
        self.numbers = pages

    def set_run(self, first: int, count: int) -> None:
        """Set `count` consecutive page numbers, from `first` on."""
        self.numbers = None
        self.first = first
        if cython.compiled:
            self.npgs = count
        else:
            object.__setattr__(self, "npgs", count)

    def __setattr__(self, name: str, value: Any) -> None:
        most = _MAX.get(name)
        if most is not None:
            # A plain int: a subclass may redefine comparison and conversion.
            number = int.__index__(value) if isinstance(value, int) else -1
            if not 0 <= number <= most:
                raise Inval(f"epg.{name} = {value!r}: give a number from 0 to {most}")
            value = number
        size = _BYTES.get(name)
        if size is not None and not (type(value) is bytes and len(value) <= size):
            raise Inval(f"epg.{name} = {value!r}: give at most {size} bytes")
        if name == "npgs":
            raise AttributeError("epg.npgs can't be set: call m.addpages()")
        if cython.compiled:
            PyObject_GenericSetAttr(self, name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def pages(self) -> tuple[int, ...]:
        """The number of each page: an identifier for memory, the page offset in the file for pages of a file."""
        return tuple(range(self.first, self.first + self.npgs)) if self.numbers is None else self.numbers

    def number(self, page: int) -> int:
        """Return the number of a page, counted from 0; `Inval` if there is no such page."""
        if not 0 <= page < self.npgs:
            raise Inval(f"epg: there is no page {page}, of {self.npgs}")
        return self.first + page if self.numbers is None else self.numbers[page]

    def pagelen(self, page: int) -> int:
        """Return the bytes of data in a page, counted from 0; `Inval` if there is none. See m_epg_pagelen."""
        if not 0 <= page < self.npgs:
            raise Inval(f"epg: there is no page {page}, of {self.npgs}")
        if page == self.npgs - 1:
            return int(self.last_len)
        return PAGE_SIZE - (self.first_off if page == 0 else 0)

    def total(self) -> int:
        """Return the bytes of header, pages and trailer."""
        count = len(self.hdr) + len(self.trail)
        for page in range(self.npgs):
            count += self.pagelen(page)
        return count

    def frags(self) -> int:
        """Return the number of pieces: pages, and header and trailer if they have bytes. See frags_per_mbuf."""
        return self.npgs + (len(self.hdr) > 0) + (len(self.trail) > 0)

    def spans(self, off: int, count: int) -> list[Any]:
        """Return where `count` bytes from `off` on are: a list of (page, first byte in it, number of bytes).

        Page -1 is the header, page `npgs` the trailer. `Inval` if there are fewer bytes.
        """
        found: list[Any] = []
        pages = self.npgs
        page = -1
        while page <= pages and count > 0:
            start = 0
            if page < 0:
                there = len(self.hdr)
            elif page == pages:
                there = len(self.trail)
            else:
                there = self.pagelen(page)
                start = self.first_off if page == 0 else 0
                if start + there > PAGE_SIZE:
                    raise Inval(f"epg: {there} bytes at {start} of a page: set first_off and last_len right")
            if off < there:
                n = min(there - off, count)
                found.append((page, start + off, n))
                count -= n
                off = there
            off -= there
            page += 1
        if count > 0:
            raise Inval(
                f"epg: {count} bytes too few in header, pages and trailer: set first_off, last_len and m.len right"
            )
        return found

    def copy(self, other: Epg) -> None:
        """Copy all fields."""
        self.hdr = other.hdr
        self.trail = other.trail
        self.so = other.so
        self.nrdy = other.nrdy
        self.first_off = other.first_off
        self.last_len = other.last_len
        self.flags = other.flags
        self.record_type = other.record_type
        self.enc_cnt = other.enc_cnt
        self.ext_size = other.ext_size
        self.seqno = other.seqno
        self.set_run(other.first, other.npgs)
        self.numbers = other.numbers


def new_epg() -> Epg:
    """Return the description of no page and no byte."""
    epg: Epg = Epg.__new__(Epg)
    epg.reset()
    return epg
