"""A cluster that belongs to no mbuf yet.

Holds raw storage for whoever will attach it; never looks at the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Freed
from mbuf.packet.ext import Storage
from mbuf.vm.page import Window

if not cython.compiled:
    from mbuf.uma.item import send_home
    from mbuf.vm.commit import check_latch, enter_commit, finish_drop, leave_commit, put, settle


@cython.no_gc
@cython.cclass
class Cluster(Window):
    """A raw cluster, from `pool.cljget(None, ...)`.

    Give it to an mbuf with `m.cljset(cluster)`, which takes it over, or let it go with `free`, or just drop
    it. Let go, it raises `Freed` whatever is asked of it.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a cluster comes from a pool: pool.cljget(None, how, size)")

    @property
    def size(self) -> int:
        """Bytes of the cluster."""
        self.before_export()
        return self.count

    @property
    def data(self) -> memoryview:
        """All bytes, to be read and written."""
        return self.view()

    def free(self) -> None:
        """Give the cluster back to its zone."""
        check_latch()
        self.before_export()
        self.end()
        settle()

    def end(self) -> None:
        """Give the cluster back, in a commit."""
        storage = self.take()
        enter_commit()
        send_home(storage)
        leave_commit()

    def take(self) -> Storage:
        """The storage, of a live cluster; it is the caller's from now on, and this handle freed."""
        storage: Storage = self.buf
        self.buf = None
        return storage

    def before_export(self) -> bool:
        """Any live cluster may be looked at, and written."""
        if self.buf is None:
            raise Freed(f"cluster at {id(self):#x} was given away or freed")
        return False

    def __del__(self) -> None:
        if self.buf is not None:
            put(self)
            finish_drop()

    def let_go(self) -> int:
        """Dropped: go home, unless somebody has freed or attached it meanwhile."""
        if self.buf is not None:
            self.end()
        return 0


def cluster(storage: Storage) -> Cluster:
    """The handle of a cluster just taken from its zone."""
    c: Cluster = Cluster.__new__(Cluster)
    c.buf = storage
    c.off = 0
    c.count = storage.size
    return c


if not cython.compiled:
    _new = Cluster.__new__

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, a cluster that was never made is as good as freed."""
        c = _new(cls)
        c.buf = None
        return c

    type.__setattr__(Cluster, "__new__", _blank)
