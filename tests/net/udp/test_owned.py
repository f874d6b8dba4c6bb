"""Packets that share memory get memory of their own."""

from collections.abc import Callable

import pytest

from chains import mbufs
from mbuf import Mbuf, NoBufs, Pool
from mbuf.net.udp.owned import own


def test_packets_that_share_memory_are_copied(pool: Pool) -> None:
    m = pool.frombytes(bytes(range(250)) * 36)
    m.peer = ("192.0.2.1", 53)
    data = [bytes(m)[n : n + 1000] for n in range(0, 9000, 1000)]
    owned, lost = own(m.segment(1000))
    assert lost == 0
    assert all(n.writable for each in owned for n in mbufs(each))
    assert [bytes(each) for each in owned] == data
    assert {each.peer for each in owned} == {owned[0].peer} != {None}
    pool.free_bulk(owned)


def test_what_cannot_be_copied_is_freed_and_counted(small: Callable[..., Pool]) -> None:
    pool = small(clusters=6, mbufs=20)
    parts = pool.getcl().append(bytes(2000)).segment(500)
    held: list[Mbuf] = []
    for get in (pool.getcl, pool.get):
        with pytest.raises(NoBufs):
            held.extend(iter(get, None))
    owned, lost = own(parts)
    # The last one isn't shared any more.
    assert (len(owned), lost) == (1, 1500)
    assert all(m.writable for m in owned)
    pool.free_bulk(owned + held)
    assert pool.out == 0
