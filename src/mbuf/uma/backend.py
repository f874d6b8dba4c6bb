"""The interface of what makes the items of a zone. See uma_import and uma_release in zone(9).

A zone calls it when its caches are empty or full. An item is always in one place. `take` moves each item into the
bucket in a commit; if it raises, the caller gives back the items that are in the bucket. `give` takes the item over,
whatever it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython

    from mbuf.errors import MbufError
else:
    from mbuf.shadow import cython

from mbuf.uma.bucket import Bucket
from mbuf.uma.item import Item


@cython.cclass
class Backend:
    """What makes the items of a zone, and takes them back."""

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Add up to `count` items to a bucket that has room for them, in the order in which they are made."""
        raise NotImplementedError

    def batch(self, count: int) -> int:
        """How many items a zone may import at once, if it asks for `count`."""
        return count

    def claim(self, claim: Any, count: int) -> None:
        """Add what `count` items need to the claim of a call that waits for memory. See `Budget`."""

    def give(self, item: Item) -> None:
        """Take an item back."""
        raise NotImplementedError

    def drain(self) -> int:
        """Give back the pages without used items. Returns the number of pages."""
        raise NotImplementedError

    def close(self) -> None:
        """Close: no more items will be taken."""

    def forked(self) -> None:
        """In the child of a fork: drop the waiting threads, which don't exist here."""

    def denied(self) -> MbufError:
        """The error that tells why the last `take` got no item."""
        raise NotImplementedError

    def wait_target(self, zone: Any) -> tuple[Any, Any]:
        """Where to wait after the last `take` got no item: the zone that denied it, and its queue. See `AsyncWaiter`.

        The queue is None if nothing can wait.
        """
        return zone, None

    @property
    def free(self) -> int:
        """Free items in the backend."""
        raise NotImplementedError

    @property
    def pages(self) -> int:
        """Pages in use by the backend."""
        raise NotImplementedError
