import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import (
    M_BCAST,
    M_EOR,
    M_EXT,
    M_NOWAIT,
    M_PKTHDR,
    M_WAITOK,
    MT_CONTROL,
    MT_DATA,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    NoMemory,
    Pool,
    compiled,
)
from mbuf.pool import allocator

Few = Callable[..., dict[str, int]]
Small = Callable[..., Pool]


def sizes(m: Mbuf | None) -> list[int]:
    found = []
    while m is not None:
        found.append(m.size)
        m = m.next
    return found


H, M, C, J = 168, 224, 2048, 4096


# get2 and getm2.


@pytest.mark.parametrize(
    ("size", "headed", "bare"),
    [
        (0, H, M),
        (1, H, M),
        (168, H, M),
        (169, C, M),
        (224, C, M),
        (225, C, C),
        (2048, C, C),
        (2049, J, J),
        (4096, J, J),
    ],
)
def test_get2_gives_the_smallest_that_fits(pool: Pool, size: int, headed: int, bare: int) -> None:
    for flags, expected in ((M_PKTHDR, headed), (0, bare), (M_BCAST, bare)):
        m = pool.get2(size, flags=flags)
        assert (m.size, m.flags & ~M_EXT, m.len, m.next) == (expected, flags, 0, None)
        m.free()


@pytest.mark.parametrize(
    ("count", "headed", "bare"),
    [
        (1, [H], [M]),
        (168, [H], [M]),
        (169, [C], [C]),
        (224, [C], [C]),
        (2048, [C], [C]),
        (2049, [J], [J]),
        (4096, [J], [J]),
        (4097, [J, M], [J, M]),
        (4264, [J, M], [J, M]),
        (4265, [J, C], [J, C]),
        (6144, [J, C], [J, C]),
        (6145, [J, J], [J, J]),
        (8192, [J, J], [J, J]),
        (8193, [J, J, M], [J, J, M]),
        (10000, [J, J, C], [J, J, C]),
        (65536, [J] * 16, [J] * 16),
    ],
)
def test_getm2_gives_a_chain_of_the_largest_that_fit(
    pool: Pool, count: int, headed: list[int], bare: list[int]
) -> None:
    """The table of freebsd-13.md, 8.1."""
    m = pool.getm2(count)
    assert (sizes(m), m.flags & M_PKTHDR, len(m), m.pkthdr.len) == (headed, M_PKTHDR, 0, 0)
    m.freem()
    m = pool.getm2(count, flags=0, type=MT_CONTROL)
    assert (sizes(m), m.flags & M_PKTHDR, m.last().type) == (bare, 0, MT_CONTROL)
    m.freem()


def test_getm2_falls_back_to_clusters(small: Small) -> None:
    pool = small(jumbop=1)
    jumbo = pool.getjcl()
    m = pool.getm2(5000)
    assert sizes(m) == [C, C, C]
    m.freem()
    jumbo.free()
    m = pool.getm2(9000)
    assert sizes(m) == [J, C, C, C]
    m.freem()


def test_getm2_lengthens_a_chain(pool: Pool) -> None:
    m = pool.gethdr().append(b"x" * 168 + b"y")
    last = m.last()
    assert pool.getm2(5000, m=m) is m
    assert sizes(m) == [H, M, J, C]
    assert last.next is not None
    assert (bytes(m), m.pkthdr.len, last.next.flags & M_PKTHDR) == (b"x" * 168 + b"y", 169, 0)
    m.freem()


def test_getm2_moves_the_end_of_the_record(pool: Pool) -> None:
    m = pool.getm2(5000, flags=M_PKTHDR | M_EOR)
    assert [bool(n.flags & M_EOR) for n in (m, m.last())] == [False, True]
    old = m.last()
    pool.getm2(100, flags=M_EOR, m=m)
    assert [bool(n.flags & M_EOR) for n in (old, m.last())] == [False, True]
    pool.getm2(100, m=m)
    assert not m.last().flags & M_EOR
    m.freem()


def test_getm2_of_no_bytes_lengthens_nothing(pool: Pool) -> None:
    m = pool.gethdr()
    assert pool.getm2(0, m=m) is m
    assert m.next is None
    m.flags |= M_EOR
    with pytest.raises(Inval, match="at least 1 byte"):
        pool.getm2(0, flags=M_EOR, m=m)
    assert m.flags & M_EOR
    m.free()


def test_getm2_heeds_no_other_flags(pool: Pool) -> None:
    m = pool.getm2(100, flags=M_PKTHDR | M_BCAST)
    assert m.flags == M_PKTHDR
    m.free()


@pytest.mark.parametrize("k", range(5))
def test_getm2_that_fails_at_the_kth_mbuf_takes_nothing(small: Small, k: int) -> None:
    pool = small(jumbop=2, clusters=2, mbufs=8)
    m = pool.gethdr().append(b"x")
    m.flags |= M_EOR
    others: list[Any] = [pool.cljget(None, size=4096) for _ in range(max(2 - k, 0))]
    others += [pool.cljget(None, size=2048) for _ in range(min(max(4 - k, 0), 2))]
    before = [(zone.used, zone.held) for zone in pool.zones.all()[:2]], pool.stat().drops
    with pytest.raises(NoBufs) as caught:
        # Two pages, two clusters and one more than there are.
        pool.getm2(2 * J + 2 * C + 1000, m=m)
    assert caught.value.zone == "mbuf_cluster"
    assert ([(zone.used, zone.held) for zone in pool.zones.all()[:2]], pool.stat().drops) == before
    assert (m.next, bytes(m), m.flags & M_EOR) == (None, b"x", M_EOR)
    for other in others:
        other.free()
    m.free()


@pytest.mark.parametrize("junk", [1, "m", b"m"])
def test_only_an_mbuf_is_lengthened(pool: Pool, junk: Any) -> None:
    with pytest.raises((Inval, TypeError, AttributeError)):
        pool.getm2(10, m=junk)
    assert pool.out == 0


def test_what_was_freed_is_not_lengthened(pool: Pool) -> None:
    m = pool.get()
    m.free()
    with pytest.raises(Freed):
        pool.getm2(10, m=m)
    assert pool.out == 0


def test_freem_takes_a_packet_or_none(pool: Pool) -> None:
    pool.freem(None)
    m = pool.gethdr().append(bytes(1000))
    pool.freem(m)
    with pytest.raises(Freed):
        pool.freem(m)
    assert pool.out == 0


# Clusters.


@pytest.mark.parametrize("size", [2048, 4096, 9216, 16384])
def test_a_cluster_is_attached_to_an_mbuf_without_one(pool: Pool, size: int) -> None:
    m = pool.gethdr()
    assert pool.cljget(m, size=size) is m
    assert (m.size, m.refcnt, m.flags) == (size, 1, M_PKTHDR | M_EXT)
    with pytest.raises(Inval, match="external storage already"):
        pool.cljget(m, size=size)
    with pytest.raises(Inval, match="external storage already"):
        pool.clget(m)
    assert m.refcnt == 1
    m.free()


@pytest.mark.parametrize("junk", [1, "m", b"m", object()])
def test_a_cluster_is_attached_to_nothing_else(pool: Pool, junk: Any) -> None:
    for verb in (pool.clget, pool.cljget):
        with pytest.raises((Inval, TypeError, AttributeError)):
            verb(junk)
    assert pool.zones.clust.used == pool.zones.pack.cached


def test_nothing_is_not_a_mbuf_to_attach_to(pool: Pool) -> None:
    with pytest.raises((Inval, TypeError, AttributeError)):
        pool.clget(None)  # type: ignore[arg-type]


def test_a_cluster_is_not_attached_to_what_was_freed(pool: Pool) -> None:
    m = pool.gethdr()
    m.free()
    for verb in (pool.clget, pool.cljget):
        with pytest.raises(Freed):
            verb(m)
    assert pool.zones.jumbop.used == 0


@pytest.mark.parametrize(
    ("verb", "size", "zone"),
    [
        ("getjcl", 2048, "mbuf_cluster"),
        ("getjcl", 4096, "mbuf_jumbo_page"),
        ("getjcl", 9216, "mbuf_jumbo_9k"),
        ("getjcl", 16384, "mbuf_jumbo_16k"),
    ],
)
def test_a_jumbo_denied_leaves_no_mbuf_behind(small: Small, verb: str, size: int, zone: str) -> None:
    pool = small(clusters=1, jumbop=1, jumbo9=1, jumbo16=1)
    m = pool.getjcl(size=size)
    with pytest.raises(NoBufs) as caught:
        getattr(pool, verb)(size=size)
    assert (caught.value.zone, caught.value.limit, caught.value.used, pool.out) == (zone, 1, 1, 1)
    assert pool.stat().drops == 0
    m.free()


# Errors.


def test_the_error_says_what_to_raise(small: Small) -> None:
    pool = small(jumbo9=2)
    taken = [pool.getjcl(size=9216) for _ in range(2)]
    with pytest.raises(NoBufs) as caught:
        pool.getjcl(size=9216)
    error = caught.value
    assert (error.zone, error.limit, error.used, error.cached, error.sysctl, error.errno) == (
        "mbuf_jumbo_9k",
        2,
        2,
        0,
        "kern.ipc.nmbjumbo9",
        105,
    )
    assert isinstance(error, MemoryError)
    assert "mbuf_jumbo_9k" in str(error)
    assert "at its limit of 2: 2 in use, 0 cached; raise kern.ipc.nmbjumbo9" in str(error)
    pool.free_bulk(taken)


def test_pages_that_are_no_run_are_named(make: Callable[..., Pool]) -> None:
    pool = make({"kern.ipc.nmbjumbo16": 50}, mem=12 * 4096)
    vm = pool.vm
    pages = [vm.take(1) for _ in range(12)]
    vm.give([(page, 1) for page in pages[::2]])
    with pytest.raises(NoMemory) as caught:
        pool.cljget(None, size=16384)
    assert str(caught.value) == (
        "out of runs of 4 contiguous pages: 6 of 12 pages are free, "
        "but no more than 1 contiguous: use smaller clusters, or raise Vm(realmem=...)"
    )
    vm.give([(page, 1) for page in pages[1::2]])


def test_memory_that_is_out_is_logged_at_most_once_in_300_seconds(
    make: Callable[..., Pool], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make({"kern.ipc.nmbjumbo16": 50}, mem=12 * 4096, clock=clock)
    pages = [pool.vm.take(1) for _ in range(9)]
    for seconds in (0, 299, 1, 0):
        clock.now += seconds
        with pytest.raises(NoMemory) as caught:
            pool.cljget(None, size=16384)
    assert caplog.messages == [f"{caught.value}; requests are refused, or wait, until something is freed"] * 2
    pool.warnings.on = 0
    clock.now += 300
    with pytest.raises(NoMemory):
        pool.cljget(None, size=16384)
    assert len(caplog.messages) == 2
    pool.vm.give([(page, 1) for page in pages])


def test_an_mbuf_allocates_from_its_own_pool(make: Callable[..., Pool]) -> None:
    here, there = make(), make()
    m = here.gethdr()
    m.append(bytes(1000))
    n = m.copypacket()
    assert (here.out, there.out) == (10, 0)
    m.freem()
    n.freem()


# Changes of an mbuf while a call waits for memory.


Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def waiting(pool: Pool, spawn: Spawn, eventually: Eventually, call: Callable[[], object]) -> Any:
    """A thread that waits in a call for a cluster."""
    waiter = spawn(call)
    eventually(lambda: len(pool.zones.clust.limiter.waiters) == 1)
    return waiter


def test_an_mbuf_freed_while_getm2_waits_is_not_extended(
    make: Callable[..., Pool], few: Few, spawn: Spawn, eventually: Eventually
) -> None:
    pool = make(few(clusters=2))
    m, taken = pool.get(), pool.getcl_bulk(2)
    waiter = waiting(pool, spawn, eventually, lambda: pool.getm2(1000, M_WAITOK, MT_DATA, 0, m, 20))
    m.free()
    taken.pop().free()
    with pytest.raises(Freed):
        waiter.done()
    assert pool.out == 1
    others = [pool.get() for _ in range(3)]
    assert [n.next for n in others] == [None] * 3
    pool.free_bulk(others + taken)


def test_what_was_put_behind_an_mbuf_while_getm2_waits_stays_before_the_new(
    make: Callable[..., Pool], few: Few, spawn: Spawn, eventually: Eventually
) -> None:
    pool = make(few(clusters=2))
    m, taken = pool.get(), pool.getcl_bulk(2)
    waiter = waiting(pool, spawn, eventually, lambda: pool.getm2(1000, M_WAITOK, MT_DATA, M_EOR, m, 20))
    m.next = pool.get(type=MT_CONTROL)
    taken.pop().free()
    assert waiter.done() is m
    assert (sizes(m), m.last().flags) == ([M, M, C], M_EXT | M_EOR)
    m.freem()
    pool.free_bulk(taken)


@pytest.mark.parametrize("verb", ["clget", "cljget"])
@pytest.mark.parametrize("act", ["free", "attach"])
def test_an_mbuf_that_changed_while_a_cluster_was_waited_for_gets_none(
    make: Callable[..., Pool], few: Few, spawn: Spawn, eventually: Eventually, verb: str, act: str
) -> None:
    pool = make(few(clusters=2))
    m, taken = pool.get(), pool.getcl_bulk(2)
    words = {} if verb == "clget" else {"size": 2048}
    waiter = waiting(pool, spawn, eventually, lambda: getattr(pool, verb)(m, how=M_WAITOK, timeout=20, **words))
    if act == "free":
        m.free()
    else:
        m.extadd(bytearray(b"mine"))
    taken.pop().free()
    with pytest.raises(Freed if act == "free" else Inval):
        waiter.done()
    assert pool.zones.clust.used - pool.zones.pack.cached == 1
    if act == "attach":
        assert m.ext is not None
        m.free()
    pool.free_bulk(taken)


@pytest.mark.skipif(compiled(), reason="compiled, only C can call these")
def test_neither_a_zone_nor_an_mbuf_may_be_none(pool: Pool) -> None:
    a: Any = pool._allocator
    nothing: Any = None
    calls: dict[str, Callable[[], object]] = {
        "jumbo: give a zone": lambda: allocator.jumbo(a, nothing, M_NOWAIT, MT_DATA, 0, None),
        "second_try: give a zone": lambda: allocator.second_try(a, nothing, M_NOWAIT, None),
        "refusal: give a zone": lambda: allocator.refusal(a, nothing),
    }
    for said, call in calls.items():
        with pytest.raises(TypeError, match=said):
            call()
    with pytest.raises(Inval, match="clget: give an mbuf to attach a cluster to"):
        allocator.clget(a, nothing, M_NOWAIT, None)
    assert (pool.out, pool.stat().refused) == (0, 0)
    pool.audit()


# Several CPUs.


def test_what_other_cpus_cache_is_drained_before_a_request_is_denied(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=100, mbufs=400), ncpu=4)
    with pool.cpu(1):
        pool.free_bulk(pool.getcl_bulk(80))
    taken = [pool.getcl() for _ in range(100)]
    with pytest.raises(NoBufs, match="mbuf_cluster at its limit of 100: 100 in use, 0 cached; raise"):
        pool.getcl()
    assert (pool.out, pool.stat().refused) == (100, 1)
    pool.free_bulk(taken)


@pytest.mark.parametrize("verb", ["clget", "cljget", "getcl_bulk"])
def test_so_it_is_for_every_call(make: Callable[..., Pool], few: Few, verb: str) -> None:
    pool = make(few(clusters=100, mbufs=400), ncpu=4)
    taken = pool.getcl_bulk(20)
    with pool.cpu(1):
        pool.free_bulk(pool.getcl_bulk(80))
    if verb == "getcl_bulk":
        taken += pool.getcl_bulk(80)
    else:
        for _ in range(80):
            m = pool.get()
            taken.append(pool.clget(m) if verb == "clget" else pool.cljget(m, size=2048))  # type: ignore[arg-type]
    assert pool.stat().clusters_in_use == 100
    with pytest.raises(NoBufs):
        pool.getcl()
    pool.free_bulk(taken)


def test_mbufs_in_the_caches_of_other_cpus_are_drained_too(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(mbufs=40), ncpu=2)
    with pool.cpu(1):
        pool.free_bulk([pool.get() for _ in range(30)])
    taken = [pool.get() for _ in range(40)]
    with pytest.raises(NoBufs, match="mbuf at its limit of 40: 40 in use"):
        pool.get()
    pool.free_bulk(taken)


def test_the_error_says_how_many_clusters_cached_packets_keep(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=10))
    packets = pool.getcl_bulk(4)
    pool.free_bulk(pool.getcl_bulk(6))
    bare = pool.get()
    with pytest.raises(NoBufs) as caught:
        pool.clget(bare)
    error = caught.value
    assert str(error) == (
        "mbuf_cluster at its limit of 10: 4 in use, 0 cached, 6 in packets that are cached; raise kern.ipc.nmbclusters"
        ', as with Pool(tunables={"kern.ipc.nmbclusters": 20}) or pool.sysctl["kern.ipc.nmbclusters"] = 20'
    )
    assert (error.used, error.cached, error.limit) == (4, 6, 10)
    bare.free()
    pool.free_bulk(packets)


# Arguments with user code.


class ChangingNumber:
    """A number that has another value at the second conversion."""

    def __init__(self, first: int, then: int) -> None:
        self.first, self.then, self.asked = first, then, 0

    def __index__(self) -> int:
        self.asked += 1
        return self.first if self.asked == 1 else self.then


class WrongInt(int):
    """An int whose methods return wrong values."""

    def __index__(self) -> int:
        return -1

    def __and__(self, other: int) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, int]]] = {
    "get": ((), {"how": M_NOWAIT, "type": MT_DATA}),
    "gethdr": ((), {"how": M_NOWAIT, "type": MT_DATA}),
    "getcl": ((), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR}),
    "getjcl": ((), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR, "size": 4096}),
    "get2": ((300,), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR}),
    "getm2": ((5000,), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR}),
    "get_row": ((3,), {"how": M_NOWAIT, "type": MT_DATA}),
    "getcl_bulk": ((3,), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR}),
    "getjcl_bulk": ((3,), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR, "size": 4096}),
    "cljget": ((None,), {"how": M_NOWAIT, "size": 4096}),
    "init": ((), {"how": M_NOWAIT, "type": MT_DATA, "flags": M_PKTHDR}),
    "frombytes": ((bytes(5000),), {"how": M_NOWAIT, "flags": M_PKTHDR, "align": 8}),
    "devget": ((bytes(5000),), {"off": 8}),
    "alloc_ext_pgs": ((), {"how": M_NOWAIT}),
    "alloc_ext_plus_pages": ((5000,), {"how": M_NOWAIT}),
}


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, (_, words) in CALLS.items() for name in words])
def test_an_argument_is_converted_once(pool: Pool, verb: str, name: str) -> None:
    arguments, words = CALLS[verb]
    number = ChangingNumber(words[name], 1 << 40)
    got: Any = getattr(pool, verb)(*arguments, **words | {name: number})
    assert number.asked == 1
    for m in got if isinstance(got, list) else [got]:
        m.freem() if isinstance(m, Mbuf) else m.free()


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, (_, words) in CALLS.items() for name in words])
def test_an_int_of_another_kind_is_the_number_that_it_is(pool: Pool, verb: str, name: str) -> None:
    arguments, words = CALLS[verb]
    kinds = []
    for number in (words[name], WrongInt(words[name])):
        got: Any = getattr(pool, verb)(*arguments, **words | {name: number})
        taken = got if isinstance(got, list) else [got]
        kinds.append([(m.type, m.size, m.flags) if isinstance(m, Mbuf) else m.size for m in taken])
        for m in taken:
            m.freem() if isinstance(m, Mbuf) else m.free()
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("verb", ["aget", "agethdr", "agetcl", "agetjcl", "agetm2"])
def test_an_argument_of_a_task_is_converted_once(pool: Pool, verb: str) -> None:
    kind = ChangingNumber(MT_CONTROL, -1)

    async def ask() -> Mbuf:
        arguments = (3000,) if verb == "agetm2" else ()
        got: Mbuf = await getattr(pool, verb)(*arguments, type=kind)
        return got

    m = asyncio.run(ask())
    assert (m.type, kind.asked) == (MT_CONTROL, 1)
    m.freem()


def test_a_mbuf_freed_by_an_argument_is_refused(pool: Pool) -> None:
    m = pool.get()

    class Free:
        def __index__(self) -> int:
            m.free()
            return M_NOWAIT

    with pytest.raises(Freed):
        pool.getm2(100, Free(), MT_DATA, 0, m)  # type: ignore[arg-type]
    assert pool.out == 0


@pytest.mark.parametrize("junk", [5, "m", b"m", object()])
def test_what_is_not_a_mbuf_is_refused(pool: Pool, junk: Any) -> None:
    for call in (
        lambda: pool.getm2(10, m=junk),
        lambda: pool.clget(junk),
        lambda: pool.cljget(junk),
        lambda: pool.freem(junk),
    ):
        with pytest.raises(TypeError, match="give an mbuf, not a "):
            call()
    with pytest.raises(TypeError, match="clget: give an mbuf, not None"):
        pool.clget(None)  # type: ignore[arg-type]
    assert pool.out == 0
