"""Packet tags: values that modules attach to a packet. See mbuf_tags(9).

Here are the tags, the zone that counts them, and the list in a packet header. A freed tag is put on the release list:
its free routine is called, and its value dropped, after the commit.
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
from mbuf.vm.ints import integer
from mbuf.vm.unraisable import run

if not cython.compiled:
    from mbuf.vm.commit import (
        check_latch,
        enter_commit,
        leave_commit,
        release_later,
        run_releases,
        run_releases_unraisable,
    )

#: Bytes of `struct m_tag`, which the kernel puts before a tag's own.
_HEADER = 24
#: m_tag_len has 16 bits. The kernel silently truncates a greater length.
_MAX_LEN = 0xFFFF

#: The `list` of a freed tag.
_NOWHERE = object()


@cython.cclass
class TagZone:
    """Makes tags, and counts them until they are freed: the kernel's memory type `mbuf_tag`."""

    __slots__ = ("bytes", "count")
    #: Tags that are out.
    count: int
    #: Their bytes as in the kernel: 24 for each tag, and its length.
    bytes: int

    def __init__(self) -> None:
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
        """Return a new tag, which belongs to the caller. See m_tag_alloc.

        `cookie` has 32 bits, `type` (the id) 16. The value is any object; it isn't copied, so the caller may still
        change a bytearray. `free(tag)` is called once, when the tag is freed. Raises `Inval` for a number out of range,
        or bytes longer than 65535. The kernel's length is `len` here: the bytes of a bytes-like value, else 0.
        """
        number, id, wait = integer(cookie, "cookie"), integer(type, "type"), integer(how, "how")
        if not 0 <= number < 1 << 32:
            raise Inval(f"cookie {cookie}: give a number from 0 to 2**32 - 1")
        if not 0 <= id < 1 << 16:
            raise Inval(f"type {type}: give a number from 0 to 2**16 - 1, the id of the tag")
        if wait != M_NOWAIT and wait != M_WAITOK:
            raise Inval(f"how {how}: give M_NOWAIT or M_WAITOK")
        count = _bytes_of(value)
        if count > _MAX_LEN:
            raise Inval(f"a value of {count} bytes: a tag has at most {_MAX_LEN}; put them into an mbuf")
        t: Tag = Tag.__new__(Tag)
        t.cookie = number
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
    """A value attached to a packet, with a `cookie` (its module) and an `id`. See mbuf_tags(9).

    Get one from `pool.tag_alloc` or `pool.tag_get`. `m.tag_prepend(tag)` gives it to a packet, and it is freed with
    that. `m.tag_unlink` gives it back to the caller, `m.tag_delete` frees it. A tag that isn't on a packet is freed by
    `free`, or when it is dropped. If the value refers to the packet of the tag, neither is collected until the tag is
    freed.
    """

    #: `list` is the `mark` of the list that the tag is in, or None; `before` and `after` are its neighbours there.
    __slots__ = ("after", "before", "content", "cookie", "id", "list", "routine", "size", "zone")
    after: Tag | None
    before: Tag | None
    content: Any
    #: The number of the module that the tag belongs to.
    cookie: int
    #: What kind of tag of that module it is.
    id: int
    list: Any
    routine: Any
    size: int
    zone: TagZone | None

    def __init__(self) -> None:
        raise TypeError("a tag can't be made directly: call pool.tag_alloc(cookie, type, value)")

    @property
    def len(self) -> int:
        """The bytes of the value when the tag was made; 0 if it isn't bytes-like. See m_tag_len."""
        return self.size

    @property
    def value(self) -> Any:
        """The value, not a copy. It can't be set: change the object, or use another tag. Raises `Freed`."""
        self.live()
        return self.content

    def copy(self, how: int = M_NOWAIT) -> Tag:
        """Return a new tag with the same cookie, id and value, which belongs to the caller. See m_tag_copy.

        A bytearray is copied, any other value shared. The copy has no free routine. Raises `Freed`.
        """
        zone = self.live()
        value = bytearray(self.content) if isinstance(self.content, bytearray) else self.content
        return zone.alloc(self.cookie, self.id, value, how)

    def free(self) -> None:
        """Free a tag that isn't on a packet. See m_tag_free.

        Its free routine is called, and can still read it; exceptions go to `sys.unraisablehook`. Raises `Inval` if the
        tag is on a packet, and `Freed`.
        """
        check_latch()
        if self.list is not None or self.zone is None:
            raise (
                self.freed()
                if self.zone is None or self.list is _NOWHERE
                else Inval("the tag is on a packet: call m.tag_unlink or m.tag_delete")
            )
        # Before anything else: the routine may use this tag, and must be called once only.
        self.list = _NOWHERE
        release_later(self)
        run_releases()

    def on_release(self) -> int:
        """From the release list: call the free routine, and drop the value."""
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
        # A tag in a list is freed by the list.
        if self.zone is not None and self.list is None:
            release_later(self)
            run_releases_unraisable()

    def __reduce__(self) -> Any:
        raise TypeError("a tag can't be pickled or copied by copy: its pool counts it; use t.copy()")

    def __repr__(self) -> str:
        freed = self.zone is None or self.list is _NOWHERE
        where = "freed" if freed else "in no list" if self.list is None else "listed"
        return f"<tag {self.cookie}:{self.id} len={self.size} {where}>"

    def live(self) -> TagZone:
        """Return the zone that counts the tag; `Freed` if it was freed."""
        if self.zone is None:
            raise self.freed()
        return self.zone

    def freed(self) -> Freed:
        """Return the error for a freed tag."""
        return Freed(
            f"the tag {self.cookie}:{self.id} was freed: don't use a tag after free, or after its packet is freed"
        )


@cython.cclass
class TagList(Releasable):
    """The tags of one packet, the latest first. See struct pkthdr in mbuf(9).

    The list owns its tags; they are freed with it. A tag is in one list at a time, doubly linked, so to add or remove
    one takes constant time. `stamp` changes whenever the list does.
    """

    __slots__ = ("count", "first", "mark", "stamp")
    count: int
    first: Tag | None
    mark: Any
    stamp: int

    def __init__(self) -> None:
        if self.mark is not None:
            raise TypeError("a list of tags can't be initialized again")
        #: An object by which a tag is compared with its list, without a reference to the list.
        self.mark = object()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tag]:
        """Iterate over the tags that are in the list now, first to last."""
        return iter(_chain(self.first))

    def prepend(self, t: Tag) -> None:
        """Add a tag at the front; it belongs to the list then. `Inval` if it is in a list. See m_tag_prepend."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is not a tag: give a Tag, from pool.tag_alloc")
        self._put_first(t)

    def _put_first(self, t: Tag) -> None:
        """`prepend`, of what is a tag."""
        if t.list is not None or t.zone is None:
            raise (
                t.freed()
                if t.list is _NOWHERE or t.zone is None
                else Inval("the tag is on a packet already: call m.tag_unlink, or use a copy")
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
        """Take a tag out; it belongs to the caller then. See m_tag_unlink."""
        self._listed(t)
        self._take_out(t)

    def _take_out(self, t: Tag) -> None:
        """`unlink`, of a tag in this list."""
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
        """Delete the tags after `t`, in order, then `t` itself; without `t`, all. See m_tag_delete_chain."""
        if t is not None:
            self._listed(t)
        chain = _chain(self.first if t is None else t)
        self._delete(chain[1:] + chain[:1])

    def delete_nonpersistent(self) -> None:
        """Delete the tags without MTAG_PERSISTENT in their id. See m_tag_delete_nonpersistent."""
        tags: list[Tag] = []
        for t in _chain(self.first):
            if not t.id & MTAG_PERSISTENT:
                tags.append(t)
        self._delete(tags)

    def locate(self, cookie: int, type: int, after: Tag | None = None) -> Tag | None:
        """Return the first tag with that cookie and id, after `after` if given; None if none. See m_tag_locate."""
        id, number = index(type), index(cookie)
        if after is None:
            t = self.first
        else:
            self._listed(after)
            t = after
            t = t.after
        while t is not None and (t.id != id or t.cookie != number):
            t = t.after
        return t

    def find(self, type: int, after: Tag | None = None) -> Tag | None:
        """`locate` with cookie MTAG_ABI_COMPAT: the ids PACKET_TAG_... See m_tag_find."""
        return self.locate(MTAG_ABI_COMPAT, type, after)

    def copy(self, how: int = M_NOWAIT) -> TagList:
        """Return a new list of copies, in the same order. If one can't be allocated, all are freed."""
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

    def on_release(self) -> int:
        """From the release list, dropped or replaced by another list: free all tags."""
        self.release()
        return 0

    def release(self) -> None:
        """Put all tags on the release list, in the order of `delete_chain`; see `run_releases`."""
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
            release_later(self)
            run_releases_unraisable()

    def _delete(self, tags: list[Tag]) -> None:
        """Take out and free those of the tags that are in the list, in that order."""
        enter_commit()
        for t in tags:
            if t.list is self.mark:
                self._take_out(t)
                _end(t)
        leave_commit()
        run_releases()

    def _listed(self, t: Tag) -> None:
        """Raise `Inval` unless `t` is a tag in this list, or `Freed`."""
        if not isinstance(t, Tag):
            raise Inval(f"{t!r} is not a tag: give a Tag of this packet")
        self._check_mine(t)

    def _check_mine(self, t: Tag) -> None:
        """`_listed`, of what is a tag."""
        if t.list is not self.mark:
            raise (
                t.freed() if t.list is _NOWHERE or t.zone is None else Inval("the tag isn't on this packet: see m.tags")
            )


def _end(t: Tag) -> None:
    """Put a tag, which was taken out of its list, on the release list."""
    t.list = _NOWHERE
    t.before = t.after = None
    release_later(t)


def _chain(t: Tag | None) -> list[Tag]:
    """Return a tag and those after it."""
    tags = []
    while t is not None:
        tags.append(t)
        t = t.after
    return tags


def _bytes_of(value: Any) -> int:
    """Return the bytes of a bytes-like value, else 0."""
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, bytes):
        return bytes.__len__(value)
    return bytearray.__len__(value) if isinstance(value, bytearray) else 0


if not cython.compiled:
    _new = Releasable.__new__

    def _blank_tag(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, make a tag that counts as freed."""
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
