"""Token buckets, in simulated nanoseconds."""

from hypothesis import given
from hypothesis import strategies as st

from mbuf.net.pacing.tokenbucket import TokenBucket

SECOND = 1_000_000_000


def times(bucket: TokenBucket, sizes: list[int]) -> list[int]:
    """When packets go that are sent as soon as they may."""
    at = []
    for size in sizes:
        at.append(bucket.at)
        bucket.take(size, bucket.at)
    return at


def test_packets_go_when_the_ones_before_are_paid() -> None:
    assert times(TokenBucket(1000, 0, 50), [100, 200, 0, 1]) == [50, 50 + SECOND // 10, *[50 + 3 * SECOND // 10] * 2]


def test_no_part_of_a_nanosecond_is_lost() -> None:
    """At 7 bytes a second, a byte takes 142857142 and 6/7 ns."""
    assert times(TokenBucket(7, 0, 0), [1] * 8)[-1] == SECOND


def test_a_rest_earns_the_burst_and_no_more() -> None:
    bucket = TokenBucket(1000, 300, 0)
    now = 60 * SECOND
    went = 0
    while bucket.at <= now:
        bucket.take(100, now)
        went += 1
    # Three for the burst, and one that owes.
    assert (went, bucket.at) == (4, now + SECOND // 10)


def test_by_default_a_burst_is_what_goes_in_10_ms() -> None:
    bucket = TokenBucket(1_000_000, None, 0)
    bucket.take(0, SECOND)
    assert bucket.at == SECOND - 10_000_000


def test_a_sender_that_is_late_makes_up_for_it() -> None:
    bucket = TokenBucket(1000, 100, 0)
    for late in (0, 30_000_000, 90_000_000, 0):
        bucket.take(100, bucket.at + late)
    assert bucket.at == 4 * SECOND // 10


def test_another_rate_keeps_the_bytes_that_are_owed() -> None:
    bucket = TokenBucket(1000, 0, 0)
    bucket.take(500, 0)
    bucket.modify(5000, SECOND // 10)
    # 400 of the 500 bytes are still owed.
    assert (bucket.rate, bucket.at) == (5000, SECOND // 10 + 4 * SECOND // 50)


def test_another_rate_keeps_the_bytes_that_are_there_to_be_taken() -> None:
    bucket = TokenBucket(1000, 100, 0)
    bucket.modify(100, 60 * SECOND)
    assert bucket.at == 59 * SECOND
    bucket.modify(10_000, 60 * SECOND)
    assert bucket.at == 60 * SECOND - SECOND // 100


@given(
    st.integers(1, 1 << 40),
    st.integers(0, 1 << 20),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, SECOND)), min_size=1),
)
def test_never_goes_more_than_the_rate_the_burst_and_a_packet(
    rate: int, burst: int, packets: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate, burst, 0)
    now = 0
    went: list[tuple[int, int]] = []
    for size, rest in packets:
        now = max(bucket.at, now) + rest
        paid = 0
        for then, before in reversed(went):
            paid += before
            # A nanosecond is as exact as the clock.
            assert paid * SECOND <= (now - then + 1) * rate + burst * SECOND
        bucket.take(size, now)
        went.append((now, size))
