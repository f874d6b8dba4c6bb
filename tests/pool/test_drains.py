import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mbuf import Inval, NoBufs, Pool
from mbuf.pool.drains import Drains
from mbuf.vm.event import EVENTHANDLER_PRI_FIRST, EVENTHANDLER_PRI_LAST

Few = Callable[..., dict[str, int]]


def fail() -> None:
    raise ValueError("nothing to spare")


def test_drains_are_called_by_priority_then_in_order_of_arrival() -> None:
    drains = Drains()
    calls: list[str] = []
    drains.register(lambda: calls.append("last"), priority=EVENTHANDLER_PRI_LAST)
    drains.register(lambda: calls.append("a"), "a")
    drains.register(lambda: calls.append("b"))
    drains.register(lambda: calls.append("first"), "first", EVENTHANDLER_PRI_FIRST)
    assert not calls
    drains.invoke()
    assert (calls, drains.count) == (["first", "a", "b", "last"], 1)


def test_there_are_drains_until_the_last_is_deregistered() -> None:
    drains = Drains()
    assert not drains
    drains.register(fail, "ip")
    assert drains
    with pytest.raises(Inval, match="is not registered"):
        drains.deregister(print)
    assert drains
    drains.deregister(fail)
    assert not drains


@pytest.mark.parametrize("junk", [5, None, "ip"])
def test_what_cannot_be_called_is_not_a_drain(junk: Any) -> None:
    drains = Drains()
    with pytest.raises(Inval, match="drains: give a function to call"):
        drains.register(junk)
    assert not drains


def test_a_method_is_forgotten_by_its_equal() -> None:
    drains = Drains()
    queue = [1]
    drains.register(queue.clear)
    drains.deregister(queue.clear)
    drains.invoke()
    assert queue == [1]


@pytest.mark.parametrize(
    ("fn", "name", "label"),
    [(fail, "ip", "ip"), (fail, "", "fail"), (partial(fail), "", repr(partial(fail)))],
    ids=["name", "function", "nameless"],
)
def test_an_exception_is_logged_with_the_drains_name_and_the_others_run(
    caplog: pytest.LogCaptureFixture, fn: Callable[[], None], name: str, label: str
) -> None:
    drains = Drains()
    calls: list[str] = []
    drains.register(lambda: calls.append("before"))
    drains.register(fn, name)
    drains.register(lambda: calls.append("after"))
    drains.invoke()
    assert calls == ["before", "after"]
    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("mbuf.pool", logging.ERROR, f"drain {label} failed")
    assert record.exc_info is not None
    assert repr(record.exc_info[1]) == "ValueError('nothing to spare')"
    assert record.exc_text is not None
    assert "in fail" in record.exc_text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_comes_through_after_the_others(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    drains = Drains()
    calls: list[str] = []

    def end() -> None:
        raise error

    drains.register(fail)
    drains.register(end)
    drains.register(lambda: calls.append("after"))
    with pytest.raises(error):
        drains.invoke()
    assert calls == ["after"]
    assert [record.getMessage() for record in caplog.records] == ["drain fail failed"]


def test_who_registers_in_a_drain_is_called_the_next_time() -> None:
    drains = Drains()
    calls: list[str] = []

    def once() -> None:
        drains.deregister(once)
        drains.register(lambda: calls.append("new"))
        calls.append("once")

    drains.register(once)
    drains.invoke()
    assert calls == ["once"]
    drains.invoke()
    assert calls == ["once", "new"]


def test_a_drain_allocates_and_frees(make: Callable[..., Pool], few: Few) -> None:
    pool = make(few(clusters=4))
    taken = pool.getcl_bulk(4)

    def drain() -> None:
        taken.pop().free()
        taken.append(pool.getcl())

    pool.drains.register(drain)
    with pytest.raises(NoBufs):
        pool.getcl()
    assert pool.reclaim.run() == 1
    assert len(taken) == 4
    pool.free_bulk(taken)


def test_a_drain_that_finds_no_memory_is_logged_and_rings_for_another_run(
    make: Callable[..., Pool], few: Few, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make(few(clusters=4))
    taken = pool.getcl_bulk(4)
    pool.drains.register(pool.getcl, "allocating")
    pool.reclaim.trigger("mbuf_cluster")
    assert pool.reclaim.run() == 1
    limit, drain = caplog.records
    assert vars(limit)["kernel"] == "[zone: mbuf_cluster] kern.ipc.nmbclusters limit reached"
    assert (drain.name, drain.getMessage()) == ("mbuf.pool", "drain allocating failed")
    pool.drains.deregister(pool.getcl)
    assert pool.reclaim.run() == 1
    pool.free_bulk(taken)
