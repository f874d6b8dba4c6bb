"""Memory that is refused on purpose: whatever a verb asks for, at its k-th request.

Stands between all who allocate and the zones of a pool, and before its tags, pages and windows. The cluster
that a packet needs is the packet zone's own affair, and goes past this.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any

from mbuf import M_WAITOK, Inval, MbufError, NoBufs, Pool, ReadOnly
from mbuf.packet.tag import Tag, TagZone
from mbuf.pool.zones import Zones
from mbuf.testing import enforce, supply
from mbuf.uma.pages import Pages
from mbuf.uma.zone import Zone
from mbuf.vm.pagefile import PageFile
from mbuf.vm.sfbuf import SfBuf, SfBufs
from packet.conftest import UNMAPPED
from packet.picture import header, picture
from packet.rows import EVERYWHERE, Row, Words, agree, built, refusal

NAMES = ("mbuf", "clust", "pack", "jumbop", "jumbo9", "jumbo16")

#: More requests than any verb here makes.
MANY = 1000


class Scarce:
    """A pool that can be told to refuse."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.real = pool.zones
        self.meagre = Zones(**{name: MeagreZone(getattr(self.real, name), self) for name in NAMES})
        self.tags = MeagreTags()
        self.tags.scarce = self
        self.pages = MeagrePages(pool.pages, self)
        self.windows = MeagreWindows(self)
        #: Requests to grant before the one that is refused; None when all are granted.
        self.left: int | None = None
        #: The only kind of request that is refused: zone, tag, page or window; empty for all.
        self.only = ""
        #: How many requests there were of each kind since `refusing` began.
        self.asked: Counter[str] = Counter()
        #: Whether those after it are refused too.
        self.rest = False
        self.hits = 0
        supply(pool, self.pages.real, self.windows, self.tags)

    @contextmanager
    def refusing(self, k: int, rest: bool) -> Iterator[None]:
        """Within it, the k-th request is refused, and the `rest` of them if that is wanted."""
        self.left, self.rest, self.hits = k - 1, rest, 0
        self.asked.clear()
        enforce(self.pool, self.meagre)
        supply(self.pool, self.pages, self.windows, self.tags)
        try:
            yield
        finally:
            self.left = None
            enforce(self.pool, self.real)
            supply(self.pool, self.pages.real, self.windows, self.tags)

    def refuses(self, kind: str) -> bool:
        """Count a request, and tell what becomes of it."""
        if self.left is not None:
            self.asked[kind] += 1
        if self.left is None or (self.only and kind != self.only):
            return False
        if self.left:
            self.left -= 1
            return False
        if not self.rest:
            self.left = None
        self.hits += 1
        return True


class MeagreZone(Zone):
    """A zone that refuses when it is told to, and passes all else on."""

    def __init__(self, zone: Zone, scarce: Scarce) -> None:
        # Not a zone that works by itself: what isn't passed on isn't asked for.
        self._zone = zone
        self._scarce = scarce
        self._refused = False

    def alloc(self, how: int, deadline: float | None) -> Any:
        self._refused = self._scarce.refuses("zone")
        return None if self._refused else self._zone.alloc(how, deadline)

    def denied(self) -> MbufError:
        return NoBufs("refused on purpose") if self._refused else self._zone.denied()

    def wait_target(self) -> tuple[Zone, Any]:
        # Who waits finds no line to stand in.
        return self, None

    def reclaim(self, request: int) -> None:
        self._zone.reclaim(request)

    @property
    def cached(self) -> int:
        return self._zone.cached


class MeagreTags(TagZone):
    """The memory of tags, as far as it can be had."""

    scarce: Scarce

    def alloc(self, cookie: int, type: int, value: Any = None, *rest: Any) -> Tag:
        if self.scarce.refuses("tag"):
            raise NoBufs("refused on purpose")
        return super().alloc(cookie, type, value, *rest)


class MeagrePages(Pages):
    """Single pages, as far as they can be had."""

    def __init__(self, pages: Pages, scarce: Scarce) -> None:
        # What isn't passed on isn't asked for.
        self.real = pages
        self._scarce = scarce

    def alloc(self, how: int, deadline: float | None) -> Any:
        if self._scarce.refuses("page"):
            raise NoBufs("refused on purpose")
        return self.real.alloc(how, deadline)


class MeagreWindows(SfBufs):
    """Windows onto pages of files, as far as they can be had."""

    def __init__(self, scarce: Scarce) -> None:
        super().__init__()
        self._scarce = scarce

    def alloc(self, file: PageFile, index: int) -> SfBuf:
        if self._scarce.refuses("window"):
            raise NoBufs("refused on purpose")
        return super().alloc(file, index)


def fail_everywhere(scarce: Scarce, row: Row, rest: bool = True) -> None:
    """Refuse each request of a row's verb, on every way to build a chain."""
    waits: list[Words] = [{}, {"how": M_WAITOK, "timeout": 0}] if row.waits else [{}]
    for way, size in EVERYWHERE:
        for words in waits:
            if size != 300:
                fail_each(scarce, row, way, size, words, rest)


def fail_each(scarce: Scarce, row: Row, way: str, size: int, words: Words, rest: bool) -> None:
    """Refuse each request of a verb in turn: it changes nothing, and works thereafter."""
    pool = scarce.pool
    for k in count(1):
        assert k < MANY
        chains = built(way, pool, size)
        m = chains[0]
        if refusal(row, way, m):
            pool.free_bulk(chains)
            return
        before, said = picture(pool, *chains), header(m)
        try:
            result, failed = attempt(scarce, k, rest, lambda m=m: row.call(m, words))
            if failed:
                assert picture(pool, *chains) == before
                result = row.call(m, words)
        except (Inval, ReadOnly):
            assert row.rowed
            assert way in UNMAPPED
            assert picture(pool, *chains) == before
            pool.free_bulk(chains)
            return
        agree(row, chains, size, said, result)
        pool.free_bulk(chains)
        assert (pool.out, pool.tags.count, pool.snd_tags.count, pool.stat().drops) == (0, 0, 0, 0)
        if not scarce.hits:
            return


def attempt(scarce: Scarce, k: int, rest: bool, call: Callable[[], Any]) -> tuple[Any, bool]:
    """What a call returns whose k-th request is refused, and whether it failed."""
    with scarce.refusing(k, rest):
        try:
            return call(), False
        except NoBufs:
            assert scarce.hits
            return None, True


@contextmanager
def failing_at_random(scarce: Scarce, seed: int, one_in: int = 3) -> Iterator[list[int]]:
    """Within it, one of so many requests for memory is refused; yields how many were, in a list."""
    random, hits = Random(seed), [0]

    def refuses(kind: str) -> bool:
        if scarce.left is None or random.randrange(one_in):
            return False
        hits[0] += 1
        return True

    scarce.refuses = refuses  # type: ignore[method-assign]
    with scarce.refusing(1, True):
        yield hits


def stubborn(call: Callable[[], object], unchanged: Callable[[], None], tries: int = 500) -> object:
    """Call it until it isn't refused; each time that it is, nothing has changed."""
    for _ in range(tries):
        try:
            return call()
        except NoBufs:
            unchanged()
    raise AssertionError(f"refused {tries} times in a row")
