"""The reserve gives mbufs when nothing else is left, and nothing is lost."""

import asyncio
import copy
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from chains import exhaust
from mbuf import (
    EXT_CLUSTER,
    EXT_JUMBOP,
    EXT_PACKET,
    M_WAITOK,
    MCLBYTES,
    MJUM16BYTES,
    MJUMPAGESIZE,
    Busy,
    Inval,
    NoBufs,
    Pool,
    Vm,
)
from mbuf.pool import reserve
from mbuf.pool.stock import Stock

Few = Callable[..., dict[str, int]]


@pytest.fixture
def pool(make: Callable[..., Pool], few: Few) -> Iterator[Pool]:
    """A pool of 40 mbufs and 10 clusters; the reserve is drained at the end."""
    pool = make(few())
    yield pool
    pool.reserve.drain()


@pytest.fixture
def crossed(few: Few) -> Iterator[Pool]:
    """As `pool`, but the counts of single zones may differ at the end, as in the kernel."""
    pool = Pool(Vm(16 << 20), tunables=few(), worker=False)
    yield pool
    pool.reserve.drain()
    assert (pool.out, pool.close(), pool.stat().drops) == (0, 0, 0)


def levels(pool: Pool) -> tuple[int, int]:
    return pool.reserve.mbufs, pool.reserve.clusters


def test_a_pool_has_no_reserve_at_first(pool: Pool) -> None:
    assert (levels(pool), pool.reserve.clsize, pool.reserve.zones, pool.reserve.started) == ((0, 0), 0, None, False)
    with pytest.raises(Inval, match="call reinit first"):
        pool.reserve.start()
    with pytest.raises(Inval, match="call start first"):
        pool.reserve.finish()
    pool.reserve.drain()


def test_what_is_laid_by_counts_as_in_use(pool: Pool) -> None:
    pool.reserve.reinit(5, 3)
    assert (levels(pool), pool.out, pool.zones.clust.used - pool.zones.pack.cached) == ((5, 3), 5, 3)
    pool.reserve.drain()
    assert (levels(pool), pool.out, pool.reserve.clsize) == ((0, 0), 0, 0)


def test_a_report_goes_out_when_all_else_is_in_use(pool: Pool) -> None:
    pool.reserve.reinit(3, 2)
    taken = exhaust(pool.getcl)
    with pool.reserve.active():
        report = pool.getcl().append(b"out of clusters\n" * 128)
        report.append(b"that is all")
        assert (bytes(report)[-15:], levels(pool)) == (b"ers\nthat is all", (1, 1))
        with pytest.raises(NoBufs, match="the reserve has no mbuf left"):
            report.append(bytes(600))
        report.freem()
        assert levels(pool) == (3, 2)
    with pytest.raises(NoBufs, match="kern.ipc.nmbclusters"):
        pool.getcl()
    pool.free_bulk(taken)


def test_packets_of_the_reserve_are_no_packets_of_the_packet_zone(pool: Pool) -> None:
    pool.reserve.reinit(2, 1, MJUMPAGESIZE)
    with pool.reserve.active():
        m = pool.getcl()
        assert (m.ext.type, m.size) == (EXT_JUMBOP, MJUMPAGESIZE)
        with pytest.raises(NoBufs, match="no cluster left"):
            pool.getcl()
        n = pool.get()
        with pytest.raises(NoBufs, match="no cluster left"):
            pool.clget(n)
        pool.free_bulk([m, n])


@pytest.mark.parametrize("size", [MCLBYTES, MJUMPAGESIZE, 9216, MJUM16BYTES])
def test_whatever_size_is_requested_the_reserves_is_given(pool: Pool, size: int) -> None:
    pool.reserve.reinit(1, 1)
    with pool.reserve.active(), pool.getjcl(size=size) as m:
        assert (m.ext.type, m.size) == (EXT_CLUSTER, MCLBYTES)


def test_a_verb_takes_from_the_reserve_too(pool: Pool) -> None:
    pool.reserve.reinit(2, 0)
    with pool.reserve.active():
        m = pool.gethdr().append(b"x" * 168)
        assert m.prepend(8) is m
        assert levels(pool) == (0, 0)
        m.freem()


def test_a_request_does_not_wait_for_the_reserve(pool: Pool) -> None:
    pool.reserve.reinit(1, 0)
    with pool.reserve.active(), pool.get(), pytest.raises(NoBufs, match="no mbuf left"):
        pool.get(M_WAITOK)


def test_what_is_freed_meanwhile_makes_the_reserve_larger(crossed: Pool) -> None:
    pool = crossed
    packet, plain, other = pool.getcl(), pool.get(), pool.getjcl(size=MJUMPAGESIZE)
    assert packet.ext.type == EXT_PACKET
    pool.reserve.reinit(1, 1)
    with pool.reserve.active():
        packet.free()
        assert levels(pool) == (2, 2)
        plain.free()
        assert levels(pool) == (3, 2)
        # A cluster of another size is freed to its zone; its mbuf is not.
        other.free()
        assert (levels(pool), pool.stat().jumbop.used) == ((4, 2), 0)
    pool.reserve.drain()
    # An mbuf of the packet zone was freed to the mbuf zone: only the sum of both is right.
    assert pool.out == 0


def test_the_limit_is_kept_by_what_came_back_in_two(crossed: Pool) -> None:
    for _ in range(5):
        packet = crossed.getcl()
        crossed.reserve.reinit(1, 0)
        with crossed.reserve.active():
            packet.free()
        crossed.reserve.drain()
    taken = exhaust(crossed.get)
    assert len(taken) == 40
    crossed.free_bulk(taken)


def test_what_is_still_out_afterwards_is_freed(pool: Pool) -> None:
    pool.reserve.reinit(2, 2)
    with pool.reserve.active():
        m, n = pool.getcl(), pool.get()
    pool.free_bulk([m, n])
    assert (levels(pool), pool.out) == ((0, 1), 0)


def test_shared_clusters_of_the_reserve_go_home_with_the_last_user(pool: Pool) -> None:
    pool.reserve.reinit(3, 1)
    with pool.reserve.active():
        m = pool.getcl().append(b"shared")
        n = m.copypacket()
        m.free()
        assert levels(pool) == (1, 0)
        assert bytes(n) == b"shared"
        n.free()
        assert levels(pool) == (3, 1)


def test_a_second_reinit_uses_the_first_ones_again(pool: Pool) -> None:
    pool.reserve.reinit(40, 10)
    pool.reserve.reinit(40, 10)
    assert levels(pool) == (40, 10)
    pool.reserve.reinit(3, 2)
    assert (levels(pool), pool.out) == ((3, 2), 3)
    pool.reserve.reinit(3, 2, MJUMPAGESIZE)
    assert (levels(pool), pool.zones.clust.used - pool.zones.pack.cached, pool.zones.jumbop.used) == ((3, 2), 0, 2)


@pytest.mark.parametrize(("mbufs", "clusters"), [(41, 0), (0, 11), (5, 11)])
def test_what_cannot_be_laid_by_changes_nothing(pool: Pool, mbufs: int, clusters: int) -> None:
    pool.reserve.reinit(2, 1)
    with pytest.raises(NoBufs, match="at its limit"):
        pool.reserve.reinit(mbufs, clusters)
    assert (levels(pool), pool.out) == ((2, 1), 2)


@pytest.mark.parametrize(
    "arguments", [(-1, 0), (0, -1), (1, 1, 1500), (1 << 31, 0), (1 << 64, 0), (0, 1 << 63), (1, 1, 1 << 64)]
)
def test_what_cannot_be_meant_changes_nothing(pool: Pool, arguments: tuple[int, ...]) -> None:
    pool.reserve.reinit(2, 1)
    with pytest.raises(Inval):
        pool.reserve.reinit(*arguments)
    assert levels(pool) == (2, 1)


def test_it_can_be_in_force_once(pool: Pool) -> None:
    pool.reserve.reinit(2, 1)
    with pool.reserve.active():
        for verb in (pool.reserve.start, pool.reserve.drain, lambda: pool.reserve.reinit(1, 1)):
            with pytest.raises(Busy, match="call finish first"):
                verb()
        assert pool.reserve.started
    assert (levels(pool), pool.reserve.started) == ((2, 1), False)


def test_it_ends_whatever_happens_inside(pool: Pool) -> None:
    pool.reserve.reinit(1, 0)
    with pytest.raises(ZeroDivisionError), pool.reserve.active():
        raise ZeroDivisionError
    assert not pool.reserve.started


def test_numbers_and_limits_are_those_of_the_pools_own_zones(pool: Pool) -> None:
    pool.reserve.reinit(2, 1)
    before = pool.stat().zones
    with pool.reserve.active():
        assert pool.stat().zones == before
        pool.sysctl["kern.ipc.nmbufs"] += 10
        assert pool.sysctl["kern.ipc.nmbufs"] == 50
    assert pool.zones.mbuf.limit == 50


def test_closing_the_pool_ends_it(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few())
    pool.reserve.reinit(3, 2)
    pool.reserve.start()
    pool.getcl().free()
    assert pool.close() == 0
    assert levels(pool) == (0, 0)


def test_a_dropped_pool_with_a_reserve_goes(make: Callable[..., Pool]) -> None:
    pool = Pool(worker=False)
    pool.reserve.reinit(2, 1)
    mbuf = pool.zones.mbuf
    del pool
    assert mbuf.closed


@pytest.mark.parametrize("clsize", [4096, 9216, 16384])
def test_clusters_of_another_size_that_come_as_packets_go_home(make: Callable[..., Pool], clsize: int) -> None:
    pool = make()
    m = pool.getcl()
    pool.reserve.reinit(1, 1, clsize)
    pool.reserve.start()
    m.free()
    n = pool.cljget(None, size=clsize)
    assert n.size == clsize
    n.free()
    pool.reserve.finish()
    pool.reserve.drain()
    pool.audit()
    pool.drain()
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


def test_what_comes_back_as_an_mbuf_is_looked_at_as_one() -> None:
    pool = Pool(Vm(1 << 24), debug=True, caching=False, worker=False)
    pool.reserve.reinit(1, 1)
    pool.reserve.start()
    pool.get().append(b"x" * 100).free()
    m = pool.getcl()
    pool.reserve.finish()
    m.free()
    pool.get().free()
    pool.reserve.drain()


def test_nothing_comes_in_while_the_reserve_changes(make: Callable[..., Pool]) -> None:
    pool = make()
    errors: list[type] = []

    def come_in(phase: str, _: object) -> None:
        for call in (pool.reserve.drain, lambda: pool.reserve.reinit(1, 1), pool.reserve.start):
            try:
                call()
            except Busy as error:
                errors.append(type(error))

    thresholds = gc.get_threshold()
    pool.reserve.reinit(2, 2)
    gc.callbacks.append(come_in)
    gc.set_threshold(1, 1000, 1000)
    try:
        with suppress(Busy):
            pool.reserve.reinit(4, 4)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(come_in)
    if pool.reserve.started:
        pool.reserve.finish()
    pool.reserve.drain()
    assert (pool.out, pool.close(), pool.vm.used) == (0, 0, 0)


def test_a_closed_pool_sets_nothing_aside(make: Callable[..., Pool]) -> None:
    pool = make()
    pool.close()
    with pytest.raises(Inval, match="reserve: this pool was closed meanwhile"):
        pool.reserve.reinit(0, 0)
    assert (levels(pool), pool.reserve.zones, pool.out) == ((0, 0), None, 0)
    pool.audit()


@pytest.mark.parametrize("other", ["reinit", "drain"])
def test_a_reinit_that_waited_changes_nothing_where_another_call_was_first(
    pool: Pool, spawn: Callable[..., Any], eventually: Callable[..., None], other: str
) -> None:
    pool.reserve.reinit(1, 0)
    taken = pool.getcl_bulk(10)
    waiter = spawn(lambda: pool.reserve.reinit(4, 1, how=M_WAITOK, timeout=20))
    eventually(lambda: pool.zones.clust.limiter.waiters)
    if other == "reinit":
        pool.reserve.reinit(2, 0)
    else:
        pool.reserve.drain()
    taken.pop().free()
    with pytest.raises(Busy, match="another reinit or drain came while this one waited: call it again"):
        waiter.done()
    left = 2 if other == "reinit" else 0
    assert (levels(pool), pool.out) == ((left, 0), left + 9)
    pool.audit()
    pool.free_bulk(taken)


def test_a_reinit_that_finds_no_memory_for_its_queues_gives_back_what_it_took(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    pool.reserve.reinit(2, 1)
    with monkeypatch.context() as patch:
        patch.setattr(reserve, "Stock", no_memory)
        with pytest.raises(MemoryError):
            pool.reserve.reinit(7, 5)
    assert (levels(pool), pool.out) == ((2, 1), 2)
    pool.audit()
    pool.reserve.reinit(40, 10)
    assert (levels(pool), pool.out) == ((40, 10), 40)


def test_no_other_call_changes_a_reserve_in_the_middle_of_a_reinit(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[str] = []

    def come_in(*args: Any) -> Stock:
        for call in (pool.reserve.drain, lambda: pool.reserve.reinit(3, 3), pool.reserve.start):
            with pytest.raises(Busy) as caught:
                call()
            errors.append(str(caught.value))
        return Stock(*args)

    pool.reserve.reinit(2, 1)
    with monkeypatch.context() as patch:
        patch.setattr(reserve, "Stock", come_in)
        pool.reserve.reinit(5, 4)
    assert errors == [
        f"reserve: {verb} while another call changes it: call {verb} again after that"
        for verb in ("drain", "reinit", "start")
    ]
    assert (levels(pool), pool.reserve.started, pool.out) == ((5, 4), False, 5)
    pool.audit()


class Handler(logging.Handler):
    """A log handler that calls a function at the first line."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__()
        self.do = [do]

    def emit(self, record: logging.LogRecord) -> None:
        if self.do:
            self.do.pop()()


@pytest.fixture
def on_log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Has a log handler call a function at the next line."""
    log, handlers = logging.getLogger("mbuf"), []
    caplog.set_level(logging.INFO, "mbuf")

    def on_log(do: Callable[[], object]) -> None:
        handlers.append(Handler(do))
        log.addHandler(handlers[-1])

    yield on_log
    for handler in handlers:
        log.removeHandler(handler)


@pytest.mark.parametrize("other", ["start", "drain"])
def test_a_start_finds_that_the_handler_of_its_line_has_changed_the_reserve(
    pool: Pool, on_log: Callable[..., None], other: str
) -> None:
    pool.reserve.reinit(2, 1)
    on_log(getattr(pool.reserve, other))
    with pytest.raises(Busy, match="reserve: the log's handler has changed it"):
        pool.reserve.start()
    if other == "start":
        assert (levels(pool), pool.reserve.started) == ((2, 1), True)
        pool.reserve.finish()
    else:
        assert (levels(pool), pool.reserve.started, pool.out) == ((0, 0), False, 0)
    pool.audit()


@pytest.mark.parametrize("drained", [False, True])
def test_a_finish_finds_that_the_handler_of_its_line_has_changed_the_reserve(
    pool: Pool, on_log: Callable[..., None], drained: bool
) -> None:
    def change() -> None:
        pool.reserve.finish()
        if drained:
            pool.reserve.drain()

    pool.reserve.reinit(2, 1)
    pool.reserve.start()
    on_log(change)
    with pytest.raises(Busy, match="reserve: the log's handler has changed it"):
        pool.reserve.finish()
    left = (0, 0) if drained else (2, 1)
    assert (levels(pool), pool.reserve.started, pool.out) == (left, False, left[0])
    pool.audit()
    pool.getcl().free()


def test_a_reserve_has_no_copy(pool: Pool) -> None:
    with pytest.raises(TypeError, match="can't be copied"):
        copy.copy(pool.reserve)


def test_an_mbuf_out_of_the_reserve_forgets_the_cluster_that_it_came_with() -> None:
    pool = Pool(Vm(1 << 24), worker=False)
    pool.reserve.reinit(3, 1)
    pool.reserve.start()
    m = pool.getcl().append(b"x" * 10)
    n = m.copym()
    m.free()
    n.free()
    mbufs = [pool.get() for _ in range(3)]
    other = mbufs.pop(1).cljset(pool.cljget(None)).append(b"y" * 100)
    pool.free_bulk(mbufs)
    # `make asan`: freeing an mbuf must not poison the bytes of a cluster that is in use.
    assert bytes(other) == b"y" * 100
    other.free()
    pool.reserve.finish()
    pool.reserve.drain()
    pool.audit()
    pool.close()


def test_a_task_gets_the_same_kind_of_mbuf_as_a_thread(pool: Pool) -> None:
    pool.reserve.reinit(2, 2, 4096)
    with pool.reserve.active():
        m = pool.getjcl(size=4096)
        n = asyncio.run(pool.agetjcl(size=4096))
    assert [each.ext.type for each in (m, n)] == [EXT_JUMBOP, EXT_JUMBOP]
    n.freem()
    m.freem()
