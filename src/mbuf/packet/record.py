"""Unmapped pages as a TLS record: whose session they belong to, and the pages that take their place.

The session is anything that counts its references: `ref`, `release_if_not_last`, and `enqueue_to_free`, which
gets what is left of the mbuf whose reference was the last. Never knows what a record looks like.
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
    from mbuf.packet.unmapped import give_frames, take_frames, unmapped
    from mbuf.vm.commit import enter_commit, leave_commit, settle


def alone(m: Mbuf, verb: str) -> Unmapped:
    """The unmapped pages of an mbuf that uses all their bytes, and is the only one to; `Inval` or `Busy` if not."""
    if m is None:
        raise Inval(f"{verb}: there is no mbuf")
    pages: Unmapped = pages_of(m, verb)
    if pages.counted() != 1 or pages.root is not None:
        raise Busy(f"{verb}: other mbufs use the pages too")
    if m.off or m.count != pages.epg.total():
        raise Inval(f"{verb}: bytes were cut off the mbuf: say which are meant with epg.first_off and epg.last_len")
    return pages


def hold(m: Mbuf, tls: Any) -> None:
    """Make the mbuf a record of a session, of which its owner takes a reference. See ktls_hold.

    Those that share the pages later name the session too, and take none. Raises `Inval` if there is a session, or no
    byte, and `Busy` where the pages are shared.
    """
    pages: Unmapped = alone(m, "hold")
    if pages.tls is not None:
        raise Inval("hold: the mbuf is a record of a TLS session")
    if not m.count:
        raise Inval("hold: an mbuf of unmapped pages without a byte is no record")
    tls.ref()
    try:
        if alone(m, "hold") is not pages or pages.tls is not None:
            raise Busy("hold: the mbuf was used by somebody else meanwhile")
    except BaseException:
        tls.release_if_not_last()
        raise
    pages.tls = tls


def payload(m: Mbuf) -> bytes:
    """A copy of the bytes in the pages, without what is before and behind them; those of a file are mapped for it."""
    pages: Unmapped = alone(m, "payload")
    epg: Epg = pages.epg
    first = len(epg.hdr)
    return pages.read(first, m.count - first - len(epg.trail))


def renewed(m: Mbuf, data: Any, how: int, deadline: float | None) -> Unmapped:
    """New pages in memory that lie as those of the mbuf do, and hold as many bytes of data; for `exchange` or `forget`.

    Raises `NoMemory` when pages are out.
    """
    pages: Unmapped = alone(m, "renewed")
    fresh = unmapped(pages.supply)
    epg: Epg = fresh.epg
    epg.first_off = pages.epg.first_off
    epg.last_len = pages.epg.last_len
    at = 0
    frames = take_frames(pages.supply, pages.epg.npgs, how, deadline)
    try:
        fresh.add_frames(tuple(frames))
    except BaseException:
        give_frames(frames)
        raise
    try:
        for page, start, n in epg.spans(0, epg.total()):
            frame: Item = fresh.frames[page]
            frame.write(start, data, at, n)
            at += n
    except BaseException:
        forget(fresh)
        raise
    return fresh


def exchange(m: Mbuf, fresh: Unmapped, trail: bytes) -> None:
    """Give the mbuf the new pages, and another trailer as long as its own; `fresh` has its old ones from then on."""
    pages: Unmapped = alone(m, "exchange")
    epg: Epg = pages.epg
    if fresh is None or fresh.released:
        raise Inval("exchange: give what renewed(m) made")
    lies = (len(fresh.frames), fresh.epg.first_off, fresh.epg.last_len)
    if lies != (epg.npgs, epg.first_off, epg.last_len) or len(trail) != len(epg.trail):
        raise Inval("exchange: the mbuf has other pages or another trailer than these are for")
    numbers = fresh.epg.pages
    enter_commit()
    try:
        pages.trade(fresh, numbers)
        fresh.owner = m.item
        epg.trail = trail
        epg.nrdy = 0
        epg.flags |= EPG_FLAG_ANON
    finally:
        leave_commit()


def forget(fresh: Unmapped) -> None:
    """Free the pages, after a call of the free routine that was theirs. See mb_free_mext_pgs."""
    if fresh is not None and not fresh.released:
        owner = cython.cast(Item, fresh.owner)
        fresh.owner = None
        fresh.empty(owner)
        settle()
