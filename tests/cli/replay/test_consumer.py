from mbuf.cli.replay.consumer import Consumer, Drain, Hold


def test_every_held_packet_waits_as_long() -> None:
    reader: Consumer = Hold(100)
    assert [reader.due(now) for now in (0, 0, 7, 300)] == [100, 100, 107, 400]


def test_drained_packets_wait_for_those_before_them() -> None:
    reader: Consumer = Drain(10)
    assert [reader.due(now) for now in (0, 0, 5, 100, 101)] == [10, 20, 30, 110, 120]


def test_what_was_missed_while_holding_would_wait_as_long() -> None:
    reader = Hold(100)
    reader.miss(0, 1)
    reader.miss(0, 3)
    reader.miss(50, 2)
    assert [reader.missed(now) for now in (0, 99, 100, 149, 150)] == [6, 6, 2, 2, 0]


def test_what_was_missed_while_holding_long_is_never_counted_less() -> None:
    reader = Hold(1_000_000)
    for now in range(0, 1_000_000, 10):
        reader.miss(now, 1)
    assert len(reader._missed) <= 1026
    for now in range(1_000_000, 2_000_001, 12_345):
        exact = sum(due > now for due in range(1_000_000, 2_000_000, 10))
        assert exact <= reader.missed(now) <= exact + 100


def test_what_was_missed_while_draining_would_have_kept_the_reader_busy() -> None:
    reader = Drain(10)
    assert reader.due(0) == 10
    reader.miss(0, 1)
    reader.miss(1, 1)
    # With them, the reader would have been busy until 30.
    assert [reader.missed(now) for now in (1, 10, 11, 20, 21, 30)] == [2, 2, 2, 1, 1, 0]
    assert reader.due(15) == 25
    # Five of twenty have been made up for, until 25 none more.
    assert [reader.missed(now) for now in (15, 25, 30, 35, 40)] == [2, 2, 1, 1, 0]


def test_a_drop_before_anything_was_received_counts() -> None:
    reader = Drain(10)
    reader.miss(100, 1)
    assert [reader.missed(now) for now in (100, 109, 110)] == [1, 1, 0]


def test_missed_packets_may_be_as_large_as_the_largest() -> None:
    reader = Drain(10)
    reader.due(0, 5)
    reader.miss(0, 1)
    assert reader.missed(0) == 5
