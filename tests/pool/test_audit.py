"""An audit finds every inconsistency of a pool, and none in a pool that is intact."""

import gc
import os
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from mbuf import M_EXTPG, M_WAITOK, PAGE_SIZE, Corrupt, Pool, Vm, compiled
from mbuf.uma.audit import audit_keg, audit_zone
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone


@pytest.fixture
def busy(make: Callable[..., Pool]) -> Pool:
    """A pool with items of all kinds in use, cached and free."""
    pool = make()
    pool.free_bulk(pool.getcl_bulk(300))
    pool.free_bulk([pool.get() for _ in range(300)])
    return pool


def test_an_audit_says_where_everything_is(busy: Pool) -> None:
    m = busy.getcl().append(b"x" * 100)
    n = busy.frombytes(bytes(9000), flags=M_EXTPG)
    view = busy.getjcl().data
    found = busy.audit()
    zones = {zone.name: zone for zone in found.zones}
    assert (zones["mbuf"].out, zones["mbuf_packet"].out) == (1, 1)
    assert zones["mbuf"].held + zones["mbuf_packet"].held == 0
    assert zones["mbuf_jumbo_page"].out == zones["mbuf_jumbo_page"].held == 1
    assert found.single_pages == 3
    assert found.vm_pages == found.slab_pages + found.single_pages
    assert found.cycles is None
    view.release()
    m.free()
    n.free()


def test_an_audit_holds_at_any_moment(busy: Pool) -> None:
    held: list[Any] = []
    for n in range(60):
        held.append((busy.getcl, busy.gethdr, busy.getjcl)[n % 3]())
        busy.audit()
    while held:
        held.pop(len(held) // 2).free()
        busy.audit()
    busy.drain()
    assert busy.audit().slab_pages == 0


def test_an_audit_holds_while_a_thread_waits(spawn: Callable[..., Any]) -> None:
    pool = Pool(Vm(1 << 24), {"kern.ipc.nmbclusters": 16}, strict=False, worker=False)
    held = pool.getcl_bulk(16)
    waits = spawn(lambda: pool.getcl(M_WAITOK, timeout=20).free())
    while not pool.stat().clust.sleepers:
        time.sleep(0.001)
    # It has a bucket of mbufs, which are neither in use nor cached.
    assert pool.audit().vm_pages
    pool.free_bulk(held)
    waits.done()
    pool.audit()


def test_few_items_pin_their_slabs(make: Callable[..., Pool]) -> None:
    pool = make(caching=False)
    packets = [pool.getjcl(size=2048) for _ in range(64)]
    every = [packets[n] for n in range(0, 64, 16)]
    pool.free_bulk([m for m in packets if m not in every])
    pool.drain()
    found = pool.audit()
    assert 0 < found.pinned < found.slab_pages
    pool.free_bulk(every)
    pool.drain()
    assert pool.audit().pinned == 0


def test_the_reserve_is_audited_too(busy: Pool) -> None:
    busy.reserve.reinit(5, 3)
    assert busy.audit().reserved == (5, 3)
    with busy.reserve.active():
        m = busy.getcl()
        assert busy.audit().reserved == (4, 2)
        m.free()
        assert busy.audit().reserved == (5, 3)
    busy.audit()
    busy.reserve.drain()
    assert busy.audit().reserved == (0, 0)


def test_windows_are_counted(busy: Pool) -> None:
    fd = os.memfd_create("pages")
    os.write(fd, bytes(2 * PAGE_SIZE))
    with busy.file(fd) as file:
        m = file.getm()
        views = list(m)
        assert busy.audit().windows == 2
        for view in views:
            view.release()
        assert busy.audit().windows == 0
        m.free()
    os.close(fd)


def test_a_vm_may_have_several_pools() -> None:
    vm = Vm(16 << 20)
    a, b = Pool(vm, worker=False), Pool(vm, worker=False)
    m, n = a.getcl(), b.getcl()
    assert a.audit().vm_pages == b.audit().vm_pages == vm.used
    m.free()
    n.free()
    a.close()
    b.close()
    a.audit()


class Holder:
    """An object of the program that holds an mbuf."""

    def __init__(self, m: Any) -> None:
        self.m = m


@pytest.mark.parametrize("how", ["rcvif", "tag", "lent", "routine", "list", "header", "a tag held"])
def test_reference_cycles_are_found(busy: Pool, how: str) -> None:
    m = busy.gethdr()
    if how == "rcvif":
        m.pkthdr.rcvif = Holder(m)
    elif how == "tag":
        m.tag_prepend(busy.tag_alloc(1, 2, Holder(m)))
    elif how == "lent":

        class Lent(bytearray):
            pass

        lent = Lent(10)
        lent.m = m  # type: ignore[attr-defined]
        m.extadd(lent)
        del lent
    elif how == "routine":
        m.extadd(bytearray(10), lambda x: None, Holder(m))
    elif how == "header":
        n = busy.gethdr()
        n.pkthdr.rcvif = Holder(m)
        m.pkthdr.rcvif = Holder(n.pkthdr)
        m.next = n
        del n
    elif how == "a tag held":
        m.pkthdr.rcvif = Holder(busy.tag_alloc(1, 2, Holder(m)))
    else:
        n = busy.gethdr()
        n.pkthdr.rcvif = [Holder(m)]
        m.next = n
        del n
    found = busy.audit(cycles=True).cycles
    assert found is not None
    assert len([line for line in found if f"{id(m):#x}" in line]) == 1
    m.freem()
    assert not busy.audit(cycles=True).cycles


def test_what_holds_no_circle_is_none(busy: Pool) -> None:
    m = busy.gethdr()
    m.pkthdr.rcvif = Holder(None)
    keeper = Holder(m)
    assert not busy.audit(cycles=True).cycles
    del keeper
    m.free()


def test_neither_a_bare_nor_a_freed_mbuf_nor_a_frame_makes_a_circle(busy: Pool) -> None:
    def failed() -> BaseException:
        m = busy.gethdr()
        m.pkthdr.rcvif = Holder(None)
        kept.append(m)
        try:
            raise ValueError
        except ValueError as error:
            return error

    kept: list[Any] = []
    error = failed()
    assert error.__traceback__ is not None
    frame = error.__traceback__.tb_frame
    assert (gc.is_tracked(frame), frame.f_locals["m"]) == (True, kept[0])
    bare, freed = busy.get(), busy.gethdr()
    freed.free()
    holders = [Holder(bare), Holder(freed), Holder(error), frame]
    assert busy.audit(cycles=True).cycles == ()
    del holders, frame, error
    bare.free()
    kept.pop().free()
    assert busy.out == 0


#: An attribute of an object, and a value for it that can't be right.
Wrong = tuple[Any, str, Any]


def more(thing: Any, name: str, count: int = 1) -> Wrong:
    return thing, name, getattr(thing, name) + count


def cached(pool: Any) -> Any:
    """An item in a cache."""
    return pool.own.mbuf._caches[0].alloc.at(0)


def slab(pool: Any, n: int = 0) -> Any:
    """A slab with some of its clusters in use, or all."""
    keg = pool.own.mbuf.backend
    return (keg._partial, keg._full)[n].head()


def area(pool: Any) -> Any:
    """The pages of the first arena."""
    return pool.vm.map._areas[0]


#: Inconsistencies of a pool, and what an audit reports.
CONTRADICTIONS: dict[str, tuple[Callable[[Any], list[Wrong]], str]] = {
    "free items of a keg": (
        lambda pool: [more(pool.own.mbuf.backend, "_free")],
        "counts .* slabs with .* free items, and has",
    ),
    "charges": (lambda pool: [more(pool.own.clust.limiter, "items")], "items are charged, 0 of them in transit"),
    "items out": (lambda pool: [more(pool.own.clust, "_allocs")], "items are charged, 0 of them in transit"),
    "pages too few": (lambda pool: [more(pool.vm.map, "used", -1)], "pages are held, and"),
    "pages too many": (lambda pool: [more(pool.vm.map, "used")], "pages count as handed out, and"),
    "buckets of a CPU": (
        lambda pool: [(pool.own.mbuf._caches[0], "free", pool.own.mbuf._caches[0].alloc)],
        "CPU 0 has the same bucket twice",
    ),
    "a cached item out": (lambda pool: [more(cached(pool), "state")], "an item is cached, and handed out"),
    "a cached item elsewhere": (
        lambda pool: [(cached(pool), "zone", pool.own.clust)],
        "an item of another zone is cached",
    ),
    "a cached item listed": (
        lambda pool: [(cached(pool), "_list_next", pool)],
        "an item is cached, and on a release list",
    ),
    "a bucket in the list": (
        lambda pool: [(pool.own.mbuf.depot._first.at(0), "_list_next", pool)],
        "an item is cached, and on a release list",
    ),
    "an empty bucket": (lambda pool: [(pool.own.mbuf.depot._first, "cnt", 0)], "an empty bucket is listed"),
    "listed items": (lambda pool: [more(pool.own.mbuf.depot._work, "nitems")], "items count as listed, and"),
    "a closed zone": (lambda pool: [(pool.own.mbuf, "closed", True)], "items are cached, and the zone is closed"),
    "free items of a slab": (lambda pool: [more(slab(pool), "free")], "free, .* by its count"),
    "the list of a slab": (
        lambda pool: [(slab(pool, 1), "free", 1), (slab(pool, 1), "bits", 1)],
        "in the wrong list: 1 of its items are free",
    ),
    "pages of a keg": (lambda pool: [more(pool.own.mbuf.backend, "_pages")], "pages count, and its slabs have"),
    "items cut": (
        lambda pool: [more(pool.own.mbuf, "_allocs"), more(pool.own.mbuf.limiter, "items")],
        "items are cut from it, and its zones know of",
    ),
    "clusters of packets": (
        lambda pool: [more(pool.own.clust, "_frees", 1000), more(pool.own.clust.limiter, "in_transit", 1000)],
        "packets are cached, each with a cluster, and -[0-9]+ clusters are out",
    ),
    "a charge granted": (
        lambda pool: [more(pool.own.mbuf.limiter._prepaid, "count")],
        "a prepaid charge was neither used nor returned",
    ),
    "who waits": (
        lambda pool: [more(pool.own.mbuf.limiter.waiters._queue, "count")],
        "a request waits, and there is room",
    ),
    "who waits for pages": (
        lambda pool: [more(pool.own.mbuf.backend._waiters._queue, "count")],
        "the queue counts 1 waiters, and has 0",
    ),
    "a grant": (
        lambda pool: [more(pool.own.mbuf.backend._waiters, "refused")],
        "0 tasks were not woken after their grant, 1 grants",
    ),
    "free pages of an arena": (lambda pool: [more(area(pool), "free")], "counts .* free pages, and has"),
    "an arena skipped": (lambda pool: [more(pool.vm.map, "_first")], "has free pages, and is skipped"),
    "windows": (lambda pool: [more(pool.sfbufs, "in_use")], "0 windows are in use, 0 unused; 1 of 0 count as in use"),
}


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
@pytest.mark.parametrize("wrong", CONTRADICTIONS)
def test_a_contradiction_is_named(busy: Any, wrong: str) -> None:
    # More than two buckets hold, so that one is in the list.
    busy.free_bulk([busy.get() for _ in range(800)])
    m = busy.getcl()
    changes, said = CONTRADICTIONS[wrong]
    right = []
    for thing, name, value in changes(busy):
        right.append((thing, name, getattr(thing, name)))
        setattr(thing, name, value)
    with pytest.raises(Corrupt, match=said):
        busy.audit()
    for thing, name, value in right:
        setattr(thing, name, value)
    busy.audit()
    m.free()


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
def test_a_page_that_was_never_swept_is_named(busy: Any) -> None:
    states = area(busy).states
    at = states.find(0)
    states[at] = 2
    with pytest.raises(Corrupt, match=f"page {at} was given back and never swept"):
        busy.audit()
    states[at] = 0


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
def test_a_page_in_two_slabs_is_named_where_others_hold_pages_too(busy: Any) -> None:
    vm = busy.vm
    foreign = vm.take(1)
    one, other = slab(busy), slab(busy, 1)
    page, one.page = one.page, other.page
    with pytest.raises(Corrupt, match=f"page {other.page} is held twice"):
        busy.audit()
    one.page = page
    vm.give([(foreign, 1)])


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
def test_what_was_never_made_is_corrupt() -> None:
    zone, keg = Zone.__new__(Zone), cast(Keg, None)
    zone.limiter = None  # type: ignore[assignment]
    with pytest.raises(Corrupt, match="this zone was never initialized"):
        audit_zone(zone)
    with pytest.raises(Corrupt, match="there is no keg"):
        audit_keg(keg)


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
@pytest.mark.parametrize(
    ("name", "said"),
    [("state", "a mbuf is in the queue, and handed out"), ("_count", "the mbuf queue counts 6 items, and has 5")],
)
def test_a_contradiction_in_the_reserve_is_named(busy: Any, name: str, said: str) -> None:
    busy.reserve.reinit(5, 3)
    stock = busy.reserve.zones.mbuf.backend
    wrong = stock if name == "_count" else stock._first
    before = getattr(wrong, name)
    setattr(wrong, name, before + 1)
    with pytest.raises(Corrupt, match=said):
        busy.audit()
    setattr(wrong, name, before)
    busy.audit()
    busy.reserve.drain()


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
def test_a_contradiction_among_windows_is_named(busy: Any) -> None:
    fd = os.memfd_create("pages")
    os.write(fd, bytes(PAGE_SIZE))
    with busy.file(fd) as file:
        m = file.getm()
        (view,) = list(m)
        (window,) = busy.sfbufs._windows.values()
        window.index += 1
        with pytest.raises(Corrupt, match="the window of page 1 is listed under another page"):
            busy.audit()
        window.index -= 1
        view.release()
        window.users += 1
        with pytest.raises(Corrupt, match="the window of page 0 is in use, and listed as unused"):
            busy.audit()
        window.users -= 1
        busy.audit()
        m.free()
    os.close(fd)
