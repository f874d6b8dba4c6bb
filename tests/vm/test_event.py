from typing import Any

import pytest

from mbuf import Busy, Inval, compiled
from mbuf.vm.event import EVENTHANDLER_PRI_ANY, EVENTHANDLER_PRI_FIRST, EVENTHANDLER_PRI_LAST, Event


def test_priorities_have_the_kernels_values() -> None:
    assert (EVENTHANDLER_PRI_FIRST, EVENTHANDLER_PRI_ANY, EVENTHANDLER_PRI_LAST) == (0, 10000, 20000)


def test_listeners_are_called_by_priority_then_in_order_of_arrival() -> None:
    event = Event()
    calls: list[str] = []
    for name, priority in (("late", 20000), ("a", 10000), ("first", 0), ("b", 10000), ("second", 0)):
        event.register(lambda name=name: calls.append(name), priority)
    event.invoke()
    assert calls == ["first", "second", "a", "b", "late"]


def test_without_a_priority_a_listener_is_an_ordinary_one() -> None:
    event = Event()
    calls: list[str] = []
    event.register(lambda: calls.append("last"), EVENTHANDLER_PRI_LAST)
    event.register(lambda: calls.append("any"))
    event.register(lambda: calls.append("first"), EVENTHANDLER_PRI_FIRST)
    event.invoke()
    assert calls == ["first", "any", "last"]


def test_arguments_reach_every_listener() -> None:
    event = Event()
    got: list[tuple[object, ...]] = []
    event.register(lambda *args: got.append(args))
    event.register(lambda *args: got.append(args))
    event.invoke(1, "two")
    assert got == [(1, "two"), (1, "two")]


@pytest.mark.parametrize("listener", [5, None, "print"])
def test_a_listener_can_be_called(listener: Any) -> None:
    event = Event()
    with pytest.raises(Inval, match="give a function to call"):
        event.register(listener)
    assert not event


class ListenerThatRegisters:
    """A listener that registers another whenever it is compared, so many times."""

    def __init__(self, event: Event, times: int) -> None:
        self.event = event
        self.times = times

    def __call__(self) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        if self.times:
            self.times -= 1
            self.event.register(print)
        return self is other

    __hash__ = None  # type: ignore[assignment]


def test_who_registers_while_another_is_deregistered_is_not_forgotten() -> None:
    event = Event()
    event.register(ListenerThatRegisters(event, 3))
    event.register(len)
    event.deregister(len)
    event.deregister(print)
    assert event
    event.invoke()


def test_listeners_that_never_stay_the_same_are_busy() -> None:
    event = Event()
    listener = ListenerThatRegisters(event, 1000)
    event.register(listener)
    event.register(len)
    with pytest.raises(Busy, match="deregister"):
        event.deregister(len)
    assert event


@pytest.mark.skipif(compiled(), reason="compiled, only a finalizer comes in between")
@pytest.mark.parametrize(("others", "rounds"), [(0, 1), (1, 2), (63, 64)])
def test_a_listener_is_registered_once_however_often_the_list_changes_under_it(
    monkeypatch: pytest.MonkeyPatch, others: int, rounds: int
) -> None:
    event = Event()
    replace = Event._replace
    tried: list[int] = []

    def late(self: Event, before: Any, after: Any) -> bool:
        tried.append(1)
        if len(tried) <= others:
            replace(self, before, (*before, (20000, len)))
        return replace(self, before, after)

    monkeypatch.setattr(Event, "_replace", late)
    event.register(print)
    assert len(tried) == rounds
    assert [fn for _, fn in event._listeners] == [print] + [len] * others


@pytest.mark.skipif(compiled(), reason="compiled, only a finalizer comes in between")
def test_a_listener_for_which_the_list_never_stays_the_same_is_not_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    event = Event()
    tried: list[int] = []
    monkeypatch.setattr(Event, "_replace", lambda *_: bool(tried.append(1)))
    with pytest.raises(Busy, match="^register: other threads keep changing the listeners: try again$"):
        event.register(print)
    assert (len(tried), bool(event)) == (64, False)


def test_every_invocation_counts_also_without_listeners() -> None:
    event = Event()
    event.invoke()
    event.invoke()
    assert event.count == 2


def test_an_event_is_true_if_it_has_listeners() -> None:
    event = Event()
    assert not event
    event.register(print)
    assert event
    event.deregister(print)
    assert not event


def test_what_is_not_registered_is_refused() -> None:
    event = Event()
    with pytest.raises(Inval, match="is not registered"):
        event.deregister(print)
    assert not event.forget(print)


@pytest.mark.parametrize("junk", [5, None, "print"])
def test_what_cannot_be_called_is_refused(junk: Any) -> None:
    event = Event()
    with pytest.raises(Inval, match="give a function to call"):
        event.register(junk)
    with pytest.raises(TypeError):
        event.register(print, "first")  # type: ignore[arg-type]
    assert not event


def test_a_method_is_forgotten_by_its_equal() -> None:
    event = Event()
    events: list[int] = []
    event.register(events.append)
    event.deregister(events.append)
    event.invoke(1)
    assert events == []


def test_an_exception_comes_through_after_all_were_called() -> None:
    event = Event()
    calls: list[str] = []

    def fail(name: str) -> None:
        calls.append(name)
        raise RuntimeError(name)

    event.register(lambda: fail("a"))
    event.register(lambda: calls.append("b"))
    event.register(lambda: fail("c"))
    with pytest.raises(RuntimeError, match="^a$"):
        event.invoke()
    assert calls == ["a", "b", "c"]


def test_an_interrupt_comes_through_too() -> None:
    event = Event()
    calls: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    event.register(interrupt)
    event.register(lambda: calls.append("b"))
    with pytest.raises(KeyboardInterrupt):
        event.invoke()
    assert calls == ["b"]


def test_who_registers_during_an_invocation_hears_of_the_next() -> None:
    event = Event()
    calls: list[str] = []

    def register() -> None:
        event.register(lambda: calls.append("new"))

    event.register(register)
    event.invoke()
    assert calls == []
    event.deregister(register)
    event.invoke()
    assert calls == ["new"]


def test_who_leaves_during_an_invocation_may_be_called_once_more() -> None:
    event = Event()
    calls: list[str] = []

    def last() -> None:
        calls.append("last")

    event.register(lambda: event.forget(last))
    event.register(last)
    event.invoke()
    event.invoke()
    assert calls == ["last"]


def test_an_invocation_within_an_invocation_runs_at_once() -> None:
    event = Event()
    calls: list[int] = []

    def again() -> None:
        calls.append(event.count)
        if event.count < 3:
            event.invoke()

    event.register(again)
    event.invoke()
    assert calls == [1, 2, 3]


def test_one_registered_twice_is_called_twice_and_forgotten_at_once() -> None:
    event = Event()
    calls: list[int] = []
    for _ in range(2):
        event.register(calls.append)
    event.invoke(1)
    assert calls == [1, 1]
    event.deregister(calls.append)
    assert not event
