import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from mbuf import M_NOWAIT, M_WAITOK, UMA_RECLAIM_DRAIN_CPU, Corrupt, Inval, NoMemory, Vm, compiled
from mbuf.const import PAGE_SIZE
from mbuf.uma import item as items_module
from mbuf.uma.audit import audit_keg
from mbuf.uma.bucket import Bucket
from mbuf.uma.cpu import Cpus
from mbuf.uma.item import Item
from mbuf.uma.keg import Keg
from mbuf.uma.slab import Slabs
from mbuf.uma.waitq import Waiter
from mbuf.uma.zone import Zone

Spawn = Callable[[Callable[[], object]], Any]
Eventually = Callable[[Callable[[], object]], None]


def keg(pages: int, size: int = 256) -> Keg:
    return Keg(Vm(pages * PAGE_SIZE), "thing", size, 255 if size == 256 else 7)


def take(store: Keg, count: int, how: int, deadline: float | None) -> list[Item]:
    bucket = Bucket(count)
    store.take(bucket, count, how, deadline)
    items = [bucket.pop() for _ in range(bucket.cnt)]
    items.reverse()
    audit_keg(store)
    return items


def give(store: Keg, items: list[Item]) -> None:
    for item in items:
        store.give(item)
    audit_keg(store)


def places(items: list[Item]) -> list[tuple[int, int]]:
    return [(item.run.page, item.offset_in_run()) for item in items]


def test_items_are_cut_in_order_of_address() -> None:
    store = keg(8)
    items = take(store, 17, M_NOWAIT, None)
    assert places(items) == [(0, 256 * n) for n in range(15)] + [(1, 0), (1, 256)]
    assert (store.slabs, store.pages, store.free) == (2, 2, 13)
    assert {item.size for item in items} == {256}
    give(store, items)
    assert (store.slabs, store.free) == (2, 30)


def test_a_partly_used_slab_is_drawn_from_before_an_empty_one_and_that_before_a_new_one() -> None:
    store = keg(8)
    first = take(store, 15, M_NOWAIT, None)
    second = take(store, 15, M_NOWAIT, None)
    give(store, second)
    give(store, first[3:5])
    assert places(take(store, 3, M_NOWAIT, None)) == [(0, 768), (0, 1024), (1, 0)]
    assert store.slabs == 2


def test_of_several_partly_used_slabs_the_last_to_become_one_is_drawn_from() -> None:
    store = keg(8)
    items = take(store, 45, M_NOWAIT, None)
    for n in (2, 20, 40, 17):
        give(store, [items[n]])
    assert places(take(store, 4, M_NOWAIT, None)) == [(2, 2560), (1, 512), (1, 1280), (0, 512)]


def test_what_no_item_is_cut_from_is_given_back() -> None:
    store = keg(8)
    items = take(store, 31, M_NOWAIT, None)
    give(store, items[1:])
    assert store.vm.used == 3
    assert store.drain() == 2
    assert (store.vm.used, store.slabs, store.free) == (1, 1, 14)
    give(store, items[:1])
    assert store.drain() == 1
    assert store.drain() == 0
    assert (store.vm.used, store.slabs, store.free) == (0, 0, 0)


def test_large_items_take_runs_of_pages() -> None:
    store = keg(8, 9216)
    items = take(store, 3, M_NOWAIT, None)
    assert [item.run.count for item in items] == [3, 3]
    assert (store.pages, store.vm.used) == (6, 6)
    error = store.denied()
    assert isinstance(error, NoMemory)
    assert str(error) == "out of pages: 6 of 8 in use (Vm(realmem=...) sets the budget)"
    give(store, items)
    assert store.drain() == 6


def test_it_gives_what_it_has_when_pages_run_out() -> None:
    store = keg(2)
    assert len(take(store, 31, M_NOWAIT, None)) == 30
    assert take(store, 1, M_NOWAIT, None) == []


def test_it_does_not_wait_once_it_has_something() -> None:
    store = keg(1)
    assert len(take(store, 31, M_WAITOK, None)) == 15


def test_it_waits_for_pages_until_the_deadline() -> None:
    store = keg(0)
    assert take(store, 1, M_WAITOK, time.monotonic()) == []


def test_pages_freed_elsewhere_wake_waiters(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(4)
    elsewhere = store.vm.take(4)
    waiters = [spawn(lambda: take(store, 1, M_WAITOK, None)) for _ in range(3)]
    eventually(lambda: len(store._waiters) == 3)
    store.vm.give([(elsewhere, 4)])
    items = [item for worker in waiters for item in worker.done()]
    assert len(items) == 3
    give(store, items)
    store.drain()
    assert store.vm.used == 0


def test_an_item_given_back_wakes_waiters_for_pages(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(1)
    items = take(store, 15, M_NOWAIT, None)
    waiter = spawn(lambda: take(store, 1, M_WAITOK, None))
    eventually(lambda: len(store._waiters) == 1)
    give(store, items[:1])
    give(store, waiter.done() + items[1:])
    assert store.free == 15


def test_who_waits_for_a_run_outlasts_any_number_of_single_pages(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(3, 9216)
    taken = [store.vm.take(1) for _ in range(3)]
    waiter = spawn(lambda: take(store, 1, M_WAITOK, None))
    for _ in range(2000):
        eventually(lambda: store._waiters)
        store.vm.give([(taken.pop(0), 1)])
        taken.append(store.vm.take(1))
    assert waiter.is_alive()
    store.vm.give([(page, 1) for page in taken])
    assert len(waiter.done()) == 1


def test_closing_ends_all_waits(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(0)
    waiter = spawn(lambda: take(store, 1, M_WAITOK, None))
    eventually(lambda: len(store._waiters) == 1)
    store.close()
    assert waiter.done() == []
    assert not store.vm.freed
    assert take(store, 1, M_WAITOK, None) == []


def test_closed_it_gives_pages_back_with_the_last_item() -> None:
    store = keg(2)
    items = take(store, 16, M_NOWAIT, None)
    store.close()
    give(store, items[:15])
    assert store.vm.used == 1
    give(store, items[15:])
    assert store.vm.used == 0


def test_an_item_given_back_twice_is_found() -> None:
    store = keg(2)
    items = take(store, 2, M_NOWAIT, None)
    store.give(items[0])
    again = take(store, 1, M_NOWAIT, None)
    assert places(again) == [(0, 0)]
    # Its bytes belong to another item now.
    with pytest.raises(Corrupt, match="returned twice"):
        store.give(items[0])
    give(store, [items[1], *again])
    with pytest.raises(Corrupt, match="returned twice"):
        store.give(again[0])
    store.drain()
    with pytest.raises(Corrupt, match="returned twice"):
        store.give(again[0])
    audit_keg(store)


def test_an_item_of_another_keg_is_refused() -> None:
    store, other = keg(2), keg(2)
    items = take(store, 2, M_NOWAIT, None)
    with pytest.raises(Corrupt, match="returned twice, or isn't from this keg"):
        other.give(items[0])
    for thing in (None, Item.__new__(Item)):
        with pytest.raises((Inval, AttributeError)):
            store.give(thing)
    give(store, items)


def test_an_item_that_a_zone_has_handed_out_is_the_zones_to_give_back() -> None:
    store = keg(2)
    zone = Zone("thing", 256, store, Cpus(1))
    item = zone.alloc(M_NOWAIT, None)
    with pytest.raises(Corrupt, match="returned twice, or isn't from this keg"):
        store.give(item)
    zone.free(item)
    zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
    assert store.vm.used == 0


@pytest.mark.parametrize(("vm", "kind"), [(None, Item), (5, Item), (Vm(0), None), (Vm(0), int)])
def test_a_keg_is_made_of_a_vm_and_a_class_of_items(vm: Any, kind: Any) -> None:
    with pytest.raises(TypeError):
        Keg(vm, "thing", 256, 255, kind)


@pytest.mark.parametrize("size", [1, 48])
def test_a_slab_has_64_items_at_most(size: int) -> None:
    with pytest.raises(Inval, match="for 1 to 64"):
        Keg(Vm(0), "thing", size, 0)


def test_only_a_waiter_for_pages_can_be_dequeued_or_use_a_grant() -> None:
    keg, none = Keg(Vm(PAGE_SIZE), "thing", 256, 255), cast(Waiter, None)
    with pytest.raises(TypeError, match="dequeue"):
        keg.dequeue(none)
    with pytest.raises(TypeError, match="use_grant"):
        keg.use_grant(none, lambda: None)


@pytest.fixture
def unmade() -> Keg:
    """A keg whose `__init__` was never called."""
    made: Any = Keg.__new__(Keg)
    if not compiled():
        # Compiled, every object is in this state before `__init__`.
        made.__cinit__()
        made.vm = made.name = None
        made.closed = False
    return cast(Keg, made)


def test_a_keg_that_was_never_initialized_has_no_pages(unmade: Keg) -> None:
    never = r"^this keg was never initialized: call its __init__$"
    error = unmade.denied()
    assert isinstance(error, Inval)
    assert str(error) == "this keg was never initialized: call its __init__"
    with pytest.raises(Inval, match=never):
        unmade.enqueue(lambda: True)
    with pytest.raises(Inval, match="give a bucket with room for 1 items"):
        unmade.take(Bucket(1), 1, M_NOWAIT, None)
    assert unmade.drain() == 0
    unmade.close()
    assert unmade.closed


def test_a_task_is_woken_at_once_where_an_item_is_free() -> None:
    store = keg(1)
    held = take(store, 14, M_NOWAIT, None)
    woken: list[int] = []
    call = store.enqueue(lambda: not woken.append(1))
    assert (woken, call.granted, len(store._waiters)) == ([1], True, 0)
    held += store.use_grant(call, lambda: take(store, 1, M_NOWAIT, None))
    store.dequeue(call)
    assert (len(held), store.free) == (15, 0)
    give(store, held)


@pytest.mark.parametrize("pages", [1, 2], ids=["item", "page"])
def test_a_task_that_raises_when_it_is_woken_at_once_leaves_the_queue(pages: int) -> None:
    store = keg(pages)
    held = take(store, 14, M_NOWAIT, None)

    def wake() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.enqueue(wake)
    assert (len(store._waiters), store._waiters.waking, store.free) == (0, False, 1)
    give(store, held)


def test_a_grant_of_a_task_that_has_gone_is_void(spawn: Spawn, eventually: Eventually) -> None:
    store = keg(1)
    held = take(store, 15, M_NOWAIT, None)
    gone = store.enqueue(lambda: False)
    give(store, [held.pop()])
    assert (gone.granted, len(store._waiters), store._waiters.refused) == (False, 0, 0)
    store.dequeue(gone)
    held += take(store, 1, M_NOWAIT, None)
    # A thread behind it gets the grant.
    gone = store.enqueue(lambda: False)
    waiter = spawn(lambda: take(store, 1, M_WAITOK, None))
    eventually(lambda: len(store._waiters) == 2)
    give(store, [held.pop()])
    held += waiter.done()
    store.dequeue(gone)
    give(store, held)


@pytest.mark.skipif(compiled(), reason="compiled, such an item can't be made")
@pytest.mark.parametrize("start", [0, 256, 3840], ids=["out", "free", "outside"])
def test_an_item_that_is_none_of_its_slab_is_refused(start: int) -> None:
    store = keg(1)
    held = take(store, 1, M_NOWAIT, None)
    forged = Item(held[0].run, start, 256)
    if start:
        # Otherwise its state shows it.
        items_module.mark_free(forged)
    with pytest.raises(Corrupt, match="^keg thing: an item was returned twice, or isn't from this keg$"):
        store.give(forged)
    assert store.free == 14
    give(store, held)


@pytest.mark.skipif(compiled(), reason="compiled, no exception comes in between")
def test_uncompiled_a_full_slab_that_an_interrupt_left_in_the_wrong_list_is_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = keg(2)
    held = take(store, 14, M_NOWAIT, None)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    bucket = Bucket(1)
    with monkeypatch.context() as patch:
        patch.setattr(Keg, "_relist", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.take(bucket, 1, M_NOWAIT, None)
    held.append(bucket.pop())
    with pytest.raises(Corrupt, match="is in the wrong list: 0 of its items are free"):
        audit_keg(store)
    held += take(store, 1, M_NOWAIT, None)
    assert places(held)[14:] == [(0, 3584), (1, 0)]
    give(store, held)
    assert store.drain() == 2


@pytest.mark.skipif(compiled(), reason="compiled, no exception comes in between")
def test_uncompiled_a_slab_that_an_interrupt_left_in_no_list_is_listed_with_its_next_item(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = keg(1)
    held = take(store, 14, M_NOWAIT, None)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    bucket = Bucket(1)
    with monkeypatch.context() as patch:
        patch.setattr(Slabs, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.take(bucket, 1, M_NOWAIT, None)
    held.append(bucket.pop())
    with pytest.raises(Corrupt, match="the keg counts 1 slabs with 0 free items, and has 0 with 0"):
        audit_keg(store)
    give(store, [held.pop()])
    assert (store.free, store._partial.holds(held[0].run)) == (1, True)
    give(store, held)
    assert store.drain() == 1
