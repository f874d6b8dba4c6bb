"""Fixtures for tests of zones."""

import time
from collections.abc import Callable, Iterator

import pytest

from mbuf import UMA_RECLAIM_DRAIN_CPU, Vm
from mbuf.const import PAGE_SIZE
from mbuf.uma.audit import audit_keg, audit_zone
from mbuf.uma.cpu import Cpus
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone


@pytest.fixture
def make_zone() -> Iterator[Callable[..., Zone]]:
    """Makes zones with a keg and a Vm of their own; at the end nothing may be in use."""
    made: list[tuple[Zone, Vm]] = []

    def make(
        size: int = 256,
        limit: int = 0,
        *,
        ncpu: int = 1,
        pages: int = 4096,
        entries: int | None = None,
        caching: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> Zone:
        vm = Vm(pages * PAGE_SIZE, clock=clock)
        keg = Keg(vm, "thing", size, 255 if size == 256 else 7)
        zone = Zone("thing", size, keg, Cpus(ncpu), "kern.things", entries, caching, True, clock)
        if limit:
            zone.set_max(limit)
        made.append((zone, vm))
        return zone

    yield make
    for zone, vm in made:
        assert zone.used == 0
        audit_zone(zone)
        zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
        audit_zone(zone)
        vm.audit(audit_keg(zone.backend))
        assert (zone.cached, zone.limiter.items, zone.limiter.waiters.__len__(), vm.used) == (0, 0, 0, 0)
