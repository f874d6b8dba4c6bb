"""External storage in memory of the program, through the buffer of an object.

The object and its buffer are held while mbufs use the memory. After the last user is freed and the last view is
released, the buffer is released, and then the free routine is called, once, with an mbuf that it can read. This is
done from the release list, never in a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, EXT_SFBUF
from mbuf.errors import Busy, Inval
from mbuf.packet.ext import Storage, ext_class
from mbuf.uma.item import Item, ItemOwner
from mbuf.vm.buffer_export import BufferExport
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.m_ext import Ext
    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.packet.ext import free_tags
    from mbuf.uma.item import free_item
    from mbuf.vm.commit import enter_commit, leave_commit, release_later

#: The largest count of uses.
_MAX_USES = (1 << 32) - 1


class RefCount:
    """A count of uses for EXT_EXTREF storage, given to `m.extaddref(buffer, refs)`. See m_extaddref in mbuf(9).

    `count` goes up by 1 for each mbuf that uses the storage, and down by 1 when such an mbuf is freed; the last one
    leaves it at 1. To keep the memory yourself, begin with `RefCount(1)`: no free routine is called then, and `count`
    is 1 again when all mbufs are freed. Raises `Inval` for a negative count or one of 2**32 - 1 or more.
    """

    __slots__ = ("uses",)
    uses: int

    def __init__(self, count: int = 0) -> None:
        uses = integer(count, "count")
        if not 0 <= uses < _MAX_USES:
            raise Inval(f"RefCount({count}): give 0 to {_MAX_USES - 1}")
        if self.uses:
            raise Inval("a RefCount can't be initialized again while it counts uses: make another one")
        self.uses = uses

    @property
    def count(self) -> int:
        """Return the uses now; 1 also after the last mbuf was freed."""
        return self.uses


@cython.no_gc
@cython.cclass
class External(Storage):
    """Memory of the program as storage, until its last user is freed. With EXT_EXTREF, `refs` counts the users."""

    #: `free_cb` is the free routine, its two arguments, and the function that calls it. `uses` counts the mbufs whose
    #: storage this object is. `released`: the buffer was released.
    __slots__ = ("extent", "free_cb", "obj", "refs", "released", "uses")
    extent: int
    free_cb: tuple[Any, ...] | None
    obj: Any
    refs: RefCount | None
    released: bool
    uses: int

    def __init__(self) -> None:
        raise TypeError("external storage can't be made directly: call m.extadd or pool.wrap")

    def check_refs(self) -> None:
        """Raise `Inval` if the RefCount can't count one more use."""
        if self.refs is not None and self.refs.uses >= _MAX_USES:
            raise Inval(f"a RefCount counts {_MAX_USES} uses at most: use another one")

    def attached(self) -> None:
        """In a commit: count the first user in `refs`, if there is one."""
        if self.refs is not None:
            self.refs.uses += 1

    def set_free_cb(
        self, free: Callable[[Mbuf], object] | None, arg1: Any, arg2: Any, call: Callable[..., None]
    ) -> None:
        """Set the free routine and its two arguments; `call` calls it with an mbuf whose `ext` has the arguments."""
        self.free_cb = (free, arg1, arg2, call)

    def refcnt(self) -> int:
        return self.users if self.refs is None else self.refs.uses

    def is_writable(self) -> bool:
        return self.refcnt() == 1 and not self.fixed

    def describe(self, item: Item) -> Ext:
        embedded = self.refs is None and self.owner in (None, item)
        free_cb = self.free_cb
        arg1, arg2 = (None, None) if free_cb is None else free_cb[1:3]
        return ext_class()(self.type, self.extent, self.refcnt(), embedded, id(self.obj), self.obj, arg1, arg2)

    def bytes_per_user(self) -> int:
        # The memory is the program's.
        return 0

    def defers(self, item: Item) -> bool:
        return self.refs is None and self.users > 1 and (self.owner is None or self.owner is item)

    def counter(self) -> object:
        return self if self.refs is None else self.refs

    def check_share(self) -> None:
        if self.released:
            raise Inval("the memory was released: a free routine may only read the mbuf that it gets")
        self.check_refs()

    def ref(self, item: Item, made: Storage) -> None:
        if self.refs is None:
            if self.owner is None:
                self.owner = item
            self.users += 1
        else:
            self.refs.uses += 1
        self.uses += 1

    def unref(self, item: Item) -> None:
        if self.released:
            # This is the mbuf that the free routine was called with.
            return
        if self.refs is None:
            if self.users > 1:
                self.users -= 1
                self.uses -= 1
                if item is not self.owner:
                    free_item(item)
                return
        elif self.refs.uses > 1:
            self.refs.uses -= 1
            self.uses -= 1
            free_item(item)
            if self.uses == 0:
                # Other storages use the memory still. This one releases its buffer when there are no views.
                if self.exports and self.has_views():
                    self.hold()
                else:
                    release_later(self)
            return
        if self.exports and self.has_views():
            self.wait_for_views(item)
        else:
            self.link = item
            release_later(self)

    def views_gone(self) -> None:
        owner = self.owner
        if owner is not None:
            owner.zone.held -= 1
            self.link = owner
        release_later(self)

    def on_release(self) -> int:
        item = cython.cast(Item, self.link)
        if self.gone:
            Item.on_release(self)
        elif item is not None:
            self.link = None
            self.end(item)
        elif self.uses == 0 and not self.released:
            self._release_buffer()
        return 0

    def end(self, item: Item) -> None:
        """Release the buffer, call the free routine, and give back the items. See mb_free_ext."""
        owner = item if self.owner is None else self.owner
        if owner.link is None and self.free_cb is None:
            # No code of the program is called but that of the buffer's object, whose exceptions are reported there.
            self.released = True
            self.end_export()
            enter_commit()
            self.free_items(item)
            leave_commit()
            self.obj = None
        else:
            self._end_calling(item, owner)

    def _end_calling(self, item: Item, owner: Item) -> None:
        """`end` of a storage that has a free routine, or tags of its owner."""
        try:
            try:
                free_tags(owner)
            finally:
                self.released = True
                # From here on the program may do anything with the memory.
                self.end_export()
            if self.free_cb is not None and self.free_cb[0] is not None:
                self.free_cb[3](owner, self, self.free_cb[0])
        finally:
            enter_commit()
            self.free_items(item)
            leave_commit()
            self._drop_references()

    def _release_buffer(self) -> None:
        """Release the buffer; no free routine is called."""
        self.released = True
        try:
            self.end_export()
        finally:
            self._drop_references()

    def _drop_references(self) -> None:
        """Drop the references to objects of the program."""
        self.free_cb = None
        self.obj = None

    def check_detach(self, item: Item) -> None:
        """Raise `Busy` unless the mbuf of `item` is the only user, and there are no views."""
        if self.released:
            raise Inval("detach: the memory was released already")
        if self.refs is not None or self.users != 1:
            raise Busy(f"detach: {self.refcnt()} mbufs use the memory, or a RefCount counts its uses")
        if self.exports and self.has_views():
            raise Busy("detach: there is a view of the bytes: release that memoryview first")

    def detach(self, item: Item) -> None:
        """In a commit: end the only use without a call of the free routine."""
        owner = self.owner
        self.owner = None
        if owner is not None and owner is not item:
            if owner.link is not None:
                release_later(owner.link)
                owner.link = None
            free_item(owner)
        self.uses = 0
        release_later(self)


def external(of: BufferExport, type: int, refs: RefCount | None) -> External:
    """Return a storage in the memory of a buffer, with one user, which `attached` counts in `refs`."""
    made: External = External.__new__(External)
    made.use_export(of)
    made.obj = of.obj
    made.extent = of.size
    made.type = type
    made.uses = 1
    made.refs = refs
    made.users = 1 if refs is None else 0
    if not cython.compiled:
        made.owner = made.link = None
        made.zone = cython.cast(ItemOwner, None)
        made.released = False
        made.free_cb = None
    return made


def freeable(type: int) -> bool:
    """True if a user may give storage of that type to an mbuf."""
    return EXT_NET_DRV <= type <= EXT_EXTREF or type in (EXT_SFBUF, EXT_RXRING)


if not cython.compiled:

    def _blank_count(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a count is 0 before `__init__`, as compiled."""
        refs = object.__new__(cls)
        refs.uses = 0
        return refs

    type.__setattr__(RefCount, "__new__", _blank_count)
