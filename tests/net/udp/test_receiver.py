"""The receive side: coalesced datagrams are segmented with any layout, and whatever the pool refuses."""

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from chains import contents, mbufs
from mbuf import M_EXT, M_PKTHDR, M_TSTMP, MJUM16BYTES, Busy, Inval, Mbuf, NoBufs, Pool, compiled
from mbuf.net.linux import SO_RXQ_OVFL, SO_TIMESTAMPING, SO_TIMESTAMPNS, TIMESTAMPING_RX
from mbuf.net.udp.receiver import UdpReceiver
from mbuf.net.udp.recvmmsg import is_incomplete
from mbuf.net.udp.senderrors import SendError, SendErrors
from mbuf.packet.peer import Peer
from net.coalesced import Pair, pulled, send_coalesced


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("size", [1, 20, 1024, 1025, 1400, 2047, 2048, 2049, 4096, 9000, 16_384, 20_000])
def test_coalesced_datagrams_of_any_size_are_segmented_whatever_the_layout(
    pool: Pool, pair: Pair, size: int, writable: bool
) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, False, None, writable)
    for other in (size, size, size, 700, size, 700, 700, size, size):
        count = min(40, 50_000 // other)
        data = send_coalesced(pair[0], other, count, other // 2) if count > 1 else [os.urandom(other)]
        if count == 1:
            pair[0].send(data[0])
        assert contents(pool, pulled(rx, 7)) == data
    assert rx.segment in (size, 700, 0)
    rx.close()


def test_a_size_that_was_received_twice_in_a_row_gets_its_layout(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    sizes = []
    for size in (1400, 1400, 500, 1400, 500, 500):
        send_coalesced(pair[0], size, 20)
        pool.free_bulk(pulled(rx))
        sizes.append(rx.segment)
    assert sizes == [0, 1400, 1400, 1400, 1400, 500]
    send_coalesced(pair[0], 500, 20)
    got = pulled(rx)
    # None is in two clusters.
    assert all(m.next is None for m in got)
    pool.free_bulk(got)
    rx.close()


def test_writable_packets_have_a_cluster_of_their_own(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, False, None, True)
    for _ in range(3):
        send_coalesced(pair[0], 1400, 20)
        got = pulled(rx)
        alone = all(m.writable and m.next is None and m.size == 2048 for m in got)
        pool.free_bulk(got)
    assert alone
    rx.close()


def test_packets_of_one_message_have_the_same_header(pool: Pool, pair: Pair) -> None:
    pair[1].setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    for interface in (None, "em0"):
        rx = UdpReceiver(pool, pair[1], 65535, True, False, interface)
        send_coalesced(pair[0], 100, 20)
        got = pulled(rx)
        assert len({m.pkthdr.rcv_tstmp for m in got}) == 1
        assert {m.flags for m in got} == {M_EXT | M_PKTHDR | M_TSTMP}
        assert {m.pkthdr.rcvif for m in got} == {interface}
        pool.free_bulk(got)
        rx.close()


def test_datagrams_for_which_the_pool_has_no_mbufs_are_counted(
    make: Callable[..., Pool], few: Callable[..., dict[str, int]], pair: Pair
) -> None:
    pool = make(few(clusters=40, jumbo16=1, mbufs=60))
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    data = send_coalesced(pair[0], 300, 64)
    # There are no mbufs but the posted ones: a datagram that begins inside a cluster can't get one.
    rx.pull(0)
    held: list[Mbuf] = []
    while not rx.counts()["packets_in"]:
        with pytest.raises(NoBufs):
            held.extend(iter(pool.get, None))
        for m in held[:33]:
            m.free()
        del held[:33]
        got = pulled(rx)
    found = contents(pool, got)
    counts = rx.counts()
    assert found == data[: len(found)]
    assert 0 < len(found) < 64
    assert (counts["packets_in"], counts["bytes_in"]) == (len(found), 300 * len(found))
    assert counts["denied"] == 64 - len(found)
    pool.free_bulk(held)
    rx.close()


def test_small_clusters_are_used_where_large_ones_are_refused(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=70, jumbo16=1, mbufs=400)
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    for _ in range(3):
        data = send_coalesced(pair[0], 1400, 40)
        got = pulled(rx)
        assert {n.size for m in got for n in mbufs(m)} == {2048}
        assert contents(pool, got) == data
    rx.close()


def test_nothing_is_received_while_the_pool_refuses_mbufs(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=40, mbufs=60)
    rx = UdpReceiver(pool, pair[1], 65535, False, False)
    held = pool.getcl_bulk(40)
    pair[0].send(b"waits")
    assert rx.pull(1) == []
    assert rx.counts()["short"] == 1
    pool.free_bulk(held)
    assert contents(pool, rx.pull(1)) == [b"waits"]
    rx.release_buffers()
    assert pool.out == 0
    pair[0].send(b"again")
    assert contents(pool, rx.pull(1)) == [b"again"]
    rx.close()


class Hooked:
    """A socket that calls a function when it is about to receive."""

    def __init__(self, sock: socket.socket, do: Callable[[], object]) -> None:
        self.sock = sock
        self.do = do

    def fileno(self) -> int:
        self.do()
        return self.sock.fileno()

    def gettimeout(self) -> float | None:
        return self.sock.gettimeout()

    def recvmsg_into(self, *arguments: Any) -> Any:
        self.do()
        return self.sock.recvmsg_into(*arguments)


def test_one_thread_pulls_at_a_time(pool: Pool, pair: Pair) -> None:
    def call_all() -> None:
        for call in (lambda: rx.pull(1), rx.close, rx.release_buffers):
            with pytest.raises(Busy):
                call()

    sock: Any = Hooked(pair[1], call_all)
    rx = UdpReceiver(pool, sock, 2000, False, False)
    pair[0].send(b"x")
    assert contents(pool, rx.pull(1)) == [b"x"]
    rx.close()


def test_packets_that_were_not_pulled_are_freed_by_close(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    send_coalesced(pair[0], 100, 20)
    got = rx.pull(3)
    assert len(got) == 3
    rx.close()
    rx.close()
    assert pool.out > 3 - 1
    pool.free_bulk(got)
    counts = rx.counts()
    assert (counts["packets_in"], counts["bytes_in"], counts["discarded"]) == (3, 300, 17)
    with pytest.raises(Inval, match="0 or more"):
        rx.pull(-1)


def test_datagrams_received_after_the_pool_was_closed_are_returned_or_counted(
    make: Callable[..., Pool], pair: Pair
) -> None:
    pool = make()
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    assert rx.pull(1) == []
    data = send_coalesced(pair[0], 100, 5)
    with pytest.warns(ResourceWarning, match="still out"):
        pool.close()
    assert contents(pool, rx.pull(1)) == data[:1]
    counts = rx.counts()
    assert (counts["packets_in"], counts["bytes_in"], counts["denied"]) == (1, 100, 4)
    rx.close()
    assert pool.out == 0


@pytest.mark.parametrize("posted", [1, 1 << 20])
def test_a_datagram_behind_others_that_are_too_long_is_received_at_once(pool: Pool, pair: Pair, posted: int) -> None:
    rx = UdpReceiver(pool, pair[1], 100, False, False, None, False, posted)
    for _ in range(5):
        pair[0].send(bytes(3000))
    pair[0].send(b"fits")
    assert contents(pool, rx.pull(1)) == [b"fits"]
    assert rx.counts()["truncated"] == 5
    assert rx.pull(1) == []
    rx.close()


def test_no_more_is_posted_than_there_is_room_for_after_an_error(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=600, jumbo16=120, mbufs=1000)
    rx = UdpReceiver(pool, pair[1], 65535, True, False)
    for _ in range(3):
        data = send_coalesced(pair[0], 1025, 40)
        assert contents(pool, pulled(rx)) == data
    assert rx.segment == 1025
    rx.release_buffers()
    # From here on only small clusters are left, which are enough for fewer messages.
    held = pool.getjcl_bulk(120, size=MJUM16BYTES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()
    pair[1].connect(closed)
    pair[1].send(b"x")
    assert rx.pull(1000) == []
    assert rx.counts()["faults"] == 1
    rx.close()
    pool.free_bulk(held)
    assert pool.out == 0


def test_nothing_is_posted_once_it_is_closed(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, False, False)
    assert rx.pull(1) == []
    refused = []

    def pull(*_: object) -> None:
        with pytest.raises(Inval, match="closed"):
            rx.pull(1)
        refused.append(True)

    with pool.probes.attached("m-free", pull):
        rx.close()
    assert refused
    rx.release_buffers()
    rx.close()
    assert pool.out == 0


@pytest.mark.skipif(not compiled(), reason="uncompiled, any object can be initialized again")
def test_a_receiver_is_initialized_once_and_with_a_pool(pool: Pool, pair: Pair) -> None:
    never: Any = UdpReceiver.__new__(UdpReceiver)
    with pytest.raises(Inval, match="closed"):
        never.pull(1)
    never.release_buffers()
    never.close()
    for arguments in ((None, pair[1], 99, False, False), (5, pair[1], 99, False, False)):
        with pytest.raises(TypeError):
            never.__init__(*arguments)
    for size in (0, -1, (1 << 20) + 1, 1 << 40):
        with pytest.raises(IndexError, match="give 1 to"):
            UdpReceiver(pool, pair[1], size, False, False)
    rx: Any = UdpReceiver(pool, pair[1], 99, False, False)
    with pytest.raises(TypeError, match="already"):
        rx.__init__(pool, pair[1], 99, False, False)
    rx.close()


def test_writable_packets_are_writable_from_the_first_message_on(pool: Pool, pair: Pair) -> None:
    for size in (1, 100, 1024, 1400, 2048, 2049, 4096, 9000, 20_000):
        rx = UdpReceiver(pool, pair[1], 65535, True, False, None, True)
        for _ in range(3):
            data = send_coalesced(pair[0], size, min(20, 50_000 // size), size // 2)
            got = pulled(rx)
            assert all(n.writable for m in got for n in mbufs(m))
            assert contents(pool, got) == data
        rx.close()


def test_a_copy_that_the_pool_refuses_is_counted(small: Callable[..., Pool], pair: Pair) -> None:
    pool = small(clusters=33, mbufs=120, jumbo16=1)
    rx = UdpReceiver(pool, pair[1], 65535, True, False, None, True)
    data = send_coalesced(pair[0], 900, 64)
    rx.pull(0)
    got = pulled(rx)
    found = [bytes(m) for m in got]
    assert all(n.writable for m in got for n in mbufs(m))
    pool.free_bulk(got)
    counts = rx.counts()
    assert len(found) + counts["denied"] == 64
    assert counts["bytes_in"] == 900 * len(found)
    assert set(found) <= set(data)
    rx.close()


def test_nothing_is_joined_however_many_options_the_socket_has(pool: Pool, pair: Pair) -> None:
    on = [(socket.SOL_SOCKET, SO_TIMESTAMPNS), *((0, option) for option in (8, 12, 13, 20, 23))]
    for option in on:
        pair[1].setsockopt(*option, 1)
    pair[1].setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TIMESTAMPING_RX)
    pair[1].setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 30_000)
    for gro in (True, False):
        rx = UdpReceiver(pool, pair[1], 65535, gro, False)
        for _ in range(9):
            send_coalesced(pair[0], 1000, 10)
        got = pulled(rx)
        assert {len(m) for m in got} == {1000}
        pool.free_bulk(got)
        send_coalesced(pair[0], 1000, 10)
        got = pulled(rx)
        assert [len(m) for m in got] == [1000] * 10
        pool.free_bulk(got)
        assert rx.counts()["dropped"] == 10 * rx.counts()["dropped_messages"] > 0
        rx.close()


def test_a_message_with_incomplete_control_messages_is_discarded() -> None:
    assert is_incomplete(socket.MSG_CTRUNC, 0)
    assert is_incomplete(socket.MSG_TRUNC, 100)
    assert not is_incomplete(socket.MSG_CTRUNC, 100)
    assert not is_incomplete(0, 0)


# As bytes.


def test_bytes_come_with_their_peer_and_mbufs_stay_posted(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, True)
    peer = Peer(pair[0].getsockname())
    assert rx.pull_bytes(1) == []
    posted = pool.out
    for n in range(3):
        pair[0].send(b"%d" % n)
        assert rx.pull_bytes(1) == [(b"%d" % n, peer)]
    assert pool.out == posted
    assert (rx.counts()["packets_in"], rx.counts()["bytes_in"]) == (3, 3)
    assert rx.pull_bytes(0) == []
    with pytest.raises(Inval, match="0 or more"):
        rx.pull_bytes(-1)
    rx.close()
    with pytest.raises(Inval, match="closed"):
        rx.pull_bytes(1)


def test_packets_that_pull_has_left_are_bytes_for_the_next_call(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 65535, True, True)
    data = send_coalesced(pair[0], 700, 10)
    found = contents(pool, rx.pull(3))
    pair[0].send(b"behind")
    assert rx.ready() == 7
    while some := rx.pull_bytes(10):
        found += [text for text, _ in some]
        assert {peer for _, peer in some} == {Peer(pair[0].getsockname())}
    assert found == [*data, b"behind"]
    # And the other way round.
    pair[0].send(b"packet")
    assert contents(pool, rx.pull(1)) == [b"packet"]
    rx.close()
    assert pool.out == 0


def test_of_datagrams_that_are_too_long_no_bytes_are_returned(pool: Pool, pair: Pair) -> None:
    rx = UdpReceiver(pool, pair[1], 1000, True, False)
    rest = send_coalesced(pair[0], 1400, 5, 9)[-1]
    pair[0].send(bytes(1000))
    assert [text for text, _ in rx.pull_bytes(100) + rx.pull_bytes(100)] == [rest, bytes(1000)]
    assert rx.counts()["truncated"] == 5
    rx.close()


@pytest.mark.parametrize("clusters", [4, 12])
def test_bytes_are_returned_by_a_pool_with_fewer_clusters_than_one_message(
    small: Callable[..., Pool], pair: Pair, clusters: int
) -> None:
    pool = small(clusters=clusters, mbufs=100, jumbop=1, jumbo9=1, jumbo16=1)
    rx = UdpReceiver(pool, pair[1], 65535, True, True)
    data = send_coalesced(pair[0], 1400, 40, 700)
    found = []
    while some := rx.pull_bytes(5):
        found += some
    assert found == [(text, Peer(pair[0].getsockname())) for text in data]
    rx.close()
    assert pool.out == 0


def test_an_error_that_is_told_first_loses_no_bytes(pool: Pool, pair: Pair) -> None:
    class Stop(Exception):
        pass

    def stop(error: SendError) -> None:
        raise Stop

    failures = SendErrors(pair[1], "test", stop)
    rx = UdpReceiver(pool, pair[1], 65535, True, False, failures=failures)
    pair[0].send(b"1")
    failures.add(5, None, 1)
    with pytest.raises(Stop):
        rx.pull_bytes(1)
    assert rx.ready() == 1
    assert rx.pull_bytes(1) == [(b"1", None)]
    pair[0].send(b"22")
    failures.add(5, None, 1)
    with pytest.raises(Stop):
        rx.pull_bytes(1)
    rx.close()
    counts = rx.counts()
    assert (counts["packets_in"], counts["bytes_in"], counts["discarded"]) == (1, 1, 1)
