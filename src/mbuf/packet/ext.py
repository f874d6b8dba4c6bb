"""External storage: bytes that several mbufs may share.

Knows how many mbufs use it, and which one of them, the owner, stays out of its zone until the last use
ends, as the kernel's embedded reference count demands. Never knows the mbufs themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.tag import TagList
else:
    from mbuf.shadow import cython

from dataclasses import dataclass, field

from mbuf.const import (
    EXT_CLUSTER,
    EXT_JUMBO9,
    EXT_JUMBO16,
    EXT_JUMBOP,
    EXT_PACKET,
    MCLBYTES,
    MJUM9BYTES,
    MJUMPAGESIZE,
)
from mbuf.uma.item import Item


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

    #: `owner` is the item of the owning mbuf, None while only that mbuf uses the storage; `tags` are an
    #: owner's that was freed before the last user; `users` is 0 for storage that is counted elsewhere.
    __slots__ = ("owner", "tags", "type", "users")
    owner: Item | None
    tags: TagList | None
    type: int
    users: int

    def __init__(self, slab: Any, start: int, size: int) -> None:
        Item.__init__(self, slab, start, size)
        self.owner = None
        self.tags = None
        self.type = 0
        self.users = 0

    def own(self) -> None:
        """Become the storage of one mbuf, and of nobody else. See mb_ctor_clust."""
        self.owner = None
        self.users = 1
        if self.size == MCLBYTES:
            self.type = EXT_CLUSTER
        elif self.size == MJUMPAGESIZE:
            self.type = EXT_JUMBOP
        elif self.size == MJUM9BYTES:
            self.type = EXT_JUMBO9
        else:
            self.type = EXT_JUMBO16

    def pair(self) -> None:
        """Become the cluster of a packet. See mb_zinit_pack."""
        self.own()
        self.type = EXT_PACKET

    def counted(self) -> int:
        """Mbufs that use this. See m_extrefcnt."""
        return self.users

    def sole(self) -> bool:
        """True when one mbuf uses this, and its bytes may be written."""
        return self.users == 1 and not self.fixed

    def tell(self, item: Item) -> Ext:
        """What the mbuf of `item` may say of this."""
        return Ext(self.type, self.size, self.users, self.owner is None or self.owner is item, id(self))

    def lingers(self, item: Item) -> bool:
        """True when the mbuf of `item`, freed now, would stay out of its zone for others' sake."""
        return self.users > 1 and (self.owner is None or self.owner is item)

    def share(self, item: Item) -> Storage:
        """One mbuf more uses this, beside that of `item`; what that mbuf is to hold. See mb_dupcl."""
        if self.owner is None:
            self.owner = item
        self.users += 1
        return self

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

    def drop(self, item: Item) -> None:
        """The mbuf of `item` uses this no more. See mb_free_ext.

        The last use sends storage and owner home. Until then the owner stays out, even if it is the
        owner that lets go.
        """
        if self.users > 1:
            self.users -= 1
            if item is not self.owner:
                item.release()
        elif self.type == EXT_PACKET and self.exports == 0 and self.owner is None:
            # A packet goes home whole: its mbuf keeps its cluster.
            item.release()
        else:
            self.end(item)

    def end(self, item: Item) -> None:
        """`drop`, where it isn't plain."""
        self.untag()
        if self.type != EXT_PACKET:
            self.release()
            self._parted(item)
        elif self.exports and self.watched():
            self.later(item)
        else:
            self._parted(item)

    def untag(self) -> None:
        """Free the tags of an owner that was freed before."""
        tags, self.tags = self.tags, None
        if tags is not None:
            tags.delete_chain(None)

    def later(self, item: Item) -> None:
        """Somebody looks at bytes that their last user lets go: all goes home when the last view does."""
        owner = item if self.owner is None else self.owner
        self.owner = owner
        owner.home.held += 1
        self.hold()
        if item is not owner:
            item.release()

    def _parted(self, item: Item) -> None:
        """Storage that is used no more lets its owner go, and its last user if that is another."""
        owner = self.owner
        if owner is not None and owner is not item:
            owner.release()
        self.owner = None
        item.release()

    def unwatched(self) -> None:
        """The last view went after the last mbuf had let go."""
        if self.owner is None:
            Item.unwatched(self)
        else:
            self.owner.home.held -= 1
            self.drop(self.owner)
