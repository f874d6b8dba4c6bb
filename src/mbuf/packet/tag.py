"""Packet tags: what modules note on a packet, beside its bytes.

Tags, where they are counted, and the list of them that a packet header keeps. A tag that is freed goes by the release
list: its routine runs, and its value is dropped, when no verb is half done. Knows neither mbufs nor pools.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import cython
else:
    from mbuf.shadow import cython

from mbuf.const import M_NOWAIT, M_WAITOK, MTAG_ABI_COMPAT, MTAG_PERSISTENT
from mbuf.errors import Freed, Inval
from mbuf.vm.commit import Releasable
from mbuf.vm.ints import clip
from mbuf.vm.unraisable import run

if not cython.compiled:
    from mbuf.vm.commit import check_latch, enter_commit, finish_drop, leave_commit, put, settle

#: Bytes of `struct m_tag`, which the kernel puts before a tag's own.
_HEADER = 24
#: m_tag_len has 16 bits; the kernel cuts a greater length to them without a word.
_MOST = 0xFFFF

#: Where a freed tag is listed: nowhere any more.
_NOWHERE = object()


@cython.cclass
class TagZone:
    """Where tags are made, and counted until they are freed: the kernel's memory type `mbuf_tag`."""

    __slots__ = ("bytes", "count")
    bytes: int
    count: int

    def __init__(self) -> None:
        #: Tags that are allocated, and what the kernel would take for them: 24 bytes each, and their length.
        if not cython.compiled:
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
        near, id, may = clip(cookie), clip(type), clip(how)
        if not 0 <= near < 1 << 32:
            raise Inval(f"cookie {cookie}: it has 32 bits")
        if not 0 <= id < 1 << 16:
            raise Inval(f"type {type}: a tag's id has 16 bits")
        if may != M_NOWAIT and may != M_WAITOK:
            raise Inval(f"how {how}: give M_NOWAIT or M_WAITOK")
        count = _bytes_of(value)
        if count > _MOST:
            raise Inval(f"a value of {count} bytes: a tag has at most {_MOST}; put them into an mbuf")
        t: Tag = Tag.__new__(Tag)
        t.cookie = near
        t.id = id
        t.size = count
        t.content = value
        t.routine = free
        t.zone = self
        if not cython.compiled:
            t.list = t.before = t.after = None
        self.count += 1
        self.bytes += _HEADER + count
        return t


@cython.cclass
class Tag(Releasable):
    """A note on a packet. See mbuf_tags(9).

    Get one from a pool, put it on a packet with `tag_prepend`: it is the packet's from then on, goes when
    that is freed, and leaves it with `tag_unlink` (the caller's again) or `tag_delete`. In no packet, let
    it go with `free`, or just drop it. A value that leads back to the tag's own packet keeps both
    until the tag is freed.
    """

    #: `list` is the mark of the list that it is in, None in no list; `before` and `after` its neighbours there.
    __slots__ = ("after", "before", "content", "cookie", "id", "list", "routine", "size", "zone")
    after: Tag | None
    before: Tag | None
    content: Any
    cookie: int
    id: int
    list: Any
    routine: Any
    size: int
    zone: TagZone | None

    def __init__(self) -> None:
        raise TypeError("a tag comes from a pool: pool.tag_alloc(cookie, type, value)")

    @property
    def len(self) -> int:
        """Bytes of the value when the tag was made; 0 for a value that isn't bytes."""
        return self.size

    @property
    def value(self) -> Any:
        """What the tag says; to change that, change the value itself, or put another tag."""
        self.live()
        return self.content

    def copy(self, how: int = M_NOWAIT) -> Tag:
        """A tag like this one, in no list. See m_tag_copy.

        A bytearray is copied, any other value shared. The routine of `free` stays with this tag alone.
        """
        zone = self.live()
        value = bytearray(self.content) if isinstance(self.content, bytearray) else self.content
        return zone.alloc(self.cookie, self.id, value, how)

    def free(self) -> None:
        """Let it go; it must be in no list. See m_tag_free.

        Its own routine can read it still; what that raises goes to `sys.unraisablehook`.
        """
        check_latch()
        if self.list is not None or self.zone is None:
            raise (
                self.freed()
                if self.zone is None or self.list is _NOWHERE
                else Inval("the tag is on a packet: unlink or delete it")
            )
        # First of all: the routine may do anything with this tag, and runs once.
        self.list = _NOWHERE
        put(self)
        settle()

    def let_go(self) -> int:
        """Freed or dropped: call the routine, and drop the value."""
        zone = self.zone
        if zone is None:
            return 0
        self.list = _NOWHERE
        routine, self.routine = self.routine, None
        try:
            if routine is not None:
                run(routine, self)
        finally:
            zone.count -= 1
            zone.bytes -= _HEADER + self.size
            self.zone = None
            self.content = None
        return 0

    def __del__(self) -> None:
        # A listed one goes with its list.
        if self.zone is not None and self.list is None:
            put(self)
            finish_drop()

    def __reduce__(self) -> Any:
        raise TypeError("a tag can't be pickled or copied: it is counted where it was made; use t.copy()")

    def __repr__(self) -> str:
        freed = self.zone is None or self.list is _NOWHERE
        where = "freed" if freed else "in no list" if self.list is None else "listed"
        return f"<tag {self.cookie}:{self.id} len={self.size} {where}>"

    def live(self) -> TagZone:
        """Where it is counted; raises `Freed` if it is so no more."""
        if self.zone is None:
            raise self.freed()
        return self.zone

    def freed(self) -> Freed:
        """The error of whoever uses a tag that was let go of."""
        return Freed(f"the tag {self.cookie}:{self.id} was freed: keep no name for a tag that you have let go")


@cython.cclass
class TagList(Releasable):
    """The tags of one packet, the one put last first. See struct pkthdr's tags in mbuf(9).

    Owns them: dropped, it deletes them. A tag is in one list at a time, and knows its neighbours, so that
    whatever is done to one tag takes as long in a long list as in a short one. `stamp` changes with the list.
    """

    __slots__ = ("count", "first", "mark", "stamp")
    count: int
    first: Tag | None
    mark: Any
    stamp: int

    def __init__(self) -> None:
        if self.mark is not None:
            raise TypeError("a list of tags is made once")
        #: By this its tags know it, without keeping it.
        self.mark = object()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tag]:
        """The tags that are there now, from the head on; the list may change meanwhile."""
        return iter(_chain(self.first))

    def prepend(self, t: Tag) -> None:
        """Put a tag that is in no list first; it is the list's from then on. See m_tag_prepend."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is no tag")
        self._put_first(t)

    def _put_first(self, t: Tag) -> None:
        if t.list is not None or t.zone is None:
            raise (
                t.freed()
                if t.list is _NOWHERE or t.zone is None
                else Inval("the tag is on a packet already: unlink or copy it")
            )
        first = self.first
        t.list = self.mark
        t.after = first
        if first is not None:
            first.before = t
        self.first = t
        self.count += 1
        self.stamp += 1

    def unlink(self, t: Tag) -> None:
        """Take a tag out; it is the caller's. See m_tag_unlink."""
        self._listed(t)
        self._take_out(t)

    def _take_out(self, t: Tag) -> None:
        before, after = t.before, t.after
        if before is None:
            self.first = after
        else:
            before.after = after
        if after is not None:
            after.before = before
        t.list = None
        t.before = t.after = None
        self.count -= 1
        self.stamp += 1

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
        chain = _chain(self.first if t is None else t)
        self._delete(chain[1:] + chain[:1])

    def delete_nonpersistent(self) -> None:
        """Delete all without MTAG_PERSISTENT in their id. See m_tag_delete_nonpersistent."""
        tags: list[Tag] = []
        for t in _chain(self.first):
            if not t.id & MTAG_PERSISTENT:
                tags.append(t)
        self._delete(tags)

    def locate(self, cookie: int, type: int, after: Tag | None = None) -> Tag | None:
        """The first tag of that cookie and id, or the next after a tag; None if there is none. See m_tag_locate."""
        id, near = index(type), index(cookie)
        if after is None:
            t = self.first
        else:
            self._listed(after)
            t = after
            t = t.after
        while t is not None and (t.id != id or t.cookie != near):
            t = t.after
        return t

    def find(self, type: int, after: Tag | None = None) -> Tag | None:
        """`locate` among PACKET_TAG_... See m_tag_find."""
        return self.locate(MTAG_ABI_COMPAT, type, after)

    def copy(self, how: int = M_NOWAIT) -> TagList:
        """A new list of copies, in the same order. Raises what an allocation does; none is left then."""
        copies: list[Tag] = []
        try:
            for t in _chain(self.first):
                copies.append(t.copy(how))
        except BaseException:
            for t in copies:
                t.free()
            raise
        tags = TagList()
        for t in reversed(copies):
            tags.prepend(t)
        return tags

    def let_go(self) -> int:
        """Dropped, or replaced by another list: delete all."""
        self.release()
        return 0

    def release(self) -> None:
        """Put all on the release list, in the order of `delete_chain`; the caller settles, or is let go of itself."""
        first = self.first
        if first is None:
            return
        t = first.after
        while t is not None:
            after = t.after
            _end(t)
            t = after
        _end(first)
        self.first = None
        self.count = 0
        self.stamp += 1

    def __del__(self) -> None:
        if self.count:
            put(self)
            finish_drop()

    def _delete(self, tags: list[Tag]) -> None:
        """Take those tags out, as far as they are in the list, and free them in that order."""
        enter_commit()
        for t in tags:
            if t.list is self.mark:
                self._take_out(t)
                _end(t)
        leave_commit()
        settle()

    def _listed(self, t: Tag) -> None:
        """Refuse a tag that isn't in this list."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is no tag")
        self._check_mine(t)

    def _check_mine(self, t: Tag) -> None:
        if t.list is not self.mark:
            raise t.freed() if t.list is _NOWHERE or t.zone is None else Inval("the tag isn't on this packet")


def _end(t: Tag) -> None:
    """Put a tag on the release list: it is in no list of tags any more."""
    t.list = _NOWHERE
    t.before = t.after = None
    put(t)


def _chain(t: Tag | None) -> list[Tag]:
    """A tag and those after it."""
    tags = []
    while t is not None:
        tags.append(t)
        t = t.after
    return tags


def _bytes_of(value: Any) -> int:
    """Bytes of a bytes-like value."""
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, bytes):
        return bytes.__len__(value)
    return bytearray.__len__(value) if isinstance(value, bytearray) else 0


if not cython.compiled:
    _new = Releasable.__new__

    def _blank_tag(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a tag that was never made is as good as freed."""
        t = _new(cls)
        t.zone = t.list = t.before = t.after = t.content = t.routine = None
        t.cookie = t.id = t.size = 0
        return t

    def _blank_list(cls: Any, *_: Any, **__: Any) -> Any:
        tags = _new(cls)
        tags.first = tags.mark = None
        tags.count = tags.stamp = 0
        return tags

    type.__setattr__(Tag, "__new__", _blank_tag)
    type.__setattr__(TagList, "__new__", _blank_list)
