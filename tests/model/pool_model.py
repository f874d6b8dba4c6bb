"""A small pool, and a model of its packets: their bytes, headers, tags and the users of each storage.

The model reads from the mbufs how a chain is divided, but never their bytes: it knows these from the calls made.
"""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from conformance.faults import TraceFaults
from faults import inject
from mbuf import (
    M_PKTHDR,
    Interface,
    Mbuf,
    MbufQ,
    NoBufs,
    NoMemory,
    Pool,
    RefCount,
    SndTag,
    Tag,
    Vm,
)
from mbuf.const import PAGE_SIZE
from mbuf.testing.unchecked import enforce

#: Small limits, so that requests often fail.
LIMITS = {
    "kern.ipc.nmbclusters": 10,
    "kern.ipc.nmbjumbop": 4,
    "kern.ipc.nmbjumbo9": 2,
    "kern.ipc.nmbjumbo16": 2,
    "kern.ipc.nmbufs": 44,
}
PAGES = 64
#: Pages of a pool that has a budget in place of limits.
BUDGET = 32
#: Above so many packets, or bytes in a packet, packets are freed.
PACKETS, BYTES = 14, 20_000

#: Returned by `attempt` if the verb raised an expected error.
FAILED = object()


class Head:
    """The expected fields of a packet header."""

    def __init__(self) -> None:
        #: True if `len` is the number of bytes: some verbs don't update it, as in the kernel.
        self.len_valid = True
        self.flowid = 0
        self.rcvif: object = None
        self.snd: SndTag | None = None
        self.tags: list[tuple[int, int, object]] = []

    def copy(self) -> "Head":
        other = Head()
        vars(other).update(vars(self), tags=list(self.tags))
        return other


class Packet:
    """A chain, and its expected bytes and header."""

    def __init__(self, m: Mbuf, data: bytes | bytearray, head: Head | None) -> None:
        self.m = m
        self.data = bytearray(data)
        self.head = head


class ExternalMemory:
    """Memory of the program as storage of mbufs, and how often its free routine was called."""

    def __init__(self, obj: Any, refs: RefCount | None) -> None:
        self.obj = obj
        self.refs = refs
        #: References that `refs` counts beside those of mbufs.
        self.other_refs = 0 if refs is None else refs.count
        self.calls = 0
        self.has_free = True

    def free(self, m: Mbuf) -> None:
        ext = m.ext
        assert ext is not None
        assert (ext.obj, ext.count) == (self.obj, 1)
        self.calls += 1

    def on_free(self, obj: object) -> None:
        assert obj is self.obj
        self.calls += 1


class View:
    """A view of an mbuf's bytes, or of its `room`, and the bytes that it should show."""

    def __init__(self, m: Mbuf, room: bool) -> None:
        self.view = m.room if room else m.data
        self.room = room
        self.storage = storage_id(m)
        self.update()

    def update(self) -> None:
        self.data = bytes(self.view)


def chain(m: Mbuf | None) -> Iterator[Mbuf]:
    """The mbufs of a packet."""
    while m is not None:
        yield m
        m = m.next


def storage_id(m: Mbuf) -> int:
    """The number of the storage of an mbuf's bytes."""
    ext = m.ext
    return m.id if ext is None else ext.id


class PoolModel:
    """The pool, and the model of all that is in it. `rng` makes all random choices."""

    def __init__(self, rng: Random, faulty: bool = False, budget: bool = False, **kind: Any) -> None:
        self.rng = rng
        if budget:
            self.pool = Pool(BUDGET * PAGE_SIZE, ncpu=2, worker=False, **kind)
        else:
            self.pool = Pool(vm=Vm(PAGES * PAGE_SIZE), tunables=LIMITS, ncpu=2, worker=False, **kind)
        self.zones = self.pool.zones
        self.faults = TraceFaults()
        if faulty:
            inject(self.pool, self.faults)
        self.faulty = faulty
        self.packets: list[Packet] = []
        self.queues: list[tuple[MbufQ, list[Packet]]] = [(MbufQ(3), []), (MbufQ(), [])]
        self.external: dict[int, ExternalMemory] = {}
        self.views: list[View] = []
        #: Freed mbufs to which the test still refers.
        self.freed: list[Mbuf] = []
        #: Tags in no packet, and a reference to each send tag.
        self.tags: list[Tag] = []
        self.interface = Interface("em0")
        self.interface.snd_tag_alloc = lambda tags, params: SndTag(tags, self.interface, 0)  # type: ignore[attr-defined]
        self.snd_tags: list[SndTag] = []
        #: The number of mbufs that were dropped without being freed; None if unknown.
        self.drops: int | None = 0
        #: How often memory ran out.
        self.refusals = 0

    def add(self, m: Mbuf, data: bytes | bytearray, head: Head | None) -> Packet:
        packet = Packet(m, data, head)
        self.packets.append(packet)
        return packet

    def adopt(self, m: Mbuf | None, data: bytes | bytearray) -> None:
        """Add a part of another chain as a packet. Its header, if it has one, is taken as right."""
        if m is None:
            assert not data
            return
        head = None
        if m.flags & M_PKTHDR:
            head, hdr = Head(), m.pkthdr
            head.len_valid = hdr.len == len(data)
            head.flowid, head.rcvif, head.snd = hdr.flowid, hdr.rcvif, hdr.snd_tag
            head.tags = [(t.cookie, t.id, t.value) for t in m.tags]
        self.add(m, data, head)

    def all(self) -> Iterable[Packet]:
        return [*self.packets, *(packet for _, queued in self.queues for packet in queued)]

    def remove(self, packet: Packet) -> Mbuf:
        """Remove a packet from the model, and return its chain: it was freed, or became part of another packet."""
        self.packets.remove(packet)
        m, packet.m = packet.m, None  # type: ignore[assignment]
        return m

    def attempt(
        self,
        verb: Callable[..., Any],
        *args: Any,
        packets: Iterable[Packet] = (),
        error: type[Exception] | None = None,
        may_raise: tuple[type[Exception], ...] = (),
        overwrites: bool = False,
    ) -> Any:
        """The result of a verb that changes these packets, or FAILED; then nothing may have changed.

        It must raise `error` if that is given; it may raise `may_raise`, NoBufs and NoMemory. With `overwrites` it
        writes to shared memory.
        """
        packets = list(packets)
        before = self.snapshot(packets)
        mbufs = [m for packet in packets for m in chain(packet.m)] if self.views else []
        written = {storage_id(m) for m in mbufs if overwrites or m.writable}
        if self.faulty and self.rng.random() < 0.3:
            self.faults.fail("tag" if self.rng.random() < 0.2 else "any", self.rng.randint(1, 4), 1)
        expected = (NoBufs, NoMemory, *may_raise, *([error] if error else []))
        raised = result = None
        try:
            result = verb(*args)
        except expected as refusal:
            raised = refusal.with_traceback(None)
        self.faults.fail("any", 0, 0)
        if raised is not None:
            self.refusals += isinstance(raised, MemoryError)
            at_limit = getattr(raised, "zone", "") and raised.used + raised.cached == raised.limit
            assert at_limit or not getattr(raised, "zone", ""), "the zone is not at its limit"
            after = self.snapshot(packets)
            assert after == before, f"{raised!r} changed something"
            # Only bytes beyond the data may have been written.
            self.update_views(written, room_only=True)
            return FAILED
        assert error is None, f"{error} was not raised, but {result!r} returned"
        self.update_views(written, room_only=False)
        return result

    def update_views(self, written: set[int], room_only: bool) -> None:
        """Update the expected bytes of views of these storages, or only of views of `room`."""
        for view in self.views:
            if view.storage in written and (view.room or not room_only):
                view.update()

    def snapshot(self, packets: Iterable[Packet]) -> Any:
        """Everything about these packets except their bytes, and all counters."""
        zones = self.zones
        return (
            [[self._mbuf_state(m) for m in chain(packet.m)] for packet in packets],
            [(zone.used, zone.held) for zone in zones.all() if zone is not zones.clust],
            # A cached packet keeps its cluster.
            (zones.clust.used - zones.pack.cached, zones.clust.held),
            (self.pool.tags.count, self.pool.tags.bytes),
            [tag.refs for tag in self.snd_tags],
            [memory.calls for memory in self.external.values()],
        )

    def _mbuf_state(self, m: Mbuf) -> Any:
        flags = m.flags
        head: Any = None
        if flags & M_PKTHDR:
            hdr = m.pkthdr
            head = (hdr.len, hdr.flowid, hdr.csum_flags, hdr.rcvif, hdr.snd_tag, m.tags)
        return id(m), m.id, m.offset, m.len, flags, m.type, m.ext, head, m.nextpkt

    def end(self) -> None:
        """Free everything."""
        self.freed.clear()
        while self.packets:
            self.remove(self.packets[-1]).freem()
        for q, queued in self.queues:
            q.drain()
            queued.clear()
        while self.views:
            self.views.pop().view.release()
        while self.tags:
            self.tags.pop().free()
        while self.snd_tags:
            self.snd_tags.pop().rele()

    def close(self) -> None:
        """Check that nothing is in use, and close the pool."""
        assert not self.external
        pool = self.pool
        assert (pool.tags.count, pool.tags.bytes, pool.snd_tags.count, self.interface.refs) == (0, 0, 0, 0)
        self.restore()
        assert pool.out == 0
        assert [zone.held for zone in pool.zones.all()] == [0] * 6
        pool.drain()
        assert pool.vm.used == 0
        assert pool.close() == 0

    def restore(self) -> None:
        """Put the pool's own zones into force."""
        enforce(self.pool, self.zones)
