from collections.abc import Callable
from functools import partial

from mbuf import MCLBYTES, MJUM16BYTES
from mbuf.net.relay.quota import AGAIN, LEAST, Quota


class One:
    """A holder that notes what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.told = told

    def resume(self) -> None:
        self.told.append(f"{self.name} resume")

    def cut(self) -> None:
        self.told.append(f"{self.name} cut")


class Timers:
    """A clock, and what is to be called when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, fn: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, fn))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due, self.due = self.due, []
        for when, fn in due:
            if when <= self.now:
                fn()
            else:
                self.due.append((when, fn))


def share(bound: int = 1 << 20, patience: float = 10.0) -> tuple[Quota, Timers, list[str]]:
    timers = Timers()
    return Quota(bound, patience, timers.later, lambda: timers.now), timers, []


def test_each_may_hold_an_eighth_of_what_is_free_and_one_packet_at_least() -> None:
    some, _, told = share(1 << 20)
    one = One("a", told)
    assert some.room(0) == 1 << 17
    some.moved(one, 0, 1 << 19, False)
    assert some.room(0) == 1 << 16
    assert some.room(1 << 16) == 0
    some.moved(one, 1 << 19, 1 << 20, False)
    assert some.room(0) == min(LEAST, MCLBYTES)
    assert some.room(LEAST) == 0


def test_what_no_large_cluster_could_be_filled_with_is_a_small_one() -> None:
    some, _, _ = share(1 << 20)
    assert some.room((1 << 17) - MJUM16BYTES) == MJUM16BYTES
    assert some.room((1 << 17) - MJUM16BYTES + 1) == MCLBYTES
    assert some.room((1 << 17) - 5) == 5


def test_it_is_worth_while_to_read_again_when_half_has_gone() -> None:
    some, _, _ = share(1 << 20)
    assert [some.roomy(held) for held in (0, 1 << 16, (1 << 16) + 1)] == [True, True, False]


def test_who_was_refused_reads_again_in_order_when_something_was_freed() -> None:
    some, _, told = share()
    a, b, c = (One(name, told) for name in "abc")
    for one in (a, b):
        assert some.may(one) == (one is a)
        if one is a:
            some.refused(a)
    some.freed()
    assert told == ["a resume"]
    some.freed()
    assert told == ["a resume"]
    assert not some.may(c)
    assert some.may(a)
    some.served(a)
    assert told == ["a resume", "b resume"]
    some.served(b)
    some.served(c)
    assert told == ["a resume", "b resume", "c resume"]
    assert some.may(a)
    assert some.denied == 1


def test_who_is_refused_in_turn_stays_first() -> None:
    some, _, told = share()
    a, b = One("a", told), One("b", told)
    some.refused(a)
    assert not some.may(b)
    some.freed()
    some.refused(a)
    some.freed()
    assert told == ["a resume", "a resume"]


def test_who_leaves_in_turn_passes_it_on() -> None:
    some, _, told = share()
    a, b, c = (One(name, told) for name in "abc")
    some.refused(a)
    some.refused(b)
    some.refused(c)
    some.freed()
    some.left(b, 0)
    some.left(a, 0)
    assert told == ["a resume", "c resume"]


def test_what_is_let_go_of_is_for_who_waits() -> None:
    some, _, told = share()
    a, b = One("a", told), One("b", told)
    some.moved(a, 0, 5000, False)
    some.refused(b)
    some.moved(a, 5000, 6000, False)
    assert not told
    some.moved(a, 6000, 100, True)
    assert (told, some.held) == (["b resume"], 100)


def test_who_waits_has_one_place_in_line_and_none_after_having_left() -> None:
    some, _, told = share()
    a, b, c = (One(name, told) for name in "abc")
    some.refused(a)
    for _ in range(2):
        assert not some.may(b)
    some.refused(b)
    assert not some.may(c)
    some.left(b, 0)
    some.served(a)
    assert told == ["a resume", "c resume"]


def test_memory_that_others_give_back_is_asked_for_again() -> None:
    some, timers, told = share()
    a = One("a", told)
    some.refused(a)
    for count in (1, 2):
        assert not told[count - 1 :]
        timers.advance(AGAIN)
        assert told == ["a resume"] * count
        some.refused(a)
    timers.advance(AGAIN)
    some.served(a)
    assert not timers.due


def test_who_stands_still_for_longest_is_cut_once_nothing_else_helped_and_then_the_next() -> None:
    some, timers, told = share(patience=10.0)
    a, b, c = (One(name, told) for name in "abc")

    def cut(who: One) -> None:
        told.append(f"{who.name} cut")
        some.left(who, 4000)

    for one in (a, b):
        one.cut = partial(cut, one)  # type: ignore[method-assign]
    c.resume = lambda: some.refused(c)  # type: ignore[method-assign]
    some.moved(a, 0, 5000, False)
    timers.advance(4)
    some.moved(b, 0, 4000, False)
    timers.advance(3)
    some.moved(a, 5000, 4000, True)
    some.refused(c)
    for _ in range(6):
        timers.advance(1)
    assert not told
    timers.advance(1)
    assert (told, some.cuts, some.held) == (["b cut"], 1, 4000)
    timers.advance(2)
    assert told == ["b cut"]
    timers.advance(1)
    assert (told, some.cuts, some.held) == (["b cut", "a cut"], 2, 0)


def test_one_is_cut_and_no_more_if_that_is_enough() -> None:
    some, timers, told = share(patience=10.0)
    a, b, c, d = (One(name, told) for name in "abcd")
    some.moved(a, 0, 5000, False)
    some.moved(b, 0, 5000, False)
    timers.advance(100)
    some.refused(c)
    assert not some.may(d)
    timers.advance(0)
    some.left(a, 5000)
    some.served(c)
    some.served(d)
    timers.advance(100)
    assert told == ["a cut", "c resume", "d resume"]


def test_nobody_is_cut_while_nobody_waits() -> None:
    some, timers, told = share(patience=1.0)
    a = One("a", told)
    some.moved(a, 0, 5000, False)
    timers.advance(100)
    assert not told
    assert not timers.due
