import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_NOWAIT, M_WAITOK, Corrupt, Inval, NoBufs, NoMemory, Pool
from mbuf.uma.bucket import Bucket

Few = Callable[..., dict[str, int]]
Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def fails(pool: Pool) -> tuple[int, int]:
    return pool.stat().pack.fails, pool.stat().clust.fails


def test_a_limit_of_10_clusters(
    make: Callable[..., Pool], few: Few, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The numbers of freebsd-13.md, 8.3 and 4.10."""
    pool = make(few(clusters=10), clock=clock)
    hits: list[int] = []
    ring = pool.zones.clust.limiter.on_limit
    pool.zones.clust.limiter.on_limit = lambda: (hits.append(1), ring())[0]
    assert (pool.zones.clust.depot.bucket_size, pool.zones.clust.depot.most) == (2, 6)
    taken = [pool.getcl()]
    # The bucket of packets was not filled completely.
    assert (fails(pool), pool.zones.pack.cached, pool.zones.clust.limiter.items) == ((0, 1), 9, 10)
    taken += [pool.getcl() for _ in range(9)]
    assert fails(pool) == (0, 1)
    before = len(hits)
    with pytest.raises(NoBufs) as caught:
        pool.getcl()
    assert fails(pool) == (2, 3)
    assert len(hits) - before == 4
    with pytest.raises(NoBufs):
        pool.getcl()
    assert fails(pool) == (4, 5)
    assert len(hits) - before == 8
    [record] = caplog.records
    assert (record.name, record.levelname) == ("mbuf.pool", "WARNING")
    assert record.getMessage() == (
        "mbuf_cluster: the limit of 10 is reached (kern.ipc.nmbclusters); "
        "requests are refused, or wait, until something is freed"
    )
    assert vars(record)["kernel"] == "[zone: mbuf_cluster] kern.ipc.nmbclusters limit reached"
    assert pool.stat().clust.warnings_suppressed == len(hits) - 1
    clock.now += 300
    with pytest.raises(NoBufs):
        pool.getcl()
    assert len(caplog.messages) == 2
    error = caught.value
    assert (error.zone, error.limit, error.sysctl) == ("mbuf_cluster", 10, "kern.ipc.nmbclusters")
    assert "mbuf_cluster" in str(error)
    assert "raise kern.ipc.nmbclusters" in str(error)
    pool.free_bulk(taken)


def test_one_mbuf_denied_is_one_failure(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=2, mbufs=10))
    taken = [pool.get() for _ in range(10)]
    with pytest.raises(NoBufs):
        pool.get()
    assert pool.stat().mbuf.fails == 1
    pool.free_bulk(taken)


def test_one_cluster_denied_is_two_failures(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=2))
    taken = [pool.cljget(None, size=2048) for _ in range(2)]
    m = pool.get()
    before = pool.stat().clust.fails
    with pytest.raises(NoBufs):
        pool.clget(m)
    assert pool.stat().clust.fails == before + 2
    with pytest.raises(NoBufs):
        pool.cljget(m, size=2048)
    assert pool.stat().clust.fails == before + 3
    m.free()
    for cluster in taken:
        cluster.free()


def test_mbufs_that_find_no_cluster_go_back(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=10))
    taken = pool.getcl_bulk(10)
    keg = pool.zones.mbuf.backend
    # 17 slabs of 15 for a bucketful of 254; 10 are out.
    assert (keg.slabs, keg.free) == (17, 245)
    with pytest.raises(NoBufs):
        pool.getcl()
    # One more slab was made before it was found that there are no clusters for its mbufs.
    assert (keg.slabs, keg.free) == (18, 260)
    pool.free_bulk(taken)


def test_packets_may_be_more_than_the_limit_of_mbufs(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=20, jumbop=1, jumbo9=1, jumbo16=1, mbufs=23))
    mbufs = [pool.get() for _ in range(23)]
    packets = pool.getcl_bulk(20)
    assert pool.out == 43
    pool.free_bulk(mbufs + packets)


def test_without_pages_for_mbufs_it_is_pages_that_are_out(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(), mem=2 * 4096)
    with pytest.raises(NoMemory, match="out of pages"):
        pool.getcl_bulk(5)
    assert pool.out == 0


def test_a_cluster_freed_wakes_waiters_for_a_packet(
    small: Callable[..., Pool], spawn: Spawn, eventually: Eventually
) -> None:
    pool = small(clusters=2)
    raw: Any = [pool.cljget(None, size=2048) for _ in range(2)]
    waiter = spawn(lambda: pool.getcl(M_WAITOK, timeout=20))
    eventually(lambda: pool.zones.clust.exhausted)
    raw.pop().free()
    waiter.done().free()
    raw.pop().free()


def test_a_packet_freed_wakes_waiters_for_a_cluster(
    small: Callable[..., Pool], spawn: Spawn, eventually: Eventually
) -> None:
    pool = small(clusters=4)
    packets = pool.getcl_bulk(4)
    waiter = spawn(lambda: pool.cljget(None, M_WAITOK, 2048, 20))
    eventually(lambda: pool.zones.clust.exhausted)
    packets.pop().free()
    waiter.done().free()
    pool.free_bulk(packets)


def test_a_shared_packet_wakes_waiters_when_the_last_user_is_freed(
    small: Callable[..., Pool], spawn: Spawn, eventually: Eventually
) -> None:
    pool = small(clusters=1)
    m = pool.getcl().append(b"x")
    n = m.copypacket()
    waiter = spawn(lambda: pool.getcl(M_WAITOK, timeout=20))
    eventually(lambda: pool.zones.clust.exhausted)
    m.free()
    assert waiter.is_alive()
    n.free()
    waiter.done().free()


def test_a_freed_packet_with_a_view_wakes_waiters_when_the_view_is_released(
    small: Callable[..., Pool], spawn: Spawn, eventually: Eventually
) -> None:
    pool = small(clusters=1)
    m = pool.getcl().append(b"x")
    view = m.data
    waiter = spawn(lambda: pool.getcl(M_WAITOK, timeout=20))
    eventually(lambda: pool.zones.clust.exhausted)
    m.free()
    assert waiter.is_alive()
    view.release()
    waiter.done().free()


@pytest.mark.parametrize("ncpu", [1, 2])
def test_a_request_gets_the_cluster_of_a_cached_packet(make: Callable[..., Pool], few: Few, ncpu: int) -> None:
    pool = make(few(clusters=8), ncpu=ncpu)
    with pool.cpu(ncpu - 1):
        pool.free_bulk(pool.getcl_bulk(8))
    assert (pool.zones.pack.cached, pool.zones.clust.limiter.items) == (8, 8)
    pool.cljget(None, M_WAITOK, 2048, 20).free()


def test_at_the_limit_clget_tries_again_with_the_listed_packets_clusters(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=1000, mbufs=1010))
    pool.free_bulk(pool.getcl_bulk(1000))
    assert pool.zones.pack.depot.nitems == 2 * 254
    m = pool.clget(pool.get())
    assert pool.zones.pack.depot.nitems == 0
    m.free()


def taken(pool: Pool) -> tuple[int, int, int]:
    """Mbufs of the keg in use, and the items charged to the limits of clusters and packets."""
    keg = pool.zones.mbuf.backend
    return keg.slabs * 15 - keg.free, pool.zones.clust.limiter.items, pool.zones.pack.limiter.items


def test_an_interrupted_wait_for_a_cluster_takes_nothing(
    small: Callable[..., Pool], interrupted: Callable[..., None]
) -> None:
    pool = small(clusters=4)
    packets = pool.getcl_bulk(4)
    before = taken(pool)
    interrupted(lambda: pool.zones.clust.limiter.waiters)
    with pytest.raises(InterruptedError):
        pool.getcl(M_WAITOK)
    assert taken(pool) == before
    assert not any(zone.bypassed for zone in pool.zones.all())
    pool.free_bulk(packets)


def test_an_interrupted_wait_in_a_bulk_gives_back_what_it_had(
    small: Callable[..., Pool], interrupted: Callable[..., None]
) -> None:
    pool = small(clusters=4)
    interrupted(lambda: pool.zones.clust.limiter.waiters)
    with pytest.raises(InterruptedError):
        pool.getcl_bulk(5, M_WAITOK)
    assert (pool.out, pool.stat().drops) == (0, 0)


@pytest.mark.parametrize("nth", [0, 1, 5])
def test_a_cluster_found_corrupt_loses_nothing(make: Callable[..., Pool], few: Few, nth: int) -> None:
    pool = make(few(clusters=10), debug=True)
    raw: Any = [pool.cljget(None, size=2048) for _ in range(10)]
    for cluster in raw:
        cluster.data[0] = 1
        cluster.free()
    zone = pool.zones.clust
    items = [zone.alloc(M_NOWAIT, None) for _ in range(zone.cached)]
    victim = items[len(items) - 1 - nth]
    for item in items:
        zone.free(item)
    arena, offset = pool.vm.place(victim.run.page)
    arena.map[offset + victim.offset_in_run()] = 0
    calls = 0
    packets = []
    for _ in range(11):
        try:
            packets.append(pool.getcl())
        except Corrupt:
            calls += 1
        except NoBufs:
            break
    assert calls == 1
    assert len(packets) == 10
    pool.free_bulk(packets)


def test_threads_that_want_packets_and_clusters_are_all_served(small: Callable[..., Pool], spawn: Spawn) -> None:
    pool = small(clusters=3)

    def work(n: int) -> int:
        for turn in range(60):
            deadline = time.monotonic() + 20
            if (n + turn) % 2:
                pool.getcl(M_WAITOK, timeout=deadline - time.monotonic()).free()
            else:
                pool.cljget(None, M_WAITOK, 2048, 20).free()
        return n

    workers = [spawn(lambda n=n: work(n)) for n in range(5)]
    assert [worker.done() for worker in workers] == list(range(5))
    assert not any(zone.bypassed or zone.exhausted for zone in pool.zones.all())


def test_none_is_not_a_packet_and_then_nothing_is_given_back(make: Callable[..., Pool]) -> None:
    pool = make(caching=False)
    backend = pool.zones.pack.backend
    bucket = Bucket(1)
    backend.take(bucket, 1, M_NOWAIT, None)
    for thing in (None, pool.zones.mbuf.alloc(M_NOWAIT, None)):
        with pytest.raises(Inval, match="this is no packet"):
            backend.give(thing)
    pool.zones.mbuf.free(thing)
    assert pool.zones.clust.used == 1
    backend.give(bucket.pop())
    assert pool.zones.clust.used == 0
