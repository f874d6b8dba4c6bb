import ast
import asyncio
import copy
import gc
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbuf import M_WAITOK, Freed, Inval, Limits, Mbuf, NoBufs, Pool, Vm, compiled
from mbuf.const import PAGE_SIZE, TRACEMALLOC_DOMAIN
from mbuf.pool.pool import Pool as PoolHere
from mbuf.vm.poison import sanitized
from system import resident_bytes

Few = Callable[..., dict[str, int]]
Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def test_the_pool_of_the_package_is_this_one() -> None:
    assert Pool is PoolHere


# Construction.


def test_a_pool_plans_its_limits_for_its_memory() -> None:
    with Pool(vm=Vm(1 << 30), tunables={"kern.ipc.nmbclusters": "64k"}) as pool:
        assert pool.limits == Limits.plan(1 << 30, {"kern.ipc.nmbclusters": 65536})
        assert (pool.zones.clust.limit, pool.zones.mbuf.limit, pool.vm.pages) == (65536, 419430, 262144)


def test_without_arguments_it_has_the_machines_memory() -> None:
    with Pool() as pool:
        assert pool.vm.realmem > 0
        pool.getcl().free()


def test_a_pool_without_memory_has_no_limits_and_no_mbufs() -> None:
    with Pool(vm=Vm(0)) as pool:
        assert pool.zones.mbuf.limit == 0
        with pytest.raises(MemoryError, match="out of pages: 0 of 0 in use"):
            pool.get()


# CPUs.


def test_within_cpu_the_thread_is_on_that_cpu(make: Callable[..., Pool]) -> None:
    pool = make(ncpu=3)
    with pool.cpu(2):
        assert pool.cpus.current() == 2
        with pool.cpu(1):
            assert pool.cpus.current() == 1
        assert pool.cpus.current() == 2
    assert pool.cpus.current() == 0
    with pytest.raises(ZeroDivisionError), pool.cpu(1):
        1 // 0  # noqa: B018
    assert pool.cpus.current() == 0


@pytest.mark.parametrize("number", [-1, 3, 2**31, 2**63])
def test_a_cpu_that_is_not_there_cannot_be_chosen(make: Callable[..., Pool], number: int) -> None:
    pool = make(ncpu=3)
    with pytest.raises(Inval, match="numbered from 0"), pool.cpu(number):
        pass
    assert pool.cpus.current() == 0


def test_each_cpu_prefetches_for_itself(make: Callable[..., Pool]) -> None:
    pool = make(ncpu=2, mem=8 << 30)
    packets = []
    for number in range(2):
        with pool.cpu(number):
            packets.append(pool.getcl())
    assert pool.zones.clust.used == 2 * 254
    pool.free_bulk(packets)


# Draining.


def test_a_drained_pool_has_given_its_memory_back(make: Callable[..., Pool]) -> None:
    pool = make(mem=128 << 20)
    taken = [pool.cljget(None, size=16384) for _ in range(400)]
    before = resident_bytes()
    for cluster in taken:
        data: Any = cluster.data  # type: ignore[union-attr]
        for at in range(0, 16384, PAGE_SIZE):
            data[at] = 1
        data.release()
    assert resident_bytes() - before > 5 << 20
    for cluster in taken:
        cluster.free()
    pool.drain()
    assert pool.vm.used == 0
    assert resident_bytes() - before < 1 << 20


def test_a_drain_leaves_what_is_out(pool: Pool) -> None:
    taken = [pool.get(), pool.getcl(), pool.getjcl()]
    for m in taken:
        m.append(b"kept")
    pool.free_bulk([pool.get() for _ in range(100)])
    pool.drain()
    assert [zone.cached for zone in pool.zones.all()] == [0] * 6
    assert pool.zones.clust.used == 1
    # One page of mbufs at least, and a page each for the cluster and the jumbo.
    assert pool.vm.used in (3, 4, 5)
    assert [bytes(m) for m in taken] == [b"kept"] * 3
    pool.free_bulk(taken)


def test_a_drain_of_all_cpus(make: Callable[..., Pool]) -> None:
    pool = make(ncpu=4)
    for number in range(4):
        with pool.cpu(number):
            pool.free_bulk(pool.getcl_bulk(20))
            pool.free_bulk([pool.get() for _ in range(20)])
    pool.drain()
    assert pool.vm.used == 0


# Closing.


def test_closed_it_hands_out_nothing(make: Callable[..., Pool]) -> None:
    pool = make()
    m = pool.get()
    pool.freem(m)
    assert pool.close() == 0
    assert pool.closed
    for verb in (
        pool.get,
        pool.gethdr,
        pool.getcl,
        pool.getjcl,
        lambda: pool.get2(300),
        lambda: pool.getm2(5000),
        lambda: pool.getcl_bulk(1),
        lambda: pool.cljget(None),
        lambda: pool.cljget(None, M_WAITOK, 2048),
        lambda: pool.getcl(M_WAITOK),
    ):
        with pytest.raises(Inval, match="closed"):
            verb()
    assert (pool.out, pool.vm.used) == (0, 0)
    assert pool.close() == 0


def test_closing_says_how_many_are_out(make: Callable[..., Pool]) -> None:
    pool = make()
    packets = pool.getcl_bulk(3)
    packets.append(pool.get())
    with pytest.warns(ResourceWarning, match="^pool closed with 4 mbufs still out$"):
        assert pool.close() == 4
    assert pool.close() == 4
    pool.free_bulk(packets)
    assert pool.close() == 0


def test_a_warning_that_is_an_error_does_not_hide_the_exception_of_the_block(make: Callable[..., Pool]) -> None:
    def leave(pool: Pool, error: Exception | None) -> None:
        with warnings.catch_warnings(), pool:
            warnings.simplefilter("error")
            if error is not None:
                raise error

    pool, other = make(), make()
    m, n = pool.get(), other.get()
    with pytest.raises(ZeroDivisionError) as caught:
        leave(pool, ZeroDivisionError())
    assert caught.value.__notes__ == ["pool closed with 1 mbufs still out"]
    with pytest.raises(ResourceWarning, match="1 mbufs still out"):
        leave(other, None)
    assert (pool.closed, other.closed) == (True, True)
    m.free()
    n.free()


def test_closing_a_debug_pool_says_where_they_came_from(make: Callable[..., Pool]) -> None:
    pool = make(debug=True)
    line = sys._getframe().f_lineno
    packets = [pool.getcl() for _ in range(3)]
    packets.append(pool.gethdr())
    assert pool.sites() == {f"{__file__}:{line + 1}": 3, f"{__file__}:{line + 2}": 1}
    with pytest.warns(ResourceWarning) as warned:
        pool.close()
    assert str(warned[0].message) == (
        f"pool closed with 4 mbufs still out\n  3 from {__file__}:{line + 1}\n  1 from {__file__}:{line + 2}"
    )
    pool.free_bulk(packets)
    assert pool.sites() == {}


def test_what_was_requested_by_a_verb_is_the_callers(make: Callable[..., Pool]) -> None:
    pool = make(debug=True)
    m = pool.gethdr()
    line = sys._getframe().f_lineno + 1
    m.append(bytes(1000))
    assert pool.sites()[f"{__file__}:{line}"] == 4
    m.freem()


def leave(pool: Pool) -> list[Mbuf]:
    """Close a pool while mbufs are in use; returns them."""
    m = pool.getcl().append(b"packet")
    left = [pool.gethdr().append(b"header"), m, m.copypacket(), pool.getjcl(size=9216).append(b"jumbo")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool.close()
    return left


def test_mbufs_outlive_their_pool(pool: Pool) -> None:
    vm = pool.vm
    left = leave(pool)
    assert [bytes(m) for m in left] == [b"header", b"packet", b"packet", b"jumbo"]
    for m in left:
        m.len -= 1
        with pytest.raises(Inval, match="closed"):
            m.copypacket()
    with pytest.raises(Inval, match="closed"):
        left[0].append(bytes(1000))
    left[0].append(b"!")
    assert bytes(left[0]) == b"heade!"
    while left:
        m = left.pop()
        m.free()
        with pytest.raises(Freed):
            m.free()
    assert (pool.out, vm.used) == (0, 0)


def test_mbufs_outlive_a_pool_that_is_gone() -> None:
    vm = Vm(1 << 24)
    left = leave(Pool(vm=vm, worker=False))
    gc.collect()
    assert [bytes(m) for m in left] == [b"header", b"packet", b"packet", b"jumbo"]
    left[0].free()
    left.clear()
    gc.collect()
    assert vm.used == 0


def test_a_view_outlives_pool_and_mbuf() -> None:
    vm = Vm(1 << 24)
    pool = Pool(vm=vm, worker=False)
    m = pool.getcl().append(b"still here")
    view = m.data
    m.free()
    with pytest.warns(ResourceWarning):
        pool.close()
    del m, pool
    gc.collect()
    assert bytes(view) == b"still here"
    view.release()
    gc.collect()
    assert vm.used == 0


def test_closing_ends_all_waits(make: Callable[..., Pool], few: Few, spawn: Spawn, eventually: Eventually) -> None:
    pool = make(few(clusters=1))
    taken = pool.getcl_bulk(1)
    waiter = spawn(lambda: pool.getcl(M_WAITOK))
    eventually(lambda: pool.zones.clust.exhausted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool.close()
    with pytest.raises(Inval, match="closed"):
        waiter.done()
    pool.free_bulk(taken)


def test_a_with_statement_closes() -> None:
    with Pool(vm=Vm(1 << 24)) as pool:
        pool.getcl().free()
    assert pool.closed
    assert pool.vm.used == 0


def test_dropping_a_pool_closes_it() -> None:
    vm = Vm(1 << 24)
    for kind in ({}, {"debug": True}, {"caching": False}, {"ncpu": 3}):
        pool = Pool(vm=vm, **kind)  # type: ignore[arg-type]
        pool.free_bulk(pool.getcl_bulk(30))
        pool.getjcl().free()
        del pool
        gc.collect()
        assert vm.used == 0
        assert not vm.lowmem
        assert not vm.freed


def test_dropping_a_pool_with_mbufs_out_warns(unraisable: list[BaseException]) -> None:
    vm = Vm(1 << 24)
    pool = Pool(vm=vm)
    m = pool.get()
    del pool
    gc.collect()
    # The suite makes all warnings errors, which a finalizer can't raise.
    assert [str(error) for error in unraisable] == ["pool closed with 1 mbufs still out"]
    m.free()
    assert vm.used == 0


def test_pools_made_and_dropped_leave_nothing() -> None:
    vm = Vm(1 << 26)

    def use() -> None:
        pool = Pool(vm=vm, worker=False)
        pool.free_bulk(pool.getcl_bulk(10))
        m = pool.gethdr().append(bytes(500))
        n = m.copypacket()
        m.freem()
        n.freem()

    for _ in range(20):
        use()
    gc.collect()
    objects, before = len(gc.get_objects()), resident_bytes()
    for _ in range(1000 if compiled() else 300):
        use()
    gc.collect()
    assert vm.used == 0
    # A leak of one object per pool would be more.
    assert len(gc.get_objects()) - objects < 200
    # (A sanitizer keeps what is freed.)
    assert sanitized() or resident_bytes() - before < 4 << 20


def test_a_pool_closed_and_dropped_needs_no_collector() -> None:
    gc.disable()
    try:
        vm = Vm(1 << 24)
        with Pool(vm=vm, worker=False) as pool:
            pool.free_bulk(pool.getcl_bulk(10))
        assert vm.used == 0
    finally:
        gc.enable()


# Several pools.


def test_several_pools_share_a_vm(make: Callable[..., Pool]) -> None:
    vm = Vm(1 << 24)
    pools = [make(vm=vm) for _ in range(3)]
    packets = [pool.getcl().append(bytes([n])) for n, pool in enumerate(pools)]
    assert vm.used == sum(pool.stat().mbuf.pages + pool.stat().clust.pages for pool in pools)
    assert [bytes(m) for m in packets] == [b"\0", b"\1", b"\2"]
    assert [pool.out for pool in pools] == [1, 1, 1]
    for m in packets:
        m.free()
    pools[1].drain()
    assert [pool.stat().mbuf.pages for pool in pools] == [17, 0, 17]


def test_pages_that_one_pool_gives_back_wake_waiters_of_another(
    make: Callable[..., Pool], few: Few, spawn: Spawn, eventually: Eventually
) -> None:
    vm = Vm(8 * PAGE_SIZE)
    here, there = make(few(), vm=vm, caching=False), make(few(jumbo16=10), vm=vm, caching=False)
    taken: Any = [there.cljget(None, size=16384) for _ in range(2)]
    waiter = spawn(lambda: here.get(M_WAITOK, timeout=20))
    eventually(lambda: here.zones.mbuf.backend._waiters)
    taken.pop().free()
    there.drain()
    waiter.done().free()
    taken.pop().free()


def test_a_pool_that_lacks_pages_gets_those_that_another_has_cached(make: Callable[..., Pool], few: Few) -> None:
    vm = Vm(28 * PAGE_SIZE)
    here, there = make(few(jumbo16=10), vm=vm), make(few(clusters=20, mbufs=200), vm=vm)
    there.free_bulk(there.getcl_bulk(10))
    assert vm.free < 8
    with pytest.raises(MemoryError):
        [here.cljget(None, size=16384) for _ in range(3)]
    for pool in (here, there):
        pool.reclaim.run()
    here.cljget(None, size=16384).free()


# Many threads.


@pytest.mark.parametrize("kind", [{}, {"ncpu": 2}, {"caching": False}, {"debug": True}], ids=str)
def test_threads_that_free_each_others_packets(
    make: Callable[..., Pool], few: Few, spawn: Spawn, kind: dict[str, Any]
) -> None:
    pool = make(few(clusters=20, mbufs=60), **kind)
    shared: list[Mbuf] = []
    lock = threading.Lock()

    def work(n: int) -> int:
        denied = 0
        for turn in range(250):
            try:
                m = pool.getcl() if (n + turn) % 2 else pool.gethdr()
                m.append(bytes([n]) * (10 + turn))
                shared.append(m.copypacket())
                shared.append(m)
            except NoBufs:
                denied += 1
            if len(shared) > 8:
                with lock:
                    mine = [shared.pop(0) for _ in range(min(len(shared), 5))]
                for each in mine:
                    assert len(set(bytes(each))) == 1
                    each.freem()
            for zone in (pool.zones.mbuf, pool.zones.clust):
                assert 0 <= zone.limiter.items <= zone.limit
        return denied

    with warnings.catch_warnings():
        # An mbuf that was denied a copy is dropped.
        warnings.simplefilter("ignore")
        workers = [spawn(lambda n=n: work(n)) for n in range(4)]
        for worker in workers:
            worker.done()
        for m in shared:
            m.freem()
        shared.clear()
        del m


# Programs.


def run(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )


PROGRAMS = {
    "leaves everything to the end": """
        import mbuf
        pool = mbuf.Pool(vm=mbuf.Vm(1 << 24))
        m = pool.getcl().append(b"x")
        n = m.copypacket()
        view = m.data
        """,
    "ends with a waiter": """
        import mbuf, threading
        pool = mbuf.Pool(vm=mbuf.Vm(1 << 24), tunables={"kern.ipc.nmbclusters": 1})
        m = pool.getcl()
        threading.Thread(target=lambda: pool.getcl(mbuf.M_WAITOK), daemon=True).start()
        """,
    "cycles": """
        import mbuf
        pool = mbuf.Pool(vm=mbuf.Vm(1 << 24), debug=True)
        m = pool.gethdr()
        m.pkthdr.rcvif = (m, pool)
        """,
    "has a drain run at the end": """
        import mbuf, atexit
        pool = mbuf.Pool(vm=mbuf.Vm(1 << 24), tunables={"kern.ipc.nmbclusters": 1})
        pool.drains.register(lambda: None)
        m = pool.getcl()
        def late():
            try:
                pool.getcl()
            except MemoryError:
                pass
        atexit.register(late)
        """,
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return PROGRAMS[request.param]


def test_a_program_may_end_at_any_time(program: str) -> None:
    done = run(program, "-W", "ignore")
    limit = (
        "mbuf_cluster: the limit of 1 is reached (kern.ipc.nmbclusters); "
        "requests are refused, or wait, until something is freed\n"
    )
    assert (done.returncode, done.stdout, done.stderr.replace(limit, "")) == (0, "", "")


# Pools that aren't initialized, and attributes that can't be set.

READ_ONLY = (
    *("zones", "own", "vm", "limits", "cpus", "debug", "out", "closed", "max_linkhdr", "max_protohdr", "pages"),
    *("sfbufs", "tags", "snd_tags", "probes", "reserve", "sysctl", "reclaim", "drains", "changes", "warnings"),
    *("mb_use_ext_pgs", "quotas"),
)
CALLS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("get", "gethdr", "getcl", "getjcl", "alloc_ext_pgs", "init"), ()),
    "available": ("clust",),
    **dict.fromkeys(("watch_memory", "drain", "stat", "publish", "sites", "audit", "close", "__enter__"), ()),
    **dict.fromkeys(("get2", "getm2", "get_row", "getcl_bulk", "getjcl_bulk", "alloc_ext_plus_pages", "tag_get"), (5,)),
    **dict.fromkeys(("frombytes", "devget", "wrap"), (b"abc",)),
    **{"freem": (None,), "cljget": (None,), "free_bulk": ([],), "file": ("/dev/null",), "tag_alloc": (0, 1)},
    **{"snd_tag_alloc": (None,)},
}
TASKS: dict[str, tuple[Any, ...]] = {"aget": (), "agethdr": (), "agetcl": (), "agetjcl": (), "agetm2": (5,)}


class PoolUsedInInit(Pool):
    """A pool whose own `__init__` has not run."""

    def __init__(self) -> None:
        self.first = self.getcl()


def unmade() -> list[Pool]:
    return [Pool.__new__(Pool), PoolUsedInInit.__new__(PoolUsedInInit)]


def test_a_pool_that_was_never_made_refuses_everything() -> None:
    with pytest.raises(Inval, match="this pool was never made"):
        PoolUsedInInit()
    for pool in unmade():
        for name in READ_ONLY:
            with pytest.raises(Inval, match="this pool was never made"):
                getattr(pool, name)
        for name, arguments in CALLS.items():
            with pytest.raises(Inval, match="this pool was never made"):
                getattr(pool, name)(*arguments)
        for name, arguments in TASKS.items():
            with pytest.raises(Inval, match="this pool was never made"):
                asyncio.run(getattr(pool, name)(*arguments))
        with pytest.raises(Inval, match="this pool was never made"), pool.cpu(0):
            pass
    missing = {name for name in dir(Pool) if name[0] != "_"} - {*READ_ONLY, *CALLS, *TASKS, "clget", "cpu"}
    assert not missing


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_a_pool_is_made_of_can_only_be_read(pool: Pool, name: str) -> None:
    before = getattr(pool, name)
    with pytest.raises(AttributeError):
        setattr(pool, name, None)
    with pytest.raises(AttributeError):
        delattr(pool, name)
    assert getattr(pool, name) == before
    pool.getcl().free()


@pytest.mark.parametrize("name", ["reserve", "sysctl", "drains", "zones", "probes"])
def test_what_a_pool_is_made_of_is_made_once(pool: Pool, name: str) -> None:
    assert getattr(pool, name) is getattr(pool, name)


def test_a_pool_is_made_once(pool: Pool) -> None:
    m = pool.getcl()
    with pytest.raises(Inval, match="this pool was made already"):
        pool.__init__(Vm(1 << 24))  # type: ignore[misc]
    assert pool.out == 1
    m.free()


def test_a_subclass_is_a_pool() -> None:
    class Named(Pool):
        def __init__(self, name: str) -> None:
            super().__init__(Vm(1 << 24), worker=False)
            self.name = name

    with Named("ours") as pool:
        pool.getcl().free()
        assert (pool.name, pool.out) == ("ours", 0)


def test_sysctl_and_reserve_do_not_hold_the_pool() -> None:
    pool = Pool(1 << 24, limits="freebsd", worker=False)
    tree, reserve, clust = pool.sysctl, pool.reserve, pool.zones.clust
    del pool
    assert clust.closed
    assert tree["kern.ipc.nmbclusters"] == clust.limit
    assert not reserve.started


def test_a_pool_is_not_pickled(pool: Pool) -> None:
    with pytest.raises(TypeError, match="can't be pickled or copied"):
        copy.copy(pool)


def test_every_method_looks_at_the_latch_first() -> None:
    """Properties only read; methods run the release list."""
    source = Path(__file__).parents[2].joinpath("src/mbuf/pool/pool.py").read_text("utf-8")
    pool = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Pool")
    methods = [node for node in pool.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    public = [
        node
        for node in methods
        if node.name[0] != "_" and "property" not in {ast.unparse(each) for each in node.decorator_list}
    ]
    assert len(public) > 30
    for node in public:
        assert ast.unparse(node.body[1]) == "check_latch()", node.name
    releasing = {node.name for node in public if "run_releases()" in ast.unparse(node)}
    assert {node.name for node in public} - releasing == {
        *("file", "tag_alloc", "tag_get", "snd_tag_alloc", "watch_memory", "cpu", "stat", "publish", "sites", "audit"),
        "available",
    }


def test_the_size_of_a_pool_is_its_memory(make: Callable[..., Pool]) -> None:
    pool = make()
    empty = sys.getsizeof(Pool.__new__(Pool))
    m, n = pool.getjcl(size=16384), pool.alloc_ext_plus_pages(9000)
    assert sys.getsizeof(pool) - empty == pool.stat().pages_used * 4096 > 16384 + 3 * 4096
    m.freem()
    n.freem()


def test_tracemalloc_knows_the_memory_of_a_pool(make: Callable[..., Pool]) -> None:
    tracemalloc.start()
    try:
        pool = make()
        held = pool.getcl_bulk(20)
        assert traced() == pool.stat().pages_used * 4096 > 20 * 2048
        pool.free_bulk(held)
        pool.drain()
        assert traced() == pool.stat().pages_used * 4096
    finally:
        tracemalloc.stop()


def traced() -> int:
    """Bytes in the domain of pages."""
    found = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, TRACEMALLOC_DOMAIN)])
    return sum(trace.size for trace in found.traces)


def test_a_pool_tells_its_memory_and_what_is_out() -> None:
    class Mine(Pool):
        """A subclass has its own name."""

    pool = Mine(Vm(64 << 20), worker=False)
    held = [pool.get(), pool.getcl()]
    before = pool.stat()
    assert repr(pool) == "<Mine of 64 MiB, 2 mbufs out>"
    assert pool.stat() == before
    held.pop().free()
    assert repr(pool) == "<Mine of 64 MiB, 1 mbuf out>"
    held.pop().free()
    pool.close()
    assert repr(pool) == "<Mine of 64 MiB, 0 mbufs out, closed>"
    assert repr(Mine.__new__(Mine)) == "<Mine, never made>"
