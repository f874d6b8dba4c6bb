"""Allocations that fail on purpose: see `fail` in section 5 of the format.

Stands between those who allocate and the zones of a pool. Only requests of mbuf code that may not wait are
counted; the cluster that a packet needs is the packet zone's own affair, and goes past this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mbuf import M_NOWAIT, MbufError, NoBufs, NoMemory, Pool
from mbuf.packet.tag import Tag, TagZone
from mbuf.pool.zones import Zones
from mbuf.testing import enforce, supply
from mbuf.uma.pages import Pages
from mbuf.uma.zone import Zone

ZONES = ("mbuf", "clust", "pack", "jumbop", "jumbo9", "jumbo16")


class Faults:
    """Which attempts are to fail: `count` of them after `after` others, in one zone or in `any`."""

    def __init__(self) -> None:
        self.zone = ""
        self.after = 0
        self.count = 0
        #: Whether an attempt was refused since this was last set.
        self.refused = False

    def arm(self, zone: str, n: int, count: int) -> None:
        """Refuse the n-th attempt from now on, and as many more as make `count`; none if n is 0."""
        self.zone, self.after, self.count = zone, n - 1, count if n else 0

    @property
    def armed(self) -> bool:
        """True while an attempt may be refused."""
        return self.count > 0

    def refuse(self, zone: str) -> bool:
        """Count an attempt, and tell whether it is to fail."""
        if not self.count or self.zone not in (("any", zone) if zone in ZONES else (zone,)):
            return False
        if self.after:
            self.after -= 1
            return False
        self.count -= 1
        self.refused = True
        return True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it, nothing is refused or counted."""
        count, self.count = self.count, 0
        try:
            yield
        finally:
            self.count = count


class FaultyZone(Zone):
    """A zone that refuses what `faults` says, and passes all else on."""

    def __init__(self, name: str, zone: Zone, faults: Faults) -> None:
        # Not a zone that works by itself: what isn't passed on isn't asked for.
        self._label = name
        self._zone = zone
        self._faults = faults
        self._refused = False

    def alloc(self, how: int, deadline: float | None) -> Any:
        self._refused = how == M_NOWAIT and self._faults.refuse(self._label)
        return None if self._refused else self._zone.alloc(how, deadline)

    def denied(self) -> MbufError:
        return NoBufs(f"{self._label} refuses on purpose") if self._refused else self._zone.denied()

    def wait_target(self) -> tuple[Zone, Any]:
        return self._zone.wait_target()

    def reclaim(self, request: int) -> None:
        self._zone.reclaim(request)

    @property
    def cached(self) -> int:
        return self._zone.cached

    @property
    def limit(self) -> int:
        return self._zone.limit

    def set_max(self, count: int) -> int:
        return self._zone.set_max(count)


class FaultyTags(TagZone):
    """The memory of packet tags, as far as `faults` lets it be had."""

    faults: Faults

    def alloc(self, cookie: int, type: int, value: Any = None, how: int = M_NOWAIT, *rest: Any) -> Tag:
        if how == M_NOWAIT and self.faults.refuse("tag"):
            raise NoBufs("the memory of tags refuses on purpose")
        return super().alloc(cookie, type, value, how, *rest)


class FaultyPages(Pages):
    """Single pages, as far as `faults` lets them be had; who may wait asks again."""

    faults: Faults

    def alloc(self, how: int, deadline: float | None) -> Any:
        while self.faults.refuse("page"):
            if how == M_NOWAIT:
                raise NoMemory("pages are refused on purpose")
        return super().alloc(how, deadline)


def beset_zones(pool: Pool, faults: Faults) -> None:
    """Have all that is allocated from the zones in force go through `faults`."""
    zones = pool.zones
    enforce(pool, Zones(**{name: FaultyZone(name, getattr(zones, name), faults) for name in ZONES}))


def beset(pool: Pool, faults: Faults) -> None:
    """Have all that is allocated from a pool, by its calls or by mbufs' own, go through `faults`."""
    beset_zones(pool, faults)
    tags = FaultyTags()
    tags.faults = faults
    pages = FaultyPages(pool.vm)
    pages.faults = faults
    supply(pool, pages, pool.sfbufs, tags)
