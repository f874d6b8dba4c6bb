"""Unmapped pages as a TLS record: the session of an mbuf, and the exchange of its pages for encrypted ones.

A session is any object that counts references to it. It has `ref`, `release_if_not_last`, and `enqueue_to_free`, which
takes the `DeferredFree` of the mbuf whose reference is the last. The format of a record is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

from mbuf.const import EPG_FLAG_ANON
from mbuf.errors import Busy, Inval
from mbuf.packet.epg import Epg
from mbuf.packet.unmapped import Unmapped
from mbuf.uma.item import Item

if not cython.compiled:
    from mbuf.packet.extpg import pages_of
    from mbuf.packet.unmapped import alloc_frames, free_frames, unmapped
    from mbuf.vm.commit import enter_commit, leave_commit, run_releases


def check_sole_user(m: Mbuf, verb: str) -> Unmapped:
    """Return the pages of an mbuf; `Busy` if another mbuf uses them too, `Inval` if it doesn't use all their bytes."""
    if m is None:
        raise Inval(f"{verb}: give an mbuf of unmapped pages, not None")
    pages: Unmapped = pages_of(m, verb)
    if pages.refcnt() != 1 or pages.root is not None:
        raise Busy(f"{verb}: other mbufs use the pages too")
    if m.off or m.count != pages.epg.total():
        raise Inval(f"{verb}: the mbuf was trimmed: set epg.first_off and epg.last_len so that all bytes are used")
    return pages


def hold(m: Mbuf, tls: Any) -> None:
    """Make the mbuf a record of a session, and take a reference to that. See ktls_hold.

    Mbufs that share the pages later have the same `tls`, but no reference of their own. Raises `Inval` if the mbuf has
    a session already, or no byte, and `Busy` if the pages are shared.
    """
    pages: Unmapped = check_sole_user(m, "hold")
    if pages.tls is not None:
        raise Inval("hold: the mbuf is a record of a TLS session already")
    if not m.count:
        raise Inval("hold: the mbuf has no bytes: a record needs at least one")
    tls.ref()
    try:
        if check_sole_user(m, "hold") is not pages or pages.tls is not None:
            raise Busy("hold: the mbuf was changed during the call: call again")
    except BaseException:
        tls.release_if_not_last()
        raise
    pages.tls = tls


def payload(m: Mbuf) -> bytes:
    """Return a copy of the bytes in the pages, without header and trailer; pages of a file are mapped for it."""
    pages: Unmapped = check_sole_user(m, "payload")
    epg: Epg = pages.epg
    first = len(epg.hdr)
    return pages.read(first, m.count - first - len(epg.trail))


def new_pages(m: Mbuf, data: Any, how: int, deadline: float | None) -> Unmapped:
    """New pages in memory, with the layout of the mbuf's pages and the bytes of data; for `exchange` or `free_pages`.

    Raises `NoMemory` if there are no pages.
    """
    pages: Unmapped = check_sole_user(m, "new_pages")
    fresh = unmapped(pages.supply)
    epg: Epg = fresh.epg
    epg.first_off = pages.epg.first_off
    epg.last_len = pages.epg.last_len
    at = 0
    frames = alloc_frames(pages.supply, pages.epg.npgs, how, deadline)
    try:
        fresh.add_frames(tuple(frames))
    except BaseException:
        free_frames(frames)
        raise
    try:
        for page, start, n in epg.spans(0, epg.total()):
            frame: Item = fresh.frames[page]
            frame.write(start, data, at, n)
            at += n
    except BaseException:
        free_pages(fresh)
        raise
    return fresh


def exchange(m: Mbuf, fresh: Unmapped, trail: bytes) -> None:
    """Give the mbuf the new pages, and a trailer as long as its own; `fresh` has the old pages then."""
    pages: Unmapped = check_sole_user(m, "exchange")
    epg: Epg = pages.epg
    if fresh is None or fresh.released:
        raise Inval("exchange: give the result of new_pages(m), and use it once")
    layout = (len(fresh.frames), fresh.epg.first_off, fresh.epg.last_len)
    if layout != (epg.npgs, epg.first_off, epg.last_len) or len(trail) != len(epg.trail):
        raise Inval("exchange: the mbuf has other pages or another trailer than when new_pages(m) was called")
    numbers = fresh.epg.pages
    enter_commit()
    try:
        pages.exchange_pages(fresh, numbers)
        fresh.owner = m.item
        epg.trail = trail
        epg.nrdy = 0
        epg.flags |= EPG_FLAG_ANON
    finally:
        leave_commit()


def free_pages(fresh: Unmapped) -> None:
    """Call the free routine of these pages, if any, and free them. See mb_free_mext_pgs."""
    if fresh is not None and not fresh.released:
        owner = cython.cast(Item, fresh.owner)
        fresh.owner = None
        fresh.free_pages(owner)
        run_releases()
