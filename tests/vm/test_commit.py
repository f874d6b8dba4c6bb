"""Commits, the latch, and the release list."""

import threading
from collections.abc import Iterator

import pytest

from mbuf import Busy, Pool, Vm, compiled
from mbuf.vm import commit
from mbuf.vm.commit import Releasable, _run_releases, latch, run_all_releases

pytestmark = pytest.mark.skipif(compiled(), reason="compiled, only C calls these")


class Thing(Releasable):
    """Writes its name to a list when it is released; may release others first, and may raise."""

    __slots__ = ("error", "first", "log", "name")

    def __init__(self, log: list[str], name: str, *first: "Thing", error: BaseException | None = None) -> None:
        self.log, self.name, self.first, self.error = log, name, first, error

    def on_release(self) -> int:
        self.log.append(self.name)
        for thing in self.first:
            commit.release_later(thing)
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def hook() -> Iterator[list[str]]:
    """The calls of the hook between phases."""
    crossed: list[str] = []
    latch().hook = crossed.append
    yield crossed
    latch().hook = None


def test_what_is_put_is_let_go_in_that_order_and_once(log: list[str]) -> None:
    a, b, c = Thing(log, "a"), Thing(log, "b"), Thing(log, "c")
    for thing in (a, b, a):
        commit.release_later(thing)
    commit.release_first(c)
    commit.release_first(c)
    assert latch().pending == 3
    _run_releases()
    assert (log, latch().pending, commit.has_listed()) == (["c", "a", "b"], 0, False)


def test_what_one_puts_goes_before_what_came_after_it(log: list[str]) -> None:
    inner = Thing(log, "inner")
    commit.release_later(Thing(log, "outer", inner))
    commit.release_later(Thing(log, "last"))
    _run_releases()
    assert log == ["outer", "inner", "last"]
    assert latch().pending == 0


def test_an_error_is_reported_and_one_that_ends_the_program_raised_at_the_end(
    log: list[str], unraisable: list[BaseException]
) -> None:
    commit.release_later(Thing(log, "a", error=ValueError()))
    commit.release_later(Thing(log, "b", error=KeyboardInterrupt()))
    commit.release_later(Thing(log, "c"))
    with pytest.raises(KeyboardInterrupt):
        _run_releases()
    assert (log, list(map(type, unraisable))) == (["a", "b", "c"], [ValueError])


def test_an_error_of_the_hook_for_errors_that_ends_the_program_is_raised(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(commit, "report", report)
    commit.release_later(Thing(log, "a", error=ValueError()))
    with pytest.raises(SystemExit):
        _run_releases()


def test_an_error_that_ends_the_program_is_reported_if_it_cannot_be_raised(
    log: list[str], unraisable: list[BaseException]
) -> None:
    commit.release_later(Thing(log, "a", error=KeyboardInterrupt()))
    commit.run_releases_unraisable()
    assert (log, list(map(type, unraisable))) == (["a"], [KeyboardInterrupt])


def test_who_is_about_to_wait_releases_what_outer_calls_left(log: list[str]) -> None:
    class Waiting(Thing):
        __slots__ = ()

        def on_release(self) -> int:
            super().on_release()
            run_all_releases()
            self.log.append("waits")
            return 0

    commit.release_later(Waiting(log, "a"))
    for name in ("b", "c"):
        commit.release_later(Thing(log, name))
    _run_releases()
    assert log == ["a", "b", "c", "waits"]
    run_all_releases()
    assert (log[4:], latch().pending) == ([], 0)


def test_the_child_of_a_fork_counts_what_is_on_the_list_of_its_thread(log: list[str]) -> None:
    for name in ("a", "b"):
        commit.release_later(Thing(log, name))
    latch().pending += 7
    commit._recount_pending()
    assert latch().pending == 2
    _run_releases()


def test_in_a_test_build_the_hook_is_called_between_phases(hook: list[str], unraisable: list[BaseException]) -> None:
    with Pool(Vm(1 << 20), worker=False) as pool:
        del hook[:]
        pool.get().free()
        assert hook == ["enter", "acquire", "enter", "release"]
    with Pool(Vm(1 << 20), worker=False) as pool:
        latch().hook = lambda phase: 1 // 0
        m = pool.get()
        latch().hook = None
        m.free()
    assert set(map(type, unraisable)) == {ZeroDivisionError}
    commit._call_hook("enter")


def test_a_verb_in_the_middle_of_a_step_is_refused() -> None:
    with Pool(Vm(1 << 20), worker=False) as pool:
        commit.enter_commit()
        try:
            assert commit.in_commit()
            for call in (pool.get, commit.enter_commit):
                with pytest.raises(Busy, match="in a commit of the allocator"):
                    call()
        finally:
            commit.leave_commit()
        assert not commit.in_commit()


def test_a_fork_takes_the_lock_once_more_where_its_thread_has_it() -> None:
    lock = commit.COMMIT_LOCK
    assert lock.acquire()
    assert lock.acquire()
    tried: list[bool] = []
    thread = threading.Thread(target=lambda: tried.append(lock.acquire(blocking=False)))
    thread.start()
    thread.join()
    lock.release()
    assert lock.held_here()
    lock.release()
    assert (tried, lock.held_here()) == ([False], False)


def test_what_is_listed_ends_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        Releasable().on_release()


def test_an_object_that_a_finalizer_has_released_is_not_released_again(log: list[str]) -> None:
    commit.release_later(Thing(log, "a"))
    _run_releases()
    assert commit._release_one() is None
    assert (log, latch().pending, commit.has_listed()) == (["a"], 0, False)
