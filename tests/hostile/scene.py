"""What a case happens in: a pool, a packet built in some way, others beside it, and a picture of it all."""

import contextlib
import gc
import os
from collections.abc import Callable
from typing import Any

from mbuf import (
    EXT_EXTREF,
    EXT_RXRING,
    M_EXT,
    M_EXTPG,
    M_PKTHDR,
    Interface,
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
from packet.conftest import UNMAPPED, WAYS, filed

DATA = bytes(range(200)) + b"line\nline\n" * 10


class Card(Interface):
    """An interface with send tags."""

    def snd_tag_alloc(self, tags: Any, params: Any) -> SndTag:
        return SndTag(tags, self, 0)


def nofree(pool: Pool, data: bytes) -> list[Mbuf]:
    """An mbuf of no zone, with memory of a receive ring."""
    lent = bytearray(2048)
    lent[: len(data)] = data
    m = pool.init(flags=M_PKTHDR).extadd(lent, None, None, None, 0, EXT_RXRING)
    m.len = len(data)
    return [m]


def extref(pool: Pool, data: bytes) -> list[Mbuf]:
    """Memory that is counted elsewhere."""
    lent, refs = bytearray(data), RefCount()
    m = pool.gethdr().extaddref(lent, refs)
    m.len = len(data)
    n = pool.get().extaddref(lent, refs)
    n.len = len(data)
    return [m, n]


def windows(pool: Pool, data: bytes) -> list[Mbuf]:
    """Pages of a file, mapped."""
    m = pool.gethdr().cat(filed(pool, data, 50).unmapped_to_ext())
    m.fixhdr()
    return [m]


#: Every kind of storage.
STORAGE: dict[str, Callable[[Pool, bytes], list[Mbuf]]] = {
    **WAYS,
    "nofree": nofree,
    "extref": extref,
    "windows": windows,
}
assert EXT_EXTREF
assert UNMAPPED


class Clock:
    """A clock that goes on by an hour with each scene: what may happen only so often may happen in each."""

    def __init__(self) -> None:
        self.now = 1e6

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def roomy(**kind: Any) -> Pool:
    """A pool in which there is more than enough, and buckets are small."""
    limits = {"nmbclusters": 2000, "nmbjumbop": 400, "nmbjumbo9": 100, "nmbjumbo16": 100, "nmbufs": 4000}
    return _pool(limits, 48 << 20, **kind)


def scarce(**kind: Any) -> Pool:
    """A pool that is soon at its limits."""
    limits = {"nmbclusters": 44, "nmbjumbop": 6, "nmbjumbo9": 3, "nmbjumbo16": 3, "nmbufs": 130}
    return _pool(limits, 16 << 20, caching=False, **kind)


def _pool(limits: dict[str, int], mem: int, **kind: Any) -> Pool:
    tunables = {f"kern.ipc.{name}": value for name, value in limits.items()}
    return Pool(Vm(mem, CLOCK), tunables, worker=False, strict=False, **kind)


class Scene:
    """A packet `m` and another one `n`, those that share their bytes, canaries, and whatever else is asked for."""

    def __init__(self, pool: Pool, storage: str) -> None:
        CLOCK.now += 3600
        self.pool = pool
        self.canaries = [pool.getcl().append(_canary(i)) for i in range(4)] + [pool.gethdr().append(_canary(4))]
        data = DATA[:20] if storage == "tiny" else DATA
        self.m, *self.sharers = STORAGE[storage](pool, data)
        self.tail(self.m, pool.getcl(flags=0).append(b"t" * 100))
        self.n = pool.getcl().append(b"n" * 150)
        self.tail(self.n, pool.get().append(b"u" * 100))
        #: What hostile acts and calls have made.
        self.made: list[Any] = []
        self.held: list[Mbuf] = []
        if self.m.flags & M_PKTHDR:
            self.m.tag_prepend(pool.tag_alloc(7, 3, "value"))

    def tail(self, m: Mbuf, last: Mbuf) -> None:
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
        """Take all that can be had."""
        for get in (self.pool.getcl, self.pool.getjcl, self.pool.get):
            with contextlib.suppress(MbufError):
                while True:
                    self.held.append(get())

    def unharmed(self) -> bool:
        """True when the canaries have the bytes that they had."""
        return all(bytes(m) == _canary(i) for i, m in enumerate(self.canaries))

    def picture(self, result: Any, blind: bool) -> Any:
        """All that can be seen of it; `blind` to bytes, where a verb makes room that may have any."""
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
            shown.append(self._mbuf(self.seen[at], names, storages, blind))
            at += 1
        made = [self._named(result, names, 0)]
        while at < len(self.seen):
            made.append(self._mbuf(self.seen[at], names, storages, blind))
            at += 1
        return shown, made, self._counts()

    def _named(self, thing: Any, names: dict[int, int], deep: int) -> Any:
        """A thing, told by its number or value."""
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

    def _mbuf(self, m: Mbuf, names: dict[int, int], storages: dict[int, int], blind: bool) -> Any:
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
            data: Any = None if blind else m.copydata(0, m.len)
        except MbufError as error:  # an mbuf of the chain was freed, as the act had it
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
        """Let go of everything; what is wrong then, or nothing."""
        if not self.unharmed():
            return "canary: a packet of others has other bytes"
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
        return over(pool)


def over(pool: Pool) -> str:
    """What is wrong with a pool of which nothing should be in use."""
    if pool.out or pool.tags.count or pool.snd_tags.count:
        gc.collect()
    if pool.out or pool.tags.count or pool.snd_tags.count:
        return f"lost: {pool.out} mbufs, {pool.tags.count} tags, {pool.snd_tags.count} send tags are still out"
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
            return f"lost: {pool.pages.used} single pages are still out"
    audit = getattr(pool, "audit", None)
    if audit is not None:
        try:
            audit()
        except MbufError as error:
            return f"audit: {error}"
    return ""


def _free(things: Any, deep: int) -> None:
    """Free all mbufs, and release all views, in what was made."""
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


def _queue(scene: Scene) -> MbufQ:
    q = MbufQ()
    for i in range(3):
        q.enqueue(scene.pool.gethdr().append(b"q%d" % i))
    return q


def _filled(buffer: Any, scene: Scene) -> Any:
    for i in range(3):
        buffer.append(scene.pool.getcl().append(b"s%d\n" % i * 300))
    return buffer


def _path(scene: Scene) -> int:
    fd = os.memfd_create("pages")
    os.write(fd, b"f" * 9000)
    return fd


MAKERS: dict[str, Callable[[Scene], Any]] = {
    "q": _queue,
    "other_queue": _queue,
    "sb": lambda s: _filled(SockBuf(5000, 500), s),
    "st": lambda s: _filled(StreamBuffer(), s),
    "tag": lambda s: s.m.tags[0] if s.m.flags & M_PKTHDR and s.m.tags else s.new_tag,
    "new_tag": lambda s: s.pool.tag_alloc(9, 9, "new"),
    "ifp": lambda s: Card("em0"),
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
