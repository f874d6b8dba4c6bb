"""Lines of packets, and whose turn it is."""

import pytest

from mbuf import Inval, NoBufs, Pool
from mbuf.net.pacing.tokenbucket import TokenBucket
from mbuf.net.pacing.txqueue import TxQueue, TxQueues


def names(lines: TxQueues, now: int) -> str:
    """What comes in turn at a time, until none does; each packet takes a token for each byte."""
    found = ""
    while (turn := lines.next(now)) is not None:
        line, m = turn
        if line.bucket is not None:
            line.bucket.take(len(m), now)
        found += bytes(m).decode()
        lines.gone(line)
        m.freem()
    return found


def put(pool: Pool, lines: TxQueues, line: TxQueue, text: str) -> None:
    for name in text:
        lines.put(line, pool.gethdr().append(name.encode()))


def paced(rate: int, now: int = 0) -> TxQueue:
    return TxQueue(8, TokenBucket(rate * 1_000_000_000, 0, now))


def test_without_packets_it_is_nobodys_turn(pool: Pool) -> None:
    lines = TxQueues(8)
    assert (bool(lines), len(lines), lines.next(0), lines.due(7)) == (False, 0, None, None)


def test_lines_that_need_no_tokens_take_turns_with_those_that_do(pool: Pool) -> None:
    lines, line = TxQueues(8), TxQueue(8, TokenBucket(1_000_000_000, 100, 0))
    put(pool, lines, lines.free, "abcd")
    put(pool, lines, line, "123")
    assert (len(lines), lines.due(50)) == (7, 50)
    assert names(lines, 50) == "a1b2c3d"


def test_the_one_that_has_waited_longest_beyond_its_time_is_first(pool: Pool) -> None:
    lines, a, b, c = TxQueues(8), paced(1, 30), paced(1, 10), paced(1, 20)
    for line, name in ((a, "a"), (b, "b"), (c, "c")):
        put(pool, lines, line, name)
    assert lines.due(0) == 10
    assert names(lines, 9) == ""
    assert names(lines, 20) == "bc"
    assert lines.due(20) == 30
    lines.ahead = 5
    assert lines.due(20) == 25
    assert names(lines, 25) == "a"


def test_times_that_have_changed_are_looked_at_again(pool: Pool) -> None:
    lines, a, b = TxQueues(8), paced(1, 10), paced(1, 20)
    put(pool, lines, a, "a")
    put(pool, lines, b, "b")
    assert a.bucket is not None
    a.bucket.at = 40
    lines.again()
    assert lines.due(0) == 20
    assert names(lines, 100) == "ba"


def test_a_full_line_refuses_and_others_do_not(pool: Pool) -> None:
    lines, line = TxQueues(1), TxQueue(1, TokenBucket(1, 0, 0))
    put(pool, lines, line, "a")
    with pool.gethdr() as m:
        with pytest.raises(NoBufs):
            lines.put(line, m)
        with pytest.raises(Inval):
            lines.put(lines.free, None)  # type: ignore[arg-type]
    put(pool, lines, lines.free, "b")
    assert len(lines) == 2
    assert lines.drain() == 2


def test_packets_that_somebody_else_has_freed_are_passed_over(pool: Pool) -> None:
    lines, line = TxQueues(8), paced(1)
    put(pool, lines, line, "a")
    put(pool, lines, lines.free, "b")
    for queue in (line.queue, lines.free.queue):
        assert queue.first is not None
        queue.first.freem()
    assert names(lines, 10) == ""
    assert not lines
    put(pool, lines, line, "c")
    assert names(lines, 20) == "c"


@pytest.mark.parametrize("free", [True, False])
def test_while_a_packet_is_on_the_way_its_line_waits_and_is_counted(pool: Pool, free: bool) -> None:
    lines = TxQueues(8)
    line = lines.free if free else paced(1)
    put(pool, lines, line, "ab")
    found = lines.next(0)
    assert found is not None
    put(pool, lines, line, "c")
    assert (found[0] is line, len(lines)) == (True, 2)
    found[1].freem()
    assert lines.drain() == 2
    assert not lines
