"""Packet tags: what modules note on a packet, beside its bytes.

Tags, where they are counted, and the list of them that a packet header keeps. Knows neither mbufs nor pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import index
from typing import Any

from mbuf.const import M_NOWAIT, M_WAITOK, MTAG_ABI_COMPAT, MTAG_PERSISTENT
from mbuf.errors import Freed, Inval
from mbuf.packet.routine import run
from mbuf.vm.number import clip

#: Bytes of `struct m_tag`, which the kernel puts before a tag's own.
_HEADER = 24
#: m_tag_len has 16 bits; the kernel cuts a greater length to them without a word.
_MOST = 0xFFFF

#: Where a freed tag is listed: nowhere any more.
_NOWHERE = object()


class TagZone:
    """Where tags are made, and counted until they are freed: the kernel's memory type `mbuf_tag`."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        #: Tags that are allocated, and what the kernel would take for them: 24 bytes each, and their length.
        self.count = 0
        self.bytes = 0

    def alloc(
        self,
        cookie: int,
        type: int,
        value: Any = None,
        how: int = M_NOWAIT,
        free: Callable[[Tag], object] | None = None,
    ) -> Tag:
        """A tag, in no list. `free`, if any, is called once, with the tag, when it is freed. See m_tag_alloc.

        The value is kept as it is: a bytearray stays the caller's to change.
        """
        if not 0 <= clip(cookie) < 1 << 32:
            raise Inval(f"cookie {cookie}: it has 32 bits")
        if not 0 <= clip(type) < 1 << 16:
            raise Inval(f"type {type}: a tag's id has 16 bits")
        if how != M_NOWAIT and how != M_WAITOK:
            raise Inval(f"how {how}: give M_NOWAIT or M_WAITOK")
        count = _bytes_of(value)
        if count > _MOST:
            raise Inval(f"a value of {count} bytes: a tag has at most {_MOST}; put them into an mbuf")
        return Tag(self, cookie, type, value, count, free)


class Tag:
    """A note on a packet. See mbuf_tags(9).

    Get one from a pool, put it on a packet with `tag_prepend`: it is the packet's from then on, goes when
    that is freed, and leaves it with `tag_unlink` (the caller's again) or `tag_delete`. In no packet, let
    it go with `free`, or just drop it. A value that leads back to the tag's own packet keeps both
    until the tag is freed.
    """

    __slots__ = ("_after", "_before", "_len", "_list", "_routine", "_value", "_zone", "cookie", "id")

    def __init__(
        self,
        zone: TagZone,
        cookie: int,
        id: int,
        value: Any,
        len: int,
        routine: Callable[[Tag], object] | None,
    ) -> None:
        #: Whose number the id is: MTAG_ABI_COMPAT for PACKET_TAG_..., else one that a module has chosen.
        self.cookie = cookie
        #: What it is; with MTAG_PERSISTENT in it, `tag_delete_nonpersistent` leaves the tag.
        self.id = id
        self._len = len
        self._value = value
        self._zone: TagZone | None = zone
        self._routine = routine
        # The mark of the list that it is in, None in no list; and its neighbours there.
        self._list: object = None
        self._before: Tag | None = None
        self._after: Tag | None = None
        zone.count += 1
        zone.bytes += _HEADER + len

    @property
    def len(self) -> int:
        """Bytes of the value when the tag was made; 0 for a value that isn't bytes."""
        return self._len

    @property
    def value(self) -> Any:
        """What the tag says; to change that, change the value itself, or put another tag."""
        self._live()
        return self._value

    def copy(self, how: int = M_NOWAIT) -> Tag:
        """A tag like this one, in no list. See m_tag_copy.

        A bytearray is copied, any other value shared. The routine of `free` stays with this tag alone.
        """
        zone = self._live()
        value = bytearray(self._value) if isinstance(self._value, bytearray) else self._value
        return zone.alloc(self.cookie, self.id, value, how)

    def free(self) -> None:
        """Let it go; it must be in no list. See m_tag_free.

        Its own routine can read it still; what that raises goes to `sys.unraisablehook`.
        """
        if self._list is not None:
            raise self._freed() if self._list is _NOWHERE else Inval("the tag is on a packet: unlink or delete it")
        # First of all: the routine may do anything with this tag, and runs once.
        self._list = _NOWHERE
        zone = self._live()
        if self._routine is not None:
            run(self._routine, self)
        zone.count -= 1
        zone.bytes -= _HEADER + self._len
        self._zone = self._routine = self._value = None

    def __del__(self) -> None:
        # A listed one goes with its list; one never made has no list to be in.
        if getattr(self, "_list", _NOWHERE) is None:
            self.free()

    def __reduce__(self) -> Any:
        raise TypeError("a tag can't be pickled or copied: it is counted where it was made; use t.copy()")

    def __repr__(self) -> str:
        where = "freed" if self._list is _NOWHERE else "in no list" if self._list is None else "listed"
        return f"<tag {self.cookie}:{self.id} len={self._len} {where}>"

    def _live(self) -> TagZone:
        """Where it is counted; raises `Freed` if it is so no more."""
        if self._zone is None:
            raise self._freed()
        return self._zone

    def _freed(self) -> Freed:
        return Freed(f"the tag {self.cookie}:{self.id} was freed: keep no name for a tag that you have let go")


class TagList:
    """The tags of one packet, the one put last first. See struct pkthdr's tags in mbuf(9).

    Owns them: dropped, it deletes them. A tag is in one list at a time, and knows its neighbours, so that
    whatever is done to one tag takes as long in a long list as in a short one.
    """

    __slots__ = ("_count", "_first", "_mark")

    def __init__(self) -> None:
        self._first: Tag | None = None
        self._count = 0
        #: By this its tags know it, without keeping it.
        self._mark = object()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Tag]:
        """The tags that are there now, from the head on; the list may change meanwhile."""
        return iter(_chain(self._first))

    def prepend(self, t: Tag) -> None:
        """Put a tag that is in no list first; it is the list's from then on. See m_tag_prepend."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is no tag")
        if t._list is not None:
            raise t._freed() if t._list is _NOWHERE else Inval("the tag is on a packet already: unlink or copy it")
        first = self._first
        t._list = self._mark
        t._after = first
        if first is not None:
            first._before = t
        self._first = t
        self._count += 1

    def unlink(self, t: Tag) -> None:
        """Take a tag out; it is the caller's. See m_tag_unlink."""
        self._listed(t)
        before, after = t._before, t._after
        if before is None:
            self._first = after
        else:
            before._after = after
        if after is not None:
            after._before = before
        t._list = t._before = t._after = None
        self._count -= 1

    def delete(self, t: Tag) -> None:
        """Take a tag out and free it. See m_tag_delete."""
        self.unlink(t)
        t.free()

    def delete_chain(self, t: Tag | None = None) -> None:
        """Delete those after a tag, in order, then that tag; from the first on if none is given.

        See m_tag_delete_chain.
        """
        if t is not None:
            self._listed(t)
        chain = _chain(self._first if t is None else t)
        self._delete(chain[1:] + chain[:1])

    def delete_nonpersistent(self) -> None:
        """Delete all without MTAG_PERSISTENT in their id. See m_tag_delete_nonpersistent."""
        self._delete([t for t in self if not t.id & MTAG_PERSISTENT])

    def locate(self, cookie: int, type: int, after: Tag | None = None) -> Tag | None:
        """The first tag of that cookie and id, or the next after a tag; None if there is none. See m_tag_locate."""
        if after is None:
            t = self._first
        else:
            self._listed(after)
            t = after._after
        type, cookie = index(type), index(cookie)
        while t is not None and (t.id != type or t.cookie != cookie):
            t = t._after
        return t

    def find(self, type: int, after: Tag | None = None) -> Tag | None:
        """`locate` among PACKET_TAG_... See m_tag_find."""
        return self.locate(MTAG_ABI_COMPAT, type, after)

    def copy(self, how: int = M_NOWAIT) -> TagList:
        """A new list of copies, in the same order. Raises what an allocation does; none is left then."""
        copies: list[Tag] = []
        try:
            for t in self:
                copies.append(t.copy(how))
        except BaseException:
            for t in copies:
                t.free()
            raise
        tags = TagList()
        for t in reversed(copies):
            tags.prepend(t)
        return tags

    def __del__(self) -> None:
        self.delete_chain()

    def _delete(self, tags: list[Tag]) -> None:
        """Delete those tags, but for what the routine of one of them takes out meanwhile."""
        for t in tags:
            if t._list is self._mark:
                self.delete(t)

    def _listed(self, t: Tag) -> None:
        """Refuse a tag that isn't in this list."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is no tag")
        if t._list is not self._mark:
            raise t._freed() if t._list is _NOWHERE else Inval("the tag isn't on this packet")


def _chain(t: Tag | None) -> list[Tag]:
    """A tag and those after it."""
    tags = []
    while t is not None:
        tags.append(t)
        t = t._after
    return tags


def _bytes_of(value: Any) -> int:
    """Bytes of a bytes-like value."""
    if isinstance(value, memoryview):
        return value.nbytes
    return len(value) if isinstance(value, bytes | bytearray) else 0
