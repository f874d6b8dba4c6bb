"""Packets that a port refuses are sent one by one, and those behind a mistake too."""

from typing import Any

import pytest

from mbuf import Freed, Inval, Mbuf, Pool
from mbuf.net.aio.addresses import Addresses
from mbuf.net.aio.outbox import Outbox
from mbuf.net.aio.refused import send_refused

#: The kind of the pool makes no difference here.
POOL_KINDS: dict[str, dict[str, bool]] = {"plain": {}}


class Strict:
    """A port that takes none of a list in which one packet is b"bad", and a socket that refuses that one."""

    closed = False
    full = False

    def __init__(self, pool: Pool) -> None:
        self.sent: list[bytes] = []
        self.alone: list[bytes] = []
        self.told: list[Exception] = []
        self.outbox = Outbox(pool, Addresses(None), lambda _: None, True, None, 65535, lambda: None)
        self.outbox.corked = True

    def push(self, packets: list[Mbuf]) -> int:
        if self.closed:
            raise Inval("the port is closed")
        data = [bytes(m) for m in packets]
        if b"bad" in data:
            raise Inval("one is bad")
        self.sent += data
        for m in packets:
            m.freem()
        packets.clear()
        return len(data)

    def send(self, m: Mbuf) -> None:
        if self.full:
            raise BlockingIOError
        data = bytes(m)
        if data == b"bad":
            raise self.refuses()
        self.alone.append(data)

    refuses: type[Exception] = OSError

    def go(self) -> Exception | None:
        port: Any = self
        try:
            self.push(self.outbox.packets)
        except (Inval, Freed) as error:
            return send_refused(port, self.outbox, error, self.send, self.told.append, self.told.append)
        return None


@pytest.fixture
def port(pool: Pool) -> Strict:
    return Strict(pool)


@pytest.mark.parametrize(("refuses", "told"), [(OSError, OSError), (TypeError, Inval)])
def test_packets_around_a_mistake_are_sent(
    pool: Pool, port: Strict, refuses: type[Exception], told: type[Exception]
) -> None:
    port.refuses = refuses
    for data in (b"1", b"bad", b"2", b"3"):
        port.outbox.put(data, None)
    assert port.go() is None
    assert (port.alone, port.sent, [type(error) for error in port.told]) == ([b"1"], [b"2", b"3"], [told])
    assert (port.outbox.packets, port.outbox.dropped, pool.out) == ([], 1, 0)


def test_a_full_socket_leaves_all(pool: Pool, port: Strict) -> None:
    port.full = True
    port.outbox.put(b"bad", None)
    assert port.go() is None
    assert (len(port.outbox.packets), port.told) == (1, [])
    port.outbox.drop_all()


def test_freed_packets_and_packets_without_a_part_are_dropped(pool: Pool, port: Strict) -> None:
    freed, partly = pool.wrap(b"freed"), pool.wrap(b"par").cat(pool.wrap(b"tly"))
    for m in (freed, partly):
        port.outbox.put(m, None)
    port.outbox.put(b"last", None)
    assert partly.next is not None
    freed.freem()
    partly.next.free()
    assert port.go() is None
    assert (port.sent, [type(error) for error in port.told]) == ([b"last"], [Freed, Freed])
    assert (port.outbox.dropped, pool.out) == (2, 0)


def test_an_error_without_packets_is_told(pool: Pool, port: Strict) -> None:
    error, anything = Freed("given twice"), port
    assert send_refused(anything, port.outbox, error, port.send, port.told.append, port.told.append) is None  # type: ignore[arg-type]
    assert port.told == [error]


def test_a_closed_port_ends_the_endpoint(pool: Pool, port: Strict) -> None:
    port.closed = True
    port.outbox.put(b"1", None)
    assert isinstance(port.go(), Inval)
    assert (len(port.outbox.packets), port.told) == (1, [])
    port.outbox.drop_all()
