"""A plan is executed in one step or not at all, whatever happens while a verb waits for its clusters."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from chains import lens
from faults import FaultInjector
from mbuf import M_WAITOK, Freed, Inval, Mbuf, NoBufs, Pool, Vm
from mbuf.packet.plan import Plan
from mbuf.pool.zones import Zones
from mbuf.testing.refusals import ZONES, FaultyZone
from mbuf.testing.unchecked import enforce
from mbuf.uma.zone import Zone
from mbuf.vm.page import compiled
from packet.snapshot import snapshot

#: The bytes that fit into an mbuf itself.
FULL = bytes(224)


class CallingZone(FaultyZone):
    """Calls a function after each allocation, as another thread may run then."""

    def __init__(self, zone: Zone, faults: FaultInjector, fn: Callable[[], object]) -> None:
        super().__init__("pack", zone, faults)
        self._fn = fn

    def alloc(self, how: int, deadline: float | None) -> Any:
        item = super().alloc(how, deadline)
        self._fn()
        return item


@pytest.fixture
def after_alloc(pool: Pool) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets the function that is called after each allocation of a packet."""
    real, faults = pool.zones, FaultInjector(pool)

    def after_alloc(fn: Callable[[], object]) -> None:
        zones = {name: getattr(real, name) for name in ZONES}
        enforce(pool, Zones(**{**zones, "pack": CallingZone(real.pack, faults, fn)}))

    yield after_alloc
    enforce(pool, real)


def tangled(pool: Pool) -> list[Mbuf]:
    """The end of a cluster, then its beginning, then bytes that fit after that; and five shared clusters."""
    start = pool.getcl().append(bytes(range(250)))
    end = start.split(200)
    m = pool.gethdr().append(b"head")
    shared = [pool.getcl().append(bytes([n]) * size) for n, size in enumerate((2000, 1200, 700, 1000, 900))]
    others = [n.copypacket() for n in shared]
    for n in (end, start, pool.get().append(b"small" * 30), *shared):
        m.last().next = n
    m.demote()
    m.fixhdr()
    return [m, *others]


VERBS: dict[str, Callable[[Mbuf], Mbuf]] = {
    "unshare": lambda m: m.unshare(),
    "unshare, waiting": lambda m: m.unshare(M_WAITOK, timeout=0),
    "collapse": lambda m: m.collapse(5),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("k", range(1, 8))
def test_bytes_that_others_would_go_over_are_there_still_when_memory_runs_out(pool: Pool, verb: str, k: int) -> None:
    chains, faults = tangled(pool), FaultInjector(pool)
    data, before = bytes(chains[0]), snapshot(pool, *chains)
    try:
        with faults.failing(k, True):
            VERBS[verb](chains[0])
        assert k > (2 if verb == "collapse" else 4)
    except NoBufs:
        assert snapshot(pool, *chains) == before
    assert bytes(VERBS[verb](chains[0])) == data
    pool.free_bulk(chains)


@pytest.mark.parametrize(
    ("verb", "after"),
    [("unshare", [4, 50, 350, 2000, 1900, 1900]), ("collapse", [54, 350, 2000, 1900, 1900])],
)
def test_bytes_go_over_those_that_were_taken_before(pool: Pool, verb: str, after: list[int]) -> None:
    chains = tangled(pool)
    m, data = chains[0], bytes(chains[0])
    assert VERBS[verb](m) is m
    # The end of the first cluster was copied; its beginning stayed, and the next bytes were copied after it.
    assert (bytes(m), lens(m)) == (data, after)
    pool.free_bulk(chains)


@pytest.mark.parametrize("lent", [False, True], ids=["cluster", "lent"])
@pytest.mark.parametrize("k", [2, 3])
def test_the_last_other_user_may_go_while_a_verb_waits(pool: Pool, after_alloc: Any, lent: bool, k: int) -> None:
    def one() -> Mbuf:
        return pool.wrap(bytearray(b"x" * 1500)) if lent else pool.getcl().append(b"x" * 1500)

    m, n = one(), one()
    mine, theirs = m.copypacket(), n.copypacket()
    m.catpkt(n)
    others = [mine, theirs]
    after_alloc(lambda: others and others.pop(0).freem())
    faults = FaultInjector(pool)
    with faults.failing(k, True):
        try:
            m.unshare()
        except NoBufs:
            assert len(others) == 1
    assert (bytes(m), m.pkthdr.len) == (b"x" * 3000, 3000)
    assert m.unshare() is m
    assert (bytes(m), m.writable) == (b"x" * 3000, True)
    pool.free_bulk([m, *others])


def unlinked(m: Mbuf) -> None:
    m.next = None


def shortened(m: Mbuf) -> None:
    m.len = 3


def lengthened(m: Mbuf) -> None:
    m.next.len = 51


@pytest.mark.parametrize("change", [unlinked, shortened, lengthened], ids=lambda change: change.__name__)
@pytest.mark.parametrize("verb", ["unshare", "collapse"])
def test_a_chain_that_changes_while_a_verb_waits_is_left_as_it_is_then(
    pool: Pool, after_alloc: Any, verb: str, change: Callable[[Mbuf], None]
) -> None:
    chains = tangled(pool)
    m, rest = chains[0], chains[0].next
    seen: list[bytes] = []

    def meddle() -> None:
        if not seen:
            change(m)
            seen.append(bytes(m))

    after_alloc(meddle)
    with suppress(Inval):
        VERBS[verb](m)
    assert bytes(m) == seen[0]
    pool.free_bulk([*chains, rest] if change is unlinked else chains)


@pytest.mark.parametrize("verb", ["unshare", "collapse"])
def test_a_chain_that_is_freed_while_a_verb_waits_is_freed(pool: Pool, after_alloc: Any, verb: str) -> None:
    m, *others = tangled(pool)
    after_alloc(lambda: None if "freed" in repr(m) else m.freem())
    with pytest.raises(Freed):
        VERBS[verb](m)
    pool.free_bulk(others)


@pytest.mark.parametrize("verb", ["unshare", "collapse"])
def test_a_chain_that_is_shared_while_a_verb_waits_is_not_written(pool: Pool, after_alloc: Any, verb: str) -> None:
    chains = tangled(pool)
    m, kept = chains[0], chains[0].next.next
    after_alloc(lambda: chains.append(kept.copym(0, 200)) if len(chains) < 7 else None)
    VERBS[verb](m)
    assert bytes(chains[-1]) == bytes(range(200))
    pool.free_bulk(chains)


def test_a_very_long_chain_is_collapsed_in_one_walk() -> None:
    count = 200_000 if compiled() else 10_000
    with Pool(Vm(1 << 36), worker=False) as pool:
        last = m = pool.gethdr()
        for _ in range(count):
            last.next = pool.get().append(FULL)
            last = last.next
        m.fixhdr()
        m.collapse(count // 8)
        assert len(m) == count * len(FULL)
        assert count // 9 < sum(1 for _ in m) <= count // 8
        del last
        m.freem()
        assert pool.out == 0


def test_what_becomes_writable_on_the_way_takes_what_comes_after_it(pool: Pool) -> None:
    shared = pool.getcl().append(b"x" * 950)
    m = pool.gethdr()
    tail = m.cat(pool.get().append(FULL)).last()
    for n in (pool.getcl(flags=0).append(b"y" * 1500), shared.copypacket(), pool.get().append(FULL), shared):
        tail.next = n
        tail = tail.next
    for n in (pool.get().append(b"z" * 200), pool.get().append(b"z" * 200)):
        tail.next = n
        tail = tail.next
    m.demote()
    m.fixhdr()
    data = bytes(m)
    # One of the two that share goes over into a new cluster, and the other has room for what follows.
    assert bytes(m.collapse(5)) == data
    assert lens(m) == [0, 1724, 1174, 1150, 200]
    m.freem()


def test_memory_that_was_detached_while_a_verb_waits_is_not_read(pool: Pool, after_alloc: Any) -> None:
    m = pool.getcl().append(b"head")
    m.next = pool.wrap(b"x" * 3000)
    m.demote()
    m.fixhdr()
    calls: list[bytes] = []

    def meddle() -> None:
        if not calls:
            calls.append(bytes(m.next))
            m.next.detach()

    after_alloc(meddle)
    m.unshare()
    assert (calls, bytes(m)) == ([b"x" * 3000], b"head")
    m.freem()


@pytest.mark.skipif(compiled(), reason="C functions can't be replaced")
def test_bytes_that_are_not_where_they_should_be_are_an_error(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    m = pool.wrap(b"x" * 2000)

    def wrong(*_: Any) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(Plan, "_copy_parts", wrong)
    with pytest.raises(IndexError, match="out of range"):
        m.unshare()
    assert (bytes(m), pool.out) == (b"x" * 2000, 1)
    m.free()
