"""The send side of an endpoint: what is queued, when it is flushed, and what waits for the pool."""

import errno
from collections.abc import Callable
from typing import Any

import pytest

from chains import exhaust, exhaust_pool
from mbuf import M_NOTREADY, Freed, Inval, Pool
from mbuf.net.aio.addresses import Addresses
from mbuf.net.aio.outbox import Outbox
from mbuf.packet.peer import Peer

POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}

#: The same as in the module, where they are C constants.
BATCH = 64
HEADER = 8

HERE = ("192.0.2.1", 53)


class Sender:
    """An outbox; `flushed` has the number of packets at each flush, and `found` the addresses that were looked up."""

    def __init__(self, pool: Pool, fixed: bool = False, remote: Any = None, longest: int = 1000) -> None:
        self.pool = pool
        self.flushed: list[int] = []
        self.found: list[Any] = []
        #: Called by the search for an address.
        self.act: Callable[[], object] = list
        self.addresses = Addresses(None)
        self.outbox = Outbox(pool, self.addresses, self.find, fixed, remote, longest, self.flush)

    def find(self, address: Any) -> Peer | None:
        self.found.append(address)
        self.act()
        if address is None:
            raise TypeError("an address is needed")
        return None if address == "reported" else Peer(address)

    def flush(self) -> None:
        self.flushed.append(len(self.outbox.packets))

    def texts(self) -> list[bytes]:
        return [bytes(m) for m in self.outbox.packets]

    def end(self) -> None:
        """Free all, and see that nothing is left."""
        self.outbox.drop_all()
        assert (self.outbox.size, self.outbox.packets, list(self.outbox.waiting)) == (0, [], [])
        assert self.pool.out == 0


@pytest.fixture
def sender(pool: Pool) -> Sender:
    return Sender(pool)


def test_a_datagram_is_copied_and_flushed_at_once(sender: Sender) -> None:
    data = bytearray(b"before")
    sender.outbox.put(data, HERE)
    data[:] = b"after!"
    assert sender.texts() == [b"before"]
    assert sender.outbox.packets[0].peer == Peer(HERE)
    assert (sender.outbox.size, sender.flushed) == (6 + HEADER, [1])
    sender.end()


def test_a_corked_outbox_is_flushed_when_it_has_a_batch(sender: Sender) -> None:
    sender.outbox.corked = True
    for n in range(BATCH + 5):
        sender.outbox.put(b"%d" % n, HERE)
    assert sender.flushed == [BATCH]
    assert sender.texts() == [b"%d" % n for n in range(BATCH + 5)]
    sender.end()


def test_an_address_that_is_known_is_not_looked_up(sender: Sender) -> None:
    peer = Peer(HERE)
    sender.addresses.keep(peer, HERE)
    sender.outbox.put(b"a", (*HERE,))
    sender.outbox.put(b"b", ("192.0.2.2", 1))
    assert [m.peer for m in sender.outbox.packets] == [peer, Peer(("192.0.2.2", 1))]
    assert sender.found == [("192.0.2.2", 1)]
    sender.end()


def test_an_address_for_which_an_error_was_reported_is_not_sent_to(sender: Sender, pool: Pool) -> None:
    sender.outbox.put(b"a", "reported")
    m = pool.frombytes(b"b")
    sender.outbox.put(m, "reported")
    assert pool.out == 0
    assert (sender.outbox.packets, sender.outbox.size, sender.outbox.dropped, sender.flushed) == ([], 0, 0, [])
    sender.end()


def test_with_one_peer_a_packet_gets_no_address(pool: Pool) -> None:
    sender = Sender(pool, fixed=True, remote=HERE)
    for address in (None, HERE, (*HERE,)):
        sender.outbox.put(b"a", address)
    sender.outbox.put(pool.get().append(b"b"), None)
    assert [m.peer for m in sender.outbox.packets[:3]] == [None] * 3
    with pytest.raises(ValueError, match="must be None or"):
        sender.outbox.put(b"c", ("192.0.2.2", 53))
    assert sender.found == []
    assert sender.texts() == [b"a", b"a", b"a", b"b"]
    sender.end()


@pytest.mark.parametrize("data", ["text", 5, None, [b"a"]])
def test_what_has_no_buffer_is_refused(sender: Sender, data: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        sender.outbox.put(data, HERE)
    sender.end()


def test_more_bytes_than_a_datagram_has_are_refused(sender: Sender) -> None:
    sender.outbox.put(bytes(1000), HERE)
    with pytest.raises(OSError, match="too long") as error:
        sender.outbox.put(bytes(1001), HERE)
    assert error.value.errno == errno.EMSGSIZE
    assert len(sender.outbox.packets) == 1
    sender.end()


def test_a_packet_goes_where_it_came_from_unless_an_address_is_given(sender: Sender, pool: Pool) -> None:
    for address in (None, ("192.0.2.2", 1)):
        m = pool.frombytes(b"a")
        m.peer = Peer(HERE)
        sender.outbox.put(m, address)
    assert [m.peer for m in sender.outbox.packets] == [Peer(HERE), Peer(("192.0.2.2", 1))]
    sender.end()


def test_a_packet_that_cannot_be_sent_stays_with_the_caller(sender: Sender, pool: Pool) -> None:
    bare, without = pool.get(), pool.frombytes(b"a")
    notready = pool.frombytes(b"b")
    notready.flags |= M_NOTREADY
    freed = pool.get()
    freed.free()
    for m, address, error in (
        (bare, HERE, ValueError),
        (without, None, TypeError),
        (notready, HERE, Inval),
        (freed, HERE, Freed),
    ):
        with pytest.raises(error):
            sender.outbox.put(m, address)
    assert (sender.outbox.packets, sender.outbox.dropped) == ([], 0)
    pool.free_bulk([bare, without, notready])
    sender.end()


@pytest.mark.parametrize("address", [HERE, "reported"])
def test_a_packet_that_is_freed_while_its_address_is_looked_up_is_refused(
    sender: Sender, pool: Pool, address: Any
) -> None:
    m = pool.frombytes(b"x")
    sender.act = m.freem
    with pytest.raises(Freed):
        sender.outbox.put(m, address)
    sender.end()


def test_a_packet_whose_header_is_taken_while_its_address_is_looked_up_is_refused(sender: Sender, pool: Pool) -> None:
    m = pool.frombytes(b"x")
    sender.act = lambda: m.demote(True)
    with pytest.raises(ValueError, match="took the packet header"):
        sender.outbox.put(m, HERE)
    m.freem()
    sender.end()


@pytest.mark.parametrize("kind", ["bytes", "packet"])
def test_an_outbox_that_is_closed_while_an_address_is_looked_up_drops_and_counts(
    sender: Sender, pool: Pool, kind: str
) -> None:
    sender.act = lambda: setattr(sender.outbox, "closed", True)
    sender.outbox.put(b"x" if kind == "bytes" else pool.frombytes(b"x"), HERE)
    assert sender.outbox.dropped == 1
    sender.end()


def test_a_closed_outbox_drops_and_counts(sender: Sender, pool: Pool) -> None:
    sender.outbox.closed = True
    sender.outbox.put(b"a", HERE)
    m = pool.frombytes(b"b")
    sender.outbox.put(m, HERE)
    assert pool.out == 0
    assert (sender.outbox.dropped, sender.outbox.size, sender.flushed) == (2, 0, [])
    sender.end()


def test_bytes_are_referred_to_where_there_is_no_cluster_for_them(small: Callable[..., Pool]) -> None:
    pool = small(mbufs=40)
    sender = Sender(pool)
    held = exhaust(pool.getcl)
    data = b"x" * 900
    sender.outbox.put(data, HERE)
    (m,) = sender.outbox.packets
    assert (bytes(m), m.writable, sender.outbox.size) == (data, False, 900 + HEADER)
    pool.free_bulk(held)
    sender.end()


def test_without_an_mbuf_all_behind_waits_in_order(small: Callable[..., Pool]) -> None:
    pool = small(mbufs=40)
    sender = Sender(pool)
    held = exhaust_pool(pool)
    for text in (b"1", b"22"):
        sender.outbox.put(text, HERE)
    assert [data for data, _ in sender.outbox.waiting] == [b"1", b"22"]
    assert sender.outbox.size == 3 + 2 * HEADER
    assert not sender.outbox.refill()
    held.pop().free()
    # There is an mbuf now, for what came first.
    sender.outbox.put(b"333", HERE)
    assert sender.texts() == []
    assert not sender.outbox.refill()
    assert sender.texts() == [b"1"]
    pool.free_bulk(held)
    assert sender.outbox.refill()
    assert sender.texts() == [b"1", b"22", b"333"]
    assert {m.peer for m in sender.outbox.packets} == {Peer(HERE)}
    assert sender.outbox.size == 6 + 3 * HEADER
    sender.end()


def test_the_size_is_computed_again_after_packets_were_sent(small: Callable[..., Pool]) -> None:
    pool = small(mbufs=40)
    sender = Sender(pool)
    sender.outbox.put(b"1", HERE)
    sender.outbox.put(b"22", HERE)
    held = exhaust_pool(pool)
    sender.outbox.put(b"333", HERE)
    sender.outbox.packets.pop(0).freem()
    sender.outbox.recount()
    assert sender.outbox.size == 5 + 2 * HEADER
    sender.outbox.drop_all()
    assert sender.outbox.dropped == 2
    pool.free_bulk(held)
    sender.end()


def test_packets_that_the_program_has_freed_are_counted(sender: Sender) -> None:
    for text in (b"1", b"2", b"3"):
        sender.outbox.put(text, HERE)
    sender.outbox.packets[1].freem()
    sender.outbox.drop_freed()
    assert (sender.texts(), sender.outbox.dropped) == ([b"1", b"3"], 1)
    sender.end()
