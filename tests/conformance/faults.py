"""The requests for memory that a trace's program makes fail: see `fail` in section 5 of the format."""

from collections.abc import Iterator
from contextlib import contextmanager

from mbuf import M_NOWAIT
from mbuf.testing.refusals import ZONES


class TraceFaults:
    """Refuses `count` requests after `after` others, in one zone or in `any`. Requests that may wait aren't counted."""

    never_waits = False

    def __init__(self) -> None:
        self._zone = ""
        self._after = 0
        self._count = 0
        #: Whether a request was refused since this was last set.
        self.refused = False

    def fail(self, zone: str, n: int, count: int) -> None:
        """Refuse the n-th request from now on, and as many more as make `count`; none if n is 0."""
        self._zone, self._after, self._count = zone, n - 1, count if n else 0

    @property
    def active(self) -> bool:
        """True while a request may be refused."""
        return self._count > 0

    def refuse(self, kind: str, how: int) -> bool:
        """Count a request; true if it is to fail."""
        if how == M_NOWAIT:
            return self._refuse(kind)
        if kind == "page":
            # The kernel asks again for a page until it gets one.
            while self._refuse(kind):
                pass
        return False

    def _refuse(self, kind: str) -> bool:
        if not self._count or self._zone not in (("any", kind) if kind in ZONES else (kind,)):
            return False
        if self._after:
            self._after -= 1
            return False
        self._count -= 1
        self.refused = True
        return True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it, nothing is refused or counted."""
        count, self._count = self._count, 0
        try:
            yield
        finally:
            self._count = count
