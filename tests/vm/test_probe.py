import logging
import threading

import pytest

from mbuf import Inval
from mbuf.vm.probe import Probes


def test_it_is_on_while_it_has_listeners() -> None:
    probes = Probes()
    assert not probes.on
    probes.listen("a", print)
    probes.listen("a", repr)
    assert (probes.on, probes.listening("a"), probes.listening("b")) == (True, 2, 0)
    assert probes.ignore("a", print)
    assert not probes.ignore("b", repr)
    assert probes.on
    assert probes.ignore("a", repr)
    assert not probes.on


def test_what_cannot_be_called_does_not_listen() -> None:
    probes = Probes()
    with pytest.raises(Inval, match="give a function to call, not 5"):
        probes.listen("a", 5)  # type: ignore[arg-type]
    assert not probes.on


def test_silence_forgets_all() -> None:
    probes = Probes()
    calls: list[int] = []
    probes.listen("a", calls.append)
    probes.silence()
    probes.fire("a", 1)
    assert not probes.on
    assert not calls


def test_who_listens_is_told_in_order_of_arrival() -> None:
    probes = Probes()
    calls: list[object] = []
    probes.listen("a", lambda *args: calls.append(args))
    probes.listen("b", lambda *args: calls.append("b"))
    probes.listen("a", lambda *args: calls.append("again"))
    probes.fire("a", 1, None)
    assert calls == [(1, None), "again"]


def test_what_a_listener_does_fires_nothing() -> None:
    probes = Probes()
    calls: list[str] = []

    def again() -> None:
        calls.append("a")
        probes.fire("a")

    probes.listen("a", again)
    probes.fire("a")
    probes.fire("a")
    assert calls == ["a", "a"]


def test_another_thread_may_fire_meanwhile() -> None:
    probes = Probes()
    calls: list[int] = []

    def listener(number: int) -> None:
        calls.append(number)
        if number == 1:
            other = threading.Thread(target=probes.fire, args=("a", 2))
            other.start()
            other.join()

    probes.listen("a", listener)
    probes.fire("a", 1)
    assert calls == [1, 2]


def test_a_listener_that_fails_is_logged_once_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    probes = Probes()
    calls: list[int] = []

    def fail(number: int) -> None:
        raise ValueError("no")

    probes.listen("a", fail)
    probes.listen("a", calls.append)
    with caplog.at_level(logging.ERROR, "mbuf"):
        probes.fire("a", 1)
        probes.fire("a", 2)
    assert calls == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"listener {fail!r} of probe a, which is detached now, failed"
    ]


def test_what_ends_a_program_goes_through_and_it_fires_again_after_that() -> None:
    probes = Probes()
    calls: list[int] = []

    def end(number: int) -> None:
        calls.append(number)
        raise KeyboardInterrupt

    probes.listen("a", end)
    for number in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            probes.fire("a", number)
    assert calls == [1, 2]
