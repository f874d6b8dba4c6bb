"""The delivery of datagrams: one call for each, whatever the call does."""

from collections.abc import Callable
from typing import Any

import pytest

from mbuf import Mbuf, Pool
from mbuf.net.aio.addresses import Addresses
from mbuf.net.aio.delivery import Delivery
from mbuf.packet.peer import Peer

POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}

HERE = ("192.0.2.1", 53)


class Calls:
    """A receiver that records its calls; `act(data)` is called in each."""

    def __init__(self, act: Callable[[Any], object] | None = None) -> None:
        self.got: list[tuple[Any, Any]] = []
        self.reported: list[Exception] = []
        self.delivery = Delivery(Addresses("remote"), self.reported.append)
        self.delivery.deliver_to(self)
        self.act = act

    def __call__(self, data: Any, address: Any) -> None:
        self.got.append((data, address))
        if self.act is not None:
            self.act(data)

    def deliver(self, *texts: bytes) -> None:
        self.delivery.deliver([(text, None) for text in texts])

    @property
    def texts(self) -> list[bytes]:
        return [data for data, _ in self.got]


def test_bytes_are_delivered_with_the_address_of_their_peer() -> None:
    calls = Calls()
    calls.delivery.deliver([(b"a", Peer(HERE)), (b"b", None)])
    assert calls.got == [(b"a", HERE), (b"b", "remote")]
    assert calls.delivery.waiting() == 0


def test_a_packet_belongs_to_the_receiver(pool: Pool) -> None:
    calls = Calls()
    packet, bare = pool.frombytes(b"1"), pool.get()
    packet.peer = Peer(HERE)
    calls.delivery.deliver([packet, bare])
    assert calls.got == [(packet, HERE), (bare, "remote")]
    assert bytes(packet) == b"1"
    pool.free_bulk([packet, bare])


def test_behind_a_pause_they_wait_in_order() -> None:
    def pause(data: bytes) -> None:
        calls.delivery.paused = data == b"2"

    calls = Calls(pause)
    calls.deliver(b"1", b"2", b"3")
    assert (calls.texts, calls.delivery.waiting()) == ([b"1", b"2"], 1)
    calls.deliver(b"4")
    assert (calls.texts, calls.delivery.waiting()) == ([b"1", b"2"], 2)
    calls.delivery.paused = False
    calls.deliver()
    assert (calls.texts, calls.delivery.waiting()) == ([b"1", b"2", b"3", b"4"], 0)


def test_what_arrives_in_a_call_comes_behind_what_waits() -> None:
    def more(data: bytes) -> None:
        if data == b"1":
            calls.deliver(b"3", b"4")
            assert calls.delivery.waiting() == 3

    calls = Calls(more)
    calls.deliver(b"1", b"2")
    assert calls.texts == [b"1", b"2", b"3", b"4"]


def test_an_exception_loses_one_datagram_and_is_reported() -> None:
    def fail(data: bytes) -> None:
        if data == b"2":
            raise ValueError(data)

    calls = Calls(fail)
    calls.deliver(b"1", b"2", b"3")
    assert calls.texts == [b"1", b"2", b"3"]
    assert [repr(error) for error in calls.reported] == ["ValueError(b'2')"]


def test_an_exception_that_ends_the_program_leaves_the_rest() -> None:
    def end(data: bytes) -> None:
        if data == b"2":
            raise KeyboardInterrupt

    calls = Calls(end)
    with pytest.raises(KeyboardInterrupt):
        calls.deliver(b"1", b"2", b"3")
    assert (calls.delivery.waiting(), calls.reported) == (1, [])
    calls.deliver()
    assert calls.texts == [b"1", b"2", b"3"]


def test_the_receiver_can_be_changed_by_a_call() -> None:
    other: list[bytes] = []

    def change(data: bytes) -> None:
        if data == b"1":
            calls.delivery.deliver_to(lambda data, _: other.append(data))

    calls = Calls(change)
    calls.deliver(b"1", b"2")
    assert (calls.texts, other) == ([b"1"], [b"2"])


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_discarded_is_freed_and_counted(pool: Pool, inside: bool) -> None:
    discarded = []

    def act(m: Mbuf) -> None:
        m.freem()
        if inside:
            discarded.append(calls.delivery.discard())
        else:
            calls.delivery.paused = True

    calls = Calls(act)
    calls.delivery.deliver([pool.frombytes(b"%d" % n) for n in range(5)])
    if not inside:
        discarded.append(calls.delivery.discard())
    assert (discarded, len(calls.got), calls.delivery.waiting()) == ([4], 1, 0)
    assert pool.out == 0
    calls.delivery.paused = False
    calls.act = None
    calls.deliver(b"later")
    assert calls.texts[-1] == b"later"


def test_datagrams_of_bytes_are_discarded_too() -> None:
    calls = Calls()
    calls.delivery.paused = True
    calls.deliver(b"1", b"2")
    assert calls.delivery.discard() == 2
    assert calls.delivery.discard() == 0
