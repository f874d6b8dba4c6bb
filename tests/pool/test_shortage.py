"""How much of a budget can be held, what is available of it, and what the error says when it is full."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import REFUSED
from mbuf import M_WAITOK, MJUM9BYTES, MJUM16BYTES, MSIZE, PAGE_SIZE, Inval, Mbuf, NoBufs, NoMemory, Pool, Vm
from mbuf.errors import PoolFull
from mbuf.kinds import KINDS
from mbuf.pool import shortage
from mbuf.vm.arena import ARENA_PAGES

Make = Callable[..., Pool]

SIZES = {kind.attr: kind.size for kind in KINDS}

#: Ways to hold memory: a call, and the bytes of an mbuf and its storage.
HOLD: dict[str, tuple[Callable[[Pool], Any], int]] = {
    "get": (lambda pool: pool.get(), MSIZE),
    "getcl": (lambda pool: pool.getcl(), MSIZE + 2048),
    "getjcl": (lambda pool: pool.getjcl(), MSIZE + 4096),
    "16k": (lambda pool: pool.getjcl(size=MJUM16BYTES), MSIZE + MJUM16BYTES),
    "one page": (lambda pool: pool.alloc_ext_plus_pages(1), MSIZE + PAGE_SIZE),
    "five pages": (lambda pool: pool.alloc_ext_plus_pages(20480), MSIZE + 20480),
    "getm2": (lambda pool: pool.getm2(8192), 2 * (MSIZE + 4096)),
    "frombytes": (lambda pool: pool.frombytes(bytes(2000)), MSIZE + 2048),
    "bulk": (lambda pool: pool.getcl_bulk(8), 8 * (MSIZE + 2048)),
    "jumbo bulk": (lambda pool: pool.getjcl_bulk(8), 8 * (MSIZE + 4096)),
    "row": (lambda pool: pool.get_row(16), 16 * MSIZE),
}


def hold(pool: Pool, call: Callable[[Pool], Any], most: int = 1 << 30) -> list[Any]:
    held = []
    with suppress(*REFUSED):
        while len(held) < most:
            held.append(call(pool))
    return held


def let_go(pool: Pool, held: list[Any], rng: Random | None = None) -> None:
    if rng is not None:
        rng.shuffle(held)
    for each in held:
        if isinstance(each, list):
            pool.free_bulk(each)
        else:
            each.freem()


@pytest.mark.parametrize("ncpu", [1, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nine_tenths_can_be_held_of_each_kind_after_each_other_kind(make: Make, seed: int, ncpu: int) -> None:
    rng = Random(seed)
    pool = make(memory="2M", ncpu=ncpu)
    for before in HOLD:
        for after in rng.sample([*HOLD], 4):
            # All of it, or a part, freed in order or not.
            most = rng.choice([1 << 30, 20, 300])
            let_go(pool, hold(pool, HOLD[before][0], most), rng.choice([None, rng]))
            call, size = HOLD[after]
            held = hold(pool, call)
            assert len(held) * size >= 0.9 * (2 << 20), (before, most, after)
            let_go(pool, held, rng)
    pool.audit()


def test_what_others_cache_is_taken_back_in_the_same_call(make: Make) -> None:
    pool = make(memory="1M")
    let_go(pool, hold(pool, HOLD["getcl"][0]))
    assert pool.zones.pack.cached == 450
    m = pool.getjcl(size=MJUM16BYTES)
    assert pool.zones.pack.cached == 0
    # Again at once: there is no limit on how often.
    let_go(pool, hold(pool, HOLD["get"][0]))
    pool.free_bulk(pool.getjcl_bulk(200))
    m.free()


def test_drains_are_called_when_memory_is_full(make: Make) -> None:
    pool = make(memory="64K")
    held = hold(pool, HOLD["getcl"][0])
    calls = []
    pool.drains.register(lambda: calls.append(1))
    for _ in range(3):
        with pytest.raises(NoBufs):
            pool.getcl()
        pool.reclaim.run()
    assert len(calls) == 3
    let_go(pool, held)


def test_a_full_pool_of_live_mbufs_takes_nothing_back(make: Make) -> None:
    pool = make(memory="256K")
    held = hold(pool, HOLD["getcl"][0])
    budget = pool.pages.keg.budget
    before = budget.taken_back
    for _ in range(20):
        with pytest.raises(NoBufs):
            pool.getcl()
    assert budget.taken_back == before
    let_go(pool, held)


def test_two_kinds_that_take_turns_take_little_back(make: Make) -> None:
    pool = make(memory="4M")
    held = hold(pool, HOLD["getcl"][0])
    let_go(pool, [held.pop() for _ in range(300)])
    moved = 0
    for _ in range(50):
        for call in (HOLD["get"][0], HOLD["getjcl"][0]):
            before = sum(zone.cached for zone in pool.zones.all())
            call(pool).free()
            moved += abs(sum(zone.cached for zone in pool.zones.all()) - before)
    # The first time, 300 packets; and after that a few items each.
    assert moved < 3000
    let_go(pool, held)


# The error.


def test_the_error_says_who_holds_what_and_what_to_do(make: Make) -> None:
    pool = make(memory="1M")
    held = [pool.getcl_bulk(10), pool.getjcl_bulk(3), [pool.get()], [pool.alloc_ext_plus_pages(5000)]]
    held.append(hold(pool, HOLD["16k"][0]))
    with pytest.raises(PoolFull) as caught:
        pool.getcl_bulk(1000)
    assert isinstance(caught.value, NoBufs)
    assert isinstance(caught.value, NoMemory)
    text = str(caught.value)
    for part in (
        "this pool's memory is full, 1 MiB; in use: ",
        " clusters of 16 KiB (9",
        "3 clusters of 4 KiB (12 KiB)",
        "2 single pages (8 KiB)",
        "Free some sooner, wait for some (how=M_WAITOK, or agetcl)",
        'Pool("2M")',
    ):
        assert part in text
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.memory, error.held) == (text, 1 << 20, caught.value.held)
    for each in held:
        pool.free_bulk(each)


def test_the_error_says_that_there_is_no_run(make: Make) -> None:
    pool = make(memory="1M")
    held = hold(pool, HOLD["getjcl"][0])
    for m in held[::2]:
        m.free()
    with pytest.raises(PoolFull, match="KiB of this pool's 1 MiB are free, but no 4 pages in a row"):
        pool.getjcl(size=MJUM16BYTES)
    let_go(pool, held[1::2])


def test_the_error_says_that_what_is_free_is_too_little(make: Make) -> None:
    pool = make(memory="1M")
    held = hold(pool, HOLD["getcl"][0])
    with pytest.raises(
        PoolFull, match="4 KiB of this pool's 1 MiB are free, but too little for this call, or reserved"
    ):
        pool.getcl(M_WAITOK, timeout=0.01)
    let_go(pool, held)


@pytest.mark.parametrize(("memory", "more"), [("64K", "128K"), (5000, "10K"), ("1G", "2G"), ("1500K", "3M")])
def test_the_error_names_a_larger_pool(memory: int | str, more: str) -> None:
    size = {"64K": 1 << 16, "1G": 1 << 30, "1500K": 1500 << 10}.get(str(memory), 5000)
    assert f'Pool("{more}")' in str(PoolFull(size))


def test_a_limit_of_freebsd_says_how_to_raise_it(make: Make) -> None:
    pool = make({"kern.ipc.nmbclusters": 2})
    held = pool.getcl_bulk(2)
    name = "kern.ipc.nmbclusters"
    said = f'raise {name}, as with Pool(tunables={{"{name}": 4}}) or pool.sysctl["{name}"] = 4'
    with pytest.raises(NoBufs) as caught:
        pool.getcl()
    assert str(caught.value).endswith(said)
    pool.free_bulk(held)


# Parts.


def test_limits_bound_single_kinds(make: Make) -> None:
    pool = make(memory="1M", limits={"clust": 7, "jumbo9": 2})
    held = hold(pool, HOLD["getcl"][0])
    assert (len(held), pool.available("clust"), pool.zones.clust.limit) == (7, 0, 7)
    nines = hold(pool, lambda pool: pool.getjcl(size=MJUM9BYTES))
    assert len(nines) == 2
    # What packets cache is no reason to refuse a cluster.
    let_go(pool, held)
    clusters = [pool.cljget(None, size=2048) for _ in range(7)]
    for cluster in clusters:
        cluster.free()  # type: ignore[union-attr]
    let_go(pool, nines)


@pytest.mark.parametrize("kind", ["getcl", "getjcl", "one page", "16k"])
def test_the_last_memory_is_reserved_for_a_kind(make: Make, kind: str) -> None:
    pool = make(memory="1M", reserve_for={"mbuf": 128 << 10})
    held = hold(pool, HOLD[kind][0])
    assert len(held) * HOLD[kind][1] <= 900 << 10
    control = hold(pool, HOLD["get"][0])
    assert len(control) * MSIZE >= 115 << 10
    with pytest.raises(PoolFull):
        pool.getcl()
    let_go(pool, held + control)


# What is available.


def get(pool: Pool, kind: str) -> Mbuf:
    return pool.get() if kind == "mbuf" else pool.getjcl(size=SIZES[kind])


@pytest.mark.parametrize("kind", SIZES)
def test_what_is_available_in_a_new_pool_is_exact(make: Make, kind: str) -> None:
    for memory in ("64K", "1M", "3M"):
        pool = make(memory=memory)
        n = pool.available(kind)
        held = hold(pool, lambda pool: get(pool, kind))
        assert len(held) == n
        assert pool.available(kind) == 0
        for _ in range(3):
            held.pop().free()
        assert pool.available(kind) == 3
        let_go(pool, held)
        assert pool.available(kind) in (n, n - 1)


def test_an_unknown_kind_is_refused(pool: Pool) -> None:
    with pytest.raises(Inval, match="available: unknown kind 'cluster': did you mean clust"):
        pool.available("cluster")


@pytest.mark.parametrize("seed", range(120))
def test_what_is_available_is_never_overstated(seed: int) -> None:
    rng = Random(seed)
    size = rng.choice([65536, 1 << 20, 5 * PAGE_SIZE, 97 * PAGE_SIZE])
    more: dict[str, Any] = {}
    if rng.random() < 0.3:
        more["limits"] = {"clust": rng.randint(1, 40), "mbuf": rng.randint(1, 90)}
    if rng.random() < 0.3:
        more["reserve_for"] = {rng.choice([*SIZES]): rng.randint(1, size // 2)}
    if rng.random() < 0.3:
        pool = Pool(Vm(2 * size), worker=False, strict=False, ncpu=rng.choice([1, 3]))
    else:
        pool = Pool(size, worker=False, ncpu=rng.choice([1, 1, 2]), caching=rng.random() < 0.8, **more)
    held: list[Mbuf] = []
    for _ in range(rng.randint(0, 30)):
        kind = rng.choice([*SIZES])
        if rng.random() < 0.6:
            held += hold(pool, lambda pool, kind=kind: get(pool, kind), rng.randint(1, 40))
        rng.shuffle(held)
        count = rng.randint(0, len(held))
        with pool.cpu(rng.randrange(pool.cpus.count)):
            let_go(pool, held[:count])
        del held[:count]
    pool.audit()
    kind = rng.choice([*SIZES])
    n = pool.available(kind)
    held += (got := hold(pool, lambda pool: get(pool, kind)))
    assert n <= len(got)
    pool.audit()
    let_go(pool, held)
    pool.drain()
    assert pool.vm.used == 0
    pool.close()


def naive_singles(pages: bytearray, count: int) -> int:
    at = -1
    while count:
        at = pages.find(0, at + 1)
        if at < 0:
            break
        pages[at] = 1
        count -= 1
    return count


def naive_runs(pages: bytearray, length: int) -> int:
    found = 0
    for first in range(0, len(pages), ARENA_PAGES):
        at = min(first + ARENA_PAGES, len(pages))
        while (at := pages.rfind(bytes(length), first, at)) >= 0:
            pages[at : at + length] = b"\1" * length
            found += 1
    return found


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=30), st.integers(0, 60), st.integers(2, 5))
def test_runs_and_single_pages_are_taken_as_one_after_the_other(
    stretches: list[tuple[int, int]], count: int, length: int
) -> None:
    pages = b"".join(bytes([state]) * size for size, state in stretches)
    for area in (pages, bytes(ARENA_PAGES - 7) + pages):
        one_by_one = bytearray(area)
        missing = naive_singles(one_by_one, count)
        left, singles = shortage._take_singles(area, count)
        assert ([page == 0 for page in left], singles) == ([page == 0 for page in one_by_one], missing)
        found = naive_runs(one_by_one, length)
        left, runs = shortage._take_runs(left, length)
        assert ([page == 0 for page in left], runs) == ([page == 0 for page in one_by_one], found)
