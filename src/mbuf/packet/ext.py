"""External storage: bytes that several mbufs may share.

Knows how many mbufs use it, and which one of them, the owner, stays out of its zone until the last use
ends, as the kernel's embedded reference count demands. Never knows the mbufs themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from types import MappingProxyType
from typing import NamedTuple

from mbuf.const import (
    EXT_CLUSTER,
    EXT_JUMBO9,
    EXT_JUMBO16,
    EXT_JUMBOP,
    EXT_PACKET,
    MCLBYTES,
    MJUM9BYTES,
    MJUM16BYTES,
    MJUMPAGESIZE,
)
from mbuf.uma.item import Item

#: See m_gettype in mbuf(9).
TYPE_OF_SIZE = MappingProxyType(
    {MCLBYTES: EXT_CLUSTER, MJUMPAGESIZE: EXT_JUMBOP, MJUM9BYTES: EXT_JUMBO9, MJUM16BYTES: EXT_JUMBO16}
)


class Ext(NamedTuple):
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


@cython.no_gc
class Storage(Item):
    """A cluster: an item of a cluster zone, with what `struct m_ext` says of it while mbufs use it."""

    __slots__ = ("owner", "type", "users")

    def own(self, owner: Item, type: int) -> None:
        """Become the storage of a new owner, and of nobody else. See mb_ctor_clust."""
        self.owner = owner
        self.type = type
        self.users = 1

    def drop(self, item: Item) -> None:
        """The mbuf of `item` uses this no more. See mb_free_ext.

        The last use sends storage and owner home. Until then the owner stays out, even if it is the
        owner that lets go.
        """
        owner = self.owner
        if self.users > 1:
            self.users -= 1
            if item is not owner:
                item.release()
            return
        if self.type == EXT_PACKET:
            self._packet_home(owner)
        else:
            self.owner = None
            self.release()
            owner.release()
        if item is not owner:
            item.release()

    def _packet_home(self, owner: Item) -> None:
        """A packet goes home whole: its mbuf keeps its cluster."""
        if self.watched():
            self.hold()
            owner.home.held += 1
        else:
            self.owner = None
            owner.mate = self
            owner.release()

    def unwatched(self) -> None:
        """The last view went after the last mbuf had let go."""
        owner = self.owner
        if owner is None:
            Item.unwatched(self)
        else:
            owner.home.held -= 1
            self._packet_home(owner)
