"""Paced sockets: tags of different rates on one socket, on simulated time."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mbuf import (
    IF_SND_TAG_TYPE_RATE_LIMIT,
    IF_SND_TAG_TYPE_UNLIMITED,
    Again,
    Freed,
    Inval,
    Mbuf,
    NotSupported,
    Pool,
    SndTag,
)
from mbuf.net.pacing import pacedsocket as pace
from mbuf.net.pacing.pacedsocket import PacedSocket
from mbuf.net.pacing.ratelimit import RateLimit, RateState, RateTag, Unlimited
from net.paced import MS, Nanoseconds, pair

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


# Send tags, by the rules that those have.


def test_a_tag_is_alive_until_its_last_packet_has_gone(bench: Benches, pool: Pool) -> None:
    b = bench()
    tag = b.tag(1000)
    b.paced.push(b.packets("s", tag, 3))
    assert (tag.refs, b.paced.refs, pool.snd_tags.count) == (3, 1, 1)
    tag.rele()
    assert b.schedule() == [(0, "s0"), (100, "s1"), (200, "s2")]
    assert (tag.refs, b.paced.refs, pool.snd_tags.count, b.paced.how) == (0, 0, 0, "none")
    with pytest.raises(Freed):
        tag.modify(5)


def test_closing_frees_what_waits_and_releases_its_tags(bench: Benches, pool: Pool) -> None:
    b = bench()
    tag = b.tag(1000)
    b.paced.push(b.packets("s", tag, 3))
    with b.paced:
        tag.rele()
    assert (tag.refs, pool.out, pool.snd_tags.count) == (0, 0, 0)
    b.paced.close()
    stat = b.paced.stat()
    assert (stat.sent, stat.drops, stat.queued) == (1, 2, 0)
    with pytest.raises(NotSupported, match="closed"):
        b.tag(1)
    with pool.getcl() as m, pytest.raises(Inval, match="closed"):
        b.paced.push([m])
    assert b.ours.send(b"the socket is the caller's") > 0


def test_a_tag_outlives_the_interface_that_was_closed(bench: Benches) -> None:
    b = bench("tcp")
    tag = b.tag(1000)
    b.paced.close()
    tag.modify(2000)
    assert (tag.max_rate, b.paced.how) == (2000, "bucket")
    tag.rele()


def test_stamping_takes_a_reference_as_ip_output_does(bench: Benches, pool: Pool) -> None:
    b = bench()
    tag, other = b.tag(1000), b.tag(2000)
    with pool.getcl() as m:
        assert b.paced.stamp(m, tag) is m
        assert (m.pkthdr.snd_tag, tag.refs) == (tag, 2)
        b.paced.stamp(m, other)
        assert (tag.refs, other.refs) == (1, 2)
    assert other.refs == 1
    tag.rele()
    other.rele()
    with pool.getcl() as m, pytest.raises(Freed):
        b.paced.stamp(m, tag)


def test_a_tag_of_another_interface_is_refused_with_eagain(bench: Benches, pool: Pool) -> None:
    b, other = bench(), bench()
    tag = other.tag(1000)
    with pool.getcl() as m:
        with pytest.raises(Again, match="get a tag from that") as refused:
            b.paced.stamp(m, tag)
        assert (refused.value.errno, tag.refs, m.pkthdr.snd_tag) == (errno.EAGAIN, 1, None)
        other.paced.stamp(m, tag)
        with pytest.raises(Again):
            b.paced.push([m])
        assert b.paced.push([pool.getcl(), m]) == 1
    tag.rele()


def test_what_was_received_is_not_stamped(bench: Benches, pool: Pool) -> None:
    b = bench()
    tag = b.tag(1000)
    with pool.getcl() as m, pool.get() as part:
        m.pkthdr.rcvif = "em0"
        with pytest.raises(Inval, match="rcvif"):
            b.paced.stamp(m, tag)
        with pytest.raises(Inval, match="header"):
            b.paced.stamp(part, tag)
        with pytest.raises(Inval, match="send tag"):
            b.paced.stamp(m, 1000)  # type: ignore[arg-type]
    assert tag.refs == 1
    tag.rele()


@pytest.mark.parametrize("params", [None, 1000, "fast", 2])
def test_of_other_types_there_are_no_tags(bench: Benches, pool: Pool, params: Any) -> None:
    with pytest.raises(NotSupported, match="RateLimit"):
        pool.snd_tag_alloc(bench().paced, params)


def test_another_rate_holds_for_what_waits_too(bench: Benches) -> None:
    b = bench()
    one, two = b.tag(1000), b.tag(500)
    b.paced.push(b.packets("a", one, 3))
    b.paced.push(b.packets("b", two, 2))
    b.heard()
    b.clock.now += 50 * MS
    one.modify(100)
    assert one.max_rate == 100
    # Half of the first packet is still owed, and takes half a second now.
    assert b.schedule() == [(150, "b1"), (500, "a1"), (1500, "a2")]
    one.rele()
    two.rele()


# Taking over, or not.


def test_a_full_line_takes_no_more_and_others_go_on(bench: Benches, pool: Pool) -> None:
    b = bench(maxlen=2)
    slow, fast = b.tag(1000), b.tag(4000)
    waiting = b.packets("s", slow, 5)
    # One went, two wait.
    assert b.paced.push(waiting) == 3
    assert b.paced.push(waiting[3:]) == 0
    assert b.paced.push(b.packets("f", fast, 2)) == 2
    assert (b.heard(), b.paced.queued) == (["s0", "f0"], 3)
    b.clock.now += 100 * MS
    # What has gone meanwhile made room.
    assert b.paced.push(waiting[3:]) == 1
    waiting[4].freem()
    assert [name for _, name in b.schedule()] == ["f1", "s1", "s2", "s3"]
    slow.rele()
    fast.rele()


@pytest.mark.parametrize("thing", [None, b"bytes", 5])
def test_what_is_no_packet_is_refused(bench: Benches, pool: Pool, thing: Any) -> None:
    b = bench()
    with pytest.raises(Inval, match="give packets"):
        b.paced.push([thing])
    with pool.getcl() as rest:
        assert b.paced.push([pool.getcl(), thing, rest]) == 1


def test_a_packet_without_a_header_or_without_bytes_goes_too(bench: Benches, pool: Pool) -> None:
    b = bench()
    assert b.paced.push([pool.get().append(b"bare"), pool.getcl()]) == 2
    assert b.heard() == ["bare", ""]
    assert b.paced.turn() == 0


@pytest.mark.parametrize("kind", ["blocking", "timed", "tls", "none"])
def test_a_socket_that_waits_or_takes_no_mbufs_is_refused(kind: str) -> None:
    with socket.socket() as sock:
        thing: Any = {"none": 5, "tls": None}.get(kind, sock)
        if kind == "timed":
            sock.settimeout(1)
        if kind == "tls":
            thing = ssl.create_default_context().wrap_socket(sock, server_hostname="x")
        with pytest.raises((Inval, NotSupported)):
            PacedSocket(thing)
        if kind == "tls":
            thing.close()


def test_a_line_has_room_for_a_packet(bench: Benches) -> None:
    with pytest.raises(Inval, match="maxlen"):
        PacedSocket(bench().ours, maxlen=0)


# Waiting.


def test_turns_wait_until_the_next_may_go(bench: Benches, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()
    monkeypatch.setattr(pace, "sleep", b.clock.sleep)
    slow, fast = b.tag(1000), b.tag(4000)
    b.paced.push(b.packets("s", slow, 2) + b.packets("f", fast, 3))
    begin, went = b.clock.now, []
    while b.paced.turn():
        went.append(b.clock.now - begin)
    assert went == [25 * MS, 50 * MS, 100 * MS]
    slow.rele()
    fast.rele()


def test_turns_in_a_loop_wait_until_the_next_may_go(bench: Benches) -> None:
    b = bench()
    b.paced._clock = pace.monotonic_ns
    tag = b.tag(100_000)
    b.paced.push(b.packets("s", tag, 5))

    async def drive() -> None:
        while await b.paced.aturn():
            pass

    asyncio.run(drive())
    assert b.heard() == [f"s{n}" for n in range(5)]
    tag.rele()


@pytest.mark.parametrize("kind", STREAMS)
def test_any_number_of_tasks_share_a_stream_whose_packets_arrive_whole(bench: Benches, kind: str, pool: Pool) -> None:
    b = bench(kind, maxlen=2)
    b.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    b.theirs.setblocking(False)

    async def produce(name: str, tag: SndTag | None) -> None:
        for n in range(20):
            m = pool.getm2(30_000).append(f"{name}{n:03}".encode() * 7500)
            waiting = [m if tag is None else b.paced.stamp(m, tag)]
            while waiting:
                del waiting[: b.paced.push(waiting)]
                await b.paced.aturn()
        if tag is not None:
            tag.rele()

    async def consume() -> bytes:
        got = b""
        while len(got) < 60 * 30_000:
            got += await asyncio.get_running_loop().sock_recv(b.theirs, 65536)
        return got

    async def both() -> bytes:
        names = {"a": b.tag(1 << 40), "b": b.tag(1 << 41), "c": None}
        got, *_ = await asyncio.gather(consume(), *(produce(*each) for each in names.items()))
        return got

    b.paced._clock = pace.monotonic_ns
    got = asyncio.run(both()).decode()
    whole = [got[at : at + 4] for at in range(0, len(got), 30_000)]
    assert got == "".join(name * 7500 for name in whole)
    for name in "abc":
        assert [each for each in whole if each[0] == name] == [f"{name}{n:03}" for n in range(20)]
    assert b.paced.stat().sent == 60


def filled(b: Bench) -> None:
    """Push until the socket takes no more."""
    while not b.paced.blocked:
        b.paced.push(b.packets("x", None, 1, 2000))


# Not TCP, whose window may grow by itself a moment later.
@pytest.mark.parametrize("kind", ["unix datagrams", "unix stream"])
def test_a_socket_that_takes_no_more_is_waited_for(bench: Benches, spawn: Callable[..., Any], kind: str) -> None:
    b = bench(kind)
    filled(b)
    assert (b.paced.queued, b.paced.due, b.paced.flush()) == (1, None, 0)
    with pytest.raises(TimeoutError, match="took nothing"):
        b.paced.turn(0.001)
    with pytest.raises(TimeoutError):
        asyncio.run(b.paced.aturn(0.001))
    sent = b.paced.stat().bytes + 2000

    def read() -> None:
        left = sent
        while left:
            left -= len(b.theirs.recv(65536))

    reader = spawn(read)
    assert b.paced.turn(20) == 1
    reader.done()
    assert not b.paced.blocked


def test_who_is_cancelled_leaves_the_waiting_to_others(bench: Benches) -> None:
    b = bench("unix stream")
    filled(b)

    async def both() -> int:
        first, second = (asyncio.ensure_future(b.paced.aturn()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        b.theirs.setblocking(False)
        while not second.done():
            with suppress(BlockingIOError):
                b.theirs.recv(1 << 20)
            await asyncio.sleep(0)
        return second.result()

    assert asyncio.run(both()) == 1
    assert b.paced.queued == 0


# The kernel's pace.


def asked(sock: socket.socket) -> int:
    """The kernel's limit; -1 if there is none."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 47, 8), "little", signed=True)


def test_a_tag_that_is_alone_on_a_tcp_socket_leaves_the_pace_to_the_kernel(bench: Benches) -> None:
    b = bench("tcp")
    assert (b.paced.how, asked(b.ours)) == ("none", -1)
    one = b.tag(1000)
    assert (b.paced.how, asked(b.ours)) == ("kernel", 1000)
    one.modify(3000)
    assert asked(b.ours) == 3000
    two = b.tag(2000)
    assert (b.paced.how, asked(b.ours)) == ("bucket", -1)
    one.rele()
    assert (b.paced.how, asked(b.ours)) == ("kernel", 2000)
    two.rele()
    assert (b.paced.how, asked(b.ours)) == ("none", -1)


def test_the_kernel_gets_packets_20_ms_ahead_of_their_rate(bench: Benches) -> None:
    b = bench("tcp")
    tag = b.tag(10_000)
    b.paced.push(b.packets("s", tag, 10))
    # The third begins at 20 ms.
    assert tag.query().sent == 3
    assert b.paced.due == b.clock.now + 10 * MS
    tag.rele()


@pytest.mark.parametrize("unlimited", [True, False])
def test_packets_beside_the_tag_end_the_kernels_pace(bench: Benches, pool: Pool, unlimited: bool) -> None:
    b = bench("tcp")
    tag = b.tag(1000)
    if unlimited:
        free = pool.snd_tag_alloc(b.paced, Unlimited())
        assert (b.paced.how, asked(b.ours)) == ("bucket", -1)
        free.rele()
    else:
        b.paced.push(b.packets("x", None, 1))
        assert (b.paced.how, asked(b.ours)) == ("bucket", -1)
        tag.rele()
        tag = b.tag(1000)
    assert b.paced.how == "kernel"
    b.paced.close()
    assert asked(b.ours) == -1
    tag.rele()
