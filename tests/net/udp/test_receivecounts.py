"""The counters of a receive side: a message that reports drops is an example for those that were dropped."""

import pytest

from mbuf import compiled
from mbuf.net.port.port import PortStat
from mbuf.net.udp.receivecounts import ReceiveCounts


def test_they_have_the_names_of_a_port_stat_and_begin_with_0() -> None:
    counts = ReceiveCounts().as_dict()
    assert set(counts.values()) == {0}
    assert PortStat(**counts) == PortStat()


@pytest.mark.skipif(compiled(), reason="compiled, only C can reach these")
def test_drops_are_counted_as_datagrams_like_those_of_the_message_that_reports_them() -> None:
    counts = ReceiveCounts()
    counts.add_drops(3, 1)
    counts.add_drops(3, 50)
    assert (counts.dropped_messages, counts.dropped) == (3, 3)
    counts.add_drops(5, 50)
    assert (counts.dropped_messages, counts.dropped) == (5, 103)


@pytest.mark.skipif(compiled(), reason="compiled, only C can reach these")
def test_the_count_of_the_system_begins_again_after_32_bits() -> None:
    counts = ReceiveCounts()
    counts.add_drops((1 << 32) - 2, 1)
    counts.add_drops(3, 1)
    assert counts.dropped == (1 << 32) + 3


@pytest.mark.skipif(compiled(), reason="compiled, only C can reach these")
def test_as_many_datagrams_are_expected_as_the_last_message_brought() -> None:
    counts = ReceiveCounts()
    assert counts.expected == 1
    counts.add_packets(40)
    counts.add_packets(2)
    assert (counts.packets_in, counts.expected) == (42, 2)
