"""A cluster that belongs to no mbuf yet.

Holds raw storage for whoever will attach it; never looks at the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Freed
from mbuf.packet.ext import Storage
from mbuf.vm.page import Window


@cython.no_gc
@cython.cclass
class Cluster(Window):
    """A raw cluster, from `pool.cljget(None, ...)`.

    Give it to an mbuf with `m.cljset(cluster)`, which takes it over, or let it go with `free`, or just drop
    it. Let go, it raises `Freed` whatever is asked of it.
    """

    __slots__ = ()

    def __init__(self) -> None:
        self.buf = None
        raise TypeError("a cluster comes from a pool: pool.cljget(None, how, size)")

    @property
    def size(self) -> int:
        """Bytes of the cluster."""
        self.lend()
        return self.count

    @property
    def data(self) -> memoryview:
        """All bytes, to be read and written."""
        return self.view()

    def free(self) -> None:
        """Give the cluster back to its zone."""
        storage: Storage = self.take()
        storage.release()

    def take(self) -> Storage:
        """The storage, which is the caller's from now on; this handle stands for nothing any more."""
        self.lend()
        storage: Storage = self.buf
        self.buf = None
        return storage

    def lend(self) -> bool:
        """Any live cluster may be looked at, and written."""
        if self.buf is None:
            raise Freed(f"cluster at {id(self):#x} was given away or freed")
        return False

    def __del__(self) -> None:
        if self.buf is not None:
            self.free()


def cluster(storage: Storage) -> Cluster:
    """The handle of a cluster just taken from its zone."""
    c: Cluster = Cluster.__new__(Cluster)
    c.buf = storage
    c.off = 0
    c.count = storage.size
    return c
