"""The free of an mbuf that is deferred until its TLS session has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.uma.item import Item
from mbuf.vm.commit import Releasable

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
class DeferredFree(Releasable):
    """The item of an mbuf of unmapped pages, whose pages are freed, but whose reference to a TLS session is the last.

    The session's `enqueue_to_free` gets it, releases the session outside of the commit that freed the mbuf, and then
    calls `free`, which gives the item back to its zone. Dropping it does the same. See ktls_enqueue_to_free.
    """

    __slots__ = ("item",)
    item: Item

    def __init__(self) -> None:
        raise TypeError("a DeferredFree is made by the library: a TLS session gets it, and frees it")

    def free(self) -> None:
        """Give the item back to its zone. Calling it again has no effect."""
        check_latch()
        self.on_release()
        run_releases()

    def on_release(self) -> int:
        """Give the item back to its zone, if that wasn't done."""
        item, self.item = self.item, cython.cast(Item, None)
        if item is not None:
            enter_commit()
            free_item(item)
            leave_commit()
        return 0

    def __del__(self) -> None:
        if self.item is not None:
            release_later(self)
            run_releases_unraisable()


if not cython.compiled:
    _new = DeferredFree.__new__

    def _blank(cls: Any, *_: Any, **__: Any) -> Any:
        """Uncompiled, make one without an item."""
        r = _new(cls)
        r.item = None
        return r

    type.__setattr__(DeferredFree, "__new__", _blank)
