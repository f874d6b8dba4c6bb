"""The handle of a cluster that isn't attached to an mbuf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.errors import Freed
from mbuf.packet.ext import Storage
from mbuf.vm.page import Exporter

if not cython.compiled:
    from mbuf.uma.item import free_item
    from mbuf.vm.commit import (
        check_latch,
        enter_commit,
        leave_commit,
        release_later,
        run_releases,
        run_releases_unraisable,
    )


@cython.no_gc
@cython.cclass
class Cluster(Exporter):
    """A cluster without an mbuf. Get one from `pool.cljget(None, ...)`. See m_cljget in mbuf(9).

    `m.cljset(cluster)` gives it to an mbuf; `free`, or dropping it, gives it back to its zone. After either, each
    method raises `Freed`.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a cluster comes from a pool: pool.cljget(None, how, size)")

    @property
    def size(self) -> int:
        """The bytes of the cluster: 2048, 4096, 9216 or 16384. Raises `Freed`."""
        self.before_export()
        return self.count

    @property
    def data(self) -> memoryview:
        """A writable view of all bytes, which keeps the memory. Nothing is copied. Raises `Freed`."""
        return self.view()

    def __sizeof__(self) -> int:
        """Bytes of the handle, and those of the cluster while it has one: `sys.getsizeof(cluster)`."""
        return object.__sizeof__(self) + (self.count if self.buf is not None else 0)

    def free(self) -> None:
        """Give the cluster back to its zone; if there are views, when the last is released. Raises `Freed`."""
        check_latch()
        self.before_export()
        self.end()
        run_releases()

    def end(self) -> None:
        """Give the cluster back to its zone."""
        storage = self.take()
        enter_commit()
        free_item(storage)
        leave_commit()

    def take(self) -> Storage:
        """Return the storage, which belongs to the caller then, and end this handle; the cluster must be live."""
        storage: Storage = self.buf
        self.buf = None
        return storage

    def before_export(self) -> bool:
        """Raise `Freed` unless the cluster is live; its bytes are writable."""
        if self.buf is None:
            raise Freed(f"cluster at {id(self):#x} was freed or given to an mbuf: get another one from the pool")
        return False

    def __del__(self) -> None:
        if self.buf is not None:
            release_later(self)
            run_releases_unraisable()

    def on_release(self) -> int:
        """From the release list: give back a dropped cluster, unless it was freed or attached meanwhile."""
        if self.buf is not None:
            self.end()
        return 0


def cluster(storage: Storage) -> Cluster:
    """Return the handle of a cluster that was just allocated."""
    c: Cluster = Cluster.__new__(Cluster)
    c.buf = storage
    c.off = 0
    c.count = storage.size
    return c


if not cython.compiled:
    _new = Cluster.__new__

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, make a handle that counts as freed."""
        c = _new(cls)
        c.buf = None
        return c

    type.__setattr__(Cluster, "__new__", _blank)
