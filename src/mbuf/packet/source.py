"""The door to more memory: whom an mbuf asks when a verb needs another one."""

from __future__ import annotations

import time
from math import fsum
from typing import TYPE_CHECKING, Any

from mbuf.const import M_NOWAIT, M_WAITOK
from mbuf.errors import Inval
from mbuf.packet.tag import TagZone
from mbuf.uma.item import Home
from mbuf.vm.ints import clip

if TYPE_CHECKING:
    import cython

    from mbuf.packet.chain import Chain
else:
    from mbuf.shadow import cython


@cython.cclass
class Source:
    """Gives mbufs, or raises `NoBufs` or `NoMemory`. A pool's `Allocator` is one.

    What it is asked for are numbers that a verb has checked; `deadline` is None, or the moment of time.monotonic at
    which a wait for memory ends. `max_linkhdr` and `max_protohdr` are the bytes of the largest headers that its
    packets get: verbs leave room for the first, and gather the second in one mbuf while they are at it. `tags` gives
    tags.
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
        """An mbuf, with a packet header if `flags` say so."""
        raise NotImplementedError

    def get_row(self, n: int, how: int, type: int, deadline: float | None) -> Chain:
        """A chain of `n` mbufs, 1 or more: all of them, or an exception and none."""
        raise NotImplementedError

    def getcl(self, how: int, type: int, flags: int, deadline: float | None) -> Chain:
        """An mbuf with a cluster."""
        raise NotImplementedError

    def alloc_ext_pgs(self, how: int, free: Any, arg1: Any, deadline: float | None) -> Chain:
        """An mbuf of unmapped pages, with none yet."""
        raise NotImplementedError

    def alloc_ext_plus_pages(self, size: int, how: int, deadline: float | None) -> Chain:
        """An mbuf of unmapped pages in memory, as many as hold `size` bytes."""
        raise NotImplementedError

    def dropped(self, item: Any) -> None:
        """An mbuf was dropped instead of freed; its item is about to go home."""
        raise NotImplementedError


if not cython.compiled:

    def origin(m: Chain) -> Source:
        """Whom an mbuf asks for more mbufs."""
        if m.item.home.source is None:
            raise_closed()
        source: Source = m.item.home.source
        return source


def serve(home: Home, source: Source | None) -> None:
    """Have mbufs of a home ask `source` for more, or nobody."""
    if not isinstance(home, Home) or not (source is None or isinstance(source, Source)):
        raise TypeError("serve: give a home of items, and a source or None")
    home.source = source


def raise_closed() -> None:
    """Say that an mbuf has nobody to ask."""
    raise Inval("the pool that this mbuf came from is closed")


def how_of(how: Any) -> int:
    """M_NOWAIT or M_WAITOK, of an argument that must be one of them."""
    near = clip(how)
    if near != M_NOWAIT and near != M_WAITOK:
        raise Inval(f"how {near}: give M_NOWAIT or M_WAITOK")
    return near


def until(how: int, timeout: float | None) -> float | None:
    """The moment at which a wait of `timeout` seconds ends, of time.monotonic."""
    if timeout is None or clip(how) != M_WAITOK:
        return None
    # A number of its own: what a user's object answers may change.
    seconds = timeout if type(timeout) is float else fsum((timeout,))
    if not seconds >= 0:  # nor is it NaN
        raise Inval(f"timeout {seconds}: give seconds, 0 or more, or None to wait for ever")
    return time.monotonic() + seconds


def left(deadline: float | None) -> float | None:
    """Seconds until a deadline, 0 if it is past; None if there is none."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
