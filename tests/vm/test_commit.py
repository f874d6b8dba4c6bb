"""Steps, the latch, and what is released after them; uncompiled, with objects that only count."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mbuf import Busy, Pool, Vm, compiled
from mbuf.vm import commit
from mbuf.vm.commit import Releasable, latch, work_off, work_off_all

pytestmark = pytest.mark.skipif(compiled(), reason="compiled, only C calls these")


class Thing(Releasable):
    """Writes its name to a list when it is let go; may put others first, and may raise."""

    __slots__ = ("error", "first", "log", "name")

    def __init__(self, log: list[str], name: str, *first: "Thing", error: BaseException | None = None) -> None:
        self.log, self.name, self.first, self.error = log, name, first, error

    def let_go(self) -> int:
        self.log.append(self.name)
        for thing in self.first:
            commit.put(thing)
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def hook() -> Iterator[list[str]]:
    """The borders between phases that are crossed."""
    crossed: list[str] = []
    latch().hook = crossed.append
    yield crossed
    latch().hook = None


def test_what_is_put_is_let_go_in_that_order_and_once(log: list[str]) -> None:
    a, b, c = Thing(log, "a"), Thing(log, "b"), Thing(log, "c")
    for thing in (a, b, a):
        commit.put(thing)
    commit.put_first(c)
    commit.put_first(c)
    assert latch().pending == 3
    work_off()
    assert (log, latch().pending, commit.has_listed()) == (["c", "a", "b"], 0, False)


def test_what_one_puts_goes_before_what_came_after_it(log: list[str]) -> None:
    inner = Thing(log, "inner")
    commit.put(Thing(log, "outer", inner))
    commit.put(Thing(log, "last"))
    work_off()
    assert log == ["outer", "inner", "last"]
    assert latch().pending == 0


def test_an_error_is_reported_and_one_that_ends_the_program_raised_at_the_end(
    log: list[str], unraised: list[Any]
) -> None:
    commit.put(Thing(log, "a", error=ValueError()))
    commit.put(Thing(log, "b", error=KeyboardInterrupt()))
    commit.put(Thing(log, "c"))
    with pytest.raises(KeyboardInterrupt):
        work_off()
    assert (log, unraised) == (["a", "b", "c"], [ValueError])


def test_an_error_of_the_hook_for_errors_that_ends_the_program_is_raised(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(commit, "report", report)
    commit.put(Thing(log, "a", error=ValueError()))
    with pytest.raises(SystemExit):
        work_off()


def test_where_nobody_can_catch_it_an_error_that_ends_the_program_is_reported(
    log: list[str], unraised: list[Any]
) -> None:
    commit.put(Thing(log, "a", error=KeyboardInterrupt()))
    commit.finish_drop()
    assert (log, unraised) == (["a"], [KeyboardInterrupt])


def test_who_is_about_to_wait_lets_go_of_what_outer_calls_left(log: list[str]) -> None:
    class Waiting(Thing):
        __slots__ = ()

        def let_go(self) -> int:
            super().let_go()
            work_off_all()
            self.log.append("waits")
            return 0

    commit.put(Waiting(log, "a"))
    for name in ("b", "c"):
        commit.put(Thing(log, name))
    work_off()
    assert log == ["a", "b", "c", "waits"]
    work_off_all()
    assert (log[4:], latch().pending) == ([], 0)


def test_the_child_of_a_fork_counts_what_is_on_the_list_of_its_thread(log: list[str]) -> None:
    for name in ("a", "b"):
        commit.put(Thing(log, name))
    latch().pending += 7
    commit._recount()
    assert latch().pending == 2
    work_off()


def test_a_test_build_is_told_of_each_border(hook: list[str], unraised: list[Any]) -> None:
    with Pool(Vm(1 << 20), worker=False) as pool:
        del hook[:]
        pool.get().free()
        assert hook == ["enter", "acquire", "enter", "release"]
    with Pool(Vm(1 << 20), worker=False) as pool:
        latch().hook = lambda phase: 1 // 0
        m = pool.get()
        latch().hook = None
        m.free()
    assert set(unraised) == {ZeroDivisionError}
    commit._border("enter")


def test_a_verb_in_the_middle_of_a_step_is_refused() -> None:
    with Pool(Vm(1 << 20), worker=False) as pool:
        commit.enter_commit()
        try:
            assert commit.inside()
            for call in (pool.get, commit.enter_commit):
                with pytest.raises(Busy, match="in the middle of a step"):
                    call()
        finally:
            commit.leave_commit()
        assert not commit.inside()


def test_a_fork_takes_the_lock_once_more_where_its_thread_has_it() -> None:
    step = commit.STEP
    assert step.acquire()
    assert step.acquire()
    tried: list[bool] = []
    thread = threading.Thread(target=lambda: tried.append(step.acquire(blocking=False)))
    thread.start()
    thread.join()
    step.release()
    assert step.mine()
    step.release()
    assert (tried, step.mine()) == ([False], False)


def test_what_is_listed_ends_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        Releasable().let_go()
