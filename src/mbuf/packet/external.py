"""External storage that is somebody else's memory.

Holds the owner's object while mbufs use it, and has his free routine called once when none does any more.
It is told how to show the routine an mbuf; never does so with anything half done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mbuf.const import EXT_EXTREF, EXT_NET_DRV, EXT_RXRING, EXT_SFBUF
from mbuf.errors import Busy, Inval
from mbuf.packet.ext import Ext, Storage
from mbuf.uma.item import Home, Item
from mbuf.vm.loan import Loan
from mbuf.vm.number import clip

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.packet.mbuf import Mbuf
else:
    from mbuf.shadow import cython

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
        if not 0 <= clip(count) < _MOST:
            raise Inval(f"RefCount({count}): give a count from 0 on")
        self.uses = count

    @property
    def count(self) -> int:
        """Uses at this moment; 1 too when the last was let go of."""
        return self.uses


@cython.no_gc
@cython.cclass
class External(Storage):
    """Somebody's memory, until its last user lets go; or, with EXT_EXTREF, until `refs` says so."""

    #: `told` is what the owner said of its end: the routine, its two arguments, and who shows it an mbuf.
    __slots__ = ("extent", "obj", "over", "refs", "told", "uses")
    extent: int
    over: bool
    uses: int

    def __init__(self) -> None:
        raise TypeError("external storage is made by external(loan, type, refs)")

    def begin(self, of: Loan, type: int, refs: RefCount | None) -> None:
        """Be the storage of one mbuf."""
        self.borrow(of)
        self.obj = of.obj
        self.extent = of.size
        self.type = type
        self.uses = 1
        self.refs = refs
        if self.refs is None:
            self.users = 1
        else:
            self.users = 0
            self._count(self.refs)
        if not cython.compiled:
            self.handle = self.mate = self.owner = self.tags = None
            self.home = cython.cast(Home, None)
            self.over = False
            self.told: tuple[Any, ...] | None = None

    def tell_owner(
        self, free: Callable[[Mbuf], object] | None, arg1: Any, arg2: Any, show: Callable[..., None]
    ) -> None:
        """In the end `show` calls `free`, if any, with an mbuf on which it can see the arguments."""
        self.told = (free, arg1, arg2, show)

    def counted(self) -> int:
        return self.users if self.refs is None else self.refs.uses

    def sole(self) -> bool:
        return self.counted() == 1 and not self.fixed

    def tell(self, item: Item) -> Ext:
        embedded = self.refs is None and self.owner in (None, item)
        arg1, arg2 = (None, None) if self.told is None else self.told[1:3]
        return Ext(self.type, self.extent, self.counted(), embedded, id(self.obj), self.obj, arg1, arg2)

    def lingers(self, item: Item) -> bool:
        return self.refs is None and Storage.lingers(self, item)

    def share(self, item: Item) -> Storage:
        if self.over:
            raise Inval("the memory is its owner's again: what a free routine gets can only be looked at")
        if self.refs is None:
            Storage.share(self, item)
        else:
            self._count(self.refs)
        self.uses += 1
        return self

    def _count(self, refs: RefCount) -> None:
        if refs.uses == _MOST:
            raise Inval(f"a RefCount tells of {_MOST} uses at most")
        refs.uses += 1

    def counter(self) -> object:
        return self if self.refs is None else self.refs

    def drop(self, item: Item) -> None:
        if self.over:
            # What its own free routine has got.
            pass
        elif self.refs is None:
            self.uses -= 1
            Storage.drop(self, item)
        elif self.refs.uses > 1:
            self.refs.uses -= 1
            self.uses -= 1
            item.release()
            self._part()
        else:
            self.end(item)

    def _part(self) -> None:
        """Others use the memory still, though not through this: give the buffer back when nobody looks."""
        if self.uses == 0:
            if self.exports and self.watched():
                self.hold()
            else:
                self._leave()

    def _leave(self) -> None:
        self.over = True
        self.give_back()
        self.forget()

    def end(self, item: Item) -> None:
        if self.exports and self.watched():
            self.later(item)
        else:
            self._end(item)

    def _end(self, item: Item) -> None:
        """Nobody uses or sees the memory any more: back to its owner with it. See mb_free_ext."""
        owner = item if self.owner is None else self.owner
        if self.tags is not None:
            self.untag()
        self.over = True
        # From here on the memory is its owner's, who may do with it what he likes.
        self.give_back()
        if self.told is not None and self.told[0] is not None:
            self.told[3](owner, self, self.told[0])
        self.forget()
        self._parted(item)

    def forget(self) -> None:
        """What was the owner's is not kept."""
        self.obj = None
        if self.told is not None:
            self.told = None

    def unwatched(self) -> None:
        if self.owner is None:
            self._leave()
        else:
            self.owner.home.held -= 1
            self._end(self.owner)

    def detach(self, item: Item) -> Any:
        """The object, from its only user; the free routine is not called."""
        if self.over:
            raise Inval("detach: the memory is its owner's again already")
        if self.refs is not None or self.users != 1:
            raise Busy(f"detach: {self.counted()} mbufs use the memory, or count its uses elsewhere")
        if self.exports and self.watched():
            raise Busy("detach: somebody looks at the bytes: release the memoryview first")
        obj = self.obj
        self._leave()
        if self.owner is not None and self.owner is not item:
            self.owner.release()
        self.owner = None
        return obj


def external(of: Loan, type: int, refs: RefCount | None) -> External:
    """The storage of somebody's memory."""
    made: External = External.__new__(External)
    made.begin(of, type, refs)
    return made


def freeable(type: int) -> bool:
    """True for the types of storage that know how to be freed, of those that an mbuf can be given."""
    return EXT_NET_DRV <= type <= EXT_EXTREF or type in (EXT_SFBUF, EXT_RXRING)
