"""Any sequence of verbs has the results that models of bytes and counters predict.

`MBUF_SOAK=1` in the environment makes the sequences longer.
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from mbuf import (
    M_NOWAIT,
    M_PKTHDR,
    M_RDONLY,
    UMA_RECLAIM_DRAIN,
    UMA_RECLAIM_DRAIN_CPU,
    UMA_RECLAIM_TRIM,
    Freed,
    Inval,
    Mbuf,
    NoBufs,
    NoMemory,
    Pool,
    ReadOnly,
    Vm,
)
from mbuf.const import PAGE_SIZE
from mbuf.uma.cpu import Cpus
from mbuf.uma.keg import Keg
from mbuf.uma.zone import Zone

SOAK = os.environ.get("MBUF_SOAK") == "1"

SETTINGS = settings(
    max_examples=3000 if SOAK else 40,
    stateful_step_count=200 if SOAK else 40,
    deadline=None,
    database=None,
    derandomize=not SOAK,
    suppress_health_check=list(HealthCheck),
)

CLUSTERS, PAGES, MBUFS = 12, 5, 60


class Storage:
    """The storage of bytes in the model: one object for all mbufs that share it."""

    def __init__(self, external: bool) -> None:
        self.external = external


class Model:
    """The model of a packet: the bytes and the storage of each mbuf."""

    def __init__(self, m: Mbuf, pieces: list[bytearray], headed: bool, storages: list[Storage]) -> None:
        self.m = m
        self.pieces = pieces
        self.headed = headed
        self.storages = storages

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class Packets(RuleBasedStateMachine):
    """A small pool, and packets that are made, filled, copied, viewed and freed in any order."""

    packets = Bundle("packets")
    stale = Bundle("stale")

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(
            vm=Vm(64 * PAGE_SIZE),
            tunables={
                "kern.ipc.nmbclusters": CLUSTERS,
                "kern.ipc.nmbjumbop": PAGES,
                "kern.ipc.nmbjumbo9": 2,
                "kern.ipc.nmbjumbo16": 2,
                "kern.ipc.nmbufs": MBUFS,
            },
            ncpu=2,
            worker=False,
            **self.kind,
        )
        self.packets_in_use: list[Model] = []
        self.views: list[tuple[memoryview, bytes, Storage]] = []
        self.drops = 0

    kind: dict[str, Any] = {}

    def attempt(self, verb: Any, *args: Any) -> Any:
        """The result, or None if a limit is reached, which must change nothing."""
        before = self.numbers()
        try:
            return verb(*args)
        except (NoBufs, NoMemory):
            assert self.numbers() == before
            return None

    def numbers(self) -> Any:
        zones = self.pool.zones
        return [(zone.used, zone.held) for zone in (zones.mbuf, zones.pack, zones.jumbop)], self.pool.stat().drops

    def add(self, m: Mbuf, headed: bool) -> Model:
        made = Model(m, [bytearray()], headed, [Storage(m.ext is not None)])
        self.packets_in_use.append(made)
        return made

    @rule(
        target=packets,
        verb=st.sampled_from(["get", "gethdr", "getcl", "getjcl", "clget", "cljset"]),
        cpu=st.integers(0, 1),
    )
    def make(self, verb: str, cpu: int) -> Any:
        pool = self.pool
        with pool.cpu(cpu):
            if verb in ("clget", "cljset"):
                m = self.attempt(pool.gethdr)
                if m is None:
                    return None
                if verb == "clget":
                    attached = self.attempt(pool.clget, m)
                else:
                    cluster = self.attempt(pool.cljget, None, M_NOWAIT, 4096)
                    attached = cluster and m.cljset(cluster)
                if attached is None:
                    assert m.ext is None
            else:
                m = self.attempt(getattr(pool, verb))
                if m is None:
                    return None
        return self.add(m, verb != "get")

    @rule(packet=packets, data=st.binary(max_size=600))
    def append(self, packet: Model | None, data: bytes) -> None:
        if packet not in self.packets_in_use:
            return
        last = packet.m.last()
        room = last.trailing
        if self.attempt(packet.m.append, data) is None:
            return
        packet.pieces[-1] += data[:room]
        self.written(packet.storages[-1])
        rest = data[room:]
        while rest:
            packet.pieces.append(bytearray(rest[:224]))
            packet.storages.append(Storage(False))
            rest = rest[224:]

    def written(self, storage: Storage) -> None:
        """Expect the new bytes in views of this storage."""
        self.views = [(view, bytes(view) if seen is storage else data, seen) for view, data, seen in self.views]

    @rule(packet=packets, data=st.binary(max_size=300))
    def receive(self, packet: Model | None, data: bytes) -> None:
        """Write to the room and grow."""
        if packet not in self.packets_in_use:
            return
        m = packet.m
        if m.next is not None:
            return
        try:
            room = m.room
        except ReadOnly:
            assert not m.writable
            return
        count = min(len(data), len(room))
        room[:count] = data[:count]
        room.release()
        m.grow(count)
        packet.pieces[0] += data[:count]
        self.written(packet.storages[0])

    @rule(packet=packets, share=st.integers(0, 100))
    def shorten(self, packet: Model | None, share: int) -> None:
        if packet not in self.packets_in_use:
            return
        count = len(packet.pieces[0]) * share // 100
        packet.m.len = count
        if packet.headed:
            packet.m.pkthdr.len += count - len(packet.pieces[0])
        del packet.pieces[0][count:]

    @rule(packet=packets, at=st.integers(0, 3000), byte=st.integers(0, 255))
    def overwrite(self, packet: Model | None, at: int, byte: int) -> None:
        """Write one byte, if its storage is writable; other packets don't change."""
        if packet not in self.packets_in_use or not packet.data:
            return
        at %= len(packet.data)
        m: Any = packet.m
        for piece, storage in zip(packet.pieces, packet.storages, strict=True):
            if at < len(piece):
                if m.writable:
                    with m.data as data:
                        data[at] = byte
                    piece[at] = byte
                    self.written(storage)
                return
            at -= len(piece)
            m = m.next

    @rule(target=packets, packet=packets)
    def copy(self, packet: Model | None) -> Any:
        if packet not in self.packets_in_use:
            return None
        if not packet.headed:
            try:
                packet.m.copypacket()
            except Inval:
                return None
            raise AssertionError("copied without a header")
        n = self.attempt(packet.m.copypacket)
        if n is None:
            return None
        made = self.add(n, True)
        made.pieces = [bytearray(piece) for piece in packet.pieces]
        made.storages = [held if held.external else Storage(False) for held in packet.storages]
        return made

    @rule(packet=packets, on=st.booleans())
    def set_rdonly(self, packet: Model | None, on: bool) -> None:
        if packet in self.packets_in_use:
            packet.m.flags = packet.m.flags | M_RDONLY if on else packet.m.flags & ~M_RDONLY

    @rule(packet=packets)
    def add_view(self, packet: Model | None) -> None:
        """Keep a view of each mbuf's bytes."""
        if packet in self.packets_in_use and len(self.views) < 20:
            seen = [held for held, piece in zip(packet.storages, packet.pieces, strict=True) if piece]
            self.views += [(view, bytes(view), held) for view, held in zip(packet.m, seen, strict=True)]

    @precondition(lambda self: self.views)
    @rule(n=st.integers(0, 100))
    def release_view(self, n: int) -> None:
        self.views.pop(n % len(self.views))[0].release()

    @rule(target=stale, packet=consumes(packets), method=st.sampled_from(["free", "freem", "bulk", "drop", "keep"]))
    def free(self, packet: Model | None, method: str) -> Any:
        if packet not in self.packets_in_use:
            return None
        self.packets_in_use.remove(packet)
        m = packet.m
        if method == "bulk":
            self.pool.free_bulk([m])
        elif method == "freem" or method == "keep":
            m.freem()
        elif method == "free":
            rest: Any = m
            while rest is not None:
                rest = rest.free()
        else:
            self.drops += len(packet.pieces)
            packet.m = None  # type: ignore[assignment]
            self.drop(m)
            return None
        return packet

    def drop(self, m: Mbuf) -> None:
        """Drop the last reference."""

    @rule(packet=stale)
    def stay_freed(self, packet: Model | None) -> None:
        if packet is None or packet.m is None:
            return
        for use in (bytes, len, Mbuf.free, Mbuf.freem, Mbuf.last, lambda m: m.append(b"x"), lambda m: m.data):
            try:
                use(packet.m)
            except Freed:
                continue
            raise AssertionError("a freed mbuf can be used")

    @rule(request=st.sampled_from([UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM]), n=st.integers(0, 5))
    def reclaim(self, request: int, n: int) -> None:
        self.pool.zones.all()[n].reclaim(request)

    @rule()
    def drain(self) -> None:
        self.pool.drain()

    @invariant()
    def the_bytes_are_those_of_the_model(self) -> None:
        for packet in self.packets_in_use:
            m: Any = packet.m
            assert bytes(m) == packet.data
            assert len(m) == len(packet.data)
            if packet.headed:
                assert m.pkthdr.len == len(packet.data)
                assert m.flags & M_PKTHDR
            for piece, storage in zip(packet.pieces, packet.storages, strict=True):
                assert bytes(m.data) == piece
                assert (m.ext is not None) == storage.external
                if storage.external:
                    users = sum(other is storage for p in self.packets_in_use for other in p.storages)
                    assert m.refcnt == users
                    assert m.writable == (users == 1 and not m.flags & M_RDONLY)
                m = m.next
            assert m is None

    @invariant()
    def viewed_bytes_do_not_change(self) -> None:
        for view, data, _ in self.views:
            assert bytes(view) == data

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        pool = self.pool
        held = sum(zone.held for zone in pool.zones.all())
        live = sum(len(packet.pieces) for packet in self.packets_in_use)
        owners_kept = len({id(held) for packet in self.packets_in_use for held in packet.storages if held.external})
        assert live <= pool.out <= live + owners_kept + held
        assert held <= len(self.views)
        assert pool.stat().drops == self.drops
        for zone in pool.zones.all():
            assert zone.used + zone.cached == zone.limiter.items or zone.name == "mbuf_packet"
            assert zone.limiter.items <= (zone.limit or zone.limiter.items)
            assert not zone.bypassed

    def teardown(self) -> None:
        for packet in self.packets_in_use:
            packet.m.freem()
        for view, _, _ in self.views:
            view.release()
        self.views.clear()
        pool = self.pool
        assert pool.out == 0
        assert [zone.held for zone in pool.zones.all()] == [0] * 6
        pool.drain()
        assert pool.vm.used == 0
        assert pool.close() == 0


class UncachedPackets(Packets):
    """The same without caches."""

    kind = {"caching": False}


class OneZone(RuleBasedStateMachine):
    """A zone equals a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.vm = Vm(6 * PAGE_SIZE)
        self.keg = Keg(self.vm, "thing", 256, 255)
        self.now = 0.0
        self.zone = Zone("thing", 256, self.keg, Cpus(2), "kern.things", 4, True, True, lambda: self.now)
        self.out: list[Any] = []
        self.allocs = self.frees = 0

    @rule(limit=st.integers(1, 100))
    def set_max(self, limit: int) -> None:
        if limit >= self.zone.limiter.items:
            self.zone.set_max(limit)

    @rule(count=st.integers(1, 30), cpu=st.integers(0, 1))
    def alloc(self, count: int, cpu: int) -> None:
        self.zone.cpus.move(cpu)
        for _ in range(count):
            fails = self.zone.stat().fails
            item = self.zone.alloc(M_NOWAIT, None)
            if item is None:
                # The zone is at its limit, or no page is left. The other CPU may have cached items.
                limit = self.zone.limit or 90
                assert self.zone.limiter.items == limit or self.vm.free == 0
                assert self.zone.stat().fails > fails
                break
            self.allocs += 1
            assert item not in self.out
            self.out.append(item)

    @rule(indexes=st.lists(st.integers(0, 1000), max_size=30), cpu=st.integers(0, 1))
    def free(self, indexes: list[int], cpu: int) -> None:
        self.zone.cpus.move(cpu)
        for index in indexes:
            if self.out:
                self.zone.free(self.out.pop(index % len(self.out)))
                self.frees += 1

    @rule(request=st.sampled_from([UMA_RECLAIM_DRAIN, UMA_RECLAIM_DRAIN_CPU, UMA_RECLAIM_TRIM]))
    def reclaim(self, request: int) -> None:
        self.zone.reclaim(request)
        if request == UMA_RECLAIM_DRAIN_CPU:
            assert self.zone.cached == 0
            assert self.vm.used <= len(self.out)

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def the_counts_are_consistent(self) -> None:
        stat = self.zone.stat()
        assert (stat.used, stat.allocs, stat.frees) == (len(self.out), self.allocs, self.frees)
        assert stat.used + stat.cached == self.zone.limiter.items
        assert stat.used + stat.free == self.keg.slabs * 15
        assert self.keg.pages == self.vm.used
        assert not self.zone.limit or self.zone.limiter.items <= self.zone.limit

    def teardown(self) -> None:
        while self.out:
            self.zone.free(self.out.pop())
        self.zone.reclaim(UMA_RECLAIM_DRAIN_CPU)
        assert (self.vm.used, self.zone.limiter.items) == (0, 0)


TestPackets = Packets.TestCase
TestPackets.settings = SETTINGS
TestUncachedPackets = UncachedPackets.TestCase
TestUncachedPackets.settings = SETTINGS
TestOneZone = OneZone.TestCase
TestOneZone.settings = SETTINGS
