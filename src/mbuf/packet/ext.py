"""External storage: bytes that several mbufs may share, and the count of its users.

    m ---buf--> storage <--buf--- n        users = 2, owner = the item of m

Copy on write. An mbuf with M_EXT has its data in a storage. `users` counts these mbufs. The bytes may be written while
one mbuf uses them, unless they are read-only external memory (`is_writable`); M_RDONLY forbids it, too
(`segment.writable`). To share storage copies no byte: the count goes up, and no sharer may write any more. No method
copies behind the caller's back. A method that needs room in an mbuf (`append`, `prepend`) takes a new mbuf where the
old one isn't writable; `unshare`, `dup` and `defrag` make copies that are; `copyback` writes all the same, as the
kernel does. When the other users are freed, the last one may write again.

The owner. In the kernel the count lies in the struct mbuf of one user, whose memory must therefore stay until the last
user is freed. Limits and statistics show that, so it is the same here. `owner` is None while the storage was never
shared; sharing sets it to the item of the mbuf that had the storage. It is an item, not an mbuf, because
`chain.swap` exchanges item and storage of two mbufs together.

    which mbuf is freed      users     what is given back to its zone
    another than the owner   2 -> 1    its item
    the owner                2 -> 1    nothing: its item waits, and its packet tags, in its `link`
    the last user            1         the cluster, the item of the owner, the item of the last user

A cluster of the packet zone (EXT_PACKET) stays paired with its mbuf, also while the packet is cached, and its count
stays 1 then. It goes back with that mbuf's item, which is the owner, and is never given back alone.

Counting. `ref` and `unref` are parts of commits, so they can't fail, and call nothing that may run user code. What can
fail is done before: `check_share` refuses, and `make_sharer` makes what the new mbuf will refer to (the storage
itself; for unmapped pages, an object for each mbuf). `unref` of the last user calls `finish` in the same commit if
nothing of the storage can run user code. Otherwise (it has tags, or in a subclass an exported buffer, a free routine,
pages) it notes the item in `link` and puts the storage on the release list; after the commit `on_release` calls
`end`, which does what may run user code, and then gives back the items.

Views. A memoryview of the bytes isn't a user; `exports` counts views. If there are views when the last user is freed,
the memory stays as it is and counts as held. `views_gone` gives it back when the last view is released.

Why each item is given back once: an mbuf is counted in the commit that sets its M_EXT (a packet, when its zone pairs
it), and `chain.release_now` counts it off in the commit that marks it freed. No user code sees a state between the
two changes. The item of an mbuf that isn't the owner goes back when that is freed, the owner's with the last user.

This module doesn't refer to mbufs, only to their items.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.packet.m_ext import Ext
else:
    from mbuf.shadow import cython

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
    from mbuf.uma.item import free_item
    from mbuf.vm.commit import enter_commit, leave_commit, release_later

    def lone_packet(storage: Storage) -> bool:
        """True for the cluster of a packet with one user, no owner and no view: its mbuf can be freed in one step."""
        return storage.users == 1 and storage.type == EXT_PACKET and storage.exports == 0 and storage.owner is None


@cache
def ext_class() -> type[Ext]:
    """The class `Ext`. `import mbuf` doesn't load it, but the first pool does: at exit nothing can be imported."""
    from mbuf.packet.m_ext import Ext

    return Ext


@cython.no_gc
@cython.cclass
class Storage(Item):
    """A cluster: an item of a cluster zone, and the fields of `struct m_ext` that its users share."""

    #: `users` is 0 for storage whose uses something else counts. `link` (see `Item`) is the item of the mbuf with which
    #: the use ended, until `on_release`.
    __slots__ = ("owner", "type", "users")
    owner: Item | None
    type: int
    users: int

    def __init__(self, slab: Any, start: int, size: int) -> None:
        Item.__init__(self, slab, start, size)
        self.owner = None
        self.type = 0
        self.users = 0

    def init_cluster(self) -> None:
        """Set the fields for a cluster with one user. See mb_ctor_clust."""
        self.owner = None
        self.users = 1
        n = 0
        while n < _COUNT - 1 and _SIZES[n] != self.size:
            n += 1
        self.type = _TYPES[n]

    def init_packet(self) -> None:
        """Set the fields for the cluster of an item of the packet zone. See mb_zinit_pack."""
        self.init_cluster()
        self.type = EXT_PACKET

    # Reading.

    def refcnt(self) -> int:
        """Return how many mbufs use this. See m_extrefcnt."""
        return self.users

    def is_writable(self) -> bool:
        """True when one mbuf uses this, and its bytes may be written."""
        return self.users == 1 and not self.fixed

    def describe(self, item: Item) -> Ext:
        """Return what `m.ext` says, for the mbuf of `item`."""
        return ext_class()(self.type, self.size, self.users, self.owner is None or self.owner is item, id(self))

    def defers(self, item: Item) -> bool:
        """True when `item` is the owner and has to stay out of its zone until the other users are freed."""
        return self.users > 1 and (self.owner is None or self.owner is item)

    def ext_size(self) -> int:
        """Return the size that `struct m_ext` has: M_SIZE of an mbuf with this storage."""
        return self.size

    def bytes_per_user(self) -> int:
        """Return the bytes of the pool's memory, divided by the number of mbufs that use them."""
        return self.size // max(self.users, 1)

    def frags(self) -> int:
        """Return the number of pieces that the bytes of an mbuf lie in. See frags_per_mbuf."""
        return 1

    def bound(self) -> int:
        """Return the offset that the end of an mbuf's data must not exceed."""
        return self.size

    def counter(self) -> object:
        """Return the object that counts the users. Storages with the same counter share their bytes."""
        return self

    # One more user. See mb_dupcl.

    def check_share(self) -> None:
        """Raise `Inval` if no other mbuf may use this."""

    def make_sharer(self) -> Storage:
        """Return the storage that one more mbuf would refer to. It is counted by `ref`."""
        return self

    def ref(self, item: Item, made: Storage) -> None:
        """In a commit: count one more user, which refers to `made`. `item` is of the mbuf that is shared from."""
        if self.owner is None:
            self.owner = item
        self.users += 1

    # One user fewer. See mb_free_ext.

    def unref(self, item: Item) -> None:
        """In a commit: count off the mbuf of `item`, which is freed. See the table above."""
        if self.users > 1:
            self.users -= 1
            if item is not self.owner:
                free_item(item)
        elif self.owner is not None and self.owner.link is not None:
            self.link = item
            release_later(self)
        else:
            self.finish(item)

    def finish(self, item: Item) -> None:
        """In a commit: give back storage without users, of which nothing can run user code any more."""
        if self.type != EXT_PACKET:
            # The reserve gives out mbufs that are paired with such a cluster. The pair ends here.
            owner = cython.cast(MbufItem, item if self.owner is None else self.owner)
            if owner.cluster is self:
                owner.cluster = None
            free_item(self)
            self.free_items(item)
        elif self.exports and self.has_views():
            self.wait_for_views(item)
        else:
            self.free_items(item)

    def wait_for_views(self, item: Item) -> None:
        """In a commit: the last user is freed while there are views: keep owner and bytes until `views_gone`."""
        owner = item if self.owner is None else self.owner
        self.owner = owner
        owner.zone.held += 1
        self.hold()
        if item is not owner:
            free_item(item)

    def free_items(self, item: Item) -> None:
        """In a commit: give back the item of the last user, and that of the owner if it is another."""
        owner = self.owner
        self.owner = None
        if owner is not None and owner is not item:
            free_item(owner)
        free_item(item)

    def views_gone(self) -> None:
        """In a commit: the last view was released after the last user was freed."""
        owner = self.owner
        if owner is None:
            Item.views_gone(self)
        else:
            owner.zone.held -= 1
            self.unref(owner)

    # Called from the release list: may run user code.

    def on_release(self) -> int:
        """End the use if there was a last user; otherwise this is a cluster to be given back."""
        item = cython.cast(Item, self.link)
        if self.gone or item is None:
            Item.on_release(self)
        else:
            self.link = None
            self.end(item)
        return 0

    def end(self, item: Item) -> None:
        """Free the tags; then `finish`."""
        try:
            free_tags(self.owner)
        finally:
            enter_commit()
            self.finish(item)
            leave_commit()


def free_tags(owner: Item | None) -> None:
    """Free the tags of an owner that was freed before the last user. `owner` may be None."""
    if owner is not None:
        tags: Any = owner.link
        owner.link = None
        if tags is not None:
            tags.delete_chain(None)
