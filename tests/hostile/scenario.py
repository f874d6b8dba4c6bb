"""The scenario of a case: a pool, a packet with some kind of storage, other objects, and a snapshot of them all."""

import contextlib
import gc
import os
from collections.abc import Callable
from typing import Any

from interfaces import SndTagInterface
from mbuf import (
    EXT_RXRING,
    M_EXT,
    M_EXTPG,
    M_PKTHDR,
    Mbuf,
    MbufError,
    MbufQ,
    Pool,
    RefCount,
    SndTag,
    SockBuf,
    StreamBuffer,
    Tag,
    Vm,
)
from mbuf.packet.cluster import Cluster
from packet.layouts import LAYOUTS, file_mbufs

DATA = bytes(range(200)) + b"line\nline\n" * 10


def nofree(pool: Pool, data: bytes) -> list[Mbuf]:
    """An M_NOFREE mbuf with memory of a receive ring."""
    memory = bytearray(2048)
    memory[: len(data)] = data
    m = pool.init(flags=M_PKTHDR).extadd(memory, None, None, None, 0, EXT_RXRING)
    m.len = len(data)
    return [m]


def extref(pool: Pool, data: bytes) -> list[Mbuf]:
    """External memory with a reference count outside of it."""
    memory, refs = bytearray(data), RefCount()
    m = pool.gethdr().extaddref(memory, refs)
    m.len = len(data)
    n = pool.get().extaddref(memory, refs)
    n.len = len(data)
    return [m, n]


def windows(pool: Pool, data: bytes) -> list[Mbuf]:
    """Mapped pages of a file."""
    m = pool.gethdr().cat(file_mbufs(pool, data, 50).unmapped_to_ext())
    m.fixhdr()
    return [m]


#: Every kind of storage.
STORAGE: dict[str, Callable[[Pool, bytes], list[Mbuf]]] = {
    **LAYOUTS,
    "nofree": nofree,
    "extref": extref,
    "windows": windows,
}


class Clock:
    """A clock that each scenario advances by an hour, so that no action is limited by its rate."""

    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def large_pool(**kind: Any) -> Pool:
    """A pool with large limits and small buckets."""
    limits = {"nmbclusters": 2000, "nmbjumbop": 400, "nmbjumbo9": 100, "nmbjumbo16": 100, "nmbufs": 4000}
    return _pool(limits, 48 << 20, **kind)


def small_pool(**kind: Any) -> Pool:
    """A pool with small limits, without caches."""
    limits = {"nmbclusters": 44, "nmbjumbop": 6, "nmbjumbo9": 3, "nmbjumbo16": 3, "nmbufs": 130}
    return _pool(limits, 16 << 20, caching=False, **kind)


def pool_with_budget() -> Pool:
    """A pool whose memory is its only bound, and small."""
    return Pool("1M", worker=False)


def _pool(limits: dict[str, int], mem: int, **kind: Any) -> Pool:
    tunables = {f"kern.ipc.{name}": value for name, value in limits.items()}
    return Pool(Vm(mem, CLOCK), tunables, worker=False, strict=False, **kind)


class Scenario:
    """Packets `m` and `n`, chains that share their bytes, and canaries; other objects are made on first use."""

    def __init__(self, pool: Pool, storage: str) -> None:
        CLOCK.now += 3600
        self.pool = pool
        self.canaries = [pool.getcl().append(_canary(i)) for i in range(4)] + [pool.gethdr().append(_canary(4))]
        data = DATA[:20] if storage == "tiny" else DATA
        self.m, *self.sharers = STORAGE[storage](pool, data)
        self.append_mbuf(self.m, pool.getcl(flags=0).append(b"t" * 100))
        self.n = pool.getcl().append(b"n" * 150)
        self.append_mbuf(self.n, pool.get().append(b"u" * 100))
        #: Objects that the act and the call have made.
        self.made: list[Any] = []
        self.held: list[Mbuf] = []
        if self.m.flags & M_PKTHDR:
            self.m.tag_prepend(pool.tag_alloc(7, 3, "value"))

    def append_mbuf(self, m: Mbuf, last: Mbuf) -> None:
        """Link an mbuf behind the last of a chain."""
        m.last().next = last
        if m.flags & M_PKTHDR:
            m.fixhdr()

    def __getattr__(self, name: str) -> Any:
        make = MAKERS.get(name)
        if make is None:
            raise AttributeError(name)
        made = make(self)
        setattr(self, name, made)
        return made

    def fill(self) -> None:
        """Allocate until the limits are reached."""
        for get in (self.pool.getcl, self.pool.getjcl, self.pool.get):
            with contextlib.suppress(MbufError):
                while True:
                    self.held.append(get())

    def canaries_intact(self) -> bool:
        """True if the canaries' bytes haven't changed."""
        return all(bytes(m) == _canary(i) for i, m in enumerate(self.canaries))

    def snapshot(self, result: Any, ignore_bytes: bool) -> Any:
        """The state of all objects; without bytes if `ignore_bytes`, because new room may have any."""
        names: dict[int, int] = {}
        storages: dict[int, int] = {}
        roots: list[Any] = [self.m, self.n, *self.sharers]
        mine = vars(self)
        for role in MAKERS:
            if role in mine:
                roots.append(mine[role])
        roots += self.made
        self.seen: list[Mbuf] = []
        shown: list[Any] = [self._named(root, names, 0) for root in roots]
        at = 0
        while at < len(self.seen):
            shown.append(self._mbuf(self.seen[at], names, storages, ignore_bytes))
            at += 1
        made = [self._named(result, names, 0)]
        while at < len(self.seen):
            made.append(self._mbuf(self.seen[at], names, storages, ignore_bytes))
            at += 1
        return shown, made, self._counts()

    def _named(self, thing: Any, names: dict[int, int], deep: int) -> Any:
        """An object as a number or a value."""
        if isinstance(thing, Mbuf):
            if id(thing) not in names:
                names[id(thing)] = len(names)
                self.seen.append(thing)
            return names[id(thing)]
        if isinstance(thing, MbufQ):
            return ["q", [self._named(m, names, deep) for m in thing], len(thing)]
        if isinstance(thing, SockBuf):
            return ["sb", bytes(thing), len(thing), thing.mcnt, thing.ccnt, thing.mbcnt]
        if isinstance(thing, list | tuple) and deep < 3:
            return [self._named(item, names, deep + 1) for item in thing]
        if isinstance(thing, bool | str | bytes | None | float):
            return thing
        return bytes(thing) if isinstance(thing, bytearray) else type(thing).__name__

    def _mbuf(self, m: Mbuf, names: dict[int, int], storages: dict[int, int], ignore_bytes: bool) -> Any:
        try:
            flags = m.flags
        except MbufError:
            return "freed"
        if flags & M_EXT:
            ext = m.ext
            assert ext is not None
            number = storages.setdefault(ext.id, len(storages))
            storage: Any = (number, ext.type, ext.size, ext.count, ext.embedded)
        else:
            storage = None
        header: Any = None
        if flags & M_PKTHDR:
            hdr = m.pkthdr
            tags = [(t.cookie, t.id, t.value if isinstance(t.value, str) else type(t.value).__name__) for t in m.tags]
            rcvif = hdr.rcvif if isinstance(hdr.rcvif, str) else type(hdr.rcvif).__name__
            header = (hdr.len, hdr.flowid, hdr.csum_flags, rcvif, tags, hdr.snd_tag is not None)
        try:
            data: Any = None if ignore_bytes else m.copydata(0, m.len)
        except MbufError as error:  # the act has freed an mbuf of the chain
            data = type(error).__name__
        links = [self._named(link, names, 0) for link in (m.next, m.nextpkt)]
        lead = None if flags & M_EXTPG else m.offset
        return flags, m.type, m.len, lead, m.size, storage, header, data, links

    def _counts(self) -> Any:
        pool = self.pool
        stat = pool.stat()
        return (
            pool.out,
            stat.clust.used - stat.pack.cached,
            [zone.used for zone in (stat.jumbop, stat.jumbo9, stat.jumbo16)],
            [zone.held for zone in (stat.mbuf, stat.pack, stat.clust, stat.jumbop)],
            pool.tags.count,
            pool.snd_tags.count,
        )

    def end(self) -> str:
        """Free everything; returns what is wrong then, empty if nothing."""
        if not self.canaries_intact():
            return "canary: the bytes of an unrelated packet have changed"
        for name in ("q", "other_queue"):
            if vars(self).get(name) is not None:
                with contextlib.suppress(MbufError):
                    getattr(self, name).drain()
        for name in ("sb", "st"):
            if vars(self).get(name) is not None:
                with contextlib.suppress(MbufError):
                    getattr(self, name).clear()
        if "snd" in vars(self):
            with contextlib.suppress(Exception):
                self.snd.rele()
        for name in ("cl", "new_tag"):
            if name in vars(self):
                with contextlib.suppress(Exception):
                    getattr(self, name).free()
        if "reserve" in vars(self):
            with contextlib.suppress(MbufError):
                self.reserve.finish()
            with contextlib.suppress(MbufError):
                self.reserve.drain()
        pool, held = self.pool, self.held
        made = [self.m, self.n, *self.sharers, *self.made, *self.canaries, vars(self).get("bare")]
        self.seen = []
        _free(made, 0)
        pool.free_bulk(held)
        vars(self).clear()
        del made
        return leaks(pool)


def leaks(pool: Pool) -> str:
    """A description of what is in use in a pool in which nothing should be; empty if nothing is."""
    if pool.out or pool.tags.count or pool.snd_tags.count:
        gc.collect()
    if pool.out or pool.tags.count or pool.snd_tags.count:
        return f"lost: {pool.out} mbufs, {pool.tags.count} tags, {pool.snd_tags.count} send tags are still in use"
    stat = pool.stat()
    used = [zone.used for zone in (stat.jumbop, stat.jumbo9, stat.jumbo16)]
    if stat.clust.used != stat.pack.cached or any(used):
        gc.collect()
        stat = pool.stat()
        used = [zone.used for zone in (stat.jumbop, stat.jumbo9, stat.jumbo16)]
        if stat.clust.used != stat.pack.cached or any(used):
            return f"lost: {stat.clust.used - stat.pack.cached} clusters, jumbo {used}"
    if pool.pages.used:
        gc.collect()
        if pool.pages.used:
            return f"lost: {pool.pages.used} single pages are still in use"
    audit = getattr(pool, "audit", None)
    if audit is not None:
        try:
            audit()
        except MbufError as error:
            return f"audit: {error}"
    return ""


def _free(things: Any, deep: int) -> None:
    """Free all mbufs and release all views in these objects."""
    for thing in things:
        if isinstance(thing, Mbuf):
            with contextlib.suppress(MbufError):
                seen = 0
                m: Mbuf | None = thing
                while m is not None and seen < 1000:
                    later = m.nextpkt
                    m.freem()
                    m = later
                    seen += 1
        elif isinstance(thing, MbufQ):
            thing.drain()
        elif isinstance(thing, SndTag):
            with contextlib.suppress(Exception):
                thing.rele()
        elif isinstance(thing, Tag | Cluster):
            with contextlib.suppress(Exception):
                thing.free()
        elif isinstance(thing, list | tuple) and deep < 3:
            _free(thing, deep + 1)
        elif isinstance(thing, memoryview):
            thing.release()


def _canary(i: int) -> bytes:
    return b"canary%d" % i * 12


def _queue(scenario: Scenario) -> MbufQ:
    q = MbufQ()
    for i in range(3):
        q.enqueue(scenario.pool.gethdr().append(b"q%d" % i))
    return q


def _fill_buffer(buffer: Any, scenario: Scenario) -> Any:
    for i in range(3):
        buffer.append(scenario.pool.getcl().append(b"s%d\n" % i * 300))
    return buffer


def _path(scenario: Scenario) -> int:
    fd = os.memfd_create("pages")
    os.write(fd, b"f" * 9000)
    return fd


MAKERS: dict[str, Callable[[Scenario], Any]] = {
    "q": _queue,
    "other_queue": _queue,
    "sb": lambda s: _fill_buffer(SockBuf(5000, 500), s),
    "st": lambda s: _fill_buffer(StreamBuffer(), s),
    "tag": lambda s: s.m.tags[0] if s.m.flags & M_PKTHDR and s.m.tags else s.new_tag,
    "new_tag": lambda s: s.pool.tag_alloc(9, 9, "new"),
    "ifp": lambda s: SndTagInterface("em0"),
    "snd": lambda s: s.pool.snd_tag_alloc(s.ifp),
    "epg": lambda s: s.m.epg,
    "ext": lambda s: s.m.ext,
    "hdr": lambda s: s.m.pkthdr,
    "path": _path,
    "file": lambda s: s.pool.file(s.path),
    "rc": lambda s: RefCount(),
    "cl": lambda s: s.pool.cljget(None, size=2048),
    "bare": lambda s: s.pool.gethdr(),
    "vm": lambda s: s.pool.vm,
    "reserve": lambda s: s.pool.reserve,
    "sysctl": lambda s: s.pool.sysctl,
    "drains": lambda s: s.pool.drains,
    "probes": lambda s: s.pool.probes,
}
