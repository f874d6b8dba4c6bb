"""Paced sockets: tags of different rates on one socket, on simulated time."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mbuf import (
    IF_SND_TAG_TYPE_RATE_LIMIT,
    IF_SND_TAG_TYPE_UNLIMITED,
    Again,
    Freed,
    Inval,
    Interface,
    Mbuf,
    NotSupported,
    Pool,
    SndTag,
)
from mbuf.net import pace
from mbuf.net.pace import PacedSocket
from mbuf.net.ratelimit import RateLimit, RateState, RateTag, Unlimited
from net.pacing import MS, SECOND, Nanoseconds, pair

DATAGRAMS = ("udp", "unix datagrams")
STREAMS = ("tcp", "unix stream")


class Bench:
    """A paced socket, its peer, the clock, and the pool that packets and tags come from."""

    def __init__(self, pool: Pool, kind: str, maxlen: int) -> None:
        self.pool = pool
        self.clock = Nanoseconds()
        self.ours, self.theirs = pair(kind)
        self.got = 0
        self.paced = PacedSocket(self.ours, maxlen, self.clock)

    def tag(self, rate: int, burst: int | None = 0) -> RateTag:
        tag = self.pool.snd_tag_alloc(self.paced, RateLimit(rate, burst))
        assert isinstance(tag, RateTag)
        return tag

    def packets(self, name: str, tag: SndTag | None, count: int, size: int = 100) -> list[Mbuf]:
        made = [self.pool.getcl().append(f"{name}{n}".ljust(size, ".").encode()) for n in range(count)]
        return made if tag is None else [self.paced.stamp(m, tag) for m in made]

    def heard(self) -> list[str]:
        """The names of the datagrams that went since it was asked last."""
        names = []
        while self.got < self.paced.stat().sent:
            names.append(self.theirs.recv(65536).decode().rstrip("."))
            self.got += 1
        return names

    def schedule(self) -> list[tuple[int, str]]:
        """Whenever something is due, what goes: milliseconds from now, and the packet."""
        begin, went = self.clock.now, []
        while True:
            went += [((self.clock.now - begin) // MS, name) for name in self.heard()]
            if self.paced.due is None:
                return went
            self.clock.to(self.paced.due)
            assert self.paced.flush() > 0


@pytest.fixture
def bench(pool: Pool) -> Iterator[Callable[..., Bench]]:
    """Makes benches; at the end no tag is alive, and no interface is held."""
    made: list[Bench] = []

    def bench(kind: str = "udp", maxlen: int = 256) -> Bench:
        made.append(Bench(pool, kind, maxlen))
        return made[-1]

    yield bench
    for each in made:
        each.paced.close()
        each.ours.close()
        each.theirs.close()
        assert each.paced.refs == 0
    assert pool.snd_tags.count == 0


Benches = Callable[..., Bench]


@pytest.mark.parametrize("kind", DATAGRAMS)
def test_two_tags_of_different_rates_share_a_socket_and_each_keeps_its_own(bench: Benches, kind: str) -> None:
    b = bench(kind)
    slow, fast = b.tag(1000), b.tag(4000)
    assert b.paced.how == "bucket"
    assert b.paced.push(b.packets("s", slow, 3)) == 3
    assert b.paced.push(b.packets("f", fast, 8)) == 8
    expected = [(0, "s0"), (0, "f0"), (25, "f1"), (50, "f2"), (75, "f3"), (100, "s1"), (100, "f4")]
    assert b.schedule() == [*expected, (125, "f5"), (150, "f6"), (175, "f7"), (200, "s2")]
    assert slow.query() == RateState(1000, 0, 3, 300)
    assert fast.query() == RateState(4000, 0, 8, 800)
    stat = b.paced.stat()
    assert (stat.sent, stat.bytes, stat.drops, stat.queued, stat.fault) == (11, 1100, 0, 0, None)
    slow.rele()
    fast.rele()


def test_a_sender_that_comes_late_sends_what_was_due_in_the_order_in_which_it_was(bench: Benches) -> None:
    b = bench()
    slow, fast = b.tag(1000, 1000), b.tag(4000, 1000)
    b.paced.push(b.packets("s", slow, 3))
    b.paced.push(b.packets("f", fast, 8))
    b.heard()
    b.clock.now += 110 * MS
    assert b.paced.flush() == 5
    assert b.heard() == ["f1", "f2", "f3", "s1", "f4"]
    slow.rele()
    fast.rele()


def test_packets_without_a_tag_go_unpaced_and_so_do_those_of_an_unlimited_one(bench: Benches, pool: Pool) -> None:
    b = bench()
    slow, free = b.tag(1000), pool.snd_tag_alloc(b.paced, Unlimited())
    assert (slow.type, free.type) == (IF_SND_TAG_TYPE_RATE_LIMIT, IF_SND_TAG_TYPE_UNLIMITED)
    b.paced.push(b.packets("s", slow, 2))
    b.paced.push(b.packets("x", None, 2) + b.packets("u", free, 2))
    assert b.heard() == ["s0", "x0", "x1", "u0", "u1"]
    assert b.schedule() == [(100, "s1")]
    slow.rele()
    free.rele()
