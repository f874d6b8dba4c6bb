"""Fault injection: requests for memory that fail on purpose.

`inject` replaces the zones, tags, pages and windows that a pool allocates from. Each of the replacements first calls
`policy.refuse(kind, how)`, and fails if that is true. `kind` is the name of a zone, or `tag`, `page` or `window`. The
packet zone takes the cluster of a packet from its own backend, so that is no request.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from mbuf import M_NOWAIT, NoBufs, NoMemory, Pool
from mbuf.packet.tag import Tag, TagZone
from mbuf.testing.refusals import ZONES, Policy, faulty_zones
from mbuf.testing.unchecked import enforce, supply
from mbuf.uma.pages import Pages
from mbuf.vm.pagefile import PageFile
from mbuf.vm.sfbuf import SfBuf, SfBufs

#: What a refused request raises.
REFUSED = (NoBufs, NoMemory)


class FaultyTags(TagZone):
    """Packet tags whose allocation fails if the policy says so."""

    policy: Policy

    def alloc(self, cookie: int, type: int, value: Any = None, how: int = M_NOWAIT, *rest: Any) -> Tag:
        if self.policy.refuse("tag", how):
            raise NoBufs("tag refused on purpose")
        return super().alloc(cookie, type, value, how, *rest)


class FaultyPages(Pages):
    """Single pages whose allocation fails if the policy says so."""

    policy: Policy

    def alloc(self, how: int, deadline: float | None) -> Any:
        if self.policy.refuse("page", how):
            raise NoMemory("page refused on purpose")
        return super().alloc(how, deadline)


class FaultyWindows(SfBufs):
    """Windows onto pages of files; mapping a page fails if the policy says so."""

    policy: Policy

    def alloc(self, file: PageFile, index: int) -> SfBuf:
        if self.policy.refuse("window", M_NOWAIT):
            raise NoBufs("window refused on purpose")
        return super().alloc(file, index)


def inject(pool: Pool, policy: Policy) -> None:
    """Have the policy decide on all tags, pages and windows of a pool, and on what its zones in force give."""
    inject_beside_zones(pool, policy)
    enforce(pool, faulty_zones(pool.zones, policy))


def inject_beside_zones(pool: Pool, policy: Policy) -> None:
    """Have the policy decide on all tags, pages and windows of a pool, but not on its zones."""
    tags, pages, windows = FaultyTags(), FaultyPages(pool.vm), FaultyWindows()
    for part in (tags, pages, windows):
        part.policy = policy  # type: ignore[attr-defined]
    supply(pool, pages, windows, tags)


class FaultInjector:
    """Refuses the k-th request for memory of a pool, and the later ones if that is wanted, while `failing`."""

    never_waits = True

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._zones = pool.zones
        self._faulty = faulty_zones(pool.zones, self)
        #: Refuse only requests of this kind: `zone` for those of every zone, `tag`, `page` or `window`; empty for all.
        self.kind = ""
        #: The number of requests of each kind since `failing` began.
        self.requests: Counter[str] = Counter()
        #: How many were refused since then.
        self.refusals = 0
        #: True while `failing`.
        self.active = False
        self._to_grant = 0
        self._all_later = False
        inject_beside_zones(pool, self)

    @contextmanager
    def failing(self, k: int, all_later: bool) -> Iterator[None]:
        """Within it, the k-th request of `kind` is refused, and with `all_later` those after it too."""
        self._to_grant, self._all_later, self.refusals = k - 1, all_later, 0
        self.requests.clear()
        enforce(self.pool, self._faulty)
        self.active = True
        try:
            yield
        finally:
            self.active = False
            enforce(self.pool, self._zones)

    @contextmanager
    def failing_at_random(self, random: Random, one_in: int = 8) -> Iterator[None]:
        """Within it, each request is refused with a probability of 1 / `one_in`."""
        with self.deciding(lambda kind: random.randrange(one_in) == 0):
            yield

    @contextmanager
    def deciding(self, decide: Callable[[str], bool]) -> Iterator[None]:
        """Within it, a function is called with the kind of each request, and refuses it by returning true."""

        def refuse(kind: str, how: int) -> bool:
            refused = self.active and decide("zone" if kind in ZONES else kind)
            self.refusals += refused
            return refused

        self.refuse = refuse  # type: ignore[method-assign]
        try:
            with self.failing(1, True):
                yield
        finally:
            del self.refuse  # type: ignore[method-assign]

    def refuse(self, kind: str, how: int) -> bool:
        """Count a request; true if it is to fail."""
        if not self.active:
            return False
        kind = "zone" if kind in ZONES else kind
        self.requests[kind] += 1
        if self.kind and kind != self.kind:
            return False
        if self._to_grant:
            self._to_grant -= 1
            return False
        if self.refusals and not self._all_later:
            return False
        self.refusals += 1
        return True


def call_with_refusal(faults: FaultInjector, k: int, all_later: bool, call: Callable[[], Any]) -> tuple[Any, bool]:
    """Call it while its k-th request is refused: what it returns, and whether it failed."""
    with faults.failing(k, all_later):
        try:
            return call(), False
        except REFUSED:
            assert faults.refusals
            return None, True
