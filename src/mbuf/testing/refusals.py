"""Fault injection: requests for memory that fail on purpose.

`Refusals` replaces the zones that a pool allocates from (`enforce`). Each of the replacements, a `FaultyZone`, first
calls `policy.refuse(zone, how)`, fails if that is true, and calls the real zone if it isn't. The packet zone takes the
cluster of a packet from its own backend, so that is no request.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from mbuf.errors import Inval, NoBufs
from mbuf.kinds import CLUSTERS, MBUF
from mbuf.pool.pool import Pool
from mbuf.pool.zones import Zones
from mbuf.testing.unchecked import enforce
from mbuf.uma.zone import Zone
from mbuf.vm.ints import integer

if TYPE_CHECKING:
    from types import TracebackType

    from mbuf.errors import MbufError

#: The names of the zones of a pool.
ZONES = (MBUF.attr, "pack", *(kind.attr for kind in CLUSTERS))


class Policy(Protocol):
    """Decides which requests fail."""

    #: A refused request fails at once, also one that may wait. (Pools of several CPUs need a real zone to wait at.)
    never_waits: bool

    def refuse(self, kind: str, how: int) -> bool:
        """True if this request is to fail."""


class FaultyZone(Zone):
    """A zone whose requests fail if the policy says so; everything else is done by the real zone."""

    def __init__(self, name: str, zone: Zone, policy: Policy) -> None:
        # `Zone.__init__` isn't called: only the methods below are used.
        self._label = name
        self._zone = zone
        self._policy = policy
        self._refused = False

    def alloc(self, how: int, deadline: float | None) -> Any:
        self._refused = self._policy.refuse(self._label, how)
        return None if self._refused else self._zone.alloc(how, deadline)

    def denied(self) -> MbufError:
        return NoBufs(f"{self._label} refused on purpose", self._label) if self._refused else self._zone.denied()

    def wait_target(self) -> tuple[Zone, Any]:
        return (self, None) if self._refused and self._policy.never_waits else self._zone.wait_target()

    def reclaim(self, request: int) -> None:
        self._zone.reclaim(request)

    @property
    def cached(self) -> int:
        return self._zone.cached

    @property
    def backend(self) -> Any:  # type: ignore[override]
        return self._zone.backend

    @property
    def limiter(self) -> Any:  # type: ignore[override]
        return self._zone.limiter

    @property
    def limit(self) -> int:
        return self._zone.limit

    def set_max(self, count: int) -> int:
        return self._zone.set_max(count)


def faulty_zones(zones: Zones, policy: Policy) -> Zones:
    """Zones that ask the policy first, and then the given ones."""
    return Zones(**{name: FaultyZone(name, getattr(zones, name), policy) for name in ZONES})


class Refusals:
    """Within `with Refusals(pool, k)`, the k-th request for memory of a pool raises `NoBufs`, counted from 1.

    With `all_later`, every request after it is refused, too. `zone` counts and refuses only requests of one zone: a
    name in `pool.zones`, such as "pack" (an mbuf with a cluster of 2 KiB, as `getcl` takes), "mbuf", or "jumbop".
    Methods of mbufs ask their pool, too; a call that takes several mbufs asks several times. A call that is refused
    changes nothing, and the pool counts it as refused. A call that may wait fails at once in a pool with limits and
    one CPU; in others it waits, as it would for memory, until a request isn't refused, or for its `timeout`.

    `requests` and `refused` tell what happened. Use one object for one `with`; let no other thread use the pool
    meanwhile, and don't put its reserve in force. Raises `Inval` if `k` is less than 1 or there is no such zone.
    """

    def __init__(self, pool: Pool, k: int = 1, all_later: bool = False, zone: str = "") -> None:
        if not isinstance(pool, Pool):
            raise Inval(f"Refusals: give a Pool, not {type(pool).__name__}")
        if integer(k, "k") < 1:
            raise Inval(f"k {k}: give the number of a request, 1 or more")
        if zone and zone not in ZONES:
            raise Inval(f"zone {zone!r}: give {', '.join(ZONES)}, or nothing for all of them")
        #: A refused request fails at once, where no other CPU's caches are asked.
        self.never_waits = pool.cpus.count == 1
        self._pool = pool
        self._k = k
        self._all_later = all_later
        self._only = zone
        self._zones: Zones | None = None
        #: The number of requests of each zone since the `with` began, also of the others than `zone`.
        self.requests: Counter[str] = Counter()
        #: How many requests were refused.
        self.refused = 0

    def __enter__(self) -> Refusals:
        if self._zones is not None:
            raise Inval("Refusals: this object was used already: make another one")
        self._zones = self._pool.zones
        enforce(self._pool, faulty_zones(self._zones, self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._zones is not None:
            enforce(self._pool, self._zones)

    def refuse(self, kind: str, how: int) -> bool:
        """Count a request of the zone `kind`; true if it is to fail. The zones call it, not a program."""
        self.requests[kind] += 1
        if self._only and kind != self._only:
            return False
        number = self.requests[kind] if self._only else self.requests.total()
        refused = number >= self._k if self._all_later else number == self._k
        self.refused += refused
        return refused
