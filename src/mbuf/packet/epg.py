"""What an mbuf of unmapped pages knows of itself.

Fields only, with the kernel's names and widths, and where that puts each byte: first the header, then what is
used of the pages, then the trailer. Knows nothing of the mbuf, nor of the bytes in the pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType

from mbuf.const import MBUF_PEXT_HDR_LEN, MBUF_PEXT_TRAIL_LEN, PAGE_SIZE
from mbuf.errors import Inval

if cython.compiled:
    from cython.cimports.cpython.object import PyObject_GenericSetAttr

#: The most that each number can be.
_MOST = MappingProxyType(
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
    """The `m_epg_` fields of an mbuf, from `m.epg`.

    `hdr` and `trail` are bytes, at most 23 and 64, before and behind those in the pages: of the first page,
    from `first_off` on; of the last, `last_len`. `nrdy` pages are still to be read or encrypted. `pages` tells the
    `npgs` pages apart: the numbers of those in memory, or for pages of a file, where they are in it. `ext_size` is
    what the mbuf counts for in a socket's buffer, beside its own size. Set what you like; then set `m.len`.
    """

    #: The pages are `first` and those after it, or `numbers` where those don't follow each other.
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
    hdr: bytes
    trail: bytes
    first: int
    npgs: int
    numbers: tuple[int, ...] | None

    def __init__(self) -> None:
        raise TypeError("m.epg tells of an mbuf of unmapped pages; there is no other way to get one")

    def reset(self) -> None:
        """As in a new mbuf: no page, no byte. See mb_alloc_ext_pgs."""
        self.hdr = self.trail = b""
        self.so: Any = None
        self.nrdy = self.first_off = self.last_len = self.flags = self.record_type = 0
        self.enc_cnt = self.ext_size = self.seqno = 0
        self.set_run(0, 0)

    def set_pages(self, pages: tuple[int, ...]) -> None:
        """Tell of other pages."""
        self.set_run(0, len(pages))
        self.numbers = pages

    def set_run(self, first: int, count: int) -> None:
        """Tell of other pages, that follow each other."""
        self.numbers = None
        self.first = first
        if cython.compiled:
            self.npgs = count
        else:
            object.__setattr__(self, "npgs", count)

    def __setattr__(self, name: str, value: Any) -> None:
        most = _MOST.get(name)
        if most is not None:
            # A number of its own: a subclass of int may compare and convert as it likes.
            number = int.__index__(value) if isinstance(value, int) else -1
            if not 0 <= number <= most:
                raise Inval(f"epg.{name} = {value!r}: give a number from 0 to {most}")
            value = number
        size = _BYTES.get(name)
        if size is not None and not (type(value) is bytes and len(value) <= size):
            raise Inval(f"epg.{name} = {value!r}: give at most {size} bytes")
        if name == "npgs":
            raise AttributeError("epg.npgs can't be set: see addpages")
        if cython.compiled:
            PyObject_GenericSetAttr(self, name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def pages(self) -> tuple[int, ...]:
        """The number of each page."""
        return tuple(range(self.first, self.first + self.npgs)) if self.numbers is None else self.numbers

    def number(self, page: int) -> int:
        """That of a page, counted from 0."""
        if not 0 <= page < self.npgs:
            raise Inval(f"epg: there is no page {page}, of {self.npgs}")
        return self.first + page if self.numbers is None else self.numbers[page]

    def pagelen(self, page: int) -> int:
        """Bytes of data in a page, counted from 0. See m_epg_pagelen."""
        if not 0 <= page < self.npgs:
            raise Inval(f"epg: there is no page {page}, of {self.npgs}")
        if page == self.npgs - 1:
            return int(self.last_len)
        return PAGE_SIZE - (self.first_off if page == 0 else 0)

    def total(self) -> int:
        """Bytes of header, pages and trailer."""
        count = len(self.hdr) + len(self.trail)
        for page in range(self.npgs):
            count += self.pagelen(page)
        return count

    def frags(self) -> int:
        """Pieces that the bytes are in. See frags_per_mbuf."""
        return self.npgs + (len(self.hdr) > 0) + (len(self.trail) > 0)

    def spans(self, off: int, count: int) -> list[Any]:
        """Where `count` bytes from `off` on are: (page, first byte in it, how many), in order.

        Page -1 is the header, one more than the last the trailer.
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
            raise Inval(f"epg: {count} bytes more are asked for than there are in header, pages and trailer")
        return found

    def copy(self, other: Epg) -> None:
        """Take all fields over."""
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


def blank() -> Epg:
    """Of an mbuf without a page."""
    epg: Epg = Epg.__new__(Epg)
    epg.reset()
    return epg
