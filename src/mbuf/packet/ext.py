"""External storage: bytes that several mbufs may share.

Storage counts the mbufs that use it. One of them is its *owner*: the one whose struct mbuf would hold the count in
the kernel. An owner that is freed before the last user stays out of its zone until that one lets go, and so do its
tags, in its `link`. `owner` is None while one mbuf uses the storage alone; sharing names it.

    m ---buf--> storage <--buf--- n        users = 2, owner = item of m

Counting up (`join`) and down (`unref`) are parts of commits. What the last use ends may have finalizers and free
routines; then the storage is put on the release list with the item of its last user in `link`, and `let_go` ends it
after the commit. If somebody looks at the bytes, it is held until the last view goes, and ends then.
Never knows the mbufs themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from dataclasses import dataclass, field

from mbuf.const import EXT_PACKET
from mbuf.kinds import CLUSTERS
from mbuf.uma.item import Item, MbufItem

#: How many sizes of cluster there are, their bytes, and their EXT_ types.
_COUNT = len(CLUSTERS)
if not cython.compiled:
    _SIZES, _TYPES = [0] * _COUNT, [0] * _COUNT
for _n, _kind in enumerate(CLUSTERS):
    _SIZES[_n], _TYPES[_n] = _kind.size, _kind.ext_type

if not cython.compiled:
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import enter_commit, leave_commit, put

    def lone_packet(storage: Storage) -> bool:
        """True for the cluster of a packet that one mbuf uses, that nobody looks at, and that has nothing to end."""
        return storage.users == 1 and storage.type == EXT_PACKET and storage.exports == 0 and storage.owner is None


@dataclass(frozen=True, slots=True)
class Ext:
    """What `m.ext` tells of an mbuf's storage, at that moment."""

    #: EXT_CLUSTER, EXT_PACKET, ...
    type: int
    #: Bytes of the storage.
    size: int
    #: Mbufs that use it.
    count: int
    #: True when this mbuf is the owner: the one that carries the count.
    embedded: bool
    #: A number that tells this storage from any other in use.
    id: int
    #: Whose memory it is, if somebody lent it with `extadd`, and the two arguments given with it.
    obj: Any = field(default=None, repr=False)
    arg1: Any = field(default=None, repr=False)
    arg2: Any = field(default=None, repr=False)


@cython.no_gc
@cython.cclass
class Storage(Item):
    """A cluster: an item of a cluster zone, with what `struct m_ext` says of it while mbufs use it."""

    #: `users` is 0 for storage that is counted elsewhere.
    __slots__ = ("owner", "type", "users")
    owner: Item | None
    type: int
    users: int

    def __init__(self, slab: Any, start: int, size: int) -> None:
        Item.__init__(self, slab, start, size)
        self.owner = None
        self.type = 0
        self.users = 0

    def own(self) -> None:
        """Become the storage of one mbuf, and of nobody else. See mb_ctor_clust."""
        self.owner = None
        self.users = 1
        n = 0
        while n < _COUNT - 1 and _SIZES[n] != self.size:
            n += 1
        self.type = _TYPES[n]

    def pair(self) -> None:
        """Become the cluster of a packet. See mb_zinit_pack."""
        self.own()
        self.type = EXT_PACKET

    # What is known.

    def counted(self) -> int:
        """Mbufs that use this. See m_extrefcnt."""
        return self.users

    def sole(self) -> bool:
        """True when one mbuf uses this, and its bytes may be written."""
        return self.users == 1 and not self.fixed

    def describe(self, item: Item) -> Ext:
        """What the mbuf of `item` may say of this."""
        return Ext(self.type, self.size, self.users, self.owner is None or self.owner is item, id(self))

    def defers(self, item: Item) -> bool:
        """True when the mbuf of `item`, freed now, would stay out of its zone for others' sake."""
        return self.users > 1 and (self.owner is None or self.owner is item)

    def ext_size(self) -> int:
        """What `struct m_ext` says of the size. See M_SIZE."""
        return self.size

    def frags(self) -> int:
        """Pieces that the bytes of an mbuf are in. See frags_per_mbuf."""
        return 1

    def bound(self) -> int:
        """How far the data of an mbuf may reach."""
        return self.size

    def counter(self) -> object:
        """What counts the users: the same for all whose writing depends on one another."""
        return self

    # One user more. See mb_dupcl.

    def check_share(self) -> None:
        """Raise `Inval` where no other mbuf may use this."""

    def make_sharer(self) -> Storage:
        """What one mbuf more would hold; `join` makes it true."""
        return self

    def fits_sharer(self, made: Any) -> bool:
        """True when `made` is what `make_sharer` would give now."""
        return made is self

    def join(self, item: Item, made: Storage) -> None:
        """In a commit: one mbuf more uses this, beside that of `item`; it holds `made`."""
        if self.owner is None:
            self.owner = item
        self.users += 1

    # One user less. See mb_free_ext.

    def unref(self, item: Item) -> None:
        """In a commit: the mbuf of `item` uses this no more.

        The last use sends storage and owner home. Until then the owner stays out, even if it is the
        owner that lets go.
        """
        if lone_packet(self):
            # A packet goes home whole: its mbuf keeps its cluster.
            send_home(item)
        elif self.users > 1:
            self.users -= 1
            if item is not self.owner:
                send_home(item)
        elif self.owner is not None and self.owner.link is not None:
            self.link = item
            put(self)
        else:
            self.finish(item)

    def finish(self, item: Item) -> None:
        """In a commit: the last use has ended, and nobody is left to be told."""
        if self.type != EXT_PACKET:
            # An mbuf that came with this, out of the reserve, goes home without.
            owner = cython.cast(MbufItem, item if self.owner is None else self.owner)
            if owner.cluster is self:
                owner.cluster = None
            send_home(self)
            self.part(item)
        elif self.exports and self.has_views():
            self.later(item)
        else:
            self.part(item)

    def later(self, item: Item) -> None:
        """In a commit: somebody looks at bytes whose last user lets go: all goes home when the last view does."""
        owner = item if self.owner is None else self.owner
        self.owner = owner
        owner.home.held += 1
        self.hold()
        if item is not owner:
            send_home(item)

    def part(self, item: Item) -> None:
        """In a commit: storage that is used no more lets its owner go, and its last user if that is another."""
        owner = self.owner
        self.owner = None
        if owner is not None and owner is not item:
            send_home(owner)
        send_home(item)

    def views_gone(self) -> None:
        """In a commit: the last view went after the last mbuf had let go."""
        owner = self.owner
        if owner is None:
            Item.views_gone(self)
        else:
            owner.home.held -= 1
            self.unref(owner)

    # What calls others, from the release list.

    def let_go(self) -> int:
        """End, or go home."""
        item = cython.cast(Item, self.link)
        if self.gone or item is None:
            Item.let_go(self)
        else:
            self.link = None
            self.end(item)
        return 0

    def end(self, item: Item) -> None:
        """Free the tags of an owner that was freed before; then `finish`."""
        try:
            untag(self.owner)
        finally:
            enter_commit()
            self.finish(item)
            leave_commit()


def untag(owner: Item | None) -> None:
    """Free the tags of an owner that was freed before; None owns nothing."""
    if owner is not None:
        tags: Any = owner.link
        owner.link = None
        if tags is not None:
            tags.delete_chain(None)
