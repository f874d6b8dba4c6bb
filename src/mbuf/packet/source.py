"""The source of mbufs: the interface by which methods of an mbuf allocate more mbufs. A pool implements it."""

from __future__ import annotations

import time
from math import fsum
from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT, M_WAITOK
from mbuf.errors import Inval
from mbuf.packet.tag import TagZone
from mbuf.uma.item import ItemOwner
from mbuf.vm.ints import clip, integer

if TYPE_CHECKING:
    import cython

    from mbuf.packet.chain import Chain
else:
    from mbuf.shadow import cython


@cython.cclass
class Source:
    """Allocates mbufs, or raises `NoBufs` or `NoMemory`. The `Allocator` of a pool is one.

    Arguments are numbers that the caller has checked. `deadline` is None, or the value of time.monotonic at which a
    wait for memory ends. `max_linkhdr` and `max_protohdr` are the bytes of the largest headers: methods leave room for
    the first, and `pullup` makes up to the second contiguous. `tags` is the zone of packet tags.
    """

    __slots__ = ("max_linkhdr", "max_protohdr", "tags")
    max_linkhdr: int
    max_protohdr: int
    tags: TagZone

    # The kernel's defaults, with IPv6: the largest link layer header, and 40 + 20 bytes of IPv6 and TCP.
    def __init__(self, max_linkhdr: int = 16, max_protohdr: int = 60) -> None:
        self.max_linkhdr = max_linkhdr
        self.max_protohdr = max_protohdr
        self.tags = TagZone()

    def get(self, how: int, type: int, flags: int, deadline: float | None) -> Chain:
        """Allocate an mbuf, with a packet header if `flags` has M_PKTHDR."""
        raise NotImplementedError

    def get_row(self, n: int, how: int, type: int, deadline: float | None) -> Chain:
        """Allocate a chain of `n` mbufs, 1 or more: all, or none and an exception."""
        raise NotImplementedError

    def getcl(self, how: int, type: int, flags: int, deadline: float | None) -> Chain:
        """Allocate an mbuf with a cluster."""
        raise NotImplementedError

    def alloc_ext_pgs(self, how: int, free: Any, arg1: Any, deadline: float | None) -> Chain:
        """Allocate an mbuf of unmapped pages, without a page."""
        raise NotImplementedError

    def alloc_ext_plus_pages(self, size: int, how: int, deadline: float | None) -> Chain:
        """Allocate an mbuf of as many unmapped pages of memory as hold `size` bytes."""
        raise NotImplementedError

    def dropped(self, item: Any) -> None:
        """Note that an mbuf was dropped instead of freed; its item is about to be given back."""
        raise NotImplementedError


if not cython.compiled:

    def source_of(m: Chain) -> Source:
        """Return the source of an mbuf; `Inval` if its pool is closed."""
        if m.item.zone.source is None:
            raise_closed()
        source: Source = m.item.zone.source
        return source


def set_source(zone: ItemOwner, source: Source | None) -> None:
    """Set the source for the mbufs of a zone; None when the pool is closed."""
    if not isinstance(zone, ItemOwner) or not (source is None or isinstance(source, Source)):
        raise TypeError("set_source: give the owner of items, such as a zone, and a Source or None")
    zone.source = source


def raise_closed() -> None:
    """Raise `Inval`: an mbuf has no source."""
    raise Inval("the pool that this mbuf came from is closed, so no mbuf can be allocated")


def check_how(how: Any) -> int:
    """Return an argument that must be M_NOWAIT or M_WAITOK; `Inval` if it isn't."""
    number = integer(how, "how")
    if number != M_NOWAIT and number != M_WAITOK:
        raise Inval(f"how {number}: give M_NOWAIT or M_WAITOK")
    return number


def until(how: int, timeout: float | None) -> float | None:
    """Return the value of time.monotonic after `timeout` seconds, None for no timeout; `Inval` if M_NOWAIT has one."""
    if timeout is None:
        return None
    if clip(how) != M_WAITOK:
        raise Inval(f"timeout {timeout}: M_NOWAIT doesn't wait: give how=M_WAITOK as well, or no timeout")
    # A plain float: the object of a user may return another value each time.
    seconds = timeout if type(timeout) is float else fsum((timeout,))
    if not seconds >= 0:  # nor is it NaN
        raise Inval(f"timeout {seconds}: give seconds, 0 or more, or None to wait for ever")
    return time.monotonic() + seconds


def seconds_left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 if it is past; None if there is none."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
