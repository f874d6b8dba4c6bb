"""The machine that a trace's program runs on: a pool, and the objects that the program holds, by number."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from conformance.chain_state import MbufState, chain_state, describe, pat
from conformance.faults import TraceFaults
from conformance.trace_interfaces import NumberedInterface, TraceInterface
from faults import inject
from mbuf import M_WAITOK, PAGE_SIZE, Mbuf, Pool, Vm
from mbuf.kinds import KINDS
from mbuf.packet.cluster import Cluster
from mbuf.packet.external import RefCount
from mbuf.packet.queue import MbufQ
from mbuf.packet.sndtag import SndTag
from mbuf.packet.tag import Tag
from mbuf.pool.reserve import Reserve
from mbuf.testing.refusals import ZONES, faulty_zones
from mbuf.testing.unchecked import enforce

Op = Mapping[str, Any]
Perform = Callable[["Machine", Op], Any]

DRAINS = ("drain0", "drain1", "drain2")

#: The number of interfaces with send tags, and of all interfaces.
WITH_SND_TAGS, INTERFACES = 2, 4

#: Zones of clusters.
CLUSTERS = ("clust", "jumbop", "jumbo9", "jumbo16")

#: Zones of the reserve, and the count of one that does not exist.
RESERVED, NONE = ("mbuf", "clust", "pack"), -999

#: Used if `boot` doesn't state them.
DEFAULTS = {"physmem": 262144, "kmem": 1 << 40, "tun": {}, "max_linkhdr": 16, "max_protohdr": 60}


def waits(op: Op) -> dict[str, int]:
    """The timeout of an operation that may wait: it doesn't, in a trace."""
    return {"timeout": 0} if op.get("how") == M_WAITOK else {}


class Buffer(NamedTuple):
    """An external buffer, and its reference count outside of mbufs."""

    data: bytearray
    refs: RefCount


class Machine:
    """A pool; chains `m`, clusters `c`, tags `t`, send tags `s`, buffers `b`, queues `q`; events `ev`."""

    def __init__(self, boot: dict[str, Any], caching: bool) -> None:
        boot = DEFAULTS | boot
        self.pool = Pool(
            Vm(realmem=min(boot["physmem"] * PAGE_SIZE, boot["kmem"])),
            tunables={name: str(value) for name, value in boot["tun"].items()},
            caching=caching,
            worker=False,
            max_linkhdr=boot["max_linkhdr"],
            max_protohdr=boot["max_protohdr"],
            strict=False,
        )
        self.zones = self.pool.zones
        #: The zones in force behind the faulty ones.
        self.real = self.zones
        self.faults = TraceFaults()
        inject(self.pool, self.faults)
        self.m: dict[int, Mbuf] = {}
        self.c: dict[int, Cluster] = {}
        self.t: dict[int, Tag] = {}
        self.s: dict[int, SndTag] = {}
        self.b: dict[int, Buffer] = {}
        self.q: dict[int, MbufQ] = {}
        self.ev: list[dict[str, Any]] = []
        #: References to send tags that the kernel leaks and the library doesn't.
        self.leaked: list[SndTag] = []
        self._snd_tags = 0
        self.interfaces: list[NumberedInterface] = [
            TraceInterface(n, self._count, self._snd_tag_freed) for n in range(WITH_SND_TAGS)
        ]
        self.interfaces += [NumberedInterface(n) for n in range(WITH_SND_TAGS, INTERFACES)]
        self._drained = dict.fromkeys(DRAINS, 0)
        for drain in DRAINS:
            self.pool.drains.register(partial(self._drain, drain))

    def _drain(self, drain: str) -> None:
        self._drained[drain] += 1

    def _count(self) -> int:
        self._snd_tags += 1
        return self._snd_tags

    def _snd_tag_freed(self, interface: int, number: int) -> None:
        self.ev.append({"k": "sndtag_free", "ifp": interface, "st": number})

    def buffer(self, number: int, size: int, seed: int) -> None:
        """Make an external buffer."""
        self.b[number] = Buffer(bytearray(pat(seed, size)), RefCount())

    def freed(self, m: Mbuf) -> None:
        """The free routine of external buffers, whose first argument is their number."""
        ext = m.ext
        self.ev.append(
            {
                "k": "extfree",
                "buf": ext.arg1,
                "arg2": ext.arg2,
                "type": ext.type,
                "size": ext.size,
                "cnt": ext.count,
                "same": int(ext.obj is self.b[ext.arg1].data),
            }
        )

    def pages_freed(self, m: Mbuf) -> None:
        """The free routine of unmapped pages."""
        self.ev.append({"k": "epgfree", "npgs": m.epg.npgs, **m.ext.arg1})

    def at(self, op: Op) -> Mbuf:
        """The mbuf that an operation names: the k-th of chain m."""
        m = self.m[op["m"]]
        for _ in range(op.get("k", 0)):
            m = m.next
        return m

    @contextmanager
    def without_faults(self) -> Iterator[Reserve]:
        """Within it, no request passes `faults`; yields the reserve."""
        enforce(self.pool, self.real)
        try:
            yield self.pool.reserve
        finally:
            self.real = self.pool.zones
            enforce(self.pool, faulty_zones(self.real, self.faults))

    def after_operation(self) -> None:
        """Do what the kernel does after an operation."""
        self.pool.reclaim.run()

    def chain_states(self) -> dict[int, list[MbufState]]:
        """The state of every chain. Identities are numbers of objects that exist now."""
        return {handle: chain_state(m) for handle, m in self.m.items()}

    def counters(self) -> dict[str, int]:
        """Every counter of section 6."""
        pool = self.pool
        zones = {name: getattr(self.zones, name) for name in ZONES}
        now = self._drained | {"tags": pool.tags.count, "sndtags": pool.snd_tags.count}
        now["pages"] = pool.pages.used
        now |= {"dnq.mbuf": pool.reserve.mbufs, "dnq.clust": pool.reserve.clusters}
        reserved = pool.reserve.zones
        now |= {f"dn.{name}": getattr(reserved, name).used if reserved else NONE for name in RESERVED}
        now |= {f"ifref{card.number}": card.refs for card in self.interfaces[:WITH_SND_TAGS]}
        now |= {f"cur.{name}": zone.used for name, zone in zones.items()}
        now |= {f"max.{name}": zone.limit for name, zone in zones.items()}
        now |= {kind.sysctl.rpartition(".")[2]: pool.sysctl[kind.sysctl] for kind in KINDS}
        now |= {f"eh.{name.rpartition('.')[2]}": event.count for name, event in pool.changes.items()}
        # A packet in a cache holds a cluster, which the cluster zone counts as used.
        now["cur.clust"] -= self.zones.pack.cached
        return now

    def state(self) -> dict[str, Any]:
        """All that a refused call must not change: everything but the counts of drains, which it may call."""
        state: dict[str, Any] = {name: count for name, count in self.counters().items() if name not in DRAINS}
        return state | {str(handle): describe(chain) for handle, chain in self.chain_states().items()}

    def close(self) -> dict[str, int]:
        """Free everything; returns what is still in use, by counter, and how many mbufs were dropped."""
        try:
            self._free_all()
            with self.without_faults() as reserve:
                if reserve.started:
                    reserve.finish()
                reserve.drain()
            counters = self.counters()
        finally:
            enforce(self.pool, self.real)
        # The reserve may free a packet's mbuf as a plain one: only the sum of both zones is compared.
        left = {"out": self.pool.out}
        left |= {
            name: counters[name]
            for name in (*map("cur.{}".format, CLUSTERS), "pages", "tags", "sndtags", "ifref0", "ifref1")
        }
        left["dropped"] = self.pool.stat().drops
        self.pool.close()
        return left

    def _free_all(self) -> None:
        self.faults.fail("", 0, 0)
        for held, verb in ((self.m, "freem"), (self.q, "drain"), (self.c, "free"), (self.t, "free"), (self.s, "rele")):
            while held:
                getattr(held.popitem()[1], verb)()
        while self.leaked:
            self.leaked.pop().rele()
