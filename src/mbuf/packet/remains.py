"""What is left of an mbuf whose pages are gone before it may go itself.

Knows the mbuf's item, and sends it home. Never looks at what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cython
else:
    from mbuf.shadow import cython

from mbuf.uma.item import Item


@cython.no_gc
@cython.cclass
class Remains:
    """What is left of an mbuf whose pages are gone, until its TLS session has been let go of too.

    `free` sends it home; dropped, it goes by itself. See ktls_enqueue_to_free.
    """

    __slots__ = ("item",)

    def __init__(self) -> None:
        self.item = cython.cast(Item, None)
        raise TypeError("remains are what a TLS session gets to free")

    def free(self) -> None:
        """Give the mbuf back, once."""
        item, self.item = self.item, cython.cast(Item, None)
        if item is not None:
            item.release()

    def __del__(self) -> None:
        self.free()
