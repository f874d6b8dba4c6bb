"""A small pool, and what should be in it: packets as rows of bytes, and who uses which memory.

The mbufs are asked how a chain is laid out, never what is in it: that is known here, from what was done.
"""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from conformance.faults import Faults, beset
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
from mbuf.testing import enforce

#: As many of each as there are, so that asking for more is often refused.
LIMITS = {
    "kern.ipc.nmbclusters": 10,
    "kern.ipc.nmbjumbop": 4,
    "kern.ipc.nmbjumbo9": 2,
    "kern.ipc.nmbjumbo16": 2,
    "kern.ipc.nmbufs": 44,
}
PAGES = 64
#: Packets at a time, and bytes of one, before something is let go of.
PACKETS, BYTES = 14, 20_000

#: What a verb returned that raised an exception instead.
REFUSED = object()


class Head:
    """What a packet header should say."""

    def __init__(self) -> None:
        #: Whether `len` is that of the bytes: some verbs leave it alone, as the kernel does.
        self.true = True
        self.flowid = 0
        self.rcvif: object = None
        self.snd: SndTag | None = None
        self.tags: list[tuple[int, int, object]] = []

    def copy(self) -> "Head":
        other = Head()
        vars(other).update(vars(self), tags=list(self.tags))
        return other


class Packet:
    """A chain, and the bytes that it should have."""

    def __init__(self, m: Mbuf, data: bytes | bytearray, head: Head | None) -> None:
        self.m = m
        self.data = bytearray(data)
        self.head = head


class Lent:
    """Memory that mbufs were given, and how often its routine was called."""

    def __init__(self, obj: Any, refs: RefCount | None) -> None:
        self.obj = obj
        self.refs = refs
        #: Uses that are counted in `refs`, but no mbuf's.
        self.own = 0 if refs is None else refs.count
        self.calls = 0
        self.routine = True

    def free(self, m: Mbuf) -> None:
        ext = m.ext
        assert ext is not None
        assert (ext.obj, ext.count) == (self.obj, 1)
        self.calls += 1

    def on_free(self, obj: object) -> None:
        assert obj is self.obj
        self.calls += 1


class Look:
    """A view of an mbuf's bytes, or of its `room`, and what is to be seen there."""

    def __init__(self, m: Mbuf, room: bool) -> None:
        self.view = m.room if room else m.data
        self.room = room
        self.name = key(m)
        self.again()

    def again(self) -> None:
        self.data = bytes(self.view)


def chain(m: Mbuf | None) -> Iterator[Mbuf]:
    """The mbufs of a packet."""
    while m is not None:
        yield m
        m = m.next


def key(m: Mbuf) -> int:
    """A number that names the memory that holds an mbuf's bytes."""
    ext = m.ext
    return m.id if ext is None else ext.id


class World:
    """The pool and all that is in it. `rng` decides whatever is to be decided."""

    def __init__(self, rng: Random, faulty: bool = False, **kind: Any) -> None:
        self.rng = rng
        self.pool = Pool(vm=Vm(PAGES * PAGE_SIZE), tunables=LIMITS, ncpu=2, worker=False, **kind)
        self.zones = self.pool.zones
        self.faults = Faults()
        if faulty:
            beset(self.pool, self.faults)
        self.faulty = faulty
        self.packets: list[Packet] = []
        self.queues: list[tuple[MbufQ, list[Packet]]] = [(MbufQ(3), []), (MbufQ(), [])]
        self.lent: dict[int, Lent] = {}
        self.views: list[Look] = []
        #: Freed, and still named.
        self.stale: list[Mbuf] = []
        #: Tags in no packet, and send tags with the references that are ours.
        self.tags: list[Tag] = []
        self.interface = Interface("world")
        self.interface.snd_tag_alloc = lambda tags, params: SndTag(tags, self.interface, 0)  # type: ignore[attr-defined]
        self.snds: list[SndTag] = []
        #: Mbufs that were dropped, not freed; None when that isn't known.
        self.drops: int | None = 0
        #: How often there wasn't enough, for whoever wants to know.
        self.refusals = 0

    # What is there.

    def born(self, m: Mbuf, data: bytes | bytearray, head: Head | None) -> Packet:
        packet = Packet(m, data, head)
        self.packets.append(packet)
        return packet

    def found(self, m: Mbuf | None, data: bytes | bytearray) -> None:
        """Take over what was inside a chain till now: what its header says, if it has one, is what it should."""
        if m is None:
            assert not data
            return
        head = None
        if m.flags & M_PKTHDR:
            head, hdr = Head(), m.pkthdr
            head.true = hdr.len == len(data)
            head.flowid, head.rcvif, head.snd = hdr.flowid, hdr.rcvif, hdr.snd_tag
            head.tags = [(t.cookie, t.id, t.value) for t in m.tags]
        self.born(m, data, head)

    def all(self) -> Iterable[Packet]:
        return [*self.packets, *(packet for _, line in self.queues for packet in line)]

    def gone(self, packet: Packet) -> Mbuf:
        """Its mbufs are somebody else's now, or free."""
        self.packets.remove(packet)
        m, packet.m = packet.m, None  # type: ignore[assignment]
        return m

    # What is done.

    def attempt(
        self,
        verb: Callable[..., Any],
        *args: Any,
        of: Iterable[Packet] = (),
        wrong: type[Exception] | None = None,
        may: tuple[type[Exception], ...] = (),
        through: bool = False,
    ) -> Any:
        """The result of a verb that changes the packets `of`, or REFUSED; then nothing may have changed.

        `wrong` is what it must raise, `may` what it may raise beside NoBufs and NoMemory; `through` tells that
        it writes to memory that is shared.
        """
        packets = list(of)
        before = self.picture(packets)
        touched = {key(m) for p in packets for m in chain(p.m) if through or m.writable} if self.views else set()
        if self.faulty and self.rng.random() < 0.3:
            self.faults.arm("tag" if self.rng.random() < 0.2 else "any", self.rng.randint(1, 4), 1)
        expected = (NoBufs, NoMemory, *may, *([wrong] if wrong else []))
        error = result = None
        try:
            result = verb(*args)
        except expected as refusal:
            error = refusal.with_traceback(None)
        self.faults.arm("any", 0, 0)
        if error is not None:
            self.refusals += isinstance(error, MemoryError)
            assert not getattr(error, "zone", "") or error.used + error.cached == error.limit, "there was more"
            after = self.picture(packets)
            assert after == before, f"{error!r} changed something"
            # What is written where no data is has no meaning.
            self.look_again(touched, everywhere=False)
            return REFUSED
        assert wrong is None, f"{wrong} was not raised, but {result!r} returned"
        self.look_again(touched, everywhere=True)
        return result

    def look_again(self, touched: set[int], everywhere: bool) -> None:
        """Some memory may have been written to: within the data, or only in the room beyond it."""
        for look in self.views:
            if look.name in touched and (everywhere or look.room):
                look.again()

    def picture(self, packets: Iterable[Packet]) -> Any:
        """Everything about some packets but their bytes, and all that is counted."""
        zones = self.zones
        return (
            [[self.mbuf(m) for m in chain(packet.m)] for packet in packets],
            [(zone.used, zone.held) for zone in zones.all() if zone is not zones.clust],
            # A packet that went back into a cache keeps its cluster there.
            (zones.clust.used - zones.pack.cached, zones.clust.held),
            (self.pool.tags.count, self.pool.tags.bytes),
            [tag.refs for tag in self.snds],
            [lent.calls for lent in self.lent.values()],
        )

    def mbuf(self, m: Mbuf) -> Any:
        flags = m.flags
        head: Any = None
        if flags & M_PKTHDR:
            hdr = m.pkthdr
            head = (hdr.len, hdr.flowid, hdr.csum_flags, hdr.rcvif, hdr.snd_tag, m.tags)
        return id(m), m.id, m.offset, m.len, flags, m.type, m.ext, head, m.nextpkt

    def end(self) -> None:
        """Let everything go."""
        self.stale.clear()
        while self.packets:
            self.gone(self.packets[-1]).freem()
        for q, line in self.queues:
            q.drain()
            line.clear()
        while self.views:
            self.views.pop().view.release()
        while self.tags:
            self.tags.pop().free()
        while self.snds:
            self.snds.pop().rele()

    def close(self) -> None:
        """When all is gone, nothing is left."""
        assert not self.lent
        pool = self.pool
        assert (pool.tags.count, pool.tags.bytes, pool.snd_tags.count, self.interface.refs) == (0, 0, 0, 0)
        self.restore()
        assert pool.out == 0
        assert [zone.held for zone in pool.zones.all()] == [0] * 6
        pool.drain()
        assert pool.vm.used == 0
        assert pool.close() == 0

    def restore(self) -> None:
        """Have the pool's own zones in force."""
        enforce(self.pool, self.zones)
