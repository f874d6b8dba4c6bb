"""A turn at a zone, for who can't block: its place is in the line of those who wait in threads.

What it waits for is handed to it: nobody who comes later gets in between. Given up, it goes to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from mbuf.uma.zone import Zone
else:
    from mbuf.shadow import cython

_Got = TypeVar("_Got")


@cython.cclass
class AsyncWaiter:
    """A place in line for one item of a zone that has denied one.

    `wake` is called once, by any thread, when the turn has come; it must return at once, and say whether somebody
    still waits. Then `use` asks again. Ends with `leave`, whatever happened.
    """

    __slots__ = ("_call", "_line", "_zone")

    def __init__(self, zone: Zone, wake: Callable[[], bool]) -> None:
        self._zone, self._line = zone.obstacle()
        self._call = None
        if self._line is None:
            raise zone.denied()
        # What is freed from here on must come by the line.
        self._zone.bypass_caches(1)
        try:
            self._call = self._line.enlist(wake)
        except BaseException:
            self._zone.bypass_caches(-1)
            raise

    def use(self, ask: Callable[[], _Got]) -> _Got:
        """What `ask` returns, for which there is an item now. It may raise all the same, if it needs more than that."""
        got: _Got = self._line.redeem(self._call, ask)
        return got

    def leave(self) -> None:
        """Give up the place, and to the next in line what wasn't used. Calling it again has no effect."""
        call, self._call = self._call, None
        if call is not None:
            self._zone.bypass_caches(-1)
            self._line.leave(call)
