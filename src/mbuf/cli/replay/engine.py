"""The engine of `mbuf replay`: packets on their way from the network card to the application.

The model
---------
    frame --copy--> receive ring --append--> socket buffers --read--> freed
                      (rxring)                 (sockbufs)   (consumer)
                         ^
                         +-- a new mbuf with a cluster for the slot, from the pool

For each packet of a capture:

1. The clock advances to its time (see clock).
2. The packets that the application has read by then are freed.
3. If there are several queues, the flow of the packet selects its queue, as a card does with RSS. The replay continues
   on the CPU that serves the queue, so that the caches of that CPU are used.
4. The ring gives the mbufs of as many slots as the frame needs, and gets new ones. If the pool denies them, the slots
   stay empty; a frame that finds too few filled slots is dropped.
5. The packet waits in the socket buffers until it is due, which the consumer calculates.

The counts
----------
`used` is the number of mbufs in rings and socket buffers. `needed` is what it would be if no request had been denied:
all slots, the mbufs in socket buffers, and those of dropped packets for as long as they would have waited. The advice
is calculated from the peaks of both.

A packet of one mbuf, received while no slot is empty, adds one mbuf to the socket buffers and changes nothing else. So
while there are only such packets, a peak is reached just before packets are freed, and only if more packets wait than
at the last peak: one comparison for each time that packets are freed. While packets of several mbufs wait, and from the
first drop or denial on, the number of packets isn't enough, and the peaks are updated each time. For such a packet
itself they are updated before it, because it may reduce what is in use, and after it.

Except for the packets that wait, the replay needs the same memory for a capture of any length.
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
"""Where the addresses and ports of IPv4 begin, by link type: loopback, raw IP (three types), Linux cooked (two)."""
_FLOW_AT_ETHERNET = 26

_FLOW_LEN = 12
"""Bytes of two addresses and two ports."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a replay models: the network card, the CPUs, the application, and the speed of the traffic."""

    queues: int = 1
    descriptors: int = 1024
    mtu: int = 1500
    ncpu: int = 1
    #: Seconds that each packet waits in its socket buffer, if there is no drain rate.
    hold: float = 0.1
    #: Packets that the application reads per second, or None.
    drain_rate: float | None = None
    #: How many times faster than captured the packets come.
    speed: float = 1.0

    def consumer(self) -> Consumer:
        """Return the application. For faster traffic, it is made slower: the clock shows capture time."""
        if self.drain_rate is None:
            return Hold(round(self.hold * self.speed * SECOND))
        return Drain(round(self.speed * SECOND / self.drain_rate) or 1)


@dataclass(frozen=True, slots=True)
class Denial:
    """The first request that the pool denied."""

    at: Moment
    #: Mbufs in use at that moment, in rings and socket buffers.
    used: int
    error: NoBufs | NoMemory


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of a replay, after the last packet was received."""

    packets: int
    #: Bytes on the wire.
    bytes: int
    #: Nanoseconds of capture time.
    when: int
    dropped: int
    first_drop: Moment | None
    #: Requests that the pool denied.
    denials: int
    first_denial: Denial | None
    #: The most mbufs in use, and the most that would have been in use without denials.
    used: Peak
    needed: Peak
    #: The most items in use or cached, by zone.
    charged: dict[str, int]
    stat: PoolStat
    #: Bytes of each cluster in the rings.
    cluster: int
    #: Slots of all rings, and those without a cluster.
    slots: int
    empty: int
    #: Packets in socket buffers.
    held: int

    def used_of(self, zone: ZoneStat) -> int:
        """Return the most items of a zone in use at a time; 0 if the rings don't use the zone.

        Cached packets aren't counted, although their mbufs and clusters are in use for the other zones.
        """
        stat = self.stat
        drawn = (stat.pack, stat.clust) if self.cluster == stat.clust.size else (stat.mbuf, stat.jumbop)
        return self.used.count if zone in drawn else 0


class Replay:
    """A machine with one network card, whose packets come from captures.

    Call `fill_rings`, `play` for each capture, `outcome`, and at the end `finish`, which gives all memory back to the
    pool. The pool belongs to the caller.
    """

    def __init__(self, pool: Pool, settings: Settings, clock: CaptureClock) -> None:
        self._cpus = pool.cpus
        self._queues = settings.queues
        self._clock = clock
        self._rings = RxRings(pool, settings.queues, settings.descriptors, cluster_for(settings.mtu))
        self._sockbufs = SockBufs(pool.cpus)
        self._consumer = settings.consumer()
        self._highwater = HighWater(pool)
        # The number of packets in socket buffers at the last update of the peaks; -1 if it isn't enough to know a peak.
        self._peak_size = 0
        # The number of packets at that update.
        self._updated = 0
        self.packets = 0
        self.bytes = 0
        self.dropped = 0
        self._first_drop: Moment | None = None
        self._first_denial: Denial | None = None

    def fill_rings(self) -> bool:
        """Fill the slots of all rings. If the pool denies one, return False: then no packet can be received."""
        filled = all(self._fill_ring(queue) for queue in range(self._queues))
        self._update_peaks(START)
        self._note_denial(START)
        return filled

    def play(self, records: Records, flow: Callable[[memoryview], int] | None = None) -> None:
        """Receive packets. If there are several queues, `flow` returns the flow number of a packet."""
        flow = flow or flow_number(None)
        clock, rings, sockbufs, consumer = self._clock, self._rings, self._sockbufs, self._consumer
        before = clock.now
        queue = cpu = 0
        while records.step():
            now = clock.advance(records.timestamp)
            if sockbufs.next_due <= now:
                if sockbufs.size() > self._peak_size:
                    self._update_peaks(Moment(self.packets, before))
                sockbufs.free_due(now)
            start, captured = records.start, records.captured
            if self._queues > 1:
                view = records.view
                queue = flow(view[start : start + captured]) % self._queues
                cpu = self._move_to(queue)
            length = max(records.length, captured)
            m = rings.receive(queue, records.view, start, captured, length)
            self.packets += 1
            self.bytes += length
            if m is None or length > rings.cluster or rings.empty:
                self._finish_slow(m, rings.slots_for(length), cpu, before)
            else:
                sockbufs.append(m, consumer.due(now), cpu, 1)
            before = now

    def outcome(self) -> Outcome:
        """Return the counts until now."""
        now, highwater, rings = self._clock.now, self._highwater, self._rings
        self._update_peaks(Moment(self.packets, now))
        stat = highwater.sample()
        return Outcome(
            packets=self.packets,
            bytes=self.bytes,
            when=now,
            dropped=self.dropped,
            first_drop=self._first_drop,
            denials=rings.denials,
            first_denial=self._first_denial,
            used=highwater.used,
            needed=highwater.needed,
            charged=dict(highwater.charged),
            stat=stat,
            cluster=rings.cluster,
            slots=rings.slots,
            empty=rings.empty,
            held=self._sockbufs.size(),
        )

    def finish(self) -> None:
        """Free all packets, and the mbufs in the rings."""
        self._sockbufs.flush()
        self._rings.free_all()

    def _fill_ring(self, queue: int) -> bool:
        self._move_to(queue)
        return self._rings.refill(queue)

    def _move_to(self, queue: int) -> int:
        """Continue on the CPU that serves a queue, and return that CPU."""
        cpu = queue % self._cpus.count
        if cpu != self._cpus.current():
            self._cpus.move(cpu)
        return cpu

    def _finish_slow(self, m: Mbuf | None, count: int, cpu: int, before: int) -> None:
        """Finish with a packet of several mbufs, with one that was dropped, or that came while slots were empty."""
        at = Moment(self.packets, self._clock.now)
        if self._updated < self.packets - 1:
            # This packet may have reduced what is in use; then the peak was before it.
            self._update_peaks(Moment(self.packets - 1, before), 0)
        if m is None:
            self._consumer.miss(at.when, count)
            self.dropped += 1
            self._first_drop = self._first_drop or at
        else:
            self._sockbufs.append(m, self._consumer.due(at.when, count), cpu, count)
        self._update_peaks(at)
        self._note_denial(at)

    def _update_peaks(self, at: Moment, empty: int | None = None) -> None:
        """Update the peaks, with `empty` empty slots, or as many as there are now."""
        slots, held = self._rings.slots, self._sockbufs.mbufs
        empty = self._rings.empty if empty is None else empty
        self._highwater.update(slots - empty + held, slots + held + self._consumer.missed(at.when), at)
        self._updated = at.packet
        simple = not self._rings.denials and not self.dropped and not self._sockbufs.extra
        self._peak_size = self._sockbufs.size() if simple else -1

    def _note_denial(self, at: Moment) -> None:
        """Keep the first denial."""
        if self._first_denial is None and self._rings.last_denial is not None:
            used = self._rings.slots - self._rings.empty + self._sockbufs.mbufs
            self._first_denial = Denial(at, used, self._rings.last_denial)


def flow_number(linktype: int | None) -> Callable[[memoryview], int]:
    """Return a function that hashes the addresses and ports of a packet to the number of its flow.

    Of another protocol than IPv4, it hashes the bytes in the same place.
    """
    at = _FLOW_AT.get(1 if linktype is None else linktype, _FLOW_AT_ETHERNET)
    return lambda data: crc32(data[at : at + _FLOW_LEN])
