"""Paced sockets: tags of different rates on one socket, in simulated time."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mbuf import (
    CSUM_IP_UDP,
    IF_SND_TAG_TYPE_RATE_LIMIT,
    IF_SND_TAG_TYPE_UNLIMITED,
    M_NOTREADY,
    Again,
    Freed,
    Inval,
    Mbuf,
    NotSupported,
    Pool,
    SndTag,
)
from mbuf.net.pacing import pacedsocket
from mbuf.net.pacing.inflight import InFlight
from mbuf.net.pacing.pacedsocket import PacedSocket
from mbuf.net.pacing.ratelimit import RateLimit, RateState, RateTag, Unlimited
from mbuf.net.writable import RETRY_DELAY
from net.paced import MS, ManualClock, pair

DATAGRAMS = ("udp", "unix datagrams")
STREAMS = ("tcp", "unix stream")


class Setup:
    """A paced socket, its peer, the clock, and the pool of packets and tags."""

    def __init__(self, pool: Pool, kind: str, maxlen: int) -> None:
        self.pool = pool
        self.clock = ManualClock()
        self.ours, self.theirs = pair(kind)
        self.received = 0
        self.paced = PacedSocket(self.ours, maxlen, self.clock)

    def tag(self, rate: int, burst: int | None = 0) -> RateTag:
        tag = self.pool.snd_tag_alloc(self.paced, RateLimit(rate, burst))
        assert isinstance(tag, RateTag)
        return tag

    def packets(self, name: str, tag: SndTag | None, count: int, size: int = 100) -> list[Mbuf]:
        made = [self.pool.getcl().append(f"{name}{n}".ljust(size, ".").encode()) for n in range(count)]
        return made if tag is None else [self.paced.stamp(m, tag) for m in made]

    def receive(self) -> list[str]:
        """Return the names of the datagrams sent since the last call."""
        names = []
        while self.received < self.paced.stat().sent:
            names.append(self.theirs.recv(65536).decode().rstrip("."))
            self.received += 1
        return names

    def schedule(self) -> list[tuple[int, str]]:
        """Send all packets when they are due; return for each the milliseconds from now, and its name."""
        begin, sent = self.clock.now, []
        while True:
            sent += [((self.clock.now - begin) // MS, name) for name in self.receive()]
            if self.paced.due is None:
                return sent
            self.clock.advance_to(self.paced.due)
            assert self.paced.flush() > 0


@pytest.fixture
def setup(pool: Pool) -> Iterator[Callable[..., Setup]]:
    """Make setups; at the end no tag is alive, and the interface has no references."""
    made: list[Setup] = []

    def make(kind: str = "udp", maxlen: int = 256) -> Setup:
        made.append(Setup(pool, kind, maxlen))
        return made[-1]

    yield make
    for each in made:
        each.paced.close()
        each.ours.close()
        each.theirs.close()
        assert each.paced.refs == 0
    assert pool.snd_tags.count == 0


SetupFactory = Callable[..., Setup]


@pytest.mark.parametrize("kind", DATAGRAMS)
def test_two_tags_of_different_rates_share_a_socket(setup: SetupFactory, kind: str) -> None:
    b = setup(kind)
    slow, fast = b.tag(1000), b.tag(4000)
    assert b.paced.pacing == "bucket"
    assert b.paced.push(b.packets("s", slow, 3)) == 3
    assert b.paced.push(b.packets("f", fast, 8)) == 8
    expected = [(0, "s0"), (0, "f0"), (25, "f1"), (50, "f2"), (75, "f3"), (100, "s1"), (100, "f4")]
    assert b.schedule() == [*expected, (125, "f5"), (150, "f6"), (175, "f7"), (200, "s2")]
    assert slow.query() == RateState(1000, 0, 3, 300)
    assert fast.query() == RateState(4000, 0, 8, 800)
    stat = b.paced.stat()
    assert (stat.sent, stat.bytes, stat.drops, stat.queued, stat.last_error) == (11, 1100, 0, 0, None)
    slow.rele()
    fast.rele()


def test_a_late_sender_sends_packets_in_the_order_in_which_they_were_due(setup: SetupFactory) -> None:
    b = setup()
    slow, fast = b.tag(1000, 1000), b.tag(4000, 1000)
    b.paced.push(b.packets("s", slow, 3))
    b.paced.push(b.packets("f", fast, 8))
    b.receive()
    b.clock.now += 110 * MS
    assert b.paced.flush() == 5
    assert b.receive() == ["f1", "f2", "f3", "s1", "f4"]
    slow.rele()
    fast.rele()


def test_packets_without_a_tag_or_with_an_unlimited_one_are_not_paced(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
    slow, free = b.tag(1000), pool.snd_tag_alloc(b.paced, Unlimited())
    assert (slow.type, free.type) == (IF_SND_TAG_TYPE_RATE_LIMIT, IF_SND_TAG_TYPE_UNLIMITED)
    b.paced.push(b.packets("s", slow, 2))
    b.paced.push(b.packets("x", None, 2) + b.packets("u", free, 2))
    assert b.receive() == ["s0", "x0", "x1", "u0", "u1"]
    assert b.schedule() == [(100, "s1")]
    slow.rele()
    free.rele()


# Send tags.


def test_a_released_tag_lives_until_its_last_packet_is_sent(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
    tag = b.tag(1000)
    b.paced.push(b.packets("s", tag, 3))
    assert (tag.refs, b.paced.refs, pool.snd_tags.count) == (3, 1, 1)
    tag.rele()
    assert b.schedule() == [(0, "s0"), (100, "s1"), (200, "s2")]
    assert (tag.refs, b.paced.refs, pool.snd_tags.count, b.paced.pacing) == (0, 0, 0, "none")
    with pytest.raises(Freed):
        tag.modify(5)


def test_close_frees_the_packets_and_releases_their_tags(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
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


def test_a_tag_outlives_its_closed_interface(setup: SetupFactory) -> None:
    b = setup("tcp")
    tag = b.tag(1000)
    b.paced.close()
    tag.modify(2000)
    assert (tag.max_rate, b.paced.pacing) == (2000, "bucket")
    tag.rele()


def test_stamp_takes_a_reference_as_ip_output_does(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
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


def test_a_tag_of_another_interface_is_refused_with_eagain(setup: SetupFactory, pool: Pool) -> None:
    b, other = setup(), setup()
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


def test_stamp_refuses_received_packets_and_wrong_arguments(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
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
def test_other_parameters_are_not_supported(setup: SetupFactory, pool: Pool, params: Any) -> None:
    with pytest.raises(NotSupported, match="RateLimit"):
        pool.snd_tag_alloc(setup().paced, params)


def test_another_rate_applies_to_packets_that_wait(setup: SetupFactory) -> None:
    b = setup()
    one, two = b.tag(1000), b.tag(500)
    b.paced.push(b.packets("a", one, 3))
    b.paced.push(b.packets("b", two, 2))
    b.receive()
    b.clock.now += 50 * MS
    one.modify(100)
    assert one.max_rate == 100
    # Half of the first packet is still a debt, and takes half a second now.
    assert b.schedule() == [(150, "b1"), (500, "a1"), (1500, "a2")]
    one.rele()
    two.rele()


# Accepting packets.


def test_a_full_queue_accepts_no_packets_and_others_continue(setup: SetupFactory, pool: Pool) -> None:
    b = setup(maxlen=2)
    slow, fast = b.tag(1000), b.tag(4000)
    waiting = b.packets("s", slow, 5)
    # One is sent, two wait.
    assert b.paced.push(waiting) == 3
    assert b.paced.push(waiting[3:]) == 0
    assert b.paced.push(b.packets("f", fast, 2)) == 2
    assert (b.receive(), b.paced.queued) == (["s0", "f0"], 3)
    b.clock.now += 100 * MS
    # The push sends what is due, and then there is room.
    assert b.paced.push(waiting[3:]) == 1
    waiting[4].freem()
    assert [name for _, name in b.schedule()] == ["f1", "s1", "s2", "s3"]
    slow.rele()
    fast.rele()


def test_no_packet_is_accepted_after_a_free_routine_has_closed_it(setup: SetupFactory, pool: Pool) -> None:
    b = setup("unix datagrams")
    first = pool.wrap(bytearray(b"first"), on_free=lambda *_: b.paced.close())
    with pool.getcl() as second:
        assert b.paced.push([first, second]) == 1
    assert (b.paced.closed, b.paced.queued, pool.out) == (True, 0, 0)


def test_no_packet_is_accepted_after_the_iterable_has_closed_it(setup: SetupFactory, pool: Pool) -> None:
    b = setup("unix datagrams")
    with pool.getcl() as second:

        def packets() -> Iterator[Mbuf]:
            yield pool.getcl()
            b.paced.close()
            yield second

        assert b.paced.push(packets()) == 1
    with pool.getcl() as m:
        one = setup("unix datagrams").paced

        def closing() -> Iterator[Mbuf]:
            one.close()
            yield m

        with pytest.raises(Inval, match="closed"):
            one.push(closing())
    assert pool.out == 0


@pytest.mark.parametrize("thing", [None, b"bytes", 5])
def test_push_refuses_what_is_not_a_packet(setup: SetupFactory, pool: Pool, thing: Any) -> None:
    b = setup()
    with pytest.raises(Inval, match="^push: .*give mbufs"):
        b.paced.push([thing])
    with pool.getcl() as rest:
        assert b.paced.push([pool.getcl(), thing, rest]) == 1


def test_bytes_that_are_not_ready_are_refused(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
    with pool.getcl().append(b"x") as m:
        m.next = pool.get().append(b"y")
        m.next.flags |= M_NOTREADY
        with pytest.raises(Inval, match="^push: .*M_NOTREADY"):
            b.paced.push([m])


def test_packets_without_a_header_or_without_bytes_are_sent(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
    assert b.paced.push([pool.get().append(b"bare"), pool.getcl()]) == 2
    assert b.receive() == ["bare", ""]
    assert b.paced.flush_next() == 0


@pytest.mark.parametrize("kind", ["blocking", "timed", "tls", "none"])
def test_blocking_and_tls_sockets_are_refused(kind: str) -> None:
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


def test_maxlen_must_be_positive(setup: SetupFactory) -> None:
    with pytest.raises(Inval, match="maxlen"):
        PacedSocket(setup().ours, maxlen=0)


# Waiting.


def test_flush_next_waits_until_a_packet_is_due(setup: SetupFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    b = setup()
    monkeypatch.setattr(pacedsocket, "sleep", b.clock.sleep)
    slow, fast = b.tag(1000), b.tag(4000)
    b.paced.push(b.packets("s", slow, 2) + b.packets("f", fast, 3))
    begin, times = b.clock.now, []
    while b.paced.flush_next():
        times.append(b.clock.now - begin)
    assert times == [25 * MS, 50 * MS, 100 * MS]
    slow.rele()
    fast.rele()


def test_a_writable_socket_that_accepts_nothing_is_tried_later(
    setup: SetupFactory, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = setup()
    b.paced._clock = pacedsocket.monotonic_ns
    slept: list[float] = []
    send = InFlight._sendmsg

    def refuse(packet: InFlight, sock: socket.socket) -> None:
        if len(slept) < 3:
            raise BlockingIOError
        send(packet, sock)

    async def asleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(InFlight, "_sendmsg", refuse)
    monkeypatch.setattr(pacedsocket, "sleep", slept.append)
    b.paced.push(b.packets("s", None, 1))
    assert b.paced.flush_next(20) == 1
    assert slept == [RETRY_DELAY] * 3
    slept.clear()
    monkeypatch.setattr(asyncio, "sleep", asleep)
    b.paced.push(b.packets("t", None, 1))
    assert asyncio.run(b.paced.aflush_next(20)) == 1
    assert slept == [RETRY_DELAY] * 3
    assert b.receive() == ["s0", "t0"]


def test_aflush_next_waits_until_a_packet_is_due(setup: SetupFactory) -> None:
    b = setup()
    b.paced._clock = pacedsocket.monotonic_ns
    tag = b.tag(100_000)
    b.paced.push(b.packets("s", tag, 5))

    async def drive() -> None:
        while await b.paced.aflush_next():
            pass

    asyncio.run(drive())
    assert b.receive() == [f"s{n}" for n in range(5)]
    tag.rele()


@pytest.mark.parametrize("kind", STREAMS)
def test_several_tasks_share_a_stream_whose_packets_arrive_whole(setup: SetupFactory, kind: str, pool: Pool) -> None:
    b = setup(kind, maxlen=2)
    b.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    b.theirs.setblocking(False)

    async def produce(name: str, tag: SndTag | None) -> None:
        for n in range(20):
            m = pool.getm2(30_000).append(f"{name}{n:03}".encode() * 7500)
            waiting = [m if tag is None else b.paced.stamp(m, tag)]
            while waiting:
                del waiting[: b.paced.push(waiting)]
                await b.paced.aflush_next()
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

    b.paced._clock = pacedsocket.monotonic_ns
    got = asyncio.run(both()).decode()
    whole = [got[at : at + 4] for at in range(0, len(got), 30_000)]
    assert got == "".join(name * 7500 for name in whole)
    for name in "abc":
        assert [each for each in whole if each[0] == name] == [f"{name}{n:03}" for n in range(20)]
    assert b.paced.stat().sent == 60


def fill_socket(b: Setup) -> None:
    """Push packets until the socket is full."""
    while not b.paced.blocked:
        b.paced.push(b.packets("x", None, 1, 2000))


# Not TCP: its window may grow later without a reader.
@pytest.mark.parametrize("kind", ["unix datagrams", "unix stream"])
def test_flush_next_waits_for_a_full_socket(setup: SetupFactory, spawn: Callable[..., Any], kind: str) -> None:
    b = setup(kind)
    fill_socket(b)
    assert (b.paced.queued, b.paced.due, b.paced.flush()) == (1, None, 0)
    with pytest.raises(TimeoutError, match="accepted nothing"):
        b.paced.flush_next(0.001)
    with pytest.raises(TimeoutError):
        asyncio.run(b.paced.aflush_next(0.001))
    sent = b.paced.stat().bytes + 2000

    def read() -> None:
        left = sent
        while left:
            left -= len(b.theirs.recv(65536))

    reader = spawn(read)
    assert b.paced.flush_next(20) == 1
    reader.done()
    assert not b.paced.blocked


def test_a_cancelled_task_leaves_the_wait_to_others(setup: SetupFactory) -> None:
    b = setup("unix stream")
    fill_socket(b)

    async def both() -> int:
        first, second = (asyncio.ensure_future(b.paced.aflush_next()) for _ in range(2))
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


# Pacing by the kernel.


def max_pacing_rate(sock: socket.socket) -> int:
    """Return the kernel's limit; -1 if there is none."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 47, 8), "little", signed=True)


def test_the_kernel_paces_a_tcp_socket_with_a_single_tag(setup: SetupFactory) -> None:
    b = setup("tcp")
    assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("none", -1)
    one = b.tag(1000)
    assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("kernel", 1000)
    one.modify(3000)
    assert max_pacing_rate(b.ours) == 3000
    two = b.tag(2000)
    assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("bucket", -1)
    one.rele()
    assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("kernel", 2000)
    two.rele()
    assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("none", -1)


def test_the_kernel_gets_packets_20_ms_early(setup: SetupFactory) -> None:
    b = setup("tcp")
    tag = b.tag(10_000)
    b.paced.push(b.packets("s", tag, 10))
    # The third begins at 20 ms.
    assert tag.query().sent == 3
    assert b.paced.due == b.clock.now + 10 * MS
    tag.rele()


@pytest.mark.parametrize("unlimited", [True, False])
def test_packets_without_the_tag_end_pacing_by_the_kernel(setup: SetupFactory, pool: Pool, unlimited: bool) -> None:
    b = setup("tcp")
    tag = b.tag(1000)
    if unlimited:
        free = pool.snd_tag_alloc(b.paced, Unlimited())
        assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("bucket", -1)
        free.rele()
    else:
        b.paced.push(b.packets("x", None, 1))
        assert (b.paced.pacing, max_pacing_rate(b.ours)) == ("bucket", -1)
        tag.rele()
        tag = b.tag(1000)
    assert b.paced.pacing == "kernel"
    b.paced.close()
    assert max_pacing_rate(b.ours) == -1
    tag.rele()


def test_a_packet_whose_checksum_is_still_to_be_computed_is_refused(setup: SetupFactory, pool: Pool) -> None:
    b = setup()
    with pool.getcl().append(b"x") as m:
        m.pkthdr.csum_flags = CSUM_IP_UDP
        with pytest.raises(Inval, match=r"call complete\(m\)"):
            b.paced.push([m])
