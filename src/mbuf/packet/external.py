"""External storage that is somebody else's memory.

Holds the owner's object while mbufs use it. When the last of them lets go and nobody looks at the bytes, the buffer is
given back, then the owner's free routine is called, once, with an mbuf to look at; all that from the release list,
when nothing is half done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, EXT_SFBUF
from mbuf.errors import Busy, Inval
from mbuf.packet.ext import Ext, Storage
from mbuf.uma.item import Home, Item
from mbuf.vm.ints import clip
from mbuf.vm.loan import Loan

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

if not cython.compiled:
    from mbuf.packet.ext import untag
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import enter_commit, leave_commit, put

#: Uses that a count can tell of.
_MOST = (1 << 32) - 1


class RefCount:
    """A count of uses that lies outside all mbufs, for EXT_EXTREF storage: `m.extaddref(buffer, refs)`.

    `count` goes up with each mbuf that uses the storage, and down with each that lets go, but for the
    last: that leaves 1. Begin with 1 to count a use of your own: then no routine is called, and `count` is 1
    when all mbufs have let go.
    """

    __slots__ = ("uses",)
    uses: int

    def __init__(self, count: int = 0) -> None:
        uses = clip(count)
        if not 0 <= uses < _MOST:
            raise Inval(f"RefCount({count}): give a count from 0 on")
        if self.uses:
            raise Inval("a RefCount can't be made a second time: it counts uses that there are")
        self.uses = uses

    @property
    def count(self) -> int:
        """Uses at this moment; 1 too when the last was let go of."""
        return self.uses


@cython.no_gc
@cython.cclass
class External(Storage):
    """Somebody's memory, until its last user lets go; or, with EXT_EXTREF, until `refs` says so."""

    #: `free_cb` is what the owner gave to be called: the routine, its two arguments, and who shows it an mbuf.
    #: `uses` counts the mbufs that use the memory through this; `released`: it is its owner's again.
    __slots__ = ("extent", "free_cb", "obj", "refs", "released", "uses")
    extent: int
    released: bool
    uses: int

    def __init__(self) -> None:
        raise TypeError("external storage is made by m.extadd and pool.wrap")

    def begin(self, of: Loan, type: int, refs: RefCount | None) -> None:
        """Be the storage of one mbuf, once that is attached: see `attach_to_refs`."""
        self.borrow(of)
        self.obj = of.obj
        self.extent = of.size
        self.type = type
        self.uses = 1
        self.refs = refs
        self.users = 1 if refs is None else 0
        if not cython.compiled:
            self.owner = self.link = None
            self.home = cython.cast(Home, None)
            self.released = False
            self.free_cb: tuple[Any, ...] | None = None

    def check_refs(self) -> None:
        """Raise `Inval` where the count of uses is full."""
        if self.refs is not None and self.refs.uses == _MOST:
            raise Inval(f"a RefCount tells of {_MOST} uses at most")

    def attached(self) -> None:
        """In a commit: an mbuf holds this; the count outside, if any, has one use more."""
        if self.refs is not None:
            self.refs.uses += 1

    def call_on_free(
        self, free: Callable[[Mbuf], object] | None, arg1: Any, arg2: Any, show: Callable[..., None]
    ) -> None:
        """In the end `show` calls `free`, if any, with an mbuf on which it can see the arguments."""
        self.free_cb = (free, arg1, arg2, show)

    def counted(self) -> int:
        return self.users if self.refs is None else self.refs.uses

    def sole(self) -> bool:
        return self.counted() == 1 and not self.fixed

    def describe(self, item: Item) -> Ext:
        embedded = self.refs is None and self.owner in (None, item)
        arg1, arg2 = (None, None) if self.free_cb is None else self.free_cb[1:3]
        return Ext(self.type, self.extent, self.counted(), embedded, id(self.obj), self.obj, arg1, arg2)

    def defers(self, item: Item) -> bool:
        return self.refs is None and self.users > 1 and (self.owner is None or self.owner is item)

    def counter(self) -> object:
        return self if self.refs is None else self.refs

    def check_share(self) -> None:
        if self.released:
            raise Inval("the memory is its owner's again: what a free routine gets can only be looked at")
        self.check_refs()

    def join(self, item: Item, made: Storage) -> None:
        if self.refs is None:
            if self.owner is None:
                self.owner = item
            self.users += 1
        else:
            self.refs.uses += 1
        self.uses += 1

    def unref(self, item: Item) -> None:
        if self.released:
            # What its own free routine has got.
            return
        if self.refs is None:
            if self.users > 1:
                self.users -= 1
                self.uses -= 1
                if item is not self.owner:
                    send_home(item)
                return
        elif self.refs.uses > 1:
            self.refs.uses -= 1
            self.uses -= 1
            send_home(item)
            if self.uses == 0:
                # Others use the memory still, though not through this: give the buffer back when nobody looks.
                if self.exports and self.has_views():
                    self.hold()
                else:
                    put(self)
            return
        if self.exports and self.has_views():
            self.later(item)
        else:
            self.link = item
            put(self)

    def views_gone(self) -> None:
        owner = self.owner
        if owner is not None:
            owner.home.held -= 1
            self.link = owner
        put(self)

    def let_go(self) -> int:
        item = cython.cast(Item, self.link)
        if self.gone:
            Item.let_go(self)
        elif item is not None:
            self.link = None
            self.end(item)
        elif self.uses == 0 and not self.released:
            self._leave()
        return 0

    def end(self, item: Item) -> None:
        """Nobody uses or sees the memory any more: back to its owner with it. See mb_free_ext."""
        owner = item if self.owner is None else self.owner
        try:
            try:
                if owner.link is not None:
                    untag(owner)
            finally:
                self.released = True
                # From here on the memory is its owner's, who may do with it what he likes.
                self.give_back()
            if self.free_cb is not None and self.free_cb[0] is not None:
                self.free_cb[3](owner, self, self.free_cb[0])
        finally:
            enter_commit()
            self.part(item)
            leave_commit()
            self._forget()

    def _leave(self) -> None:
        """Give the buffer back, and call no free routine."""
        self.released = True
        try:
            self.give_back()
        finally:
            self._forget()

    def _forget(self) -> None:
        """What was the owner's is not kept."""
        self.free_cb = None
        self.obj = None

    def check_detach(self, item: Item) -> None:
        """Raise `Busy` unless the mbuf of `item` is the only user, and nobody looks at the bytes."""
        if self.released:
            raise Inval("detach: the memory is its owner's again already")
        if self.refs is not None or self.users != 1:
            raise Busy(f"detach: {self.counted()} mbufs use the memory, or count its uses elsewhere")
        if self.exports and self.has_views():
            raise Busy("detach: somebody looks at the bytes: release the memoryview first")

    def detach(self, item: Item) -> None:
        """In a commit: the only user lets go; the free routine is not called."""
        owner = self.owner
        self.owner = None
        if owner is not None and owner is not item:
            if owner.link is not None:
                put(owner.link)
                owner.link = None
            send_home(owner)
        self.uses = 0
        put(self)


def external(of: Loan, type: int, refs: RefCount | None) -> External:
    """The storage of somebody's memory."""
    made: External = External.__new__(External)
    made.begin(of, type, refs)
    return made


def freeable(type: int) -> bool:
    """True for the types of storage that know how to be freed, of those that an mbuf can be given."""
    return EXT_NET_DRV <= type <= EXT_EXTREF or type in (EXT_SFBUF, EXT_RXRING)


if not cython.compiled:

    def _blank_count(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a count begins with 0, as a compiled one does."""
        refs = object.__new__(cls)
        refs.uses = 0
        return refs

    type.__setattr__(RefCount, "__new__", _blank_count)
