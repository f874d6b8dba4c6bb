"""Datagrams that are copied: those that the program wants as bytes, and where the pool has too little memory."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from chains import contents, mbufs
from mbuf import M_TSTMP, Mbuf, NoBufs, Pool
from mbuf.net.linux import SO_TIMESTAMPNS
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.packet.peer import Peer
from net.coalesced import Pair, pulled, send_coalesced


@pytest.mark.parametrize("clusters", [4, 12, 25])
def test_a_pool_with_fewer_clusters_than_one_message_receives_all(
    small: Callable[..., Pool], pair: Pair, clusters: int
) -> None:
    pool = small(clusters=clusters, mbufs=100, jumbop=1, jumbo9=1, jumbo16=1)
    pair[1].setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    rx = UdpReceiver(pool, pair[1], 65535, True, True)
    data = [*send_coalesced(pair[0], 1400, 40, 700), *send_coalesced(pair[0], 3000, 1)]
    found = []
    while len(found) < len(data):
        got = rx.pull(5)
        assert got
        assert {m.peer for m in got} == {Peer(pair[0].getsockname())}
        assert all(m.flags & M_TSTMP and m.pkthdr.rcv_tstmp for m in got)
        found += contents(pool, got)
    assert found == data
    assert rx.ready() == 0
    assert rx.counts()["denied"] == rx.counts()["truncated"] == 0
    # What wasn't copied is lost with the receiver.
    send_coalesced(pair[0], 1400, 40)
    pool.free_bulk(rx.pull(1))
    before = rx.counts()
    rx.close()
    counts = rx.counts()
    assert counts["packets_in"] + counts["discarded"] == len(data) + 40
    assert counts["packets_in"] < before["packets_in"]
    assert pool.out == 0


def test_of_datagrams_that_are_copied_those_that_are_too_long_are_counted(
    small: Callable[..., Pool], pair: Pair
) -> None:
    pool = small(clusters=8, mbufs=100, jumbop=1, jumbo9=1, jumbo16=1)
    rx = UdpReceiver(pool, pair[1], 1000, True, False)
    data = send_coalesced(pair[0], 1400, 40, 700)
    pair[0].send(bytes(1001))
    pair[0].send(bytes(1000))
    assert contents(pool, pulled(rx)) == [data[-1], bytes(1000)]
    assert rx.counts()["truncated"] == 41
    assert rx.pull(1) == []
    rx.close()


def test_small_datagrams_leave_their_clusters_when_more_than_half_of_the_pool_is_held(pair: Pair) -> None:
    with Pool("16M", worker=False) as pool:
        rx = UdpReceiver(pool, pair[1], 65535, True, True)
        data = send_coalesced(pair[0], 1, 60)
        shared = pulled(rx)
        assert [m.ext is not None for m in shared] == [True] * 60
        ballast = pool.getjcl_bulk(2300)
        data += send_coalesced(pair[0], 1, 60) + send_coalesced(pair[0], 300, 20) + send_coalesced(pair[0], 1000, 5)
        got = pulled(rx)
        assert [sum(256 + (n.ext.size if n.ext else 0) for n in mbufs(m)) <= 512 for m in got] == [True] * 80 + [
            False
        ] * 5
        assert all(m.peer == got[0].peer for m in got)
        pool.free_bulk(ballast)
        assert contents(pool, shared + got) == data
        rx.close()


def test_a_full_pool_leaves_datagrams_where_they_are(pair: Pair) -> None:
    with Pool("1M", worker=False) as pool:
        rx = UdpReceiver(pool, pair[1], 2048, False, False)
        rx.pull(1)
        data = [os.urandom(9) for _ in range(3)]
        for each in data:
            pair[0].send(each)
        held: list[Mbuf] = []
        with suppress(NoBufs):
            while True:
                held.append(pool.getcl())
        with suppress(NoBufs):
            while True:
                held.append(pool.get())
        got = contents(pool, rx.pull(3))
        pool.free_bulk(held)
        assert got + contents(pool, pulled(rx)) == data
        rx.close()


@pytest.mark.parametrize("size", [1, 700, 2047, 2048, 2049, 9000])
def test_datagrams_are_copied_into_bytes_from_any_layout(pool: Pool, pair: Pair, size: int) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, True)
    for _ in range(3):
        data = send_coalesced(pair[0], size, min(40, 50_000 // size), size // 2)
        got = []
        while some := rx.pull_bytes(1000):
            got += some
        assert [each for each, _ in got] == data
        assert {peer for _, peer in got} == {Peer(pair[0].getsockname())}
    rx.close()


def test_an_empty_datagram_is_copied(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    pair[0].send(b"")
    assert rx.pull_bytes(10) == [(b"", None)]
    rx.close()


def test_an_empty_datagram_is_received_where_the_pool_has_too_few_clusters(
    small: Callable[..., Pool], pair: Pair
) -> None:
    pool = small(clusters=4, mbufs=100, jumbop=1, jumbo9=1, jumbo16=1)
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    pair[0].send(b"")
    pair[0].send(b"1")
    assert contents(pool, pulled(rx)) == [b"", b"1"]
    rx.close()
