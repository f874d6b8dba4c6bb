"""Estimates of working sets; test_depot.py tests their use by zones."""

from mbuf.uma.workset import PERIOD, WorkingSet


def test_a_period_is_20_seconds() -> None:
    assert PERIOD == 20


def test_the_estimate_follows_the_span_between_low_and_high() -> None:
    work = WorkingSet(0)
    work.add(100)
    work.remove(30)
    work.add(10)
    assert (work.nitems, work.imin, work.imax, work.wss) == (80, 0, 100, 0)
    work.tick(19.9)
    assert work.wss == 0
    work.tick(20)
    assert (work.wss, work.imin, work.imax) == (4 * 100 // 5, 80, 80)
    work.remove(50)
    work.tick(40)
    # (4 * 50 + 80) / 5, cut to a whole number.
    assert (work.wss, work.imin, work.imax) == (56, 30, 30)


def test_items_made_anew_count_as_if_they_had_been_listed() -> None:
    work = WorkingSet(0)
    work.imported(254)
    assert (work.nitems, work.imax) == (0, 254)
    work.tick(20)
    assert work.wss == 203


def test_periods_missed_are_made_up_for() -> None:
    work = WorkingSet(0)
    work.add(100)
    work.tick(60)
    # 80, then (0 + 80) / 5, then 16 / 5.
    assert work.wss == 3


def test_after_a_long_time_nothing_is_remembered() -> None:
    work = WorkingSet(0)
    work.add(1_000_000)
    work.tick(1e9)
    assert work.wss == 0
    work.remove(10)
    work.tick(1e9 + 19.9)
    assert work.wss == 0
    work.tick(1e9 + 20)
    assert work.wss == 8


def test_what_was_not_missed_is_spare() -> None:
    work = WorkingSet(0)
    work.add(100)
    # In this period the list was empty once: all of it may be needed.
    assert work.spare() == 0
    work.tick(20)
    assert (work.wss, work.spare()) == (80, 20)
    work.tick(40)
    assert (work.wss, work.spare()) == (16, 84)
    work.remove(40)
    work.add(20)
    # The list went down by 40 in this period, and has grown since.
    assert (work.nitems, work.imin, work.spare()) == (80, 60, 60)
