from mbuf.cli.replay.consumer import Consumer, Drain, Hold


def test_each_held_packet_waits_for_the_same_time() -> None:
    consumer: Consumer = Hold(100)
    assert [consumer.due(now) for now in (0, 0, 7, 300)] == [100, 100, 107, 400]


def test_drained_packets_wait_for_those_before_them() -> None:
    consumer: Consumer = Drain(10)
    assert [consumer.due(now) for now in (0, 0, 5, 100, 101)] == [10, 20, 30, 110, 120]


def test_a_dropped_packet_would_wait_for_the_same_time() -> None:
    consumer = Hold(100)
    consumer.miss(0, 1)
    consumer.miss(0, 3)
    consumer.miss(50, 2)
    assert [consumer.missed(now) for now in (0, 99, 100, 149, 150)] == [6, 6, 2, 2, 0]


def test_many_dropped_packets_are_counted_exactly_or_higher_in_few_entries() -> None:
    consumer = Hold(1_000_000)
    for now in range(0, 1_000_000, 10):
        consumer.miss(now, 1)
    assert len(consumer._missed) <= 1026
    for now in range(1_000_000, 2_000_001, 12_345):
        exact = sum(due > now for due in range(1_000_000, 2_000_000, 10))
        assert exact <= consumer.missed(now) <= exact + 100


def test_dropped_packets_would_have_kept_the_thread_busy() -> None:
    consumer = Drain(10)
    assert consumer.due(0) == 10
    consumer.miss(0, 1)
    consumer.miss(1, 1)
    # With them, the thread would have been busy until 30.
    assert [consumer.missed(now) for now in (1, 10, 11, 20, 21, 30)] == [2, 2, 2, 1, 1, 0]
    assert consumer.due(15) == 25
    # In 5 of these 20 the thread was idle; until 25 it is busy.
    assert [consumer.missed(now) for now in (15, 25, 30, 35, 40)] == [2, 2, 1, 1, 0]


def test_a_drop_before_the_first_packet_counts() -> None:
    consumer = Drain(10)
    consumer.miss(100, 1)
    assert [consumer.missed(now) for now in (100, 109, 110)] == [1, 1, 0]


def test_a_dropped_packet_counts_as_the_largest() -> None:
    consumer = Drain(10)
    consumer.due(0, 5)
    consumer.miss(0, 1)
    assert consumer.missed(0) == 5
