"""Token buckets, in simulated time."""

from hypothesis import given
from hypothesis import strategies as st

from mbuf.net.pacing.tokenbucket import TokenBucket

SECOND = 1_000_000_000


def departures(bucket: TokenBucket, sizes: list[int]) -> list[int]:
    """Send each packet as early as possible; return when."""
    times = []
    for size in sizes:
        times.append(bucket.departure)
        bucket.consume(size, bucket.departure)
    return times


def test_a_packet_may_be_sent_when_the_debt_is_paid() -> None:
    assert departures(TokenBucket(1000, 0, 50), [100, 200, 0, 1]) == [
        50,
        50 + SECOND // 10,
        *[50 + 3 * SECOND // 10] * 2,
    ]


def test_no_part_of_a_nanosecond_is_lost() -> None:
    """At 7 bytes a second, a byte takes 142857142 and 6/7 ns."""
    assert departures(TokenBucket(7, 0, 0), [1] * 8)[-1] == SECOND


def test_a_pause_gives_tokens_for_the_burst_only() -> None:
    bucket = TokenBucket(1000, 300, 0)
    now = 60 * SECOND
    sent = 0
    while bucket.departure <= now:
        bucket.consume(100, now)
        sent += 1
    # Three for the burst, and one that makes a debt.
    assert (sent, bucket.departure) == (4, now + SECOND // 10)


def test_the_default_burst_is_the_bytes_of_10_ms() -> None:
    bucket = TokenBucket(1_000_000, None, 0)
    bucket.consume(0, SECOND)
    assert bucket.departure == SECOND - 10_000_000


def test_a_late_sender_catches_up() -> None:
    bucket = TokenBucket(1000, 100, 0)
    for late in (0, 30_000_000, 90_000_000, 0):
        bucket.consume(100, bucket.departure + late)
    assert bucket.departure == 4 * SECOND // 10


def test_another_rate_keeps_the_debt_in_bytes() -> None:
    bucket = TokenBucket(1000, 0, 0)
    bucket.consume(500, 0)
    bucket.set_rate(5000, SECOND // 10)
    # The debt is 400 of the 500 bytes.
    assert (bucket.rate, bucket.departure) == (5000, SECOND // 10 + 4 * SECOND // 50)


def test_another_rate_keeps_the_tokens_in_bytes() -> None:
    bucket = TokenBucket(1000, 100, 0)
    bucket.set_rate(100, 60 * SECOND)
    assert bucket.departure == 59 * SECOND
    bucket.set_rate(10_000, 60 * SECOND)
    assert bucket.departure == 60 * SECOND - SECOND // 100


@given(
    st.integers(1, 1 << 40),
    st.integers(0, 1 << 20),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, SECOND)), min_size=1),
)
def test_never_more_is_sent_than_the_rate_the_burst_and_a_packet(
    rate: int, burst: int, packets: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate, burst, 0)
    now = 0
    sent: list[tuple[int, int]] = []
    for size, pause in packets:
        now = max(bucket.departure, now) + pause
        total = 0
        for then, before in reversed(sent):
            total += before
            # The clock is exact to a nanosecond.
            assert total * SECOND <= (now - then + 1) * rate + burst * SECOND
        bucket.consume(size, now)
        sent.append((now, size))
