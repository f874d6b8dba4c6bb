"""The books of a pool agree, whatever is done with it; and where they don't, the audit says so."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_EXTPG, M_WAITOK, PAGE_SIZE, Corrupt, Pool, Vm, compiled


@pytest.fixture
def busy(make: Callable[..., Pool]) -> Pool:
    """A pool in which a bit of everything is out, cached and free."""
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
    # It has taken a bucketful of mbufs, which are neither out nor cached.
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


@pytest.mark.parametrize("how", ["rcvif", "tag", "lent", "routine", "list"])
def test_circles_that_nobody_collects_are_found(busy: Pool, how: str) -> None:
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


@pytest.mark.skipif(compiled(), reason="what is wrong can't be done compiled")
@pytest.mark.parametrize("kind", ["slab", "limit", "cached", "pages"])
def test_a_contradiction_is_named(kind: str) -> None:
    pool: Any = Pool(Vm(16 << 20), worker=False)
    m = pool.getcl()
    keg, zone = pool.own.mbuf.backend, pool.own.clust
    if kind == "slab":
        keg._free += 1
    elif kind == "limit":
        zone.limiter.items += 1
    elif kind == "cached":
        zone._allocs += 1
    else:
        pool.vm.take(1)
        pool.vm.map.used -= 2
    with pytest.raises(Corrupt):
        pool.audit()
    if kind == "slab":
        keg._free -= 1
    elif kind == "limit":
        zone.limiter.items -= 1
    elif kind == "cached":
        zone._allocs -= 1
    else:
        pool.vm.map.used += 2
    m.free()
    pool.close()
