import pytest

from mbuf.cli.replay.clock import MAX_GAP, SECOND, CaptureClock

YEAR = 365 * 86400 * SECOND

# Timestamps, and the times at which their packets come.
WALKS = [
    ([5, 5, 6, 9], [0, 0, 1, 4]),
    (
        [0, MAX_GAP - 1, 2 * MAX_GAP - 1, 5 * MAX_GAP],
        [0, MAX_GAP - 1, 2 * MAX_GAP - 1, 3 * MAX_GAP - 1],
    ),
    ([100, 110, 105, 109, 110, 112], [0, 10, 10, 10, 10, 12]),
    ([YEAR, YEAR + 3, 7, 8, YEAR, YEAR + 1], [0, 3, 3, 4, 4 + MAX_GAP, 5 + MAX_GAP]),
    ([MAX_GAP, 0, 1, MAX_GAP + 1], [0, 0, 0, 1]),
]


@pytest.mark.parametrize(("timestamps", "times"), WALKS)
def test_pauses_are_cut_and_time_never_goes_back(timestamps: list[int], times: list[int]) -> None:
    clock = CaptureClock()
    assert [clock.advance(when) for when in timestamps] == times
    assert clock.now == times[-1]


def test_the_next_capture_begins_without_a_pause() -> None:
    clock = CaptureClock()
    assert [clock.advance(when) for when in (100, 107)] == [0, 7]
    clock.restart()
    assert [clock.advance(when) for when in (YEAR, YEAR + 1)] == [7, 8]
    clock.restart()
    assert [clock.advance(when) for when in (3, 5)] == [8, 10]
