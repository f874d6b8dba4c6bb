"""Packets on their way through the allocator: receive rings, socket buffers, and back.

The engine of `mbuf replay`: sees packets as captures yield them, and the pool that it is given. Knows neither
files nor the command line. Memory and bookkeeping are flat, but for the packets that socket buffers hold.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from zlib import crc32

from mbuf.errors import NoBufs, NoMemory
from mbuf.net.pcap import Packet
from mbuf.net.rxring import RxRings, cluster_for
from mbuf.packet.mbuf import Mbuf
from mbuf.pool.pool import Pool
from mbuf.pool.stat import PoolStat
from mbuf.tools.clock import SECOND, CaptureClock
from mbuf.tools.highwater import HighWater, Peak
from mbuf.tools.reader import Drain, Hold, Reader
from mbuf.tools.sockets import NEVER, Sockets

_FLOW = 12
_FLOW_AT = {0: 16, 12: 12, 101: 12, 113: 28, 228: 12, 276: 32}
"""Where IPv4 addresses and ports begin, by link type: loopback, raw IP (three), Linux cooked (two); else Ethernet."""
_FLOW_AT_ETHERNET = 26


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

    def reader(self) -> Reader:
        """Who reads the packets. Faster traffic is a slower reader: the clock keeps to capture time."""
        if self.drain_rate is None:
            return Hold(round(self.hold * self.speed * SECOND))
        return Drain(round(self.speed * SECOND / self.drain_rate) or 1)


@dataclass(frozen=True, slots=True)
class Denial:
    """The first refill that the pool refused."""

    packet: int
    when: int
    error: NoBufs | NoMemory


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay in numbers, at the moment when the last packet has been received."""

    packets: int
    #: Bytes on the wire.
    bytes: int
    #: Nanoseconds of capture time, before `speed`.
    when: int
    dropped: int
    #: Refills refused.
    denials: int
    first: Denial | None
    first_drop: Peak
    #: Mbufs handed out, and as many as there would have been had none been denied.
    used: Peak
    needed: Peak
    #: Most items in use or cached, by zone.
    charged: dict[str, int]
    stat: PoolStat
    #: Size of the rings' clusters, descriptors and how many of them have none.
    cluster: int
    slots: int
    short: int
    #: Packets in socket buffers.
    held: int


class Replay:
    """A machine with one network card.

    `arm` it, `play` captures, ask for its `outcome`, and `finish` it, which gives all memory back to the pool.
    The pool stays the caller's.
    """

    def __init__(self, pool: Pool, settings: Settings, clock: CaptureClock) -> None:
        self._cpus = pool.cpus
        self._queues = settings.queues
        self._clock = clock
        self._rings = RxRings(pool, settings.queues, settings.descriptors, cluster_for(settings.mtu))
        self._sockets = Sockets(pool)
        self._reader = settings.reader()
        self._high = HighWater(pool)
        self._most_held = 0
        self._missing = False
        self.packets = 0
        self.bytes = 0
        self.dropped = 0
        self._first: Denial | None = None
        self._first_drop = Peak()

    def arm(self) -> bool:
        """Fill the rings; False if the pool refuses, and then there is no use in playing."""
        armed = all(self._arm(queue) for queue in range(self._queues))
        self._mark(0)
        if not armed:
            self._denied()
        return armed

    def _arm(self, queue: int) -> bool:
        self._steer(queue)
        return self._rings.arm(queue)

    def _steer(self, queue: int) -> None:
        """Be on the CPU that serves a queue."""
        cpu = queue % self._cpus.count
        if cpu != self._cpus.current():
            self._cpus.move(cpu)

    def play(self, packets: Iterable[Packet], flow: Callable[[memoryview], int] | None = None) -> None:
        """Receive packets. With several queues, `flow` gives a number for each, the same for those of one flow."""
        advance, sockets, rings, reader = self._clock.advance, self._sockets, self._rings, self._reader
        receive, put, due, cluster = rings.receive, sockets.put, reader.due, rings.cluster
        steered = flow is not None and self._queues > 1
        before = self._clock.now
        queue = 0
        for when, data, length in packets:
            now = advance(when)
            if now >= sockets.due:
                self._release(now, before)
            if steered:
                queue = flow(data) % self._queues
                self._steer(queue)
            m = receive(queue, data, length)
            self.packets += 1
            self.bytes += length
            if rings.short or length > cluster:
                self._tight(m, length, now, before)
            elif m is not None:
                put(m, due(now))
            before = now
