import time
from collections.abc import Callable
from typing import Any

import pytest

from mbuf import M_NOWAIT, M_WAITOK, Busy, NoMemory, Vm
from mbuf.const import PAGE_SIZE
from mbuf.uma.item import Item
from mbuf.uma.keg import Keg

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def keg(pages: int, size: int = 256) -> Keg:
    return Keg(Vm(pages * PAGE_SIZE), "thing", size, 255 if size == 256 else 7)


def places(items: list[Item]) -> list[tuple[int, int]]:
    return [(item.run.page, item.place()) for item in items]


def test_items_are_cut_in_order_of_address() -> None:
    store = keg(8)
    items = store.take(17, M_NOWAIT, None)
    assert places(items) == [(0, 256 * n) for n in range(15)] + [(1, 0), (1, 256)]
    assert (store.slabs, store.pages, store.free) == (2, 2, 13)
    assert {item.size for item in items} == {256}
    store.give(items)
    assert (store.slabs, store.free) == (2, 30)


def test_a_partly_used_slab_is_drawn_from_before_an_empty_one_and_that_before_a_new_one() -> None:
    store = keg(8)
    first = store.take(15, M_NOWAIT, None)
    second = store.take(15, M_NOWAIT, None)
    store.give(second)
    store.give(first[3:5])
    assert places(store.take(3, M_NOWAIT, None)) == [(0, 768), (0, 1024), (1, 0)]
    assert store.slabs == 2


def test_of_several_partly_used_slabs_the_last_to_become_one_is_drawn_from() -> None:
    store = keg(8)
    items = store.take(45, M_NOWAIT, None)
    for n in (2, 20, 40, 17):
        store.give([items[n]])
    assert places(store.take(4, M_NOWAIT, None)) == [(2, 2560), (1, 512), (1, 1280), (0, 512)]


def test_what_no_item_is_cut_from_is_given_back() -> None:
    store = keg(8)
    items = store.take(31, M_NOWAIT, None)
    store.give(items[1:])
    assert store.vm.used == 3
    assert store.drain() == 2
    assert (store.vm.used, store.slabs, store.free) == (1, 1, 14)
    store.give(items[:1])
    assert store.drain() == 1
    assert store.drain() == 0
    assert (store.vm.used, store.slabs, store.free) == (0, 0, 0)


def test_large_items_take_runs_of_pages() -> None:
    store = keg(8, 9216)
    items = store.take(3, M_NOWAIT, None)
    assert [item.run.count for item in items] == [3, 3]
    assert (store.pages, store.vm.used) == (6, 6)
    error = store.denied()
    assert isinstance(error, NoMemory)
    assert str(error) == "out of pages: 6 of 8 in use (Vm(realmem=...) sets the budget)"
    store.give(items)
    assert store.drain() == 6


def test_it_gives_what_it_has_when_pages_run_out() -> None:
    store = keg(2)
    assert len(store.take(31, M_NOWAIT, None)) == 30
    assert store.take(1, M_NOWAIT, None) == []


def test_it_does_not_wait_once_it_has_something() -> None:
    store = keg(1)
    assert len(store.take(31, M_WAITOK, None)) == 15


def test_it_waits_for_pages_until_the_deadline() -> None:
    store = keg(0)
    assert store.take(1, M_WAITOK, time.monotonic()) == []


def test_pages_freed_elsewhere_wake_who_waits(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(4)
    elsewhere = store.vm.take(4)
    waiters = [spawn(lambda: store.take(1, M_WAITOK, None)) for _ in range(3)]
    eventually(lambda: len(store._waiters) == 3)
    store.vm.give([(elsewhere, 4)])
    items = [item for worker in waiters for item in worker.done()]
    assert len(items) == 3
    store.give(items)
    store.drain()
    assert store.vm.used == 0


def test_an_item_given_back_wakes_who_waits_for_pages(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(1)
    items = store.take(15, M_NOWAIT, None)
    waiter = spawn(lambda: store.take(1, M_WAITOK, None))
    eventually(lambda: len(store._waiters) == 1)
    store.give(items[:1])
    store.give(waiter.done() + items[1:])
    assert store.free == 15


def test_who_waits_for_a_run_outlasts_any_number_of_single_pages(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(3, 9216)
    taken = [store.vm.take(1) for _ in range(3)]
    waiter = spawn(lambda: store.take(1, M_WAITOK, None))
    for _ in range(2000):
        eventually(lambda: store._waiters)
        store.vm.give([(taken.pop(0), 1)])
        taken.append(store.vm.take(1))
    assert waiter.is_alive()
    store.vm.give([(page, 1) for page in taken])
    assert len(waiter.done()) == 1


def test_closing_sends_away_who_waits(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(0)
    waiter = spawn(lambda: store.take(1, M_WAITOK, None))
    eventually(lambda: len(store._waiters) == 1)
    store.close()
    assert waiter.done() == []
    assert not store.vm.freed
    assert store.take(1, M_WAITOK, None) == []


def test_closed_it_gives_pages_back_with_the_last_item() -> None:
    store = keg(2)
    items = store.take(16, M_NOWAIT, None)
    store.close()
    store.give(items[:15])
    assert store.vm.used == 1
    store.give(items[15:])
    assert store.vm.used == 0


def test_a_finalizer_in_its_middle_is_refused_items_and_may_give_them_back() -> None:
    store = keg(2)
    items = store.take(2, M_NOWAIT, None)
    with store._lock:
        with pytest.raises(Busy):
            store.take(1, M_NOWAIT, None)
        store.give(items)
        assert store.drain() == 0
        assert store.free == 13
    assert store.free == 15
    assert store.drain() == 1
