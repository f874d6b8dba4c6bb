"""The door to whatever makes items.

A zone asks it when its caches are dry or too full. An item is always in one place: `take` puts each into the bucket
in the commit that takes it from where it was, and what is in the bucket when it raises is the caller's to give back;
`give` has taken the item over, whatever it raises.
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
    """What a zone asks for items, and gives them back to.

    See uma_import and uma_release in zone(9).
    """

    def take(self, bucket: Bucket, count: int, how: int, deadline: float | None) -> None:
        """Put as many items as can be had, at most `count`, into a bucket that has room, in the order of making."""
        raise NotImplementedError

    def give(self, item: Item) -> None:
        """Take an item back for good."""
        raise NotImplementedError

    def drain(self) -> int:
        """Give back what no item is cut from any more; how many pages that was."""
        raise NotImplementedError

    def close(self) -> None:
        """No more will be taken."""

    def forked(self) -> None:
        """In the child of a fork: threads that waited aren't here."""

    def denied(self) -> MbufError:
        """The error that says why the last `take` came back empty."""
        raise NotImplementedError

    def obstacle(self, zone: Any) -> tuple[Any, Any]:
        """Which zone's want it was that the last `take` came back empty, and whose line to stand in: see `AsyncWaiter`.

        None if there is no line.
        """
        return zone, None

    @property
    def free(self) -> int:
        """Free items that have not been taken."""
        raise NotImplementedError

    @property
    def pages(self) -> int:
        """Pages held."""
        raise NotImplementedError
