"""Packets on their way through the allocator: receive rings, socket buffers, and back.

The engine of `mbuf replay`: sees packets as captures yield them, and the pool that it is given. Knows neither
files nor the command line. Memory and bookkeeping are flat, but for the packets that socket buffers hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from mbuf.cli.replay.clock import SECOND, CaptureClock
from mbuf.cli.replay.consumer import Consumer, Drain, Hold
from mbuf.cli.replay.highwater import START, HighWater, Moment, Peak
from mbuf.cli.replay.rxring import RxRings, cluster_for
from mbuf.cli.replay.sockbufs import SockBufs
from mbuf.errors import NoBufs, NoMemory
from mbuf.net.capture.pcap import Records
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.pool.stat import PoolStat
from mbuf.uma.stat import ZoneStat

_FLOW_AT = {0: 16, 12: 12, 101: 12, 113: 28, 228: 12, 276: 32}
"""Where IPv4 addresses and ports begin, by link type: loopback, raw IP (three), Linux cooked (two)."""
_FLOW_AT_ETHERNET = 26
_FLOW = 12


@dataclass(frozen=True, slots=True)
class Settings:
    """What a replay models."""

    queues: int = 1
    descriptors: int = 1024
    mtu: int = 1500
    ncpu: int = 1
    #: Seconds that packets wait in socket buffers, unless packets read per second are given.
    hold: float = 0.1
    drain_rate: float | None = None
    #: How many times faster than in the captures the packets come.
    speed: float = 1.0

    def reader(self) -> Consumer:
        """Who reads the packets. Faster traffic is a slower reader: the clock keeps to capture time."""
        if self.drain_rate is None:
            return Hold(round(self.hold * self.speed * SECOND))
        return Drain(round(self.speed * SECOND / self.drain_rate) or 1)


@dataclass(frozen=True, slots=True)
class Denial:
    """The first refill that the pool refused."""

    at: Moment
    #: Mbufs with clusters in use then.
    used: int
    error: NoBufs | NoMemory


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay in numbers, at the moment when the last packet has been received."""

    packets: int
    #: Bytes on the wire.
    bytes: int
    #: Nanoseconds of capture time.
    when: int
    dropped: int
    first_drop: Moment | None
    #: Refills that the pool refused.
    denials: int
    first_denial: Denial | None
    #: Mbufs handed out, and as many as there would have been had none been refused.
    used: Peak
    needed: Peak
    #: Most items in use or cached, by zone.
    charged: dict[str, int]
    stat: PoolStat
    #: Bytes of the rings' clusters; descriptors, and how many of them are without a cluster.
    cluster: int
    slots: int
    short: int
    #: Packets in socket buffers.
    held: int

    def used_of(self, zone: ZoneStat) -> int:
        """Most items in use of a zone, without packets that are cached; 0 if the rings don't draw from it."""
        stat = self.stat
        drawn = (stat.pack, stat.clust) if self.cluster == stat.clust.size else (stat.mbuf, stat.jumbop)
        return self.used.count if zone in drawn else 0


class Replay:
    """A machine with one network card.

    `arm` it, `play` captures, ask for its `outcome`, and `finish` it, which gives all memory back to the
    pool. The pool stays the caller's.
    """

    def __init__(self, pool: Pool, settings: Settings, clock: CaptureClock) -> None:
        self._cpus = pool.cpus
        self._queues = settings.queues
        self._clock = clock
        self._rings = RxRings(pool, settings.queues, settings.descriptors, cluster_for(settings.mtu))
        self._sockets = SockBufs(pool.cpus)
        self._reader = settings.reader()
        self._high = HighWater(pool)
        # Packets that may wait without a new peak, and the number of the packet at the last mark.
        self._most = 0
        self._marked = 0
        self.packets = 0
        self.bytes = 0
        self.dropped = 0
        self._first_drop: Moment | None = None
        self._first_denial: Denial | None = None

    def arm(self) -> bool:
        """Fill the rings; False if the pool refuses, and then there is no use in playing."""
        armed = all(self._arm(queue) for queue in range(self._queues))
        self._mark(START)
        self._note_denial(START)
        return armed

    def play(self, records: Records, flow: Callable[[memoryview], int] | None = None) -> None:
        """Receive packets. With several queues, `flow` gives a number for each: that of its flow."""
        flow = flow or flow_number(None)
        clock, rings, sockets, reader = self._clock, self._rings, self._sockets, self._reader
        before = clock.now
        queue = cpu = 0
        while records.step():
            now = clock.advance(records.timestamp)
            if sockets.first <= now:
                if sockets.size() > self._most:
                    self._mark(Moment(self.packets, before))
                sockets.release(now)
            start, captured = records.start, records.captured
            if self._queues > 1:
                view = records.view
                queue = flow(view[start : start + captured]) % self._queues
                cpu = self._steer(queue)
            length = max(records.length, captured)
            m = rings.receive(queue, records.view, start, captured, length)
            self.packets += 1
            self.bytes += length
            if m is None or length > rings.cluster or rings.short:
                self._odd(m, rings.needs(length), cpu, before)
            else:
                sockets.wait(m, reader.due(now), cpu, 1)
            before = now

    def outcome(self) -> Outcome:
        """All numbers, now."""
        now, high, rings = self._clock.now, self._high, self._rings
        self._mark(Moment(self.packets, now))
        stat = high.sample()
        return Outcome(
            packets=self.packets,
            bytes=self.bytes,
            when=now,
            dropped=self.dropped,
            first_drop=self._first_drop,
            denials=rings.denials,
            first_denial=self._first_denial,
            used=high.used,
            needed=high.needed,
            charged=dict(high.charged),
            stat=stat,
            cluster=rings.cluster,
            slots=rings.slots,
            short=rings.short,
            held=self._sockets.size(),
        )

    def finish(self) -> None:
        """Free all packets, and what the rings hold."""
        self._sockets.flush()
        self._rings.disarm()

    def _arm(self, queue: int) -> bool:
        self._steer(queue)
        return self._rings.arm(queue)

    def _steer(self, queue: int) -> int:
        """Be on the CPU that serves a queue; which that is."""
        cpu = queue % self._cpus.count
        if cpu != self._cpus.current():
            self._cpus.move(cpu)
        return cpu

    def _odd(self, m: Mbuf | None, count: int, cpu: int, before: int) -> None:
        """Here is a packet of several mbufs, or one that was dropped, or that came while slots were empty."""
        at = Moment(self.packets, self._clock.now)
        if self._marked < self.packets - 1:
            # This packet may not have added to what is in use; then the peak was before it.
            self._mark(Moment(self.packets - 1, before), 0)
        if m is None:
            self._reader.miss(at.when, count)
            self.dropped += 1
            self._first_drop = self._first_drop or at
        else:
            self._sockets.wait(m, self._reader.due(at.when, count), cpu, count)
        self._mark(at)
        self._note_denial(at)

    def _mark(self, at: Moment, short: int | None = None) -> None:
        """See how much is in use, with `short` slots of the rings empty: by default those that are now."""
        slots, held = self._rings.slots, self._sockets.mbufs
        short = self._rings.short if short is None else short
        self._high.mark(slots - short + held, slots + held + self._reader.missed(at.when), at)
        self._marked = at.packet
        # Once the pool refused, or packets were dropped or of several mbufs, their number won't do.
        simple = not self._rings.denials and not self.dropped and not self._sockets.extra
        self._most = self._sockets.size() if simple else -1

    def _note_denial(self, at: Moment) -> None:
        """Remember the pool's first refusal."""
        if self._first_denial is None and self._rings.refused is not None:
            used = self._rings.slots - self._rings.short + self._sockets.mbufs
            self._first_denial = Denial(at, used, self._rings.refused)


def flow_number(linktype: int | None) -> Callable[[memoryview], int]:
    """A function that numbers flows by where IPv4 has addresses and ports; the rest is hashed alike."""
    at = _FLOW_AT.get(1 if linktype is None else linktype, _FLOW_AT_ETHERNET)
    return lambda data: crc32(data[at : at + _FLOW])
